use crate::world::{NOW_US, TestWorld};
use evermark_core::error::ErrorKind;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope};
use evermark_core::memory::Digest32;
use evermark_core::reconcile::Stamp;
use evermark_core::world::{RealWorld, World};
use evermark_store::jobs::{Fingerprint, NewJob, Priority, Reason};
use evermark_store::ledger::catalog::{Changes, Entry, FileRecord, MessageRef, Removed, State};
use evermark_store::ledger::{Binding, Ledger, Opened};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Desk {
    dir: tempfile::TempDir,
    pub(crate) world: Arc<TestWorld>,
    pub(crate) ledger: Ledger,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = TestWorld::new();
        let (ledger, opened) = Ledger::open(&dir.path().join("ledger.db"), as_world(&world)).unwrap();
        assert_eq!(opened, Opened::New);
        Self { dir, world, ledger }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger.db")
    }

    pub(crate) fn reopen(self) -> (Self, Opened) {
        let Self { dir, world, ledger } = self;
        drop(ledger);
        let (ledger, opened) = Ledger::open_or_recreate(&dir.path().join("ledger.db"), as_world(&world)).unwrap();
        (Self { dir, world, ledger }, opened)
    }
}

fn as_world(world: &Arc<TestWorld>) -> Arc<dyn World> {
    Arc::clone(world) as Arc<dyn World>
}

pub(crate) fn stamp(n: u64) -> Stamp {
    Stamp { size: n, mtime_ns: 1_000_000_000 * n.cast_signed(), inode: u64::MAX - n, ctime_ns: -1 }
}

fn key(user: &str, id: &str) -> MemoryKey {
    MemoryKey { owner: Owner::user(Scope::default(), user), kind: Kind::AtomicFact, id: id.to_owned() }
}

fn record(path: &str, entries: &[(&str, &str)]) -> FileRecord {
    FileRecord {
        path: path.to_owned(),
        kind: "atomic_fact_daily".to_owned(),
        state: State::Indexed,
        finding: None,
        stamp: stamp(1),
        digest: Digest32::of(path.as_bytes()),
        entries: entries
            .iter()
            .map(|(id, text)| Entry { key: key("lin", id), digest: Digest32::of(text.as_bytes()) })
            .collect(),
        scope: Scope::default(),
        messages: Vec::new(),
    }
}

fn keys(ids: &[&str]) -> Vec<MemoryKey> {
    ids.iter().map(|id| key("lin", id)).collect()
}

#[test]
fn the_bundled_sqlite_is_new_enough() {
    let version: String = rusqlite::Connection::open_in_memory()
        .unwrap()
        .query_row("SELECT sqlite_version()", [], |row| row.get(0))
        .unwrap();
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(parts >= vec![3, 51, 3], "{version}");
}

#[test]
fn recording_says_what_changed() {
    let desk = Desk::new();
    let first = record("a/b/users/lin/x.md", &[("1", "one"), ("2", "two"), ("3", "three")]);
    let diff = desk.ledger.diff(&first).unwrap();
    assert_eq!(diff, Changes { added: keys(&["1", "2", "3"]), ..Changes::default() });
    assert_eq!(desk.ledger.file(&first.path).unwrap(), None, "a diff records nothing");
    assert_eq!(desk.ledger.record(std::slice::from_ref(&first)).unwrap(), [diff]);
    assert!(desk.ledger.record(std::slice::from_ref(&first)).unwrap()[0].is_empty());

    let second = record("a/b/users/lin/x.md", &[("4", "four"), ("3", "three"), ("2", "changed")]);
    let expected = Changes {
        added: keys(&["4"]),
        changed: keys(&["2"]),
        removed: vec![Removed { key: key("lin", "1"), elsewhere: None }],
    };
    assert_eq!(desk.ledger.diff(&second).unwrap(), expected);
    assert_eq!(desk.ledger.record(std::slice::from_ref(&second)).unwrap(), [expected]);
    let mut entries = desk.ledger.entries(&second.path).unwrap();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let mut expected = second.entries.to_vec();
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(entries, expected);
    let row = desk.ledger.file(&second.path).unwrap().unwrap();
    assert_eq!((row.known.stamp, row.known.digest), (second.stamp, second.digest));
    assert_eq!((row.indexed_at_us, row.known.verified_at_us), (NOW_US, NOW_US));
}

