//! Space and growth: full volumes, no inodes, limits, and an index that must not grow for no reason.

use super::kit::corpus::{day_files, hits, owner, padding, paths, save, tell, words, write_day};
use super::kit::mount::{Filler, Mount, text, tool};
use super::kit::sampler::{Bound, Sampler, allocated, generation};
use super::kit::shim::Shim;
use super::kit::{
    SOON, distinct_texts, health, indexed, names_fault, or_skip, quick_home, reasons, serve_under, stub_home,
    well_again, whole, within,
};
use crate::kit::{Daemon, Home, body};
use evermark_sim::stub_embeddings::StubEmbeddings;
use std::time::{Duration, Instant};

const USER: &str = "ana";

/// Codes that say that there is no room.
const NO_ROOM: &[&str] = &["no_space", "space_out"];

#[test]
fn a_full_index_volume_pauses_the_index_and_everything_resumes_by_itself() {
    let home = quick_home();
    let volume = or_skip!(Mount::tmpfs(&home.root().join(".index"), 200 << 20));
    let all = words("full", 60);
    write_day(&home, USER, 0, &all[..20]);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    // Whatever gives way (a reserve, old versions) is filled up as well.
    let mut fillers = vec![volume.fill()];
    write_day(&home, USER, 1, &all[20..40]);
    within(SOON, "health says that there is no room", || {
        let said = reasons(&daemon).iter().any(|code| NO_ROOM.contains(&code.as_str()));
        if !said && fillers.len() < 40 {
            fillers.push(Filler::named(&home.root().join(".index"), fillers.len()));
        }
        said
    });
    // Truth, search and reclaim go on.
    assert_eq!(tell(&daemon, USER, "s", &all[40]), [Some(200), Some(200)], "the Markdown has a volume of its own");
    assert_eq!(hits(&daemon.url, USER, &all[0]), Some(1));
    let queue = health(&daemon)["evermark"]["queue"].clone();
    assert_eq!(queue["parked"], 0, "nothing failed for good: {queue}");
    let markdown = home.markdown();
    drop(fillers);
    let found = [&all[..5], &all[20..25], &all[40..41]].concat();
    whole(&home, &daemon, USER, &found, Some(&markdown));
    daemon.stop();
}

#[test]
fn a_full_markdown_volume_refuses_adds_with_507_and_keeps_serving() {
    let home = quick_home();
    let volume = or_skip!(Mount::tmpfs(&home.root(), 24 << 20));
    let _index = or_skip!(Mount::tmpfs(&home.root().join(".index"), 200 << 20));
    let all = words("truth", 12);
    write_day(&home, USER, 0, &all[..10]);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    let filler = volume.fill();
    let markdown = home.markdown();
    let (status, answer) =
        daemon.post("/api/v1/memory/add", &body("s", USER, &[&all[10]])).expect("it answers on a full disk");
    assert_eq!(status, 507, "{answer}");
    assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains("space")), "{answer}");
    assert_eq!(hits(&daemon.url, USER, &all[0]), Some(1));
    assert!(home.markdown() == markdown, "what is refused leaves nothing behind");
    let refused = home.run(&["add", "--sender", USER, "--message", &all[10]]);
    refused.fails(75, "space");
    drop(filler);
    assert_eq!(tell(&daemon, USER, "s", &all[10]), [Some(200), Some(200)]);
    whole(&home, &daemon, USER, &all[..11], None);
    daemon.stop();
}

/// A daemon under the shim, with a provider that counts, on ten words.
fn shimmed(prefix: &str) -> Result<(Home, StubEmbeddings, Shim, Vec<String>), String> {
    let stub = StubEmbeddings::start(32);
    let home = stub_home(&stub);
    let shim = Shim::new(home.path())?;
    let all = words(prefix, 30);
    write_day(&home, USER, 0, &all[..10]);
    Ok((home, stub, shim, all))
}

