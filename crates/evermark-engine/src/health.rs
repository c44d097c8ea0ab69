//! What ails the engine: failures of background loops, counted and kept until they are over.

use crate::engine::POISON;
use evermark_core::error::ErrorKind;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// One loop's trouble.
#[derive(Clone, Debug)]
pub(crate) struct Ailment {
    pub(crate) since_us: i64,
    pub(crate) count: u64,
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    pub(crate) panicked: bool,
}

/// Troubles that have not passed yet, by loop.
#[derive(Default)]
pub(crate) struct Ailments {
    now: Mutex<BTreeMap<&'static str, Ailment>>,
}

impl Ailments {
    pub(crate) fn failed(&self, task: &'static str, kind: ErrorKind, error: &dyn std::error::Error, now_us: i64) {
        let message = with_causes(error);
        tracing::warn!(task, kind = kind.name(), error = %message, "background work failed and will be tried again");
        self.note(task, kind, message, false, now_us);
    }

    pub(crate) fn panicked(&self, task: &'static str, message: &str, now_us: i64) {
        tracing::error!(task, message, "background work panicked: please report this");
        self.note(task, ErrorKind::Internal, message.to_owned(), true, now_us);
    }

    fn note(&self, task: &'static str, kind: ErrorKind, message: String, panicked: bool, now_us: i64) {
        let mut now = self.now.lock().expect(POISON);
        let ailment =
            now.entry(task).or_insert(Ailment { since_us: now_us, count: 0, kind, message: String::new(), panicked });
        ailment.count += 1;
        ailment.kind = kind;
        ailment.message = message;
        ailment.panicked |= panicked;
    }

    pub(crate) fn recovered(&self, task: &'static str) {
        self.now.lock().expect(POISON).remove(task);
    }

    pub(crate) fn all(&self) -> Vec<(&'static str, Ailment)> {
        self.now.lock().expect(POISON).iter().map(|(task, ailment)| (*task, ailment.clone())).collect()
    }
}

/// Returns an error's sentence followed by those of its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
