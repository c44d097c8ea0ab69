use super::*;
use crate::testing::TestWorld;

const DIMENSION: usize = 6;
const RECORD: usize = 48 + 4 * DIMENSION;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn model() -> ModelId {
    ModelId { name: "Qwen/Qwen3-Embedding-4B".to_owned(), dimension: DIMENSION }
}

fn key(i: usize) -> Digest32 {
    Digest32::of(format!("text {i}").as_bytes())
}

fn vector(i: usize) -> Vec<f32> {
    (0..DIMENSION).map(|n| (i * 31 + n) as f32 * 0.25 - 1.0).collect()
}

struct Bench {
    dir: tempfile::TempDir,
    world: Arc<TestWorld>,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), world: TestWorld::new() }
    }

    /// With entries `0..n`, put one by one, so that files are appended to.
    fn with(n: usize) -> Self {
        let bench = Self::new();
        let shelf = bench.shelf();
        for i in 0..n {
            put(&shelf, &[i]).unwrap();
        }
        bench
    }

    /// As a new process sees it.
    fn shelf(&self) -> Arc<Shelf> {
        Cache::open(self.dir.path(), self.world.clone()).shelf(&model())
    }

    fn file_of(&self, i: usize) -> PathBuf {
        self.shelf().dir().join(format!("{:x}.vec", shard_of(&key(i))))
    }

    /// Entries among `0..n` that share the file of `i`, in the order they were put.
    fn mates(&self, i: usize, n: usize) -> Vec<usize> {
        (0..n).filter(|other| shard_of(&key(*other)) == shard_of(&key(i))).collect()
    }
}

fn put(shelf: &Shelf, which: &[usize]) -> Result<usize, CacheError> {
    let vectors: Vec<_> = which.iter().map(|&i| (key(i), vector(i))).collect();
    shelf.put_many(&vectors.iter().map(|(key, vector)| (*key, vector.as_slice())).collect::<Vec<_>>())
}

/// Returns which of `0..n` are there; a wrong vector fails the test.
fn present(shelf: &Shelf, n: usize) -> Vec<usize> {
    let keys: Vec<Digest32> = (0..n).map(key).collect();
    let found = shelf.get_many(&keys);
    for (i, found) in found.iter().enumerate() {
        assert!(found.as_ref().is_none_or(|found| *found == vector(i)), "entry {i} is wrong");
    }
    (0..n).filter(|&i| found[i].is_some()).collect()
}

fn all(n: usize) -> Vec<usize> {
    (0..n).collect()
}

fn write(path: &Path, bytes: &[u8]) {
    io::Write::write_all(&mut File::create(path).unwrap(), bytes).unwrap();
}

#[test]
fn keeps_and_finds_again() {
    let bench = Bench::new();
    let shelf = bench.shelf();
    assert!(present(&shelf, 100).is_empty());
    assert_eq!(put(&shelf, &all(60)).unwrap(), 60);
    assert_eq!(put(&shelf, &all(100)).unwrap(), 40);
    assert_eq!(put(&shelf, &[3, 3, 200, 200]).unwrap(), 1);
    assert_eq!(present(&shelf, 100), all(100));
    let again = bench.shelf();
    assert_eq!(present(&again, 100), all(100));
    let stats = again.stats();
    assert_eq!((stats.entries, stats.size_bytes), (101, (101 * RECORD) as u64));
    assert_eq!((stats.hits, stats.misses, stats.damaged, stats.unreadable), (100, 0, 0, 0));
    shelf.sync().unwrap();
}

#[test]
fn order_and_repeats_are_the_callers() {
    let bench = Bench::with(10);
    let keys = [key(7), key(99), key(2), key(7)];
    assert_eq!(bench.shelf().get_many(&keys), [Some(vector(7)), None, Some(vector(2)), Some(vector(7))]);
}

#[test]
fn reading_creates_nothing_and_opening_reads_nothing() {
    let bench = Bench::new();
    let root = bench.dir.path().join("deep/er");
    let cache = Cache::open(&root, bench.world.clone());
    assert!(present(&cache.shelf(&model()), 5).is_empty());
    assert!(!root.exists() && cache.kept().is_empty());
    put(&cache.shelf(&model()), &all(100)).unwrap();

    let cache = Cache::open(&root, bench.world.clone());
    let shelf = cache.shelf(&model());
    assert_eq!((shelf.stats().entries, shelf.stats().known), (100, 0));
    assert_eq!(present(&shelf, 1), [0]);
    assert_eq!(shelf.stats().known, bench.mates(0, 100).len() as u64);
    shelf.forget();
    assert_eq!(shelf.stats().known, 0);
    assert_eq!(present(&shelf, 100), all(100));
}