#[test]
fn a_key_that_repeats_in_a_file_counts_once_and_the_first_wins() {
    let desk = Desk::new();
    let twice = record("a/b/users/lin/x.md", &[("1", "first"), ("1", "second")]);
    assert_eq!(desk.ledger.record(std::slice::from_ref(&twice)).unwrap()[0].added, keys(&["1"]));
    assert_eq!(desk.ledger.entries(&twice.path).unwrap(), twice.entries[..1]);
    assert!(desk.ledger.record(&[twice]).unwrap()[0].is_empty());
}

#[test]
fn a_memory_that_stands_elsewhere_too_is_not_lost() {
    let desk = Desk::new();
    let (a, b) = ("a/b/users/lin/a.md", "a/b/users/lin/b.md");
    desk.ledger.record(&[record(a, &[("1", "x")]), record(b, &[("1", "x"), ("2", "y")])]).unwrap();
    assert_eq!(desk.ledger.locate(&key("lin", "1")).unwrap(), [a, b]);
    assert_eq!(desk.ledger.locate(&key("someone", "1")).unwrap(), Vec::<String>::new());
    let elsewhere = |path: &str| vec![Removed { key: key("lin", "1"), elsewhere: Some(path.to_owned()) }];
    assert_eq!(desk.ledger.diff(&record(a, &[])).unwrap().removed, elsewhere(b));
    assert_eq!(desk.ledger.forget(&[a.to_owned()]).unwrap(), elsewhere(b));
    let mut gone = desk.ledger.forget(&[b.to_owned(), "never/seen/users/x.md".to_owned()]).unwrap();
    gone.sort_by(|a, b| a.key.cmp(&b.key));
    let none = |id| Removed { key: key("lin", id), elsewhere: None };
    assert_eq!(gone, [none("1"), none("2")]);
    assert_eq!(desk.ledger.counts().unwrap(), Default::default());
}

#[test]
fn both_copies_forgotten_together_are_gone() {
    let desk = Desk::new();
    let paths = ["a/b/users/lin/a.md".to_owned(), "a/b/users/lin/b.md".to_owned()];
    desk.ledger.record(&[record(&paths[0], &[("1", "x")]), record(&paths[1], &[("1", "x")])]).unwrap();
    let gone = desk.ledger.forget(&paths).unwrap();
    assert!(gone.iter().all(|gone| gone.elsewhere.is_none()), "{gone:?}");
}

#[test]
fn equal_ids_of_two_owners_never_collide() {
    let desk = Desk::new();
    let mut other = record("x/b/users/lin/a.md", &[("1", "theirs")]);
    Arc::make_mut(&mut other.entries)[0].key.owner.scope = Scope::new("x", "b");
    desk.ledger.record(&[record("a/b/users/lin/a.md", &[("1", "ours")]), other.clone()]).unwrap();
    assert_eq!(desk.ledger.locate(&other.entries[0].key).unwrap(), ["x/b/users/lin/a.md"]);
    assert_eq!(desk.ledger.forget(&["a/b/users/lin/a.md".to_owned()]).unwrap()[0].elsewhere, None);
}

#[test]
fn files_come_in_byte_order_below_a_folder() {
    let desk = Desk::new();
    let paths = ["a/b/users/a-b/u.md", "a/b/users/a/u.md", "a/b/users/a/x.md", "a/b/users/a0/u.md", "a/b/users/é/u.md"];
    let mut shuffled: Vec<_> = paths.iter().map(|path| record(path, &[])).collect();
    shuffled.reverse();
    desk.ledger.record(&shuffled).unwrap();
    let below = |prefix: &str| {
        let mut all = Vec::new();
        desk.ledger.files(prefix, &mut |row| all.push(row.path)).unwrap();
        all
    };
    assert_eq!(below(""), paths);
    assert_eq!(below("a/b/users/a"), paths[1..3]);
    assert_eq!(below("a/b/user"), Vec::<String>::new());
    assert_eq!(
        desk.ledger.files_page("", paths[1], 2).unwrap().iter().map(|row| &*row.path).collect::<Vec<_>>(),
        paths[2..4]
    );
}

