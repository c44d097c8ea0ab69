use crate::world::Room;
use evermark_core::error::ErrorKind;
use evermark_core::memory::Digest32;
use evermark_core::reconcile::Seen;
use evermark_store::error::{Error, What};
use evermark_store::vault::place::is_candidate;
use evermark_store::vault::write::{Change, Expected};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const LIN: &str = "default_app/default_project/users/lin/user.md";
const FOLDER: &str = "default_app/default_project/users/lin";

fn append(room: &Room, line: &str) -> Result<Change, Error> {
    room.vault
        .update(LIN, |current| {
            let mut bytes = current.unwrap_or_default().to_vec();
            bytes.extend_from_slice(line.as_bytes());
            Ok::<_, Error>(bytes)
        })
        .map(|written| written.change)
}

#[test]
fn what_is_written_is_read() {
    let room = Room::new();
    let written = room.vault.write(LIN, Expected::Absent, b"one").unwrap();
    let read = room.vault.read(LIN, 100).unwrap();
    assert_eq!(read.bytes, b"one");
    assert_eq!((read.stamp, read.digest), (written.stamp, written.digest));
    assert_eq!(room.vault.look(LIN), Seen::Present(written.stamp));

    let again = room.vault.write(LIN, Expected::Digest(written.digest), b"two").unwrap();
    assert_eq!(room.vault.look(LIN), Seen::Present(again.stamp));
    assert_ne!(again.stamp, written.stamp);
    assert_eq!(room.names(FOLDER), ["user.md"]);

    room.vault.remove(LIN, again.digest).unwrap();
    assert_eq!(room.vault.look(LIN), Seen::Absent { parent_listed: true });
    assert_eq!(room.vault.read(LIN, 100).unwrap_err().kind(), ErrorKind::NotFound);
    room.vault.remove_empty_folders(LIN).unwrap();
    assert_eq!(room.names("default_app/default_project"), ["users"]);
    assert!(room.names("default_app/default_project/users").is_empty());
}

#[test]
fn inboxes_are_found_without_a_look_at_anything_else() {
    let room = Room::new();
    let inbox = ["a_app/p1/inbox/s-1/00000001.md", "a_app/p2/inbox/s-2/00000001.md", "b_app/p1/inbox/s-1/00000001.md"];
    let others =
        [LIN, "a_app/p1/users/inbox/user.md", "a_app/inbox/users/lin/user.md", "b_app/p1/agents/inbox/.cases/x.md"];
    inbox.iter().chain(&others).for_each(|path| {
        room.save(path, "something");
    });
    let mut seen = Vec::new();
    let report = room.vault.scan_inboxes(&mut |path, _| seen.push(path.to_owned()));
    assert_eq!(seen, inbox);
    assert!(report.is_complete());
    // The root, three scopes' two levels and their inboxes with a session each; others' scopes, but nothing within them.
    assert_eq!((report.n_files, report.n_folders), (3, 15));
}

#[test]
fn a_write_on_a_wrong_belief_changes_nothing() {
    let room = Room::new();
    let nobody = Digest32::of(b"nobody wrote this");
    let conflict = |result: Result<_, Error>| match result {
        Err(Error::Conflict { found, .. }) => found,
        other => panic!("{:?}", other.map(|_: ()| ())),
    };
    assert_eq!(conflict(room.vault.write(LIN, Expected::Digest(nobody), b"x").map(|_| ())), None);
    assert_eq!(conflict(room.vault.remove(LIN, nobody)), None);
    room.save(LIN, "a person's");
    let theirs = Some(Digest32::of(b"a person's"));
    assert_eq!(conflict(room.vault.write(LIN, Expected::Absent, b"x").map(|_| ())), theirs);
    assert_eq!(conflict(room.vault.write(LIN, Expected::Digest(nobody), b"x").map(|_| ())), theirs);
    assert_eq!(conflict(room.vault.remove(LIN, nobody)), theirs);
    assert_eq!(room.text(LIN), "a person's");
    assert_eq!(room.names(FOLDER), ["user.md"]);
}

