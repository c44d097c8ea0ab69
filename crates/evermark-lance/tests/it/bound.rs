//! The bound: bytes on disk never exceed it, at any named point of any operation, whatever fails.

use crate::support::{FaultWorld, contents, fact, key, matching, open_in, options, user};
use evermark_core::error::ErrorKind;
use evermark_core::index::{Index, Merge};
use evermark_core::maintenance::Budget;
use evermark_lance::{LanceIndex, Options};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn allocated(dir: &Path) -> u64 {
    let own = std::fs::symlink_metadata(dir).map_or(0, |metadata| metadata.blocks() * 512);
    let below = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            allocated(&entry.path())
        } else {
            entry.metadata().map_or(0, |metadata| metadata.blocks() * 512)
        }
    });
    own + below.sum::<u64>()
}

/// Compares the directory with what is live at every named point: how much more was there at most?
struct Sampler {
    excess: AtomicU64,
    samples: AtomicU64,
}

fn sampled(index: &Arc<LanceIndex>, dir: &Path, world: &Arc<FaultWorld>) -> Arc<Sampler> {
    let sampler = Arc::new(Sampler { excess: AtomicU64::new(0), samples: AtomicU64::new(0) });
    let (watching, index, dir) = (Arc::downgrade(&sampler), Arc::downgrade(index), dir.to_owned());
    world.watch(move |_| {
        let (Some(sampler), Some(index)) = (watching.upgrade(), index.upgrade()) else { return };
        let live = index.info().unwrap().live_bytes;
        sampler.excess.fetch_max(allocated(&dir).saturating_sub(live), Ordering::SeqCst);
        sampler.samples.fetch_add(1, Ordering::SeqCst);
    });
    sampler
}

#[test]
fn churn_stays_within_live_plus_a_constant_at_every_point_while_merging_fails_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let world = FaultWorld::new();
    let index = Arc::new(open_in(dir.path(), world.clone()).unwrap());
    index.set_budget(Budget { ratio: 1.0, slack_bytes: 2 * MIB, cap_bytes: None });
    world.arm_always("lance.merged", io::ErrorKind::InvalidData);
    let sampler = sampled(&index, dir.path(), &world);
    let mut random = fastrand::Rng::with_seed(5);
    let mut refused = 0;
    for n in 0..200 {
        let owner = user(&format!("u{}", n % 3));
        let rows: Vec<_> =
            (0..random.usize(1..6)).map(|_| fact(&owner, &random.u32(0..300).to_string(), "tea")).collect();
        index.upsert(rows.clone()).unwrap();
        match index.flush() {
            Ok(()) => {}
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Corrupt), "{error}");
                refused += 1;
            }
        }
        if n % 8 == 7 {
            drop(index.compact());
            index.reclaim().unwrap();
        }
    }
    let excess = sampler.excess.load(Ordering::SeqCst);
    assert!(sampler.samples.load(Ordering::SeqCst) > 500);
    assert!(excess <= 2 * MIB, "{excess} bytes above what was live");
    assert!(refused < 200, "most writes are let through");
    let before = contents(index.as_ref());
    world.disarm();
    index.flush().unwrap();
    index.upkeep().unwrap();
    let info = index.info().unwrap();
    assert!(info.allocated_bytes as f64 <= 1.3 * info.live_bytes as f64 + MIB as f64, "{info:?}");
    assert_eq!((info.versions, info.orphan_bytes), (1, 0), "{info:?}");
    assert_eq!(contents(index.as_ref()), before);
}

#[test]
fn a_merge_that_fails_after_its_whole_output_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let world = FaultWorld::new();
    let index = open_in(dir.path(), world.clone()).unwrap();
    for id in 0..16 {
        let rows: Vec<_> = (0..20).map(|n| fact(&user("amy"), &format!("{id}-{n}"), &"tea ".repeat(100))).collect();
        index.upsert(rows.clone()).unwrap();
        index.flush().unwrap();
    }
    index.reclaim().unwrap();
    let flat = index.info().unwrap().allocated_bytes;
    world.arm_always("lance.merged", io::ErrorKind::StorageFull);
    for n in 0..300 {
        assert_eq!(index.compact().unwrap_err().kind(), ErrorKind::NoSpace);
        assert!(allocated(dir.path()) <= flat, "after {n} failures: {} of {flat} bytes", allocated(dir.path()));
    }
    world.disarm();
    assert!(matches!(index.compact().unwrap(), Merge::Done { pieces: 16, .. }));
    assert_eq!(contents(&index).len(), 320);
}

#[test]
fn removing_everything_frees_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let world = FaultWorld::new();
    let index = Arc::new(open_in(dir.path(), world.clone()).unwrap());
    let text =
        |n: usize| (0..150).map(|word| format!("w{} ", (n * 7919 + word * 104_729) % 99_991)).collect::<String>();
    let rows: Vec<_> = (0..30_000).map(|id| fact(&user("amy"), &id.to_string(), &text(id))).collect();
    for chunk in rows.chunks(4000) {
        index.upsert(chunk.to_vec()).unwrap();
        index.flush().unwrap();
    }
    index.upkeep().unwrap();
    let full = index.info().unwrap();
    assert!(full.live_bytes > 48 * MIB, "enough to matter: {full:?}");
    let slack = 48 * MIB;
    index.set_budget(Budget { ratio: 1.0, slack_bytes: slack, cap_bytes: None });
    let sampler = sampled(&index, dir.path(), &world);
    let keys: Vec<_> = (0..30_000).map(|id| key(&user("amy"), &id.to_string())).collect();
    index.remove(&keys).unwrap();
    index.flush().unwrap();
    index.upkeep().unwrap();
    let left = index.info().unwrap();
    assert!(left.allocated_bytes < MIB, "{left:?}");
    assert!(contents(index.as_ref()).is_empty());
    let excess = sampler.excess.load(Ordering::SeqCst);
    assert!(excess <= slack, "{excess} bytes above what was live");
}

