#![expect(clippy::disallowed_methods, reason = "writes files to be copied")]

use super::*;
use crate::simulation::fault::{At, errno};
use std::fs;

struct Place {
    dir: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("evermark-sim-{}-{name}", std::process::id()));
        fs::create_dir_all(dir.join("root")).unwrap();
        Self { dir }
    }

    fn world(&self) -> SimWorld {
        SimWorld::new(1, &self.dir.join("root"), &self.dir.join("aside"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn fault(effect: Effect, skip: u32, times: Option<u32>, every: u32) -> Fault {
    Fault { at: At::Point("add.stored"), effect, skip, times, every }
}

fn outcomes(world: &SimWorld, n: usize) -> Vec<bool> {
    (0..n).map(|_| world.reach("add.stored").is_ok()).collect()
}

#[test]
fn a_fault_strikes_when_and_as_often_as_it_says() {
    let place = Place::new("strikes");
    let check = |skip, times, every, expected: [bool; 6]| {
        let world = place.world();
        world.arm(fault(Effect::Errno(errno::EIO), skip, times, every));
        assert_eq!(world.reach("add.enqueued").ok(), Some(()), "another point");
        assert_eq!(outcomes(&world, 6), expected, "skip {skip}, times {times:?}, every {every}");
        world.lift();
        assert_eq!(outcomes(&world, 2), [true, true]);
    };
    check(0, Some(1), 1, [false, true, true, true, true, true]);
    check(2, Some(2), 1, [true, true, false, false, true, true]);
    check(0, None, 1, [false; 6]);
    check(1, None, 2, [true, false, true, false, true, false]);
}

#[test]
fn time_moves_only_when_told() {
    let place = Place::new("time");
    let world = place.world();
    let before = (world.now_us(), world.monotonic());
    assert_eq!((world.now_us(), world.monotonic()), before);
    world.pass_time(Duration::from_secs(2));
    world.jump(-5_000_000);
    assert_eq!((world.now_us() - before.0, world.monotonic() - before.1), (-3_000_000, Duration::from_secs(2)));
}

#[test]
fn a_killed_process_leaves_the_disk_as_it_was_at_that_instant_and_does_nothing_more() {
    let place = Place::new("killed");
    let (root, world) = (place.dir.join("root"), place.world());
    fs::create_dir_all(root.join(".index")).unwrap();
    fs::write(root.join(".index/ledger"), "before").unwrap();
    fs::create_dir_all(root.join("app")).unwrap();
    fs::write(root.join("app/a.md"), "words").unwrap();
    world.arm(fault(Effect::Crash, 0, Some(1), 1));
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.reach("add.stored")));
    assert!(died.err().is_some_and(|payload| payload.is::<Killed>()));
    // What destructors do while the dead process unwinds did not happen.
    fs::write(root.join(".index/ledger"), "after!").unwrap();
    fs::remove_file(root.join("app/a.md")).unwrap();
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.reach("add.enqueued")));
    assert!(again.is_err_and(|payload| payload.is::<Killed>()), "a dead process passes no point");
    assert_eq!(world.killed_at(), Some("add.stored"));
    world.revive().unwrap();
    assert_eq!(fs::read_to_string(root.join(".index/ledger")).unwrap(), "before");
    assert_eq!(fs::read_to_string(root.join("app/a.md")).unwrap(), "words");
    assert_eq!((world.killed_at(), world.reach("add.stored").is_ok()), (None, true));
}
