//! Edits made by people, as the operating system tells of them. A hint, never the truth: the sweep finds whatever is missed.
//!
//! Flow: the system's watcher → a bounded set of changed paths → [`Watch::drain`]. When the set is full, events were lost, or
//! the watcher could not start or died, it says *sweep everything* instead of guessing, and [`Watch::state`] says why.
//! Starting takes no time: folders are registered by a thread of their own, and when they all are, one sweep is asked for.

use crate::durable;
use crate::error::{At, Result};
use crate::layout::SCOPE_DIRS;
use crate::vault::place;
use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How often a watcher in trouble is tried again. Limits are raised by people, who take minutes.
const RETRY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// More changed paths than this are one request to sweep.
    pub pending_max: usize,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self { pending_max: 10_000 }
    }
}

/// Whether edits are noticed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// Folders are still being registered.
    Starting,
    Live,
    /// Edits are noticed by the next sweep only, or some of them are.
    Degraded(Trouble),
}

/// Why edits may go unnoticed until the next sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The file system does not tell about changes made elsewhere.
    FileSystem(&'static str),
    /// The system's limit of watched folders is reached.
    Limit,
    /// The watcher stopped by itself.
    Stopped,
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSystem(name) => write!(f, "{name} does not report changes made on other machines"),
            Self::Limit => {
                f.write_str("the system's limit of watched folders is reached (fs.inotify.max_user_watches)")
            }
            Self::Stopped => f.write_str("the watcher stopped"),
            Self::Failed(why) => write!(f, "the watcher failed: {why}"),
        }
    }
}

/// What changed since the last [`Watch::drain`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files that were made, written, renamed or removed, relative to the root.
    pub paths: BTreeSet<String>,
    /// Folders that came, went or were renamed: look at everything below, on disk and in the ledger.
    pub folders: BTreeSet<String>,
    /// Anything may have changed: sweep.
    pub overflow: bool,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.folders.is_empty() && !self.overflow
    }
}

/// A running watcher. It stops when the last copy is dropped.
#[derive(Clone)]
pub struct Watch {
    running: Arc<Running>,
}

struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("root", &self.running.shared.root).finish_non_exhaustive()
    }
}

struct Shared {
    root: PathBuf,
    settings: WatchSettings,
    waker: Box<dyn Fn() + Send + Sync>,
    inner: Mutex<Inner>,
    /// For those who wait for changes.
    changed: Condvar,
    /// For the thread that registers folders.
    asked: Condvar,
}

struct Inner {
    changes: Changes,
    state: WatchState,
    to_watch: BTreeSet<PathBuf>,
    closing: bool,
}

impl Watch {
    /// Starts to watch a root. `waker` is called, from another thread and holding nothing, whenever there is something to
    /// drain after there was nothing. Fails only where there is no root; a watcher that cannot start is
    /// [degraded](WatchState::Degraded).
    pub fn start(root: &Path, settings: WatchSettings, waker: impl Fn() + Send + Sync + 'static) -> Result<Self> {
        let root = root.canonicalize().at("watch", root)?;
        let shared = Arc::new(Shared {
            root,
            settings,
            waker: Box::new(waker),
            inner: Mutex::new(Inner {
                changes: Changes::default(),
                state: WatchState::Starting,
                to_watch: BTreeSet::new(),
                closing: false,
            }),
            changed: Condvar::new(),
            asked: Condvar::new(),
        });
        let for_thread = Arc::clone(&shared);
        let spawned = std::thread::Builder::new().name("evermark-watch".to_owned()).spawn(move || run(&for_thread));
        let thread = match spawned {
            Ok(thread) => Some(thread),
            Err(error) => {
                shared.degrade(Trouble::Failed(error.to_string()));
                None
            }
        };
        Ok(Self { running: Arc::new(Running { shared, thread }) })
    }

    /// Returns what changed since the last call, and forgets it.
    pub fn drain(&self) -> Changes {
        std::mem::take(&mut self.running.shared.lock().changes)
    }

    /// Waits until there is something to drain, or the time is over. Tells whether there is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let shared = &self.running.shared;
        let (inner, _) = shared
            .changed
            .wait_timeout_while(shared.lock(), timeout, |inner| inner.changes.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        !inner.changes.is_empty()
    }

