use crate::world::Room;
use evermark_core::reconcile::Seen;
use evermark_store::error::What;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

const USERS: &str = "app/default_project/users";

fn seen(room: &Room) -> Vec<String> {
    let mut all = Vec::new();
    room.vault.scan(&mut |rel, stamp| {
        assert_eq!(room.vault.look(rel), Seen::Present(stamp));
        all.push(rel.to_owned());
    });
    all
}

#[test]
fn candidates_are_visited_once_in_byte_order() {
    let room = Room::new();
    let candidates = [
        "app/default_project/agents/a/.cases/agent_case-2026-01-01.md",
        "app/default_project/agents/a/skills/skill_x/SKILL.md",
        "app/default_project/agents/a/skills/skill_x/references/deep.md",
        "app/default_project/inbox/s.md",
        "app/default_project/knowledge/.taxonomy.md",
        "app/default_project/knowledge/Cat/title_d_1/1_topic.md",
        "app/default_project/knowledge/Cat/title_d_1/index.md",
        "app/default_project/users/a-b/user.md",
        "app/default_project/users/a/user.md",
        "app/default_project/users/a/x.md",
        "app/default_project/users/a0/user.md",
        "app/default_project/users/lin/.atomic_facts/atomic_fact-2026-01-01.md",
        "app/default_project/users/x.md/user.md",
    ];
    let others = [
        "everos.toml",
        "README.md",
        ".index/sqlite/system.db",
        ".index/b/users/x.md",
        ".evermark/b/users/x.md",
        ".tmp/b/users/x.md",
        "app/notes.md",
        "app/default_project/notes/x/y.md",
        "app/default_project/users/.git/x.md",
        "app/default_project/users/a/._user.md",
        "app/default_project/users/a/user.md~",
        "app/default_project/users/a/.user.md.swp",
        "app/default_project/users/a/user.MD",
        "app/default_project/agents/a/skills/skill_x/scripts/run.sh",
        "app/default_project/knowledge/Cat/title_d_1/_original/book.pdf",
    ];
    for rel in candidates.iter().chain(&others) {
        room.save(rel, "x");
    }
    let mut expected = candidates.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(seen(&room), expected);

    let mut below = Vec::new();
    let report = room.vault.scan_under("app/default_project/users/a", &mut |rel, _| below.push(rel.to_owned()));
    assert_eq!(below, ["app/default_project/users/a/user.md", "app/default_project/users/a/x.md"]);
    assert!(report.proves_absence("app/default_project/users/a/gone.md"));
    assert!(!report.proves_absence("app/default_project/users/a-b/user.md"), "not looked at");
}

#[test]
fn a_folder_that_cannot_be_listed_is_unknown_not_empty() {
    let room = Room::new();
    for user in ["a", "b", "c"] {
        room.save(&format!("{USERS}/{user}/user.md"), "x");
    }
    // Root, app, project, users, a: the sixth listing is b's.
    let kinds = [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::Other,
        io::ErrorKind::TimedOut,
        io::ErrorKind::StaleNetworkFileHandle,
    ];
    for kind in kinds {
        room.world.arm("vault.list_dir", 5, kind);
        let mut seen = Vec::new();
        let report = room.vault.scan(&mut |rel, _| seen.push(rel.to_owned()));
        assert_eq!(seen, [format!("{USERS}/a/user.md"), format!("{USERS}/c/user.md")]);
        assert_eq!(report.unknown.len(), 1);
        assert_eq!(report.unknown[0].0, format!("{USERS}/b"));
        assert!(!report.is_complete());
        assert!(!report.proves_absence(&format!("{USERS}/b/user.md")));
        assert!(report.proves_absence(&format!("{USERS}/c/gone.md")));
        assert!(report.proves_absence(&format!("{USERS}/d/user.md")));
    }
    // The root itself.
    room.world.arm("vault.list_dir", 0, io::ErrorKind::Other);
    let report = room.vault.scan(&mut |_, _| panic!("nothing was listed"));
    assert!(!report.proves_absence(&format!("{USERS}/c/gone.md")));
    // One file.
    room.world.arm("vault.stat_file", 1, io::ErrorKind::Other);
    let report = room.vault.scan(&mut |_, _| {});
    assert_eq!(report.unknown[0].0, format!("{USERS}/b/user.md"));
    assert!(!report.proves_absence(&format!("{USERS}/b/user.md")));
    assert!(report.proves_absence(&format!("{USERS}/b/gone.md")));
}