#[test]
fn missing_files_are_remembered_and_come_back() {
    let desk = Desk::new();
    let path = "a/b/users/lin/a.md".to_owned();
    let missing =
        || desk.ledger.missing().unwrap().iter().map(|row| row.known.missing_since_us.unwrap()).collect::<Vec<_>>();
    desk.ledger.record(&[record(&path, &[])]).unwrap();
    desk.ledger.suspect(&[path.clone(), "unknown".to_owned()]).unwrap();
    desk.world.pass(Duration::from_secs(1));
    desk.ledger.suspect(std::slice::from_ref(&path)).unwrap();
    assert_eq!(missing(), [NOW_US], "since the first time");
    assert_eq!(desk.ledger.counts().unwrap().missing, 1);
    desk.world.set_now_us(NOW_US - 5);
    desk.ledger.suspect(std::slice::from_ref(&path)).unwrap();
    assert_eq!(missing(), [NOW_US - 5], "a clock that went back starts over");
    desk.ledger.found(std::slice::from_ref(&path)).unwrap();
    assert!(missing().is_empty());
    desk.ledger.suspect(std::slice::from_ref(&path)).unwrap();
    desk.ledger.verified(&[(path.clone(), stamp(9))]).unwrap();
    let row = desk.ledger.file(&path).unwrap().unwrap();
    assert_eq!((row.known.stamp, row.known.verified_at_us, row.known.missing_since_us), (stamp(9), NOW_US - 5, None));
    desk.ledger.suspect(std::slice::from_ref(&path)).unwrap();
    desk.ledger.record(&[record(&path, &[])]).unwrap();
    assert!(missing().is_empty());
}

#[test]
fn messages_are_known_by_session_and_scope() {
    let desk = Desk::new();
    let mut inbox = record("a/b/inbox/s.md", &[]);
    let message = |session: &str, id: &str| MessageRef { session: session.to_owned(), message_id: id.to_owned() };
    inbox.messages = vec![message("s", "1"), message("s", "2"), message("t", "3"), message("s", "2")];
    desk.ledger.record(&[inbox.clone()]).unwrap();
    let ids: Vec<String> = ["1", "2", "3", "4"].map(str::to_owned).to_vec();
    let known = |scope: &Scope, session: &str| {
        let mut known: Vec<_> = desk.ledger.known_messages(scope, session, &ids).unwrap().into_iter().collect();
        known.sort();
        known
    };
    assert_eq!(known(&Scope::default(), "s"), ["1", "2"]);
    assert_eq!(known(&Scope::default(), "t"), ["3"]);
    assert!(known(&Scope::new("x", "default"), "s").is_empty());
    assert!(known(&Scope::default(), "u").is_empty());
    // Moved on to another file, then gone from the first.
    let mut episode = record("a/b/users/lin/e.md", &[]);
    episode.messages = vec![message("s", "1")];
    desk.ledger.record(&[episode]).unwrap();
    inbox.messages = vec![message("t", "3")];
    desk.ledger.record(&[inbox]).unwrap();
    assert_eq!(known(&Scope::default(), "s"), ["1"]);
    desk.ledger.forget(&["a/b/users/lin/e.md".to_owned(), "a/b/inbox/s.md".to_owned()]).unwrap();
    assert!(known(&Scope::default(), "s").is_empty() && known(&Scope::default(), "t").is_empty());
}

#[test]
fn counts_and_findings() {
    let desk = Desk::new();
    let mut parked = record("a/b/users/lin/bad.md", &[("9", "last good")]);
    parked.state = State::Parked;
    parked.finding = Some("entry `x` has no timestamp".to_owned());
    desk.ledger.record(&[record("a/b/users/lin/a.md", &[("1", "x"), ("2", "y")]), parked.clone()]).unwrap();
    let counts = desk.ledger.counts().unwrap();
    let kind = || "atomic_fact_daily".to_owned();
    assert_eq!(counts.files, 2);
    assert_eq!(counts.files_by, [(kind(), State::Indexed, 1), (kind(), State::Parked, 1)]);
    assert_eq!(counts.entries_by, [(Kind::AtomicFact, 3)]);
    let findings = desk.ledger.findings(10).unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].path.as_str(), &findings[0].finding), (parked.path.as_str(), &parked.finding));
    assert!(desk.ledger.findings(0).unwrap().is_empty());
}

