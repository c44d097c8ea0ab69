//! Second processes: this test binary, started again.

use evermark_core::world::RealWorld;
use evermark_store::error::Error;
use evermark_store::layout::Layout;
use evermark_store::lock::RootLock;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const CHILD: &str = "EVERMARK_STORE_TEST_ROOT";

/// Not a test of its own: the body of the second process.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test binary started again has no other place for an argument")]
fn child_takes_the_root() {
    let Some(root) = std::env::var_os(CHILD) else { return };
    let layout = Layout::open(Path::new(&root)).unwrap();
    let said = match RootLock::take(&layout, &RealWorld::new(), Some("http://127.0.0.1:8000")) {
        Ok(lock) => {
            say("held");
            // Holds it until the parent closes the pipe or kills us.
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            drop(lock);
            "released".to_owned()
        }
        Err(error) => format!("refused {error}"),
    };
    say(&said);
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n:{text}").unwrap();
    out.flush().unwrap();
}

fn start(root: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::child_takes_the_root", "--nocapture"])
        .env(CHILD, root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

fn heard(out: &mut impl BufRead) -> String {
    out.lines().map(Result::unwrap).find_map(|line| line.strip_prefix(':').map(str::to_owned)).unwrap()
}

#[test]
fn a_root_has_one_owner_among_processes() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let (mut child, mut out) = start(dir.path());
    assert_eq!(heard(&mut out), "held");
    let error = RootLock::take(&layout, &RealWorld::new(), None).unwrap_err();
    let expected = format!("running at http://127.0.0.1:8000 (pid {})", child.id());
    assert!(matches!(error, Error::Held { .. }) && error.to_string().ends_with(&expected), "{error}");

    // The kernel frees what a killed process held; its text stays and is ignored.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(RootLock::last_holder(&layout).unwrap().pid, Some(child.id()));
    let lock = RootLock::take(&layout, &RealWorld::new(), None).unwrap();

    let (mut child, mut out) = start(dir.path());
    assert!(heard(&mut out).ends_with(&format!("held by pid {}", std::process::id())));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    drop(lock);
}

#[test]
fn of_many_that_race_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let mut all: Vec<_> = (0..8).map(|_| start(dir.path())).collect();
    let said: Vec<String> = all.iter_mut().map(|(_, out)| heard(out)).collect();
    assert_eq!(said.iter().filter(|said| *said == "held").count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|said| said.starts_with("refused")).count(), 7, "{said:?}");
    for (mut child, _) in all {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