    /// Tells whether edits are noticed at once.
    pub fn state(&self) -> WatchState {
        self.running.shared.lock().state.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.asked.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watcher's thread panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is pending, and tells those who wait.
    fn tell(&self, change: impl FnOnce(&mut Inner)) {
        let is_news = {
            let mut inner = self.lock();
            let had_none = inner.changes.is_empty();
            change(&mut inner);
            let changes = &mut inner.changes;
            if changes.paths.len() + changes.folders.len() > self.settings.pending_max {
                *changes = Changes { overflow: true, ..Changes::default() };
            }
            had_none && !changes.is_empty()
        };
        if is_news {
            self.changed.notify_all();
            (self.waker)();
        }
    }

    fn degrade(&self, trouble: Trouble) {
        let state = WatchState::Degraded(trouble);
        if self.lock().state != state {
            tracing::warn!(?state, "edits are found by sweeping");
        }
        self.tell(|inner| {
            inner.state = state;
            inner.changes.overflow = true;
        });
    }

    fn ask_to_watch(&self, folder: PathBuf) {
        self.lock().to_watch.insert(folder);
        self.asked.notify_all();
    }
}

/// Registers folders, now and when new ones appear, until the watch is dropped.
fn run(shared: &Arc<Shared>) {
    if let Some(name) = remote_file_system(&shared.root) {
        return shared.degrade(Trouble::FileSystem(name));
    }
    let mut watcher = None;
    loop {
        let done = match &mut watcher {
            Some(watcher) => register(watcher, &shared.root),
            None => start(shared).and_then(|new| register(watcher.insert(new), &shared.root)),
        };
        match done {
            Ok(()) => shared.tell(|inner| {
                inner.state = WatchState::Live;
                // Whatever happened before every folder was registered was not seen.
                inner.changes.overflow = true;
            }),
            Err(error) => shared.degrade(trouble(&error)),
        }
        if serve(shared, &mut watcher) == Next::Close {
            return;
        }
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    Close,
    Retry,
}

/// Registers folders as they appear. Returns to start over while the watcher is in trouble.
fn serve(shared: &Arc<Shared>, watcher: &mut Option<RecommendedWatcher>) -> Next {
    loop {
        let folders = {
            let mut inner = shared.lock();
            loop {
                if inner.closing {
                    return Next::Close;
                }
                if !inner.to_watch.is_empty() {
                    break std::mem::take(&mut inner.to_watch);
                }
                if inner.state == WatchState::Live {
                    inner = shared.asked.wait(inner).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                let is_dead = inner.state == WatchState::Degraded(Trouble::Stopped);
                let (again, waited) = shared.asked.wait_timeout(inner, RETRY).unwrap_or_else(PoisonError::into_inner);
                inner = again;
                if waited.timed_out() {
                    drop(inner);
                    if is_dead {
                        *watcher = None;
                    }
                    return Next::Retry;
                }
            }
        };
        let Some(watcher) = watcher else { continue };
        for folder in folders {
            match register_below(watcher, &shared.root, &folder) {
                // What was put into it before it was registered was not seen.
                Ok(()) => shared.tell(|inner| {
                    inner.changes.folders.extend(relative(&shared.root, &folder));
                }),
                Err(error) => shared.degrade(trouble(&error)),
            }
        }
    }
}

fn start(shared: &Arc<Shared>) -> notify::Result<RecommendedWatcher> {
    // Links are not followed, as nowhere below the root.
    let config = notify::Config::default().with_follow_symlinks(false);
    RecommendedWatcher::new(Sink { shared: Arc::clone(shared) }, config)
}

/// Registers the root and all projects. Only the scope folders are watched with all that is in them: what happens in
/// `.index` and `.evermark` is our own doing.
fn register(watcher: &mut RecommendedWatcher, root: &Path) -> notify::Result<()> {
    if cfg!(target_os = "macos") {
        // There one stream tells of the whole tree, and each further folder would restart it.
        return watcher.watch(root, RecursiveMode::Recursive);
    }
    watcher.watch(root, RecursiveMode::NonRecursive)?;
    for folder in folders_in(root) {
        register_below(watcher, root, &folder)?;
    }
    Ok(())
}

/// Registers an app's, a project's or a scope folder, and what is in it.
fn register_below(watcher: &mut RecommendedWatcher, root: &Path, folder: &Path) -> notify::Result<()> {
    let Some(rel) = relative(root, folder).filter(|rel| place::may_hold_candidates(rel)) else { return Ok(()) };
    let depth = rel.split('/').count();
    let mode = if depth >= 3 { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
    match watcher.watch(folder, mode) {
        Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => return Ok(()),
        Err(notify::Error { kind: notify::ErrorKind::Io(error), .. })
            if error.kind() == std::io::ErrorKind::NotFound =>
        {
            return Ok(());
        }
        done => done?,
    }
    if depth < 3 {
        for inner in folders_in(folder) {
            register_below(watcher, root, &inner)?;
        }
    }
    Ok(())
}

/// Returns the folders in a folder, links not counted. One that cannot be listed has none: the sweep reports it.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.path())
        })
        .collect()
}

/// Where the system's events arrive. The watcher's own thread owns it: when that ends, so does this.
struct Sink {
    shared: Arc<Shared>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.shared.lock().closing {
            self.shared.degrade(Trouble::Stopped);
        }
    }
}