#[test]
fn an_update_starts_over_when_somebody_saved_meanwhile() {
    let room = Room::new();
    append(&room, "a\n").unwrap();
    let mut n_calls = 0;
    room.vault
        .update(LIN, |current| {
            n_calls += 1;
            if n_calls == 1 {
                // A person saves while we compute.
                room.save(LIN, "theirs\n");
            }
            let mut bytes = current.unwrap_or_default().to_vec();
            bytes.extend_from_slice(b"ours\n");
            Ok::<_, Error>(bytes)
        })
        .unwrap();
    assert_eq!(n_calls, 2);
    assert_eq!(room.text(LIN), "theirs\nours\n");
    assert_eq!(room.names(FOLDER), ["user.md"]);
}

#[test]
fn an_update_gives_up_on_a_file_that_never_rests() {
    let room = Room::new();
    let mut n_calls = 0;
    let result: Result<_, Error> = room.vault.update(LIN, |_| {
        n_calls += 1;
        room.save(LIN, format!("theirs {n_calls}"));
        Ok(b"ours".to_vec())
    });
    assert!(matches!(result, Err(Error::Busy { .. })));
    assert_eq!(room.text(LIN), "theirs 16");
    assert_eq!(room.names(FOLDER), ["user.md"]);
}

#[test]
fn a_change_that_changes_nothing_writes_nothing() {
    let room = Room::new();
    append(&room, "a").unwrap();
    let before = room.vault.look(LIN);
    assert_eq!(append(&room, "").unwrap(), Change::NotNeeded);
    assert_eq!(room.vault.look(LIN), before);
}

#[test]
fn the_error_of_the_change_comes_through() {
    #[derive(Debug)]
    enum Refused {
        Because(u8),
        Store,
    }
    impl From<Error> for Refused {
        fn from(_: Error) -> Self {
            Self::Store
        }
    }
    let room = Room::new();
    assert!(matches!(room.vault.update(LIN, |_| Err(Refused::Because(7))), Err(Refused::Because(7))));
    assert!(matches!(room.vault.update("../x", |_| Err(Refused::Because(7))), Err(Refused::Store)));
    assert!(room.names("").is_empty(), "nothing is made for a change that is refused");
}

