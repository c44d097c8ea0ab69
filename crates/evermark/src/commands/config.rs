//! `evermark config show`: every setting, and who set it.

use crate::config::{Config, Environment, Flags, Root};
use crate::exit::Exit;
use crate::output::{Out, note};
use serde_json::{Map, Value, json};

pub(crate) fn show(root: Root, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    let config = Config::load(root, env, &Flags::default())?;
    if out.json {
        out.document(&document(&config));
    } else {
        print(&config, out);
    }
    config.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    Ok(Exit::Ok)
}

fn document(config: &Config) -> Value {
    let values = config.shown.iter().map(|shown| {
        let entry = json!({ "value": shown.value, "source": shown.source.to_string() });
        (shown.name.to_owned(), entry)
    });
    json!({
        "root": { "value": config.root.path, "source": config.root.source.to_string() },
        "files": config.files,
        "values": values.collect::<Map<_, _>>(),
        "warnings": config.warnings,
    })
}

fn print(config: &Config, out: &mut Out) {
    let paint = out.paint;
    let mut rows = vec![("root", config.root.path.display().to_string(), config.root.source.to_string())];
    rows.extend(config.shown.iter().map(|shown| {
        let value = match &shown.value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (shown.name, value, shown.source.to_string())
    }));
    let name_width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let value_width = rows.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or(0).min(44);
    for (name, value, source) in rows {
        let source = if source == "default" { paint.dim(source) } else { source };
        out.line(format_args!("{name:name_width$}  {value:value_width$}  {source}"));
    }
}