#[test]
fn known_places_are_bounded_and_the_oldest_are_forgotten() {
    let bench = Bench::with(200);
    let shelf = bench.shelf();
    assert_eq!(present(&shelf, 200), all(200));
    let recent = bench.mates(0, 200);
    assert_eq!(present(&shelf, 1), [0]);
    shelf.make_room(PLACES_MAX - recent.len());
    assert_eq!(shelf.stats().known, recent.len() as u64);
    shelf.make_room(PLACES_MAX);
    assert_eq!(shelf.stats().known, 0);
    assert_eq!(present(&shelf, 200), all(200));
}

#[test]
fn models_and_dimensions_do_not_mix() {
    let bench = Bench::new();
    let cache = Cache::open(bench.dir.path(), bench.world.clone());
    let named = |name: &str, dimension| ModelId { name: name.to_owned(), dimension };
    // The first two have the same readable part.
    let models = [named("a/b", 2), named("a-b", 2), named("A/B", 2), named("a/b", 3), named("", 2), named("模型", 2)];
    for (n, model) in models.iter().enumerate() {
        let vector = vec![n as f32 + 1.0; model.dimension];
        cache.shelf(model).put_many(&[(key(1), &vector)]).unwrap();
    }
    for (n, model) in models.iter().enumerate() {
        let found = cache.shelf(model).get_many(&[key(1)]);
        assert_eq!(found, [Some(vec![n as f32 + 1.0; model.dimension])]);
    }
    assert_eq!(cache.kept().len(), models.len());

    // A file that came from another model's directory holds nothing.
    let from = cache.shelf(&models[0]).dir().join(format!("{:x}.vec", shard_of(&key(1))));
    let into = cache.shelf(&models[1]).dir().join(from.file_name().unwrap());
    fs::copy(from, into).unwrap();
    let fresh = Cache::open(bench.dir.path(), bench.world.clone());
    assert_eq!(fresh.shelf(&models[1]).get_many(&[key(1)]), [None]);
    assert_eq!(fresh.shelf(&models[1]).stats().damaged, 1);

    let gone = fresh.kept().remove(0);
    assert_eq!(fresh.remove(&gone.name).unwrap(), gone.size_bytes);
    assert_eq!(fresh.remove("../..").unwrap(), 0);
    assert_eq!(fresh.kept().len(), models.len() - 1);
}