impl notify::EventHandler for Sink {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        match event {
            Ok(event) => handle(&self.shared, &event),
            Err(error) => self.shared.degrade(trouble(&error)),
        }
    }
}

fn handle(shared: &Shared, event: &notify::Event) {
    if event.need_rescan() {
        return shared.tell(|inner| inner.changes.overflow = true);
    }
    let Some(sort) = Sort::of(event.kind) else { return };
    for path in &event.paths {
        if path == &shared.root {
            if sort != Sort::Content {
                // The root itself was moved or removed.
                shared.tell(|inner| inner.changes.overflow = true);
            }
            continue;
        }
        let Some(rel) = relative(&shared.root, path) else { continue };
        match news(&rel, sort) {
            News::None => {}
            News::File => shared.tell(|inner| {
                inner.changes.paths.insert(rel);
            }),
            News::Folder { register } => {
                shared.tell(|inner| {
                    inner.changes.folders.insert(rel);
                });
                if register {
                    shared.ask_to_watch(path.clone());
                }
            }
        }
    }
}

/// What sort of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Something in a file changed.
    Content,
    /// A name came or went; a folder's for sure, or perhaps.
    Folder,
    Name,
}

impl Sort {
    fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(CreateKind::File)
            | EventKind::Remove(RemoveKind::File)
            | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => Some(Self::Content),
            EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => Some(Self::Folder),
            EventKind::Access(_) => None,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {
                Some(Self::Name)
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    None,
    File,
    /// `register` tells that it lies above the folders that are watched with all that is in them.
    Folder {
        register: bool,
    },
}

/// Decides what an event at a path means for the vault.
fn news(rel: &str, sort: Sort) -> News {
    let depth = rel.split('/').count();
    if sort != Sort::Folder && place::is_candidate(rel) {
        return News::File;
    }
    let name = rel.rsplit('/').next().unwrap_or(rel);
    let is_scope = depth != 3 || SCOPE_DIRS.contains(&name);
    if sort == Sort::Content || !is_scope || !place::may_hold_candidates(rel) || is_ours(name) {
        return News::None;
    }
    News::Folder { register: depth <= 3 }
}

/// Tells whether a name can only be that of one of our temporaries.
fn is_ours(name: &str) -> bool {
    durable::is_temp(OsStr::new(name)) || name.contains(".md.swap.") || place::is_conflict_copy(name)
}

fn relative(root: &Path, path: &Path) -> Option<String> {
    path.strip_prefix(root).ok()?.to_str().filter(|rel| !rel.is_empty()).map(str::to_owned)
}

fn trouble(error: &notify::Error) -> Trouble {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => Trouble::Limit,
        _ => Trouble::Failed(error.to_string()),
    }
}

/// Returns the name of a file system that does not tell of changes made elsewhere.
#[cfg(target_os = "linux")]
fn remote_file_system(root: &Path) -> Option<&'static str> {
    let magic = rustix::fs::statfs(root).ok()?.f_type;
    // Only the low 32 bits are the magic; on some machines the field is signed.
    remote_by_magic(magic as u32)
}

#[cfg(not(target_os = "linux"))]
fn remote_file_system(_root: &Path) -> Option<&'static str> {
    None
}

/// Source: linux/magic.h and the file systems' own headers.
#[cfg(target_os = "linux")]
fn remote_by_magic(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x6573_5546 => "FUSE",
        0x0102_1997 => "9p",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x786f_4256 => "VirtualBox",
        0xbacb_acbc => "VMware",
        _ => return None,
    })
}
