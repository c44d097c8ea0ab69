//! `evermark bench report`: what was measured, as tables for the documents and as pictures. Nothing is measured here.
//!
//! A picture is drawn of everything that is named: sizes from several files come together, of comparisons the last one is drawn.

mod plot;

use super::figures::{described, remarks, rows, title};
use super::{aims, peers, table};
use crate::cli::ReportArgs;
use crate::exit::{Exit, Failure};
use crate::output::{Out, note};
use anyhow::Context;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::Path;

pub(super) fn run(args: &ReportArgs, out: &mut Out) -> anyhow::Result<Exit> {
    let (mut figures, mut compared) = (Vec::new(), Vec::new());
    for path in &args.files {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let report: Value = serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))?;
        match report["bench"].as_str() {
            Some("figures") => figures.push(report),
            Some("peers") => compared.push(report),
            _ => {
                let message = format!("{} is no report of `bench figures` or `bench peers`", path.display());
                return Err(Failure::new(Exit::Usage, message).into());
            }
        }
    }
    out.line("# Figures\n\nWritten by `evermark bench report`: change what it reads, not this.\n");
    for report in &figures {
        let machine = &report["machine"];
        let said = machine["model"].as_str().unwrap_or("an unknown processor");
        out.line(format_args!("## {} cores of {said}\n", machine["cpus"]));
        for line in described(&report["limits"]) {
            out.line(format_args!("{line}\n"));
        }
        for size in report["sizes"].as_array().into_iter().flatten() {
            out.line(format_args!("### {}\n", title(size)));
            for line in table::markdown(aims::HEADINGS, &rows(size, &report["limits"])) {
                out.line(line);
            }
            out.line("");
            for line in remarks(size, &report["limits"]) {
                out.line(format_args!("- {line}"));
            }
            out.line("");
        }
    }
    for report in &compared {
        out.line(format_args!("## Beside others: {}\n", peers::title(report)));
        let (headings, rows) = aims::beside(report);
        for line in table::markdown(headings.each_ref().map(String::as_str), &rows) {
            out.line(line);
        }
        out.line("");
        for line in peers::remarks(report) {
            out.line(format_args!("- {line}"));
        }
        out.line("");
    }
    if let Some(folder) = &args.plot {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let sizes = figures.iter().flat_map(|report| report["sizes"].as_array().into_iter().flatten());
        if let Some(svg) = plot::latency(&sizes.collect::<Vec<_>>()) {
            write(&folder.join("latency.svg"), &svg)?;
        }
        if let Some(report) = compared.last() {
            write(&folder.join("peers.svg"), &plot::peers(report, &peers::title(report)))?;
        }
    }
    Ok(Exit::Ok)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    note(format_args!("{}", path.display()));
    Ok(())
}