#[test]
fn a_ledger_knows_what_it_belongs_to() {
    let desk = Desk::new();
    assert_eq!(desk.ledger.binding().unwrap(), None);
    let binding = Binding { root_id: "r".to_owned(), generation: "gen-000001".to_owned() };
    desk.ledger.bind(&binding).unwrap();
    desk.ledger.record(&[record("a/b/users/lin/a.md", &[("1", "x")])]).unwrap();
    let (desk, opened) = desk.reopen();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(desk.ledger.binding().unwrap(), Some(binding));
    desk.ledger.clear().unwrap();
    assert_eq!(desk.ledger.binding().unwrap(), None);
    assert_eq!(desk.ledger.counts().unwrap(), Default::default());
}

#[test]
fn a_ledger_deleted_while_open_is_noticed() {
    let desk = Desk::new();
    assert!(desk.ledger.still_there());
    std::fs::remove_file(desk.path()).unwrap();
    assert!(!desk.ledger.still_there());
    let (other, opened) = Ledger::open(&desk.path(), as_world(&desk.world)).unwrap();
    assert_eq!(opened, Opened::New);
    assert!(!desk.ledger.still_there() && other.still_there());
}

/// Damages a ledger in several ways, and checks that each is noticed on opening and costs nothing else.
#[test]
fn a_damaged_ledger_is_moved_aside_and_made_anew() {
    type Damage = fn(&mut Vec<u8>);
    let damage: [(&str, Damage); 5] = [
        ("not a database", |bytes| bytes[..64].fill(b'x')),
        ("half gone", |bytes| bytes.truncate(bytes.len() / 2 + 7)),
        ("a page of noise", |bytes| bytes[4096 * 3..4096 * 4].fill(0xa5)),
        ("only a header", |bytes| bytes.truncate(100)),
        ("all noise", |bytes| bytes.fill(0xff)),
    ];
    for (name, damage) in damage {
        let desk = Desk::new();
        let many: Vec<_> =
            (0..500).map(|n| record(&format!("a/b/users/lin/{n}.md"), &[("1", "x"), ("2", "y")])).collect();
        desk.ledger.record(&many).unwrap();
        desk.ledger.tidy().unwrap();
        let path = desk.path();
        let Desk { dir, world, ledger } = desk;
        drop(ledger);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        crate::world::save(&path, &bytes);

        let error = Ledger::open(&path, as_world(&world)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error:?}");
        for round in 0..2_u64 {
            world.pass(Duration::from_secs(1));
            let (ledger, opened) = Ledger::open_or_recreate(&path, as_world(&world)).unwrap();
            let Opened::Recreated { aside: Some(aside), .. } = opened else { panic!("{name}: {opened:?}") };
            assert_eq!(std::fs::metadata(aside).unwrap().len(), bytes.len() as u64);
            ledger.record(&many[..1]).unwrap();
            drop(ledger);
            let n_aside = std::fs::read_dir(dir.path())
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".corrupt-"))
                .count();
            assert_eq!(n_aside, 1, "{name}, round {round}");
            crate::world::save(&path, &bytes);
        }
    }
}

#[test]
fn a_truncated_ledger_is_a_new_one() {
    let desk = Desk::new();
    desk.ledger.record(&[record("a/b/users/lin/a.md", &[("1", "x")])]).unwrap();
    desk.ledger.tidy().unwrap();
    let path = desk.path();
    let Desk { dir: _dir, world, ledger } = desk;
    drop(ledger);
    crate::world::save(&path, b"");
    let (ledger, opened) = Ledger::open_or_recreate(&path, as_world(&world)).unwrap();
    assert_eq!(opened, Opened::New);
    assert_eq!(ledger.counts().unwrap().files, 0);
}

