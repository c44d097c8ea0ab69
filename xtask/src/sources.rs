//! Looks for what a library must not do in the text of its sources.
//!
//! Clippy forbids much of this too, and any line may silence clippy with a reason. These few are the promises that the
//! rooms are sorted by, so nothing silences them: a library is told its settings and hands back what it has to say;
//! only the program reads the environment and speaks.

use crate::chore::{self, Failure};
use std::path::{Path, PathBuf};

/// Words that may not stand in the sources below a folder or file, and why.
struct Ban {
    paths: &'static [&'static str],
    words: &'static [&'static str],
    because: &'static str,
}

const LIBRARIES: &[&str] = &[
    "crates/evermark-core/src",
    "crates/evermark-store/src",
    "crates/evermark-models/src",
    "crates/evermark-lance/src",
    "crates/evermark-engine/src",
    "crates/evermark-server/src",
];

const BANS: &[Ban] = &[
    Ban {
        paths: LIBRARIES,
        words: &["env::var", "env::args"],
        because: "settings come from the program, which can tell where each one came from",
    },
    Ban {
        paths: LIBRARIES,
        words: &["println!", "print!", "dbg!", "io::stdout", "io::stderr"],
        because: "only the program speaks; a library returns or traces",
    },
    Ban {
        paths: &["crates/evermark-core/src"],
        words: &["std::fs", "std::net", "std::process", "std::thread"],
        because: "core decides and does no I/O",
    },
    Ban {
        paths: &["crates/evermark-engine/src"],
        words: &["std::net", "TcpListener", "TcpStream", "UdpSocket", "UnixListener", "UnixStream"],
        because: "the engine opens no socket",
    },
    Ban {
        paths: &["crates/evermark-store/src/vault.rs", "crates/evermark-store/src/vault"],
        words: &["ledger::", "jobs::", "rusqlite"],
        because: "the vault knows no ledger: the truth does not ask its own memory",
    },
];

/// Returns a sentence for each forbidden word in the checkout at `root`.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for ban in BANS {
        for path in ban.paths {
            for file in rust_files(&root.join(path))? {
                let text = chore::read(&file)?;
                let file = file.strip_prefix(root).unwrap_or(&file).display().to_string();
                found.extend(
                    words_in(&text, ban.words).map(|(line, word)| format!("{file}:{line}: `{word}`: {}", ban.because)),
                );
            }
        }
    }
    Ok(found)
}

/// Returns the Rust files at or below `path`, tests left out; none when nothing is there.
fn rust_files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
    if is_test || !path.exists() {
        return Ok(Vec::new());
    }
    if !path.is_dir() {
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        return Ok(if is_rust { vec![path.to_path_buf()] } else { Vec::new() });
    }
    let failed = |source| Failure::Read { path: path.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        files.extend(rust_files(&entry.map_err(failed)?.path())?);
    }
    files.sort();
    Ok(files)
}

/// Returns each line, counted from one, that has one of `words`, outside comments and test modules.
///
/// A look at formatted lines, not a parser: a comment is a line that begins as one, and a test module ends at the brace
/// in the column where its `mod` stands.
fn words_in<'a>(text: &'a str, words: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
    let mut cfg_test = false;
    let mut closing: Option<String> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if let Some(brace) = &closing {
            if line.trim_end() == brace {
                closing = None;
            }
            return None;
        }
        let code = line.trim_start();
        if code.starts_with("//") {
            return None;
        }
        if cfg_test && code.contains("mod ") && code.trim_end().ends_with('{') {
            closing = Some(format!("{}}}", &line[..line.len() - code.len()]));
        }
        cfg_test = code.starts_with("#[cfg(test)]") || (cfg_test && code.starts_with("#["));
        words.iter().find(|word| code.contains(**word)).map(|word| (index + 1, *word))
    })
}

#[cfg(test)]
mod tests;
