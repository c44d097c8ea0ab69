//! Values as they were found, and the order in which places are asked for them.
//!
//! A place is a layer: flags, environment, `evermark.toml`, `everos.toml`. The first layer that has a value decides. An
//! empty text counts as absent everywhere, as EverOS has it for its keys.

use super::near::nearest;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// A value before anybody asked what it should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    Text(String),
    Whole(i64),
    Real(f64),
    Flag(bool),
    List(Vec<String>),
    /// A date, or a list of other things than texts: no key of ours is one.
    Other(String),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(texts) => write!(f, "[{}]", texts.join(", ")),
            Self::Other(text) => f.write_str(text.trim()),
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Flag(&'static str),
    Env(String),
    File { path: PathBuf, line: usize },
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Whose names a layer uses, and how strict we are with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Our own names; a bad value stops the program.
    Evermark,
    /// EverOS's names; EverOS may allow what we do not, so a bad value is left out with a warning.
    Everos,
}

/// Values from one place, by dotted name.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) dialect: Dialect,
    pub(crate) values: BTreeMap<String, (Found, Source)>,
}

impl Layer {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, values: BTreeMap::new() }
    }

    pub(crate) fn insert(&mut self, name: impl Into<String>, found: Found, source: Source) {
        self.values.insert(name.into(), (found, source));
    }

    /// Reads `PREFIX_SECTION__KEY` from the environment.
    pub(crate) fn from_env(env: &Environment, prefix: &str, dialect: Dialect) -> Self {
        let mut layer = Self::new(dialect);
        for (name, value) in &env.0 {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            if rest.contains("__") {
                let dotted = rest.to_lowercase().replace("__", ".");
                layer.insert(dotted, Found::Text(value.clone()), Source::Env(name.clone()));
            }
        }
        layer
    }

    /// Reads TOML text; tables become dots in the name.
    pub(crate) fn from_toml(path: &Path, text: &str, dialect: Dialect) -> Result<Self, String> {
        let document = toml_edit::Document::parse(text)
            .map_err(|error| format!("cannot read {}: {}", path.display(), error.to_string().trim_end()))?;
        let mut layer = Self::new(dialect);
        layer.insert_table(document.as_table(), "", path, text);
        Ok(layer)
    }

    fn insert_table(&mut self, table: &dyn toml_edit::TableLike, prefix: &str, path: &Path, text: &str) {
        for (key, item) in table.iter() {
            let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
            if let Some(inner) = item.as_table_like() {
                self.insert_table(inner, &name, path, text);
                continue;
            }
            let at = table.key(key).and_then(toml_edit::Key::span).map_or(0, |span| span.start);
            let line = 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
            self.insert(name, found(item), Source::File { path: path.to_owned(), line });
        }
    }
}

fn found(item: &toml_edit::Item) -> Found {
    if let Some(text) = item.as_str() {
        Found::Text(text.to_owned())
    } else if let Some(number) = item.as_integer() {
        Found::Whole(number)
    } else if let Some(number) = item.as_float() {
        Found::Real(number)
    } else if let Some(flag) = item.as_bool() {
        Found::Flag(flag)
    } else {
        let texts = item.as_array().and_then(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect());
        texts.map_or_else(|| Found::Other(item.to_string()), Found::List)
    }
}

/// The process's environment as it was at the start: nothing else reads it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(crate) fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
                .collect(),
        )
    }

    /// Returns the variable's value; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Reads a value, or refuses it.
pub(crate) type Read<T> = Box<dyn Fn(&Found) -> Option<T>>;

/// What a key may hold: how to read it, and the sentence that says so.
pub(crate) struct Shape<T> {
    pub(crate) allowed: String,
    pub(crate) read: Read<T>,
}

/// A key as `config show` prints it.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) name: &'static str,
    pub(crate) value: serde_json::Value,
    pub(crate) source: Source,
}

/// Everything that was found, best place first, and what came of it.
pub(crate) struct Layers {
    layers: Vec<Layer>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) errors: Vec<String>,
    pub(crate) warnings: Vec<String>,
    taken: BTreeSet<&'static str>,
}

impl Layers {
    pub(crate) fn new(layers: Vec<Layer>) -> Self {
        let (shown, errors, warnings) = Default::default();
        Self { layers, shown, errors, warnings, taken: BTreeSet::new() }
    }

    /// Returns the value of `name` from the best place that has one, else `default`; remembers where it came from.
    ///
    /// `everos` is the name EverOS has for it, for keys we share.
    pub(crate) fn take<T>(&mut self, name: &'static str, everos: Option<&str>, shape: &Shape<T>, default: T) -> T
    where
        T: Serialize,
    {
        self.taken.insert(name);
        for (dialect, found, source) in self.candidates(name, everos) {
            if found == Found::Text(String::new()) {
                continue;
            }
            if let Some(value) = (shape.read)(&found) {
                self.show(name, &value, source);
                return value;
            }
            let sentence = format!("`{name}` cannot be {} ({source}): {}", mask_if_secret(name, &found), shape.allowed);
            match dialect {
                Dialect::Evermark => {
                    self.errors.push(sentence);
                    return default;
                }
                Dialect::Everos => self.warnings.push(format!("{sentence}; left out")),
            }
        }
        self.show(name, &default, Source::Default);
        default
    }

    fn show<T: Serialize>(&mut self, name: &'static str, value: &T, source: Source) {
        let value = serde_json::to_value(value).unwrap_or_default();
        let value = match value {
            serde_json::Value::String(secret) if is_secret(name) => mask(&secret).into(),
            other => other,
        };
        self.shown.push(Shown { name, value, source });
    }

    fn candidates(&self, name: &str, everos: Option<&str>) -> Vec<(Dialect, Found, Source)> {
        let in_layer = |layer: &Layer| {
            let name = match layer.dialect {
                Dialect::Evermark => name,
                Dialect::Everos => everos?,
            };
            let (found, source) = layer.values.get(name)?;
            Some((layer.dialect, found.clone(), source.clone()))
        };
        self.layers.iter().filter_map(in_layer).collect()
    }

    /// Returns where the value of `name` came from.
    pub(crate) fn source(&self, name: &str) -> Source {
        self.shown.iter().find(|shown| shown.name == name).map_or(Source::Default, |shown| shown.source.clone())
    }

    /// Warns of names in our own dialect that nobody asked for: most are typing errors.
    pub(crate) fn warn_of_unknown(&mut self) {
        for layer in self.layers.iter().filter(|layer| layer.dialect == Dialect::Evermark) {
            for (name, (_, source)) in layer.values.iter().filter(|(name, _)| !self.taken.contains(name.as_str())) {
                let hint = nearest(name, self.taken.iter().copied())
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                self.warnings.push(format!("unknown key `{name}` ({source}) is ignored{hint}"));
            }
        }
    }
}

fn is_secret(name: &str) -> bool {
    name.ends_with("api_key") || name.ends_with("token")
}

fn mask_if_secret(name: &str, found: &Found) -> String {
    if is_secret(name) { "what it is".to_owned() } else { found.to_string() }
}

/// Returns enough of a secret to tell two apart, and no more.
fn mask(secret: &str) -> String {
    let n_chars = secret.chars().count();
    if n_chars < 12 {
        return "****".to_owned();
    }
    format!("****{}", secret.chars().skip(n_chars - 4).collect::<String>())
}