#[test]
fn a_newer_schema_is_not_guessed_at() {
    let desk = Desk::new();
    rusqlite::Connection::open(desk.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let (desk, opened) = desk.reopen();
    assert!(matches!(opened, Opened::Recreated { ref why, .. } if why.contains("schema is 99")), "{opened:?}");
    assert_eq!(desk.ledger.counts().unwrap().files, 0);
}

#[test]
fn a_full_disk_is_transient_and_undoes_the_batch() {
    let desk = Desk::new();
    desk.world.arm("ledger.record", 0, io::ErrorKind::StorageFull);
    let files = [record("a/b/users/lin/a.md", &[("1", "x")])];
    let error = desk.ledger.record(&files).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(desk.ledger.counts().unwrap().files, 0);
    desk.ledger.record(&files).unwrap();
    assert_eq!(desk.ledger.counts().unwrap().files, 1);
}

#[test]
fn a_hundred_thousand_entries_take_seconds_not_minutes() {
    let desk = Desk::new();
    let start = RealWorld::new();
    for batch in 0..20 {
        let files: Vec<_> = (0..50)
            .map(|file| {
                let mut record = record(&format!("a/b/users/u{batch}/f{file}.md"), &[]);
                record.entries = (0..100)
                    .map(|n| Entry {
                        key: key(&format!("u{batch}"), &format!("u{batch}_af_20260101_{file:04}{n:04}")),
                        digest: Digest32::of(&[batch, file, n]),
                    })
                    .collect();
                record.messages = (0..100)
                    .map(|n| MessageRef { session: format!("s{file}"), message_id: format!("m_{batch}_{file}_{n}") })
                    .collect();
                record
            })
            .collect();
        assert_eq!(desk.ledger.record(&files).unwrap().len(), 50);
    }
    let recorded = start.monotonic();
    assert_eq!(desk.ledger.counts().unwrap().entries_by, [(Kind::AtomicFact, 100_000)]);
    let start = RealWorld::new();
    let (desk, _) = desk.reopen();
    let reopened = start.monotonic();
    let start = RealWorld::new();
    let mut n_files = 0;
    desk.ledger.files("", &mut |_| n_files += 1).unwrap();
    assert_eq!(n_files, 1000);
    let listed = start.monotonic();
    let start = RealWorld::new();
    let paths: Vec<String> = (0..50).map(|file| format!("a/b/users/u7/f{file}.md")).collect();
    assert_eq!(desk.ledger.forget(&paths).unwrap().len(), 5000);
    eprintln!(
        "100k entries and messages: record {recorded:?}, reopen {reopened:?}, list 1k files {listed:?}, forget 5k {:?}, {} bytes",
        start.monotonic(),
        desk.ledger.size_bytes()
    );
    assert!(recorded < Duration::from_secs(60), "{recorded:?}");
}

#[test]
fn a_hundred_thousand_files_made_and_deleted_leave_a_small_ledger() {
    let desk = Desk::new();
    let mut sizes = Vec::new();
    for round in 0..20_u8 {
        let paths: Vec<String> = (0..5000).map(|file| format!("a/b/users/u{round}/f{file}.md")).collect();
        for some in paths.chunks(1000) {
            let files: Vec<_> = some.iter().map(|path| record(path, &[(path.as_str(), "one")])).collect();
            let job = |path: &String, reason, fingerprint| NewJob {
                path: path.clone(),
                reason,
                priority: Priority::Background,
                fingerprint,
            };
            let changed = |path| job(path, Reason::Changed, Fingerprint::Stamp(stamp(1)));
            desk.ledger.enqueue(&some.iter().map(changed).collect::<Vec<_>>()).unwrap();
            desk.ledger.record(&files).unwrap();
            let claims = desk.ledger.claim(1000, Duration::from_secs(60)).unwrap();
            desk.ledger.complete(&claims).unwrap();
            let gone = |path| job(path, Reason::Gone, Fingerprint::Gone);
            desk.ledger.enqueue(&some.iter().map(gone).collect::<Vec<_>>()).unwrap();
            desk.ledger.forget(some).unwrap();
            let claims = desk.ledger.claim(1000, Duration::from_secs(60)).unwrap();
            desk.ledger.complete(&claims).unwrap();
        }
        sizes.push(desk.ledger.size_bytes());
    }
    assert_eq!(desk.ledger.counts().unwrap().files, 0);
    assert_eq!(desk.ledger.job_stats().unwrap().open, 0);
    // Pages are used again and the log is folded in: the first rounds tell how large it ever gets.
    assert!(sizes[19] <= sizes[2] + (1 << 20), "{sizes:?}");
    assert!(sizes[19] < 16 << 20, "{sizes:?}");
}
