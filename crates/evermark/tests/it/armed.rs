//! Points that are armed to fail: what tests and measurements of failures stand on.

use crate::kit::{Daemon, Home, body, eventually};

const FAULT_AT: &str = "EVERMARK_FAULT_AT";
const ADD: [&str; 7] = ["add", "--sender", "ana", "--message", "Tea is zebrawood.", "--time", "1795000000000"];

#[test]
fn a_wish_that_cannot_be_granted_is_refused() {
    let home = Home::new();
    for (wish, says) in [
        ("add.stored=EWHAT", "EWHAT"),
        ("add.stored:0", "counted from 1"),
        ("add.stored:3-2", "from 3 to 2"),
        ("add.stored:", "number is missing"),
        ("index.claimed,:1=EIO", "no name"),
    ] {
        home.run_with(&ADD, &[(FAULT_AT, wish)]).fails(1, says);
    }
    assert!(home.markdown().is_empty(), "nothing was stored");
}

#[test]
fn a_point_fails_with_the_error_it_is_armed_with() {
    let home = Home::new();
    home.run(&["init"]).ok();
    home.run_with(&ADD, &[(FAULT_AT, "vault.staged=ENOSPC")]).fails(75, "No space left on device");
    home.run_with(&ADD, &[(FAULT_AT, "vault.staged=EROFS")]).fails(75, "Read-only file system");
    home.run(&ADD).ok();
    assert_eq!(home.markdown().len(), 1, "one batch waits in the inbox");
}

#[test]
fn a_point_fails_as_often_as_it_is_armed_to() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[(FAULT_AT, "index.claimed:1-2=EIO,index.flushed:1-1=EMFILE")]);
    let sent = body("s", "ana", &["The first box holds alphaq apples.", "The second box holds bravoq pears."]);
    daemon.post("/api/v1/memory/add", &sent).expect("an answer");
    daemon.post("/api/v1/memory/flush", r#"{"session_id":"s"}"#).expect("an answer");
    eventually("it is found", || home.search("alphaq", "ana")["episodes"].as_array().map_or(0, Vec::len) == 1);
    daemon.stop();
}