#[test]
fn a_full_ledger_volume_loses_no_result_and_needs_no_restart() {
    let (home, stub, shim, all) = or_skip!(shimmed("ledger"));
    let daemon = Daemon::start(&home, &shim.env());
    whole(&home, &daemon, USER, &all[..2], None);
    shim.rules(&["write ledger.db 1 0 ENOSPC", "truncate ledger.db 1 0 ENOSPC"]);
    write_day(&home, USER, 1, &all[10..20]);
    let told = tell(&daemon, USER, "s", &all[20]);
    assert!(told.iter().all(|status| status.is_some_and(|status| status < 300 || status == 507)), "{told:?}");
    names_fault(&daemon, NO_ROOM);
    assert_eq!(hits(&daemon.url, USER, &all[0]), Some(1));
    shim.lift();
    // The same process takes up what it could not note down.
    assert_eq!(tell(&daemon, USER, "s", &all[20]).map(|status| status.map(|status| status / 100)), [Some(2), Some(2)]);
    whole(&home, &daemon, USER, &all[..21], None);
    assert_eq!(stub.texts(), distinct_texts(&stub), "no text was paid for twice");
    daemon.stop();
}

#[test]
fn an_exceeded_quota_and_a_read_only_index_are_waited_out() {
    for (errno, codes) in [("EDQUOT", NO_ROOM), ("EROFS", &["task_failing", "read_only", "index_writes_failing"][..])] {
        let (home, stub, shim, all) = or_skip!(shimmed("quota"));
        let daemon = Daemon::start(&home, &shim.env());
        whole(&home, &daemon, USER, &all[..2], None);
        let write = format!("write memories.lance 1 0 {errno}");
        let open = format!("open memories.lance/data 1 0 {errno}");
        match errno {
            "EROFS" => shim.rules(&[&write, &open]),
            _ => shim.rules(&[&write]),
        }
        write_day(&home, USER, 1, &all[10..20]);
        names_fault(&daemon, codes);
        assert_eq!(hits(&daemon.url, USER, &all[0]), Some(1), "{errno}");
        shim.lift();
        whole(&home, &daemon, USER, &all[..20], None);
        assert_eq!(stub.texts(), distinct_texts(&stub), "{errno}: no text was paid for twice");
        daemon.stop();
    }
}

#[test]
fn no_inodes_is_no_space_and_is_waited_out() {
    let home = quick_home();
    let image = home.path().join("image");
    let _volume = or_skip!(Mount::ext4(&home.root().join(".index"), &image, 160 << 20, Some(400), "rw"));
    let all = words("inode", 40);
    write_day(&home, USER, 0, &all[..20]);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    let crowd = home.root().join(".index/crowd");
    std::fs::create_dir(&crowd).expect("a folder");
    let crowded = || (0..1000).take_while(|i| std::fs::write(crowd.join(format!("{i}")), "").is_ok()).count();
    let n_files = crowded();
    assert!(n_files > 50 && n_files < 1000, "{n_files} files and no more");
    write_day(&home, USER, 1, &all[20..40]);
    let started = Instant::now();
    while !reasons(&daemon).iter().any(|code| NO_ROOM.contains(&code.as_str())) {
        assert!(started.elapsed() < Duration::from_secs(SOON), "health says nothing: {:?}", reasons(&daemon));
        // What reclaiming gave back is taken as well.
        (0..1000).take_while(|i| std::fs::write(crowd.join(format!("more{i}")), "").is_ok()).count();
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(hits(&daemon.url, USER, &all[0]), Some(1));
    std::fs::remove_dir_all(&crowd).expect("files of ours");
    whole(&home, &daemon, USER, &all, None);
    daemon.stop();
}

#[test]
fn a_size_limit_is_no_space_and_kills_nobody() {
    let home = quick_home();
    write_day(&home, USER, 0, &words("small", 5));
    let mut daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &words("small", 2), None);
    let pid = daemon.pid().to_string();
    // More than the ledger's log ever has, and less than one piece of the index with all of this.
    or_skip!(tool("prlimit", &["--pid", &pid, "--fsize=5000000:"]));
    let all = words("fsize", 300);
    for (path, text) in day_files(&owner(USER), 1, &all, &padding(7, 40_000)) {
        save(&home.root().join(path), &text);
    }
    names_fault(&daemon, NO_ROOM);
    assert!(daemon.runs(), "SIGXFSZ ends nothing");
    assert_eq!(hits(&daemon.url, USER, &words("small", 1)[0]), Some(1));
    or_skip!(tool("prlimit", &["--pid", &pid, "--fsize=unlimited:"]));
    whole(&home, &daemon, USER, &[&all[..3], &all[297..]].concat(), None);
    daemon.stop();
}

