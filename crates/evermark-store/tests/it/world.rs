//! A world whose clock stands still and whose named points fail on request.

use evermark_core::world::{RealWorld, World};
use evermark_store::vault::{Vault, VaultSettings};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const NOW_US: i64 = 1_800_000_000_000_000;

#[derive(Debug)]
pub(crate) struct TestWorld {
    real: RealWorld,
    now_us: AtomicI64,
    armed: Mutex<Vec<Fault>>,
    acts: Mutex<Vec<Act>>,
}

/// What somebody does when a point is passed.
struct Act {
    point: &'static str,
    run: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Act").field("point", &self.point).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Fault {
    point: &'static str,
    skip: usize,
    times: usize,
    kind: io::ErrorKind,
}

impl TestWorld {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            real: RealWorld::new(),
            now_us: AtomicI64::new(NOW_US),
            armed: Mutex::default(),
            acts: Mutex::default(),
        })
    }

    /// Lets a point fail once, after passing it `skip` times.
    pub(crate) fn arm(&self, point: &'static str, skip: usize, kind: io::ErrorKind) {
        self.arm_times(point, skip, 1, kind);
    }

    pub(crate) fn arm_times(&self, point: &'static str, skip: usize, times: usize, kind: io::ErrorKind) {
        self.armed.lock().unwrap().push(Fault { point, skip, times, kind });
    }

    /// Runs something when a point is next passed, once.
    pub(crate) fn meanwhile(&self, point: &'static str, run: impl FnOnce() + Send + 'static) {
        self.acts.lock().unwrap().push(Act { point, run: Box::new(run) });
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.now_us.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn set_now_us(&self, now_us: i64) {
        self.now_us.store(now_us, Ordering::Relaxed);
    }
}

impl World for TestWorld {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.now_us().unsigned_abs())
    }

    fn random(&self) -> [u8; 16] {
        self.real.random()
    }

    fn reach(&self, point: &'static str) -> io::Result<()> {
        let acts: Vec<_> = self.acts.lock().unwrap().extract_if(.., |act| act.point == point).collect();
        for act in acts {
            (act.run)();
        }
        let mut armed = self.armed.lock().unwrap();
        for fault in armed.iter_mut().filter(|fault| fault.point == point) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return Err(fault.kind.into());
            }
        }
        Ok(())
    }
}

pub(crate) struct Room {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) world: Arc<TestWorld>,
    pub(crate) vault: Vault,
}

impl Room {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = TestWorld::new();
        let vault = open(dir.path(), &world);
        Self { dir, world, vault }
    }

    pub(crate) fn reopen(&mut self) {
        self.vault = open(self.dir.path(), &self.world);
    }

    pub(crate) fn path(&self, rel: &str) -> std::path::PathBuf {
        self.dir.path().join(rel)
    }

    /// Saves a file as a person would.
    pub(crate) fn save(&self, rel: &str, bytes: impl AsRef<[u8]>) {
        save(&self.path(rel), bytes);
    }

    pub(crate) fn text(&self, rel: &str) -> String {
        std::fs::read_to_string(self.path(rel)).unwrap()
    }

    /// Returns the names in a folder, sorted.
    pub(crate) fn names(&self, rel: &str) -> Vec<String> {
        let mut all: Vec<_> = std::fs::read_dir(self.path(rel))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    }
}

fn open(root: &Path, world: &Arc<TestWorld>) -> Vault {
    Vault::open(root, Arc::clone(world) as Arc<dyn World>, VaultSettings::default()).unwrap()
}

pub(crate) fn save(path: &Path, bytes: impl AsRef<[u8]>) {
    use std::io::Write;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::File::create(path).unwrap().write_all(bytes.as_ref()).unwrap();
}
