//! Rows, directories and worlds for the tests.

use evermark_core::filter::Filter;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope};
use evermark_core::index::{Ask, Hit, Index, IndexError, Indexable};
use evermark_core::memory::{Body, Digest32, Memory};
use evermark_core::world::{RealWorld, World};
use evermark_lance::{LanceIndex, Options};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const WIDTH: usize = 8;

pub(crate) fn user(id: &str) -> Owner {
    Owner::user(Scope::default(), id)
}

/// A fact with a vector that depends on its text.
pub(crate) fn fact(owner: &Owner, id: &str, text: &str) -> Indexable {
    let bytes = Digest32::of(text.as_bytes()).0;
    Indexable {
        memory: Memory {
            owner: owner.clone(),
            id: id.to_owned(),
            entry_id: format!("entry_{id}"),
            path: format!("default_app/default_project/users/{}/facts.md", owner.id),
            session_id: Some("s1".to_owned()),
            timestamp_us: Some(1_700_000_000_000_000 + i64::from(bytes[31])),
            parent_type: None,
            parent_id: None,
            sender_ids: vec![owner.id.clone()],
            message_ids: vec![],
            deprecated_by: None,
            body: Body::AtomicFact { fact: text.to_owned(), context: None },
        },
        tokens: text.to_owned(),
        vector: Some(bytes[..WIDTH].iter().map(|byte| f32::from(*byte) - 127.5).collect()),
    }
}

pub(crate) fn key(owner: &Owner, id: &str) -> MemoryKey {
    MemoryKey { owner: owner.clone(), kind: Kind::AtomicFact, id: id.to_owned() }
}

pub(crate) fn options() -> Options {
    Options { dimension: Some(WIDTH), ..Options::default() }
}

pub(crate) fn open(dir: &Path) -> LanceIndex {
    open_in(dir, Arc::new(RealWorld::new())).expect("an index")
}

pub(crate) fn open_in(dir: &Path, world: Arc<dyn World>) -> Result<LanceIndex, IndexError> {
    LanceIndex::open(dir, options(), world)
}

/// Returns everything the index holds, as key and digest.
pub(crate) fn contents(index: &dyn Index) -> BTreeMap<MemoryKey, Digest32> {
    let mut rows = BTreeMap::new();
    index
        .scan(&mut |key, _, digest| assert!(rows.insert(key, digest).is_none(), "a memory is there twice"))
        .expect("scan");
    rows
}

pub(crate) fn matching(index: &dyn Index, owner: &Owner, word: &str, limit: usize) -> Vec<Hit> {
    let filter = Filter::default();
    let ask =
        Ask { owner, kind: Kind::AtomicFact, filter: &filter, parents: None, ids: None, deprecated: false, limit };
    index.matching(&ask, &[word.to_owned()]).expect("matching")
}

pub(crate) fn nearest(index: &dyn Index, owner: &Owner, vector: &[f32], limit: usize) -> Vec<Hit> {
    let filter = Filter::default();
    let ask =
        Ask { owner, kind: Kind::AtomicFact, filter: &filter, parents: None, ids: None, deprecated: false, limit };
    index.nearest(&ask, vector).expect("nearest")
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found
}

/// How often an armed fault strikes.
#[derive(Clone, Copy, PartialEq)]
enum Times {
    Once,
    Always,
}

type Watcher = Box<dyn Fn(&'static str) + Send + Sync>;

/// A world that fails when it is told to, whose clock can be moved, and that lets a test look on at every named point.
pub(crate) struct FaultWorld {
    real: RealWorld,
    armed: Mutex<Option<(&'static str, io::ErrorKind, Times)>>,
    later: Mutex<Duration>,
    watcher: Mutex<Option<Watcher>>,
}

impl FaultWorld {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            real: RealWorld::new(),
            armed: Mutex::new(None),
            later: Mutex::default(),
            watcher: Mutex::new(None),
        })
    }

    pub(crate) fn arm(&self, point: &'static str, error: io::ErrorKind) {
        *self.armed.lock().expect("no panic") = Some((point, error, Times::Once));
    }

    pub(crate) fn arm_always(&self, point: &'static str, error: io::ErrorKind) {
        *self.armed.lock().expect("no panic") = Some((point, error, Times::Always));
    }

    pub(crate) fn disarm(&self) {
        *self.armed.lock().expect("no panic") = None;
    }

    /// Moves the monotonic clock.
    pub(crate) fn pass(&self, time: Duration) {
        *self.later.lock().expect("no panic") += time;
    }

    /// Has `watcher` called at every named point.
    pub(crate) fn watch(&self, watcher: impl Fn(&'static str) + Send + Sync + 'static) {
        *self.watcher.lock().expect("no panic") = Some(Box::new(watcher));
    }
}

impl World for FaultWorld {
    fn now_us(&self) -> i64 {
        self.real.now_us()
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic() + *self.later.lock().expect("no panic")
    }

    fn random(&self) -> [u8; 16] {
        self.real.random()
    }

    fn reach(&self, point: &'static str) -> io::Result<()> {
        if let Some(watcher) = &*self.watcher.lock().expect("no panic") {
            watcher(point);
        }
        let mut armed = self.armed.lock().expect("no panic");
        match *armed {
            Some((at, error, times)) if at == point => {
                if times == Times::Once {
                    *armed = None;
                }
                Err(error.into())
            }
            _ => Ok(()),
        }
    }
}
