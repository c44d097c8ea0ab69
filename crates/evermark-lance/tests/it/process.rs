//! What only a process of its own can show: one processor, few descriptors, a size limit, a sudden end.

use crate::support::{contents, fact, files, key, open, open_in, options, user};
use evermark_core::error::ErrorKind;
use evermark_core::index::{Index, Indexable};
use evermark_core::world::{RealWorld, World};
use evermark_lance::LanceIndex;
use std::io;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

const JOB: &str = "EVERMARK_LANCE_TEST_JOB";
const DIR: &str = "EVERMARK_LANCE_TEST_DIR";

/// Runs `job` in a child, started through `wrapper`, with the environment that we ship, for at most a minute.
fn run(wrapper: &[&str], job: &str, dir: &Path) -> Output {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("timeout");
    command.arg("60").args(wrapper).arg(program).args(["--exact", "process::child", "--nocapture"]);
    for variable in evermark_lance::environment(1, 1024, dir) {
        command.env(variable.name, variable.value);
    }
    command.env(JOB, job).env(DIR, dir).output().expect("a child process")
}

#[track_caller]
fn check(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} (124 means a hang)\n{text}\n{errors}", output.status.code());
    assert!(text.contains("job done"), "{text}\n{errors}");
}

fn rows(n: usize, text: &str) -> Vec<Indexable> {
    (0..n).map(|id| fact(&user("amy"), &format!("{id:05}"), &format!("{text} {id:05}"))).collect()
}

/// Not a test of its own: what [`run`] starts.
#[test]
fn child() {
    let (Ok(job), Ok(dir)) = (std::env::var(JOB), std::env::var(DIR)) else { return };
    let dir = Path::new(&dir);
    match job.as_str() {
        "work" => work(dir),
        "short" => short(dir),
        point => end_at(point.to_owned(), dir),
    }
    println!("job done");
}

fn work(dir: &Path) {
    let index = open(dir);
    index.upsert(rows(5_000, "tea")).unwrap();
    index.flush().unwrap();
    for round in 0..12 {
        index.upsert(rows(20, &format!("coffee {round}"))).unwrap();
        index.flush().unwrap();
    }
    index.upkeep().unwrap();
    assert_eq!(contents(&index).len(), 5_000);
    drop(index);
    assert_eq!(contents(&open(dir)).len(), 5_000);
}

fn short(dir: &Path) {
    let index = open(dir);
    index.upsert(rows(300, "tea")).unwrap();
    let error = index.flush().expect_err("a file that was cut short is not committed");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(contents(&index).len(), 300, "what was accepted is still seen");
}

fn end_at(point: String, dir: &Path) {
    struct Ending(String, RealWorld);
    impl World for Ending {
        fn now_us(&self) -> i64 {
            self.1.now_us()
        }
        fn monotonic(&self) -> Duration {
            self.1.monotonic()
        }
        fn random(&self) -> [u8; 16] {
            self.1.random()
        }
        fn reach(&self, point: &'static str) -> io::Result<()> {
            if self.0 == point {
                std::process::abort();
            }
            Ok(())
        }
    }
    let index = open_in(dir, Arc::new(Ending(point, RealWorld::new()))).unwrap();
    index.upsert(rows(40, "coffee")).unwrap();
    index.remove(&[key(&user("amy"), "00050")]).unwrap();
    index.flush().unwrap();
    index.upkeep().unwrap();
}

#[test]
fn one_processor_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    check(&run(&["taskset", "-c", "0"], "work", dir.path()));
}

#[test]
fn sixty_four_descriptors_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    check(&run(&["prlimit", "--nofile=64"], "work", dir.path()));
}

#[test]
fn a_file_cut_short_by_a_limit_is_noticed_before_the_commit() {
    // The same rows without the limit tell how long the file would be.
    let whole = tempfile::tempdir().unwrap();
    let index = open(whole.path());
    index.upsert(rows(300, "tea")).unwrap();
    index.flush().unwrap();
    let length = std::fs::metadata(&files(&whole.path().join("memories.lance/data"))[0]).unwrap().len();
    for missing in [1, 600, 5_000] {
        let dir = tempfile::tempdir().unwrap();
        let limit = format!("--fsize={}", length - missing);
        check(&run(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\"", "prlimit", &limit], "short", dir.path()));
        let index = LanceIndex::open(dir.path(), options(), Arc::new(RealWorld::new())).unwrap();
        assert!(contents(&index).is_empty(), "the table is as it was before");
    }
}

#[test]
fn a_process_that_dies_anywhere_leaves_the_state_before_or_after() {
    for point in ["lance.appended", "lance.committed", "lance.reclaiming", "lance.merged"] {
        let dir = tempfile::tempdir().unwrap();
        {
            let index = open(dir.path());
            for row in rows(100, "tea").chunks(5) {
                index.upsert(row.to_vec()).unwrap();
                index.flush().unwrap();
            }
        }
        let output = run(&[], point, dir.path());
        assert!(!output.status.success(), "{point} was not reached: {}", String::from_utf8_lossy(&output.stdout));
        let index = open(dir.path());
        let found = contents(&index);
        let landed = point != "lance.appended";
        assert_eq!(found.len(), if landed { 99 } else { 100 }, "{point}");
        let text = if landed { "coffee" } else { "tea" };
        assert_eq!(
            found[&key(&user("amy"), "00007")],
            fact(&user("amy"), "00007", &format!("{text} 00007")).memory.digest()
        );
        index.upkeep().unwrap();
        let info = index.info().unwrap();
        assert_eq!(info.versions, 1, "{point}");
        assert!(info.allocated_bytes <= info.live_bytes + (64 << 10), "{point}: {info:?}");
        assert_eq!(contents(&index), found);
    }
}
