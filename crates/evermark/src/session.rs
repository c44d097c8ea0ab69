//! One way to every verb: through the daemon that has the root open, or on the root itself when none has.
//!
//! Both ways take the wire's requests and give the wire's answers, so a command cannot tell them apart.

use crate::client::{self, Client};
use crate::clock;
use crate::config::{Config, Environment};
use crate::exit::{Exit, Failure};
use crate::output::{Progress, note};
use crate::wiring;
use anyhow::Context;
use evermark_engine::{Engine, Error as EngineError};
use evermark_server::api::{
    AddAnswer, AddBody, CompactData, DryRunBody, Envelope, FlushAnswer, FlushBody, GetBody, GetData, InspectData,
    Invalid, PlanData, PruneData, RebuildData, SearchBody, SearchData, StatusData, SyncBody, SyncData, VerifyData,
    WorkEvent,
};
use evermark_store::error::Error as StoreError;
use evermark_store::layout::Layout;
use evermark_store::lock::RootLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a command waits for another short-lived one to let go of the root.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a command does to a root that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// A root that is open, here or in a daemon.
pub(crate) enum Session {
    Here(Box<Here>),
    There(Client),
}

/// The root is open in this process.
pub(crate) struct Here {
    engine: Engine,
}

impl Session {
    /// Opens the root, or finds who has it open.
    ///
    /// Errors: [`Exit::Held`] when it is open in a process that cannot be reached; [`Exit::NotFound`] when there is no such
    /// root and the command only looks.
    pub(crate) fn open(config: &Config, env: &Environment, missing: Missing) -> anyhow::Result<Self> {
        let root = &config.root.path;
        if missing == Missing::Refuse && !root.is_dir() {
            let failure = Failure::new(Exit::NotFound, format!("there is no root at {}", root.display()));
            return Err(match config.root.everos_instead(env) {
                Some(theirs) => failure.hint(format!("EverOS has one: try `evermark --root {} …`", theirs.display())),
                None => failure.hint("`evermark init` makes one; --root or EVERMARK_ROOT name another"),
            }
            .into());
        }
        let world = wiring::world_of(env)?;
        let started = clock::now();
        loop {
            let error = match wiring::open(config, Arc::clone(&world)) {
                Ok(engine) => {
                    let session = Self::Here(Box::new(Here { engine }));
                    // An index in memory begins empty, and every command is to find it full.
                    if cfg!(not(feature = "lance")) {
                        session.freshen();
                    }
                    return Ok(session);
                }
                Err(error) => error,
            };
            let Some(StoreError::Held { holder, .. }) = store_error(&error) else { return Err(held(error)) };
            if let Some(address) = &holder.address {
                let client = Client::new(address, config.api.token.as_deref());
                if client.is_there() {
                    return Ok(Self::There(client));
                }
            }
            // A holder without an address is another command, soon done, or a daemon that is starting or ending.
            if started.elapsed() > PATIENCE {
                return Err(held(error));
            }
            clock::pause(LOOK_AGAIN);
        }
    }

    /// Finds the daemon that has the root open, and nothing else: no lock is taken and no root opened.
    ///
    /// Errors: [`Exit::Held`] when none answers.
    pub(crate) fn daemon_of(config: &Config) -> anyhow::Result<Self> {
        let root = &config.root.path;
        let layout = Layout::open(root)
            .map_err(|_| Failure::new(Exit::NotFound, format!("there is no root at {}", root.display())))?;
        let address = RootLock::last_holder(&layout).and_then(|holder| holder.address);
        let client = address.map(|address| Client::new(&address, config.api.token.as_deref()));
        match client.filter(Client::is_there) {
            Some(client) => Ok(Self::There(client)),
            None => Err(Failure::new(Exit::Held, format!("no daemon answers for {}", root.display())).into()),
        }
    }

    /// Returns the address of the daemon that is asked, if one is.
    pub(crate) fn daemon(&self) -> Option<&str> {
        match self {
            Self::Here(_) => None,
            Self::There(client) => Some(client.address()),
        }
    }