#[test]
fn a_vector_of_another_width_is_refused() {
    let error = Bench::new().shelf().put_many(&[(key(1), &[1.0])]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// Every byte of a file, one bit each: exactly the entry it belongs to is missing, and can be put again.
#[test]
fn a_flipped_bit_costs_one_entry() {
    const N: usize = 64;
    let bench = Bench::with(N);
    let path = bench.file_of(0);
    let mates = bench.mates(0, N);
    let good = fs::read(&path).unwrap();
    assert_eq!(good.len(), mates.len() * RECORD);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        write(&path, &bad);
        let shelf = bench.shelf();
        let lost = mates[at / RECORD];
        let expected: Vec<usize> = all(N).into_iter().filter(|i| *i != lost).collect();
        assert_eq!(present(&shelf, N), expected, "byte {at}");
        assert_eq!(put(&shelf, &all(N)).unwrap(), 1, "byte {at}");
        assert_eq!(present(&shelf, N), all(N), "byte {at}");
        assert_eq!(present(&bench.shelf(), N), all(N), "byte {at}");
        // The damaged record goes with the next collection.
        let collected = shelf.collect(&|_| true).unwrap();
        assert_eq!((collected.kept, collected.removed), (N as u64, 1), "byte {at}");
        assert_eq!(present(&shelf, N), all(N), "byte {at}");
    }
}

/// A bit flipped while the file is open.
#[test]
fn damage_under_a_running_process_is_a_miss() {
    let bench = Bench::with(40);
    let shelf = bench.shelf();
    assert_eq!(present(&shelf, 40), all(40));
    let path = bench.file_of(0);
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    io::Write::write_all(&mut file, &[0xff; 50]).unwrap();
    assert_eq!(present(&shelf, 40), all(40)[1..]);
    assert_eq!(shelf.stats().damaged, 1);
    put(&shelf, &[0]).unwrap();
    assert_eq!(present(&shelf, 40), all(40));
}

#[test]
fn a_file_cut_anywhere_keeps_what_is_before() {
    const N: usize = 64;
    let bench = Bench::with(N);
    let path = bench.file_of(0);
    let mates = bench.mates(0, N);
    let good = fs::read(&path).unwrap();
    for length in 0..=good.len() {
        write(&path, &good[..length]);
        let whole = length / RECORD;
        let shelf = bench.shelf();
        let expected: Vec<usize> = all(N).into_iter().filter(|i| !mates[whole..].contains(i)).collect();
        assert_eq!(present(&shelf, N), expected, "{length}");
        assert_eq!(put(&shelf, &all(N)).unwrap(), mates.len() - whole);
        assert_eq!(fs::metadata(&path).unwrap().len(), good.len() as u64);
        assert_eq!(present(&bench.shelf(), N), all(N), "{length}");
    }
    // The same under a running process.
    for length in [0, 1, RECORD, RECORD + 7, good.len() - 1] {
        write(&path, &good);
        let shelf = bench.shelf();
        assert_eq!(present(&shelf, N), all(N));
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
        put(&shelf, &all(N)).unwrap();
        put(&shelf, &all(N)).unwrap();
        assert!(present(&shelf, N).len() >= N - mates.len());
        put(&shelf, &all(N)).unwrap();
        assert_eq!(present(&shelf, N), all(N), "{length}");
        assert_eq!(present(&bench.shelf(), N), all(N), "{length}");
    }
}

#[test]
fn what_is_deleted_is_made_again() {
    let bench = Bench::with(40);
    let shelf = bench.shelf();
    assert_eq!(present(&shelf, 40), all(40));
    fs::remove_file(bench.file_of(0)).unwrap();
    let others: Vec<usize> = all(40).into_iter().filter(|i| !bench.mates(0, 40).contains(i)).collect();
    assert_eq!(present(&bench.shelf(), 40), others);
    put(&shelf, &all(40)).unwrap();
    assert_eq!(present(&bench.shelf(), 40), all(40));
    fs::remove_dir_all(shelf.dir()).unwrap();
    assert_eq!(put(&shelf, &all(40)).unwrap(), 40);
    assert_eq!(present(&bench.shelf(), 40), all(40));
}

#[test]
fn strange_things_in_a_files_place_are_misses() {
    let bench = Bench::with(40);
    let others: Vec<usize> = all(40).into_iter().filter(|i| !bench.mates(0, 40).contains(i)).collect();
    let path = bench.file_of(0);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let shelf = bench.shelf();
    assert_eq!(present(&shelf, 40), others);
    assert!(shelf.stats().unreadable > 0);
    assert_eq!(put(&shelf, &all(40)).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(present(&shelf, 40), others);
    fs::remove_dir(&path).unwrap();
    for content in [&b"# not a cache\n"[..], &[0; 1000], &[0xff; 5 * RECORD], b""] {
        write(&path, content);
        let shelf = bench.shelf();
        assert_eq!(present(&shelf, 40), others);
        put(&shelf, &all(40)).unwrap();
        assert_eq!(present(&bench.shelf(), 40), all(40));
    }
}

/// Damage of all kinds in random order: never a wrong vector, and one round of putting mends everything.
#[test]
fn survives_random_damage() {
    const N: usize = 50;
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let bench = Bench::with(N);
        let shelf = bench.shelf();
        if random.bool() {
            present(&shelf, N);
        }
        for _ in 0..random.usize(1..4) {
            let path = bench.file_of(random.usize(0..N));
            let Ok(mut bytes) = fs::read(&path) else { continue };
            let span = |random: &mut fastrand::Rng, bytes: &[u8]| {
                let start = random.usize(0..=bytes.len());
                start..bytes.len().min(start + random.usize(0..2 * RECORD))
            };
            match random.u8(0..6) {
                0 => bytes[span(&mut random, &fs::read(&path).unwrap())].fill(0),
                1 => span(&mut random, &bytes.clone()).for_each(|at| bytes[at] = random.u8(..)),
                2 => bytes.truncate(random.usize(0..=bytes.len())),
                3 => bytes.extend((0..random.usize(0..3 * RECORD)).map(|n| (n * 37) as u8)),
                4 => {
                    let range = span(&mut random, &bytes);
                    bytes.drain(range);
                }
                _ => {
                    fs::remove_file(&path).unwrap();
                    continue;
                }
            }
            write(&path, &bytes);
        }
        for shelf in [shelf, bench.shelf()] {
            present(&shelf, N);
            // A file cut under a running process shows its losses when it is read.
            for _ in 0..2 {
                let there = present(&shelf, N);
                put(&shelf, &all(N).into_iter().filter(|i| !there.contains(i)).collect::<Vec<_>>()).unwrap();
            }
            assert_eq!(present(&shelf, N), all(N), "seed {seed}");
        }
        let shelf = bench.shelf();
        shelf.collect(&|_| true).unwrap();
        assert_eq!(present(&shelf, N), all(N), "seed {seed}");
        assert_eq!(shelf.stats().size_bytes, (N * RECORD) as u64, "seed {seed}");
    }
}

#[test]
fn collecting_keeps_what_is_live() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let n = random.usize(0..200);
        let bench = Bench::with(n);
        let shelf = bench.shelf();
        let live: Vec<usize> = all(n).into_iter().filter(|_| random.u64(0..60) < seed).collect();
        let keys: HashSet<Digest32> = live.iter().map(|&i| key(i)).collect();
        let before = shelf.stats().size_bytes;
        let collected = shelf.collect(&|key| keys.contains(key)).unwrap();
        assert_eq!(collected.kept, live.len() as u64);
        assert_eq!(collected.removed, (n - live.len()) as u64);
        assert_eq!(collected.bytes, collected.removed * RECORD as u64);
        assert_eq!(shelf.stats().size_bytes, before - collected.bytes);
        assert_eq!(present(&shelf, n), live);
        assert_eq!(present(&bench.shelf(), n), live);
        put(&shelf, &all(n)).unwrap();
        assert_eq!(present(&bench.shelf(), n), all(n));
        assert_eq!(shelf.collect(&|_| true).unwrap().removed, 0);
    }
}