#[test]
fn a_root_that_went_away_proves_nothing() {
    let room = Room::new();
    room.save(&format!("{USERS}/a/user.md"), "x");
    std::fs::rename(room.dir.path().join("app"), room.dir.path().join("elsewhere")).unwrap();
    std::fs::create_dir(room.dir.path().join("app")).unwrap();
    assert!(room.vault.scan(&mut |_, _| {}).proves_absence(&format!("{USERS}/a/user.md")), "the guard's business");
    std::fs::remove_dir_all(room.dir.path()).unwrap();
    let report = room.vault.scan(&mut |_, _| {});
    assert!(!report.proves_absence(&format!("{USERS}/a/user.md")));
    assert_eq!(room.vault.look(&format!("{USERS}/a/user.md")), Seen::Unknown);
}

#[test]
fn links_and_special_files_are_findings_and_loops_end() {
    let room = Room::new();
    let outside = tempfile::tempdir().unwrap();
    crate::world::save(&outside.path().join("users/x/user.md"), "outside");
    room.save(&format!("{USERS}/a/user.md"), "x");
    room.save(&format!("{USERS}/a/plain.txt"), "x");
    let link = |target: &str, at: &str| symlink(target, room.path(at)).unwrap();
    link(outside.path().to_str().unwrap(), "app/outside");
    link(outside.path().join("users").to_str().unwrap(), "app/default_project/agents");
    link("..", &format!("{USERS}/a/loop"));
    link("user.md", &format!("{USERS}/a/alias.md"));
    link("nothing", &format!("{USERS}/a/dangling.md"));
    link("plain.txt", &format!("{USERS}/a/note.txt"));
    link("user@host.123:456", &format!("{USERS}/a/.#user.md"));
    link("/dev/null", "app/default_project/dangling");
    std::process::Command::new("mkfifo").arg(room.path(&format!("{USERS}/a/fifo.md"))).status().unwrap();
    std::fs::create_dir_all(room.path(&format!("{USERS}/a/folder.md"))).unwrap();

    let mut seen = Vec::new();
    let report = room.vault.scan(&mut |rel, _| seen.push(rel.to_owned()));
    assert_eq!(seen, [format!("{USERS}/a/user.md")]);
    let mut findings: Vec<_> =
        report.findings.iter().map(|finding| (finding.path.clone(), finding.what.name())).collect();
    findings.sort();
    let expected = [
        ("app/default_project/agents".to_owned(), "symbolic_link"),
        (format!("{USERS}/a/alias.md"), "symbolic_link"),
        (format!("{USERS}/a/dangling.md"), "symbolic_link"),
        (format!("{USERS}/a/fifo.md"), "not_a_file"),
        (format!("{USERS}/a/folder.md"), "not_a_file"),
        (format!("{USERS}/a/loop"), "symbolic_link"),
        ("app/outside".to_owned(), "symbolic_link"),
    ];
    assert_eq!(findings, expected);
    // What once was a file, and is a link or a FIFO now, is not taken for deleted.
    for rel in ["app/default_project/agents/a/x.md".to_owned(), format!("{USERS}/a/fifo.md")] {
        assert!(!report.proves_absence(&rel), "{rel}");
    }
}

#[test]
fn odd_names_are_reported_and_stop_nothing() {
    let room = Room::new();
    let folder = room.path(&format!("{USERS}/a"));
    for name in [&b"bad\xff.md"[..], b"bad\xff.txt", b"new\nline.md", b"caf\xc3\xa9.md", b"cafe\xcc\x81.md"] {
        crate::world::save(&folder.join(OsStr::from_bytes(name)), "x");
    }
    for name in ["User.md", "user.md"] {
        room.save(&format!("{USERS}/a/{name}"), "x");
    }
    let mut seen = Vec::new();
    let report = room.vault.scan(&mut |rel, _| seen.push(rel.to_owned()));
    let at = |name: &str| format!("{USERS}/a/{name}");
    assert_eq!(seen, [at("User.md"), at("cafe\u{301}.md"), at("caf\u{e9}.md"), at("user.md")]);
    let mut findings: Vec<_> =
        report.findings.iter().map(|finding| (finding.path.clone(), finding.what.clone())).collect();
    findings.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        findings,
        [
            (at("bad\\xff.md"), What::BadName),
            (at("caf\u{e9}.md"), What::SameName { other: at("cafe\u{301}.md") }),
            (at("new\\nline.md"), What::BadName),
            (at("user.md"), What::SameName { other: at("User.md") }),
        ]
    );
    assert!(report.proves_absence(&at("gone.md")));
}

#[test]
fn depth_is_bounded() {
    let room = Room::new();
    let deep = format!("{USERS}/{}", ["d"; 8].join("/"));
    room.save(&format!("{deep}/just.md"), "x");
    room.save(&format!("{deep}/d/too.md"), "x");
    let mut seen = Vec::new();
    let report = room.vault.scan(&mut |rel, _| seen.push(rel.to_owned()));
    assert_eq!(seen, [format!("{deep}/just.md")]);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].what.name(), "too_deep");
    assert!(!report.proves_absence(&format!("{deep}/d/too.md")));
}
