//! Looks for what keeps a root from working well, and names the command that mends each thing.
//!
//! Invariants: nothing is written, made or locked; the network is used for the daemon's own address and, where no daemon knows the
//! provider, for one embedding, and for neither with `--offline`; a check that cannot be made is a finding of its own and stops no other. So it works on a root that
//! opens nowhere.
//!
//! - `limits`: what the system grants this process; `place`: the root's folders; `space`: the volumes under them
//! - `settings`, `provider`: what is configured; `holder`: who has the root open, and what it says; `derived`: the index's files

mod derived;
mod holder;
mod limits;
mod mounts;
mod place;
mod provider;
mod settings;
mod space;

use crate::config::{Environment, Root};
use evermark_core::world::World;
use serde::Serialize;
use std::sync::Arc;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    Ok,
    /// It works, and will not under some load or some day.
    Warn,
    /// Something does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What it is about: `limits`, `root`, `space`, `settings`, `provider`, `holder`, `index`, `everos`, `version`.
    pub(crate) area: &'static str,
    /// Stable, for programs.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The command that mends it.
    pub(crate) remedy: Option<String>,
}

/// Everything that was found, in the order it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) all: Vec<Finding>,
}

impl Findings {
    pub(crate) fn ok(&mut self, area: &'static str, code: &'static str, message: impl Into<String>) {
        self.all.push(Finding { level: Level::Ok, area, code, message: message.into(), remedy: None });
    }

    pub(crate) fn warn(
        &mut self,
        area: &'static str,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.all.push(Finding { level: Level::Warn, area, code, message: message.into(), remedy });
    }

    pub(crate) fn fail(
        &mut self,
        area: &'static str,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.all.push(Finding { level: Level::Fail, area, code, message: message.into(), remedy });
    }

    /// Returns the worst level of all.
    pub(crate) fn verdict(&self) -> Level {
        self.all.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

/// Looks at everything there is to look at.
pub(crate) fn examine(root: &Root, env: &Environment, world: &Arc<dyn World>, offline: bool) -> Findings {
    let mut found = Findings::default();
    found.ok("version", "program", format!("evermark {}", crate::cli::VERSION));
    limits::examine(&mut found);
    let config = settings::examine(root, env, &mut found);
    let layout = place::examine(root, &mut found);
    if let Some(layout) = &layout {
        space::examine(layout, config.as_ref(), &mut found);
    }
    let token = config.as_ref().and_then(|config| config.api.token.as_deref());
    let running = layout.as_ref().map(|layout| holder::examine(layout, token, world.now_us(), offline, &mut found));
    match &config {
        Some(config) => {
            provider::examine(config, running.as_ref(), world, offline, &mut found);
            provider::examine_reranker(config, world, &mut found);
        }
        None => {
            found.ok(
                "provider",
                "skipped",
                "the embedding provider is not looked at while the settings cannot be read",
            );
        }
    }
    if let (Some(layout), Some(running)) = (&layout, running) {
        derived::examine(layout, running, world, &mut found);
    }
    found
}
