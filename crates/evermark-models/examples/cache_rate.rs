//! Measures the embedding cache: `cargo run -p evermark-models --example cache_rate [entries] [dimension]`.
#![expect(clippy::print_stdout, reason = "a measurement is for people")]

use evermark_core::embed::ModelId;
use evermark_core::memory::Digest32;
use evermark_core::world::{RealWorld, World};
use evermark_models::cache::Cache;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let entries = numbers.first().copied().unwrap_or(100_000);
    let dimension = numbers.get(1).copied().unwrap_or(384);
    let world = Arc::new(RealWorld::new());
    let dir = tempfile::tempdir_in(".")?;
    let model = ModelId { name: "measured".to_owned(), dimension };
    let keys: Vec<Digest32> = (0..entries).map(|i| Digest32::of(&i.to_le_bytes())).collect();
    let vector: Vec<f32> = (0..dimension).map(|i| i as f32).collect();

    let step = |what: &str, work: &mut dyn FnMut()| {
        let start = world.monotonic();
        work();
        let took = world.monotonic() - start;
        println!("{what:<44} {:>8.1} ms {:>10.0}/s", took.as_secs_f64() * 1e3, entries as f64 / took.as_secs_f64());
    };
    let shelf = Cache::open(dir.path(), world.clone()).shelf(&model);
    step("put, 64 a call", &mut || {
        for keys in keys.chunks(64) {
            let entries: Vec<_> = keys.iter().map(|key| (*key, vector.as_slice())).collect();
            shelf.put_many(&entries).expect("the disk takes it");
        }
        shelf.sync().expect("the disk takes it");
    });
    let get = |shelf: &evermark_models::cache::Shelf, size: usize| {
        for keys in keys.chunks(size) {
            assert!(shelf.get_many(keys).iter().all(Option::is_some));
        }
    };
    step("get, 512 a call, opened before", &mut || get(&shelf, 512));
    step("get, 1 a call, opened before", &mut || get(&shelf, 1));
    let shelf = Cache::open(dir.path(), world.clone()).shelf(&model);
    step("first get of 64 (reads every file)", &mut || drop(shelf.get_many(&keys[..64])));
    step("get, 512 a call, after that", &mut || get(&shelf, 512));
    let live: std::collections::HashSet<_> = keys.iter().step_by(2).copied().collect();
    step("collect, half is live", &mut || println!("{:?}", shelf.collect(&|key| live.contains(key))));
    println!("{:?}", shelf.stats());
    Ok(())
}
