//! A Lance operation that hangs or panics is an error here, and the index goes on.

use crate::support::{contents, fact, matching, open, options, user};
use evermark_core::error::ErrorKind;
use evermark_core::index::Index;
use evermark_core::world::{RealWorld, World};
use evermark_lance::{LanceIndex, Options};
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

#[derive(Clone, Copy, PartialEq)]
enum Act {
    Pass,
    Hang,
    Panic,
}

/// A world in which writing hangs until it is let go, or panics: inside the task, as Lance would.
struct Troubled {
    real: RealWorld,
    act: Mutex<Act>,
    changed: Condvar,
}

impl Troubled {
    fn set(&self, act: Act) {
        *self.act.lock().unwrap() = act;
        self.changed.notify_all();
    }
}

impl World for Troubled {
    fn now_us(&self) -> i64 {
        self.real.now_us()
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }

    fn random(&self) -> [u8; 16] {
        self.real.random()
    }

    fn reach(&self, point: &'static str) -> io::Result<()> {
        if point == "lance.writing" {
            let act = *self.act.lock().unwrap();
            assert!(act != Act::Panic, "as a decoder would");
            let hung = self.act.lock().unwrap();
            drop(self.changed.wait_timeout_while(hung, Duration::from_secs(50), |act| *act == Act::Hang));
        }
        Ok(())
    }
}

fn troubled() -> Arc<Troubled> {
    Arc::new(Troubled { real: RealWorld::new(), act: Mutex::new(Act::Pass), changed: Condvar::new() })
}

#[test]
fn a_write_that_hangs_is_abandoned_and_the_index_reads_on_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let world = troubled();
    let options = Options { deadline: Duration::from_secs(3), ..options() };
    let index = LanceIndex::open(dir.path(), options, world.clone()).unwrap();
    index.upsert(vec![fact(&amy, "1", "tea")]).unwrap();
    index.flush().unwrap();
    index.upsert(vec![fact(&amy, "2", "tea")]).unwrap();
    world.set(Act::Hang);
    let error = index.flush().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no answer within 3000 ms"), "{error}");
    assert_eq!(index.flush().unwrap_err().kind(), ErrorKind::Unavailable, "nobody knows what the first one will do");
    assert_eq!(index.upkeep().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(matching(&index, &amy, "tea", 10).len(), 2);
    assert_eq!(contents(&index).len(), 2);
    world.set(Act::Pass);
    let flushed = (0..1000).any(|_| {
        std::thread::park_timeout(Duration::from_millis(10));
        index.flush().is_ok()
    });
    assert!(flushed, "it goes on once the hung write has ended");
    index.upkeep().unwrap();
    drop(index);
    assert_eq!(contents(&open(dir.path())).len(), 2);
}

#[test]
fn a_panic_is_an_error_and_the_rows_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let world = troubled();
    let index = LanceIndex::open(dir.path(), options(), world.clone()).unwrap();
    index.upsert(vec![fact(&amy, "1", "tea")]).unwrap();
    world.set(Act::Panic);
    let error = index.flush().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("as a decoder would"), "{error}");
    assert_eq!(contents(&index).len(), 1);
    world.set(Act::Pass);
    index.flush().unwrap();
    drop(index);
    assert_eq!(contents(&open(dir.path())).len(), 1);
}