#[test]
fn the_cap_pauses_writes_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let world = FaultWorld::new();
    let index = open_in(dir.path(), world).unwrap();
    let amy = user("amy");
    let cap = 2 * MIB;
    index.set_budget(Budget { ratio: 1.0, slack_bytes: 64 * MIB, cap_bytes: Some(cap) });
    let text =
        |n: usize| (0..100).map(|word| format!("w{} ", (n * 7919 + word * 104_729) % 99_991)).collect::<String>();
    let mut accepted = 0;
    let error = loop {
        let rows: Vec<_> = (0..50)
            .map(|n| fact(&amy, &format!("{accepted}-{n}"), &format!("tea {}", text(accepted * 50 + n))))
            .collect();
        index.upsert(rows.clone()).unwrap();
        accepted += 1;
        assert!(accepted < 200, "the cap is never reached");
        match index.flush() {
            Ok(()) => assert!(allocated(dir.path()) <= cap),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().contains("limit of 2 MiB"), "{error}");
    assert!(allocated(dir.path()) <= cap, "{} bytes", allocated(dir.path()));
    assert_eq!(matching(&index, &amy, "tea", 10_000).len(), accepted * 50, "what waits is searchable");
    assert!(index.info().unwrap().pending > 0);
    // Room by removing: dead rows are merged away as far as needed.
    let gone: Vec<_> = (0..accepted / 2).flat_map(|a| (0..50).map(move |n| format!("{a}-{n}"))).collect();
    index.remove(&gone.iter().map(|id| key(&amy, id)).collect::<Vec<_>>()).unwrap();
    index.flush().unwrap();
    assert!(allocated(dir.path()) <= cap, "{} bytes", allocated(dir.path()));
    assert_eq!(index.info().unwrap().pending, 0);
    assert_eq!(contents(&index).len(), accepted * 50 - gone.len());
}

#[test]
fn a_reader_that_holds_too_much_is_ended_and_may_try_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = FaultWorld::new();
    let options = Options { held_bytes_max: 64 << 10, ..options() };
    let index = LanceIndex::open(dir.path(), options, world.clone()).unwrap();
    let amy = user("amy");
    for piece in 0..6 {
        let rows: Vec<_> = (0..200).map(|n| fact(&amy, &format!("{piece}-{n}"), &"tea ".repeat(20))).collect();
        index.upsert(rows.clone()).unwrap();
        index.flush().unwrap();
    }
    let mut seen = 0;
    let mut churned = false;
    let error = index
        .scan(&mut |_, _, _| {
            seen += 1;
            if !churned {
                churned = true;
                // The whole table is replaced under the reader.
                for piece in 0..6 {
                    let rows: Vec<_> = (0..200).map(|n| fact(&amy, &format!("{piece}-{n}"), "coffee")).collect();
                    index.upsert(rows.clone()).unwrap();
                    index.flush().unwrap();
                }
                let info = index.info().unwrap();
                assert!(info.held_bytes > 0 && info.readers == 1, "{info:?}");
                index.reclaim().unwrap();
            }
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(seen > 0 && seen < 1200, "{seen} rows were seen before it was ended");
    index.reclaim().unwrap();
    let info = index.info().unwrap();
    assert_eq!((info.held_bytes, info.readers, info.orphan_bytes), (0, 0, 0), "{info:?}");
    assert_eq!(contents(&index).len(), 1200, "trying again succeeds");
    assert_eq!(index.losses(), 0, "an ended reader is no damage");
}

#[test]
fn a_reader_within_its_limits_is_left_alone_and_an_ended_one_cannot_keep_files_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let world = FaultWorld::new();
    let index = open_in(dir.path(), world.clone()).unwrap();
    let amy = user("amy");
    for piece in 0..3 {
        let rows: Vec<_> = (0..50).map(|n| fact(&amy, &format!("{piece}-{n}"), "tea")).collect();
        index.upsert(rows.clone()).unwrap();
        index.flush().unwrap();
    }
    let mut rounds = 0;
    let mut seen = 0;
    let outcome = index.scan(&mut |_, _, _| {
        seen += 1;
        if rounds == 0 {
            rounds += 1;
            let rows: Vec<_> = (0..3).flat_map(|p| (0..50).map(move |n| (p, n))).collect();
            let rows: Vec<_> = rows.iter().map(|(p, n)| fact(&amy, &format!("{p}-{n}"), "coffee")).collect();
            index.upsert(rows.clone()).unwrap();
            index.flush().unwrap();
            index.reclaim().unwrap();
        } else if rounds == 1 && seen > 60 {
            rounds += 1;
            // It sits on what it has for longer than anybody may, and does not look at anything.
            world.pass(Duration::from_secs(61));
            index.reclaim().unwrap();
            assert!(index.info().unwrap().held_bytes > 0, "it has a moment to notice");
            world.pass(Duration::from_secs(11));
            let freed = index.reclaim().unwrap();
            assert!(freed.bytes > 0, "its files go all the same");
        }
    });
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(seen > 60, "it read on while it was within its limits");
    assert_eq!(index.losses(), 0);
    assert_eq!(contents(&index).len(), 150);
}