#[test]
fn a_hard_cap_reached_by_real_data_pauses_the_index_and_nothing_else() {
    const CAP: u64 = 8 << 20;
    let mut home = quick_home();
    home.set("EVERMARK_INDEX__BYTES_MAX", &CAP.to_string()).set("EVERMARK_INDEX__BALLAST_BYTES", "0");
    let all = words("cap", 400);
    let daemon = Daemon::start(&home, &[]);
    let sampler = Sampler::start(&home.root(), Some(daemon.pid()), Some(&daemon.url), Bound { k: 0.0, c: CAP });
    // Twice what the cap has room for, a day at a time.
    let day = |day: usize| {
        let files =
            day_files(&owner(USER), i64::try_from(day).expect("small"), &all[day * 20..][..20], &padding(day, 40_000));
        files.into_iter().for_each(|(path, text)| save(&home.root().join(path), &text));
    };
    (0..20).for_each(day);
    names_fault(&daemon, &["index_cap_reached"]);
    let indexed = (0..20).filter(|day| hits(&daemon.url, USER, &all[day * 20]) == Some(1)).count();
    assert!((1..20).contains(&indexed), "{indexed} days of 20 fitted");
    // What is indexed is found, and the Markdown takes more.
    assert_eq!(tell(&daemon, USER, "s", "overcapq"), [Some(200), Some(200)]);
    assert_eq!(health(&daemon)["evermark"]["queue"]["parked"], 0);
    // Less data makes room, and what waited goes in.
    for path in (0..20).flat_map(|day| paths(&owner(USER), day)) {
        std::fs::remove_file(home.root().join(path)).expect("a file of ours");
    }
    home.run(&["sync", "--allow-mass-delete"]);
    whole(&home, &daemon, USER, &["overcapq".to_owned()], None);
    sampler.finish();
    daemon.stop();
}

#[test]
fn a_full_or_missing_tmp_folder_stops_nothing() {
    let home = quick_home();
    let tmp = home.path().join("tmp");
    let volume = or_skip!(Mount::tmpfs(&tmp, 1 << 20));
    let filler = volume.fill();
    let all = words("tmp", 40);
    for dir in [tmp.clone(), home.path().join("none/at/all")] {
        write_day(&home, USER, 0, &all);
        let daemon = Daemon::start(&home, &[("TMPDIR", text(&dir))]);
        well_again(&daemon);
        home.run(&["index", "rebuild"]).ok();
        whole(&home, &daemon, USER, &all[..5], None);
        daemon.stop();
    }
    drop(filler);
}

#[test]
fn prune_works_while_merging_fails_the_disk_is_full_and_no_daemon_runs() {
    let home = quick_home();
    let volume = or_skip!(Mount::tmpfs(&home.root().join(".index"), 160 << 20));
    let all = words("prune", 40);
    write_day(&home, USER, 0, &all);
    let daemon = serve_under(&home, &["env"], &[("EVERMARK_FAULT_AT", "lance.merged:1-1000000=EIO")]);
    indexed(&daemon);
    let markdown = home.markdown();
    daemon.kill();
    let table = generation(&home).join("memories.lance");
    let junk = padding(1, 2 << 20);
    for name in ["data/.tmpAbC123", "data/lost.lance", "_transactions/.tmpQ"] {
        std::fs::write(table.join(name), &junk).expect("a file");
    }
    let before = allocated(&table);
    let filler = volume.fill();
    let broken = [("EVERMARK_FAULT_AT", "lance.merged:1-1000000=EIO")];
    let dry = home.run_with(&["index", "prune", "--dry-run", "--json"], &broken).json();
    assert_eq!(allocated(&table), before, "a dry run changes nothing: {dry}");
    let done = home.run_with(&["index", "prune", "--json"], &broken).json();
    assert!(allocated(&table) + (5 << 20) < before, "{done}");
    drop(filler);
    assert!(home.markdown() == markdown);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..5], Some(&markdown));
    daemon.stop();
}
