//! What the program says: answers on standard output, everything else on standard error.
//!
//! A reader that goes away (`| head`) is no failure: what follows is dropped and the command ends as it would have.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// Standard output, and how this command's answer is to be written there.
pub(crate) struct Out {
    /// One JSON document per answer instead of text.
    pub(crate) json: bool,
    pub(crate) paint: Paint,
    stdout: BufWriter<Stdout>,
    is_terminal: bool,
    broken: Option<io::Error>,
}

impl Out {
    pub(crate) fn new(json: bool, color: Color, no_color: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let paint = match color {
            Color::Auto => Paint(is_terminal && !no_color && !json),
            Color::Always => Paint(true),
            Color::Never => Paint(false),
        };
        Self { json, paint, stdout: BufWriter::new(stdout), is_terminal, broken: None }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: impl Display) {
        if self.broken.is_none() {
            self.broken = writeln!(self.stdout, "{text}").err();
        }
    }

    /// Writes a JSON document: for people on a terminal, on one line elsewhere.
    pub(crate) fn document(&mut self, value: &impl Serialize) {
        let text = if self.is_terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        match text {
            Ok(text) => self.line(text),
            Err(error) => self.broken = Some(error.into()),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.broken = self.stdout.write_all(bytes).err();
        }
    }

    /// Hands what was written so far to the reader.
    pub(crate) fn flush(&mut self) {
        if self.broken.is_none() {
            self.broken = self.stdout.flush().err();
        }
    }

    /// Tells how writing went; a reader that left is no failure.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush();
        match self.broken.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes a line to standard error; there is nobody to tell when that fails.
pub(crate) fn note(text: impl Display) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Puts colours around text, or leaves it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn bold(self, text: impl Display) -> String {
        self.code("1", text)
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        self.code("2", text)
    }

    pub(crate) fn green(self, text: impl Display) -> String {
        self.code("32", text)
    }

    pub(crate) fn yellow(self, text: impl Display) -> String {
        self.code("33", text)
    }

    pub(crate) fn red(self, text: impl Display) -> String {
        self.code("31", text)
    }

    fn code(self, code: &str, text: impl Display) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

/// Returns `text` without what could steer a terminal. Memories hold what strangers said.
pub(crate) fn tame(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(steers) { Cow::Owned(text.replace(steers, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Returns the first `max` characters of `text` on one line, and an ellipsis when there were more.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let tamed = tame(&flat);
    if tamed.chars().count() <= max {
        return tamed.into_owned();
    }
    let mut short = tamed.chars().take(max.saturating_sub(1)).collect::<String>();
    short.push('…');
    short
}

/// Returns bytes in the largest unit that keeps the number above one.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people, rounded anyway")]
    let mut number = bytes as f64;
    while number >= 1000.0 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{number:.1} {}", UNITS[unit]) }
}

/// Returns a span of milliseconds in the unit that suits it.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A bar on standard error while long work goes on; nothing when nobody watches.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(what: &'static str, quiet: bool) -> Self {
        let bar = if quiet || !io::stderr().is_terminal() { ProgressBar::hidden() } else { ProgressBar::new(0) };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
        Self { bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(what) }
    }

    pub(crate) fn at(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