#[test]
fn what_is_used_during_a_collection_stays() {
    let bench = Bench::with(30);
    let shelf = bench.shelf();
    shelf.begin_collect();
    put(&shelf, &[40]).unwrap();
    assert_eq!(shelf.get_many(&[key(7)]), [Some(vector(7))]);
    shelf.collect(&|_| false).unwrap();
    assert_eq!(present(&shelf, 50), [7, 40]);
    // It is remembered for one collection only.
    shelf.collect(&|_| false).unwrap();
    assert!(present(&shelf, 50).is_empty());
}

/// A process that ends on the way, or a disk that fails: every live entry is still there, and the next round finishes.
#[test]
fn an_interrupted_collection_loses_nothing() {
    let is_live = |i: &usize| i.is_multiple_of(3);
    let live: Vec<usize> = all(200).into_iter().filter(is_live).collect();
    let keys: HashSet<Digest32> = live.iter().map(|&i| key(i)).collect();
    for point in ["cache.collect.move", "cache.collect.cut"] {
        let bench = Bench::with(200);
        bench.world.arm(Some((point, EIO)));
        let shelf = bench.shelf();
        assert_eq!(shelf.collect(&|key| keys.contains(key)).unwrap_err().kind(), ErrorKind::Unavailable);
        bench.world.arm(None);
        for shelf in [shelf, bench.shelf()] {
            let there = present(&shelf, 200);
            assert!(live.iter().all(|i| there.contains(i)), "{point}");
        }
        let shelf = bench.shelf();
        assert_eq!(shelf.collect(&|key| keys.contains(key)).unwrap().kept, live.len() as u64);
        assert_eq!(present(&shelf, 200), live);
        assert_eq!(shelf.stats().entries, live.len() as u64);
    }
}

#[test]
fn readers_and_collections_get_along() {
    let bench = Bench::with(300);
    let shelf = bench.shelf();
    let is_live = |i: &usize| i % 2 == 1;
    let live: Vec<usize> = all(300).into_iter().filter(is_live).collect();
    let keys: HashSet<Digest32> = live.iter().map(|&i| key(i)).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20 {
                shelf.collect(&|key| keys.contains(key)).unwrap();
                put(&shelf, &all(300)).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let there = present(&shelf, 300);
                assert!(live.iter().all(|i| there.contains(i)));
            }
        });
    });
    assert_eq!(shelf.stats().damaged, 0);
}

#[test]
fn a_full_disk_is_told_and_passes() {
    let bench = Bench::with(20);
    let shelf = bench.shelf();
    for point in ["cache.append", "cache.create"] {
        bench.world.arm(Some((point, ENOSPC)));
        let shelf = if point == "cache.create" {
            Cache::open(bench.dir.path().join("other"), bench.world.clone()).shelf(&model())
        } else {
            Arc::clone(&shelf)
        };
        let before = present(&shelf, 40);
        assert_eq!(put(&shelf, &all(40)).unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(present(&shelf, 40), before);
        bench.world.arm(None);
        put(&shelf, &all(40)).unwrap();
        assert_eq!(present(&shelf, 40), all(40));
    }
}