#[test]
fn the_mode_of_a_file_stays() {
    let room = Room::new();
    room.save(LIN, "a");
    std::fs::set_permissions(room.path(LIN), PermissionsExt::from_mode(0o640)).unwrap();
    append(&room, "b").unwrap();
    assert_eq!(std::fs::metadata(room.path(LIN)).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn nothing_blocks_on_what_is_not_a_file() {
    let room = Room::new();
    room.save(LIN, "a");
    let at = |name: &str| format!("{FOLDER}/{name}.md");
    let mkfifo = std::process::Command::new("mkfifo").arg(room.path(&at("fifo"))).status().unwrap();
    assert!(mkfifo.success());
    let _socket = std::os::unix::net::UnixListener::bind(room.path(&at("socket"))).unwrap();
    std::fs::create_dir(room.path(&at("folder"))).unwrap();
    symlink(room.path(LIN), room.path(&at("inside"))).unwrap();
    symlink("/etc/passwd", room.path(&at("outside"))).unwrap();
    symlink("loop.md", room.path(&at("loop"))).unwrap();
    symlink("nothing", room.path(&at("dangling"))).unwrap();
    symlink("/dev/zero", room.path(&at("device"))).unwrap();
    for (name, found) in [
        ("fifo", Some("a FIFO")),
        ("socket", Some("a socket")),
        ("folder", Some("a folder")),
        ("inside", None),
        ("outside", None),
        ("loop", None),
        ("dangling", None),
        ("device", None),
    ] {
        let what = found.map_or(What::SymbolicLink, |found| What::NotAFile { found });
        let check = |error: Error| {
            assert_eq!(error.finding().unwrap().what, what, "{name}");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        };
        check(room.vault.read(&at(name), 100).unwrap_err());
        check(room.vault.write(&at(name), Expected::Absent, b"x").unwrap_err());
        check(room.vault.update(&at(name), |_| Ok::<_, Error>(b"x".to_vec())).unwrap_err());
        assert_eq!(room.vault.look(&at(name)), Seen::Unknown, "{name}");
    }
}

#[test]
fn no_path_leaves_the_root() {
    let room = Room::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(room.path(FOLDER)).unwrap();
    symlink(outside.path(), room.path(&format!("{FOLDER}/away"))).unwrap();
    symlink(room.path(FOLDER), room.path("default_app/default_project/agents")).unwrap();
    for (rel, link) in [
        (format!("{FOLDER}/away/x.md"), format!("{FOLDER}/away")),
        ("default_app/default_project/agents/a/x.md".to_owned(), "default_app/default_project/agents".to_owned()),
    ] {
        for error in [
            room.vault.read(&rel, 10).unwrap_err(),
            room.vault.write(&rel, Expected::Absent, b"x").unwrap_err(),
            room.vault.remove(&rel, Digest32::of(b"x")).unwrap_err(),
        ] {
            let finding = error.finding().unwrap();
            assert_eq!((finding.path.as_str(), &finding.what), (link.as_str(), &What::SymbolicLink));
        }
        assert_eq!(room.vault.look(&rel), Seen::Unknown);
    }
    for rel in [
        "",
        "x.md",
        "a/b/users",
        "/etc/passwd",
        "a/b/users/../../../x.md",
        "a/b/users/./x.md",
        "a/b/users//x.md",
        "a/b/users/x.md/",
        "a/b/notes/x.md",
        "a/b/users/x\0y.md",
        "a/b/users/x\ny.md",
        ".index/b/users/x.md",
        "a/.evermark/users/x.md",
        "a/b/users/.git/x.md",
        "a/b/users/1/2/3/4/5/6/7/8/9/x.md",
    ] {
        assert!(matches!(room.vault.read(rel, 10), Err(Error::Path { .. })), "{rel}");
        assert!(matches!(room.vault.write(rel, Expected::Absent, b"x"), Err(Error::Path { .. })), "{rel}");
        assert_eq!(room.vault.look(rel), Seen::Unknown, "{rel}");
        assert!(!is_candidate(rel));
    }
    assert!(std::fs::read_dir(outside.path()).unwrap().next().is_none());
}

#[test]
fn a_huge_or_sparse_file_is_a_finding() {
    let room = Room::new();
    room.save(LIN, "a");
    std::fs::File::options().write(true).open(room.path(LIN)).unwrap().set_len(10 << 30).unwrap();
    let error = room.vault.read(LIN, 1 << 20).unwrap_err();
    assert_eq!(error.finding().unwrap().what, What::TooLarge { size: 10 << 30, limit: 1 << 20 });
    assert!(append(&room, "x").unwrap_err().finding().is_some());
    // Exactly the limit is fine.
    room.save(LIN, vec![b'x'; 100]);
    assert_eq!(room.vault.read(LIN, 100).unwrap().bytes.len(), 100);
    assert!(room.vault.read(LIN, 99).unwrap_err().finding().is_some());
}

#[test]
fn a_full_disk_costs_nothing_that_was_there() {
    let room = Room::new();
    append(&room, "a").unwrap();
    for point in ["durable.temp_written", "vault.staged"] {
        room.world.arm(point, 0, io::ErrorKind::StorageFull);
        assert_eq!(append(&room, "b").unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(room.text(LIN), "a");
    }
    append(&room, "b").unwrap();
    assert_eq!(room.text(LIN), "ab");
}

#[test]
fn what_cannot_be_compared_now_is_back_in_its_place_and_nothing_beside_it() {
    let room = Room::new();
    append(&room, "a").unwrap();
    for times in [1, 2] {
        room.world.arm_times("vault.comparing", 0, times, io::ErrorKind::Other);
        append(&room, "b").unwrap_err();
        assert_eq!((room.text(LIN).as_str(), room.names(FOLDER)), ("a", vec!["user.md".to_owned()]), "{times}");
    }
    room.world.arm("vault.comparing", 0, io::ErrorKind::Other);
    let error = room.vault.remove(LIN, Digest32::of(b"a")).unwrap_err();
    assert!(!matches!(error, Error::Conflict { .. }), "nobody has changed it: {error}");
    append(&room, "b").unwrap();
    assert_eq!((room.text(LIN).as_str(), room.names(FOLDER)), ("ab", vec!["user.md".to_owned()]));
}

/// Dies at every crash point of a write, starts again, and checks what is there.
#[test]
fn a_death_at_any_point_leaves_one_whole_file() {
    for (point, after) in [
        ("durable.temp_written", "old"),
        ("vault.staged", "old"),
        ("durable.renamed", "oldnew"),
        ("vault.compared", "oldnew"),
    ] {
        let mut room = Room::new();
        append(&room, "old").unwrap();
        room.world.arm(point, 0, io::ErrorKind::Other);
        append(&room, "new").unwrap_err();
        assert_eq!(room.names(FOLDER).len(), 2, "{point}");

        assert_eq!(room.vault.scan(&mut |_, _| {}).leftovers, Vec::<String>::new(), "ours, alive");
        room.reopen();
        let mut seen = Vec::new();
        let report = room.vault.scan(&mut |rel, _| seen.push(rel.to_owned()));
        assert_eq!(seen, [LIN], "{point}");
        assert_eq!(report.leftovers.len(), 1, "{point}");
        assert_eq!(room.vault.sweep(&report.leftovers), (1, vec![]), "{point}");
        assert_eq!(room.names(FOLDER), ["user.md"], "{point}");
        assert_eq!(room.text(LIN), after, "{point}");
    }
}

#[test]
fn a_death_during_removal_loses_nothing_else() {
    for (point, n_left) in [("durable.renamed", 1), ("vault.compared", 1)] {
        let mut room = Room::new();
        append(&room, "old").unwrap();
        room.world.arm(point, 0, io::ErrorKind::Other);
        room.vault.remove(LIN, Digest32::of(b"old")).unwrap_err();
        assert_eq!(room.names(FOLDER).len(), n_left);
        room.reopen();
        let report = room.vault.scan(&mut |_, _| {});
        room.vault.sweep(&report.leftovers);
        assert!(room.names(FOLDER).is_empty(), "{point}");
    }
}

#[test]
fn a_persons_save_left_under_a_swap_name_is_kept() {
    let mut room = Room::new();
    append(&room, "old").unwrap();
    // Dies right after the exchange; what came out is not what was expected, but a person's save.
    room.world.arm("durable.renamed", 0, io::ErrorKind::Other);
    append(&room, "new").unwrap_err();
    let swap = room.names(FOLDER).into_iter().find(|name| name.contains(".swap.")).unwrap();
    room.save(&format!("{FOLDER}/{swap}"), "a person's words");
    room.reopen();
    let report = room.vault.scan(&mut |_, _| {});
    let (n_removed, kept) = room.vault.sweep(&report.leftovers);
    assert_eq!((n_removed, kept.len()), (0, 1));
    assert_eq!(kept[0].what, What::ConflictCopy);
    assert_eq!(room.text(&kept[0].path), "a person's words");
    assert_eq!(kept[0].path, format!("{LIN}.conflict-20270115T080000Z"));
    assert!(!is_candidate(&kept[0].path));
    let report = room.vault.scan(&mut |rel, _| assert_eq!(rel, LIN));
    assert_eq!(report.findings, kept, "shown until somebody deletes it");
}

#[test]
fn a_late_write_through_an_old_handle_is_kept() {
    use std::io::{Seek, Write};
    let room = Room::new();
    append(&room, "old").unwrap();
    let mut editor = std::fs::File::options().read(true).write(true).open(room.path(LIN)).unwrap();
    append(&room, " and ours").unwrap();
    assert!(room.vault.tend().is_empty());
    editor.rewind().unwrap();
    editor.write_all(b"a person's late words").unwrap();
    room.world.arm("vault.read", 0, io::ErrorKind::Other);
    room.world.arm("durable.temp_written", 0, io::ErrorKind::StorageFull);
    assert!(room.vault.tend().is_empty(), "not now");
    let kept = room.vault.tend();
    assert_eq!(kept.len(), 1);
    assert_eq!(room.text(&kept[0]), "a person's late words");
    assert_eq!(room.text(LIN), "old and ours");
    assert!(room.vault.tend().is_empty());
}

#[test]
fn a_save_into_what_was_in_place_for_a_moment_only_is_kept() {
    use std::io::Write;
    // What was replaced is not what was expected, or it cannot be compared; then neither can what comes back.
    for n_unreadable in [0, 1, 2] {
        let room = Room::new();
        append(&room, "old").unwrap();
        let path = room.path(LIN);
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        room.world.arm_times("vault.comparing", 0, n_unreadable, io::ErrorKind::Other);
        if n_unreadable == 0 {
            let path = path.clone();
            room.world.meanwhile("vault.staged", move || crate::world::save(&path, "a person's"));
        }
        room.world.meanwhile("durable.renamed", move || {
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "old and ours");
            send.send(std::fs::File::options().write(true).open(path).unwrap()).unwrap();
        });
        let done = append(&room, " and ours");
        assert_eq!(done.is_ok(), n_unreadable == 0);
        let mut editor = receive.recv().unwrap();
        let before = room.text(LIN);
        assert_eq!(before, if n_unreadable == 0 { "a person's and ours" } else { "old" });
        assert!(room.vault.tend().is_empty());
        editor.set_len(0).unwrap();
        editor.write_all(b"their next words").unwrap();
        let kept = room.vault.tend();
        assert_eq!(kept.len(), 1, "{n_unreadable}");
        assert_eq!((room.text(&kept[0]).as_str(), room.text(LIN)), ("their next words", before));
    }
}

#[test]
fn a_late_save_is_kept_whole_however_many_looks_it_takes() {
    use std::io::Write;
    let room = Room::new();
    append(&room, "old").unwrap();
    let mut editor = std::fs::File::options().write(true).open(room.path(LIN)).unwrap();
    append(&room, " and ours").unwrap();
    editor.set_len(0).unwrap();
    assert!(room.vault.tend().is_empty(), "nothing to keep yet");
    room.world.pass(std::time::Duration::from_secs(4));
    assert!(room.vault.tend().is_empty());
    room.world.pass(std::time::Duration::from_secs(4));
    editor.write_all(b"half").unwrap();
    let half = room.vault.tend();
    editor.write_all(b" and whole").unwrap();
    let whole = room.vault.tend();
    assert_eq!((half.len(), whole.len()), (1, 1));
    assert_eq!(room.text(&whole[0]), "half and whole");
    room.world.pass(std::time::Duration::from_secs(6));
    assert!(room.vault.tend().is_empty());
}

#[test]
fn a_late_write_that_leaves_size_and_time_alone_is_kept() {
    use std::io::{Seek, Write};
    let room = Room::new();
    append(&room, "old").unwrap();
    let mut editor = std::fs::File::options().write(true).open(room.path(LIN)).unwrap();
    let time = editor.metadata().unwrap().modified().unwrap();
    append(&room, " and ours").unwrap();
    editor.rewind().unwrap();
    editor.write_all(b"new").unwrap();
    // As a coarse clock would have it.
    editor.set_modified(time).unwrap();
    room.world.pass(std::time::Duration::from_secs(6));
    let kept = room.vault.tend();
    assert_eq!(kept.len(), 1);
    assert_eq!(room.text(&kept[0]), "new");
}

#[test]
fn what_is_written_this_very_moment_is_not_copied_by_halves() {
    use std::io::Write;
    let room = Room::new();
    append(&room, "old").unwrap();
    let mut editor = std::fs::File::options().write(true).open(room.path(LIN)).unwrap();
    append(&room, " and ours").unwrap();
    editor.set_len(0).unwrap();
    editor.write_all(b"half").unwrap();
    let mtime_us = |file: &std::fs::File| {
        let metadata = file.metadata().unwrap();
        metadata.mtime() * 1_000_000 + metadata.mtime_nsec() / 1000
    };
    // The world's clock follows the file's.
    let ahead_us = crate::world::NOW_US;
    let start_us = mtime_us(&editor);
    room.world.set_now_us(start_us);
    assert!(room.vault.tend().is_empty());
    editor.write_all(b" and whole").unwrap();
    room.world.set_now_us(mtime_us(&editor));
    assert!(room.vault.tend().is_empty());
    room.world.set_now_us(ahead_us);
    let kept = room.vault.tend();
    assert_eq!(kept.len(), 1);
    assert_eq!(room.text(&kept[0]), "half and whole");
}

#[test]
fn an_emptied_file_is_watched_whatever_else_is_replaced() {
    use std::io::Write;
    let room = Room::new();
    append(&room, "old").unwrap();
    // Emptied, and not written to for so long that it is built upon.
    let mut editor = std::fs::File::create(room.path(LIN)).unwrap();
    for _ in 0..300 {
        append(&room, ".").unwrap();
    }
    editor.write_all(b"a person's late words").unwrap();
    let kept = room.vault.tend();
    assert_eq!(kept.len(), 1);
    assert_eq!(room.text(&kept[0]), "a person's late words");
}

#[test]
fn where_names_cannot_be_exchanged_a_change_before_the_rename_is_still_seen() {
    let mut room = Room::new();
    append(&room, "a\n").unwrap();
    room.world.arm_times("vault.exchange", 0, usize::MAX, io::ErrorKind::Unsupported);
    assert_eq!(append(&room, "b\n").unwrap(), Change::Made);
    assert_eq!(room.text(LIN), "a\nb\n");
    let mut n_calls = 0;
    room.vault
        .update(LIN, |current| {
            n_calls += 1;
            match n_calls {
                1 => room.save(LIN, "theirs\n"),
                2 => std::fs::remove_file(room.path(LIN)).unwrap(),
                _ => {}
            }
            Ok::<_, Error>([current.unwrap_or_default(), b"ours\n"].concat())
        })
        .unwrap();
    assert_eq!((n_calls, room.text(LIN).as_str()), (3, "ours\n"));
    assert_eq!(room.names(FOLDER), ["user.md"]);
    room.world.arm("durable.renamed", 0, io::ErrorKind::Other);
    append(&room, "more\n").unwrap_err();
    room.reopen();
    assert_eq!(room.text(LIN), "ours\nmore\n");
    assert_eq!(room.names(FOLDER), ["user.md"]);
}

#[test]
fn names_of_every_length_can_be_written() {
    let room = Room::new();
    for name in ["é".repeat(126) + "a.md", "x".repeat(252) + ".md", "漢".repeat(80) + ".md"] {
        let rel = format!("{FOLDER}/{name}");
        let Ok(written) = room.vault.write(&rel, Expected::Absent, b"one") else {
            assert!(name.len() > 255, "{name}");
            continue;
        };
        room.vault.write(&rel, Expected::Digest(written.digest), b"two").unwrap();
        assert_eq!(room.text(&rel), "two");
    }
}