    /// Lets the engine work in the background, as a daemon's does.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        match self {
            Self::Here(here) => Ok(here.engine.start()?),
            Self::There(_) => Ok(()),
        }
    }

    /// Brings the index up to date first, where no daemon does that all the time.
    pub(crate) fn freshen(&self) {
        if let Self::Here(here) = self
            && let Err(error) = here.engine.quiesce()
        {
            note(format_args!("note: the index may be behind the Markdown: {error}"));
        }
    }

    pub(crate) fn add(&self, body: &Value) -> anyhow::Result<AddAnswer> {
        match self {
            Self::Here(here) => {
                let body = AddBody::read(body).map_err(wrong)?;
                Ok(here.engine.add(body.into())?.into())
            }
            Self::There(client) => ask(client, "/api/v1/memory/add", body),
        }
    }

    pub(crate) fn flush(&self, body: &FlushBody) -> anyhow::Result<FlushAnswer> {
        match self {
            Self::Here(here) => {
                let body = FlushBody::read(&value(body)?).map_err(wrong)?;
                Ok(here.engine.flush(body.into())?.into())
            }
            Self::There(client) => ask(client, "/api/v1/memory/flush", body),
        }
    }

    pub(crate) fn search(&self, body: &SearchBody) -> anyhow::Result<SearchData> {
        match self {
            Self::Here(here) => {
                let body = SearchBody::read(&value(body)?).map_err(wrong)?;
                Ok(SearchData::of(here.engine.search(body.into())?, &here.engine.settings().timezone))
            }
            Self::There(client) => ask(client, "/api/v1/memory/search", body),
        }
    }

    pub(crate) fn get(&self, body: &GetBody) -> anyhow::Result<GetData> {
        match self {
            Self::Here(here) => {
                let body = GetBody::read(&value(body)?).map_err(wrong)?;
                Ok(GetData::of(here.engine.get(body.into())?, &here.engine.settings().timezone))
            }
            Self::There(client) => ask(client, "/api/v1/memory/get", body),
        }
    }

    pub(crate) fn status(&self) -> anyhow::Result<StatusData> {
        match self {
            Self::Here(here) => Ok(here.engine.status()?.into()),
            Self::There(client) => understood(client.get("/api/v1/evermark/status")?, "/api/v1/evermark/status"),
        }
    }

    pub(crate) fn sync(&self, body: SyncBody, progress: &Progress) -> anyhow::Result<SyncData> {
        match self {
            Self::Here(here) => {
                let report =
                    here.engine.sync(body.allow_mass_delete, &mut |mark| progress.at(mark.done, mark.total))?;
                Ok(report.into())
            }
            Self::There(client) => work(client, "/api/v1/evermark/sync", &body, progress),
        }
    }

    pub(crate) fn verify(&self, progress: &Progress) -> anyhow::Result<VerifyData> {
        match self {
            Self::Here(here) => Ok(here.engine.verify(&mut |mark| progress.at(mark.done, mark.total))?.into()),
            Self::There(client) => work(client, "/api/v1/evermark/verify", &json!({}), progress),
        }
    }

    pub(crate) fn plan(&self) -> anyhow::Result<PlanData> {
        match self {
            Self::Here(here) => Ok(here.engine.plan().into()),
            Self::There(client) => {
                understood(client.get("/api/v1/evermark/index/plan")?, "/api/v1/evermark/index/plan")
            }
        }
    }

    pub(crate) fn prune(&self, body: DryRunBody, progress: &Progress) -> anyhow::Result<PruneData> {
        match self {
            Self::Here(here) => {
                let report = here.engine.prune(body.dry_run, &mut |mark| progress.at(mark.done, mark.total))?;
                Ok(report.into())
            }
            Self::There(client) => work(client, "/api/v1/evermark/index/prune", &body, progress),
        }
    }

    pub(crate) fn compact(&self, body: DryRunBody, progress: &Progress) -> anyhow::Result<CompactData> {
        match self {
            Self::Here(here) => {
                let report = here.engine.compact(body.dry_run, &mut |mark| progress.at(mark.done, mark.total))?;
                Ok(report.into())
            }
            Self::There(client) => work(client, "/api/v1/evermark/index/compact", &body, progress),
        }
    }

    pub(crate) fn inspect(&self, progress: &Progress) -> anyhow::Result<InspectData> {
        match self {
            Self::Here(here) => Ok(here.engine.inspect(&mut |mark| progress.at(mark.done, mark.total))?.into()),
            Self::There(client) => work(client, "/api/v1/evermark/index/inspect", &json!({}), progress),
        }
    }

    pub(crate) fn rebuild(&self, progress: &Progress) -> anyhow::Result<RebuildData> {
        match self {
            Self::Here(here) => Ok(here.engine.rebuild(&mut |mark| progress.at(mark.done, mark.total))?.into()),
            Self::There(client) => work(client, "/api/v1/evermark/index/rebuild", &json!({}), progress),
        }
    }

    /// Lets go of the root, with everything durable.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Here(here) => Ok(here.engine.close()?),
            Self::There(_) => Ok(()),
        }
    }
}

fn ask<T: DeserializeOwned>(client: &Client, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
    understood(client.post(path, &value(body)?)?, path)
}

fn understood<T: DeserializeOwned>(answer: Value, path: &str) -> anyhow::Result<T> {
    let answer = serde_json::from_value::<Envelope<T>>(answer)
        .with_context(|| format!("cannot understand the daemon's answer to {path}; is it another version?"))?;
    Ok(answer.data)
}

/// Has long work done by the daemon, and returns its report.
fn work<R: DeserializeOwned>(
    client: &Client,
    path: &str,
    body: &impl Serialize,
    progress: &Progress,
) -> anyhow::Result<R> {
    let mut report = None;
    client.post_lines(path, &value(body)?, |line| {
        match serde_json::from_value(line)
            .with_context(|| format!("cannot understand the daemon's answer to {path}"))?
        {
            WorkEvent::Progress { done, total } => progress.at(done, total),
            WorkEvent::Alive => {}
            WorkEvent::Done { report: done } => report = Some(done),
            WorkEvent::Failed { status, error } => return Err(client::refused(status, error.message).into()),
        }
        Ok(())
    })?;
    report.with_context(|| format!("the daemon's answer to {path} ended too early"))
}

fn value(body: &impl Serialize) -> anyhow::Result<Value> {
    serde_json::to_value(body).context("cannot write the request as JSON")
}

fn wrong(invalid: Invalid) -> anyhow::Error {
    Failure::new(Exit::Usage, invalid.message()).into()
}

fn store_error(error: &anyhow::Error) -> Option<&StoreError> {
    error.chain().find_map(|cause| match cause.downcast_ref::<EngineError>() {
        // The engine's error is as transparent as to leave the store's own out of the chain.
        Some(EngineError::Store(error)) => Some(error),
        _ => cause.downcast_ref::<StoreError>(),
    })
}

/// Gives an error about a root in use the exit code and the hint it deserves; leaves others alone.
pub(crate) fn held(error: anyhow::Error) -> anyhow::Error {
    let hint = match store_error(&error) {
        Some(StoreError::Held { .. }) => "wait for it to end, or stop it",
        Some(StoreError::HeldByEveros { .. }) => "stop the EverOS server first: two programs must not write one root",
        _ => return error,
    };
    let message = store_error(&error).map(ToString::to_string).unwrap_or_default();
    Failure::new(Exit::Held, message).hint(hint).into()
}
