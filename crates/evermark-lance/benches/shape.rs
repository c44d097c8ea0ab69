//! Measurements behind decisions 0003 and 0004. Run: `cargo bench --profile dev --workspace --bench shape -- [rows]`.
//!
//! Raw Lance on the left, what this crate does on the right, same rows, same machine, same build.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement reads the clock and prints what it found"
)]

use arrow_array::{RecordBatch, RecordBatchIterator};
use evermark_core::filter::Filter;
use evermark_core::id::{Kind, Owner, Scope};
use evermark_core::index::{Ask, Index, Indexable};
use evermark_core::memory::{Body, Memory};
use evermark_core::world::RealWorld;
use evermark_lance::{LanceIndex, Options};
use lance::Dataset;
use lance::dataset::{MergeInsertBuilder, WhenMatched, WhenNotMatched, WriteMode, WriteParams};
use std::sync::Arc;
use std::time::Instant;

const OWNERS: usize = 10;
const WIDTH: usize = 256;

fn main() {
    let n: usize = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(120_000);
    let dir = tempfile::tempdir().expect("a scratch directory");
    for variable in evermark_lance::environment(2, 1024, dir.path()) {
        println!("{}={}", variable.name, variable.value);
    }
    let mut random = fastrand::Rng::with_seed(7);
    let kept = std::env::args().skip_while(|argument| argument != "--dir").nth(1).map(std::path::PathBuf::from);
    let generation = kept.unwrap_or_else(|| dir.path().join("gen"));
    let only = std::env::args().skip_while(|argument| argument != "--only").nth(1).unwrap_or_default();
    if only.is_empty() || only == "write" {
        write(&generation, n, &mut random);
    }
    if only.is_empty() || only == "read" {
        read(&generation, &mut random);
    }
    if only.is_empty() || only == "change" {
        change(&generation, n, &mut random);
    }
    if only.is_empty() || only == "kinds" {
        kinds(dir.path(), &mut random);
    }
    if only.is_empty() || only == "merge" {
        merge(dir.path(), n, &mut random);
    }
}

fn time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = work();
    println!("{what:<60} {:>10.2} ms   rss {:>5} MB", start.elapsed().as_secs_f64() * 1e3, rss_mb());
    out
}

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn owner(at: usize) -> Owner {
    Owner::user(Scope::default(), format!("user_{at:03}"))
}

/// Five facts to an episode, owners interleaved as days of conversations would be.
fn row(at: usize, random: &mut fastrand::Rng) -> Indexable {
    let owner = owner(at / 12 % OWNERS);
    let words = |n: usize, random: &mut fastrand::Rng| {
        (0..n).map(|_| format!("w{}", (random.f64().powi(3) * 20_000.0) as u32)).collect::<Vec<_>>().join(" ")
    };
    let (text, body) = if at % 6 == 5 {
        let text = words(60, random);
        (
            text.clone(),
            Body::Episode { subject: Some(words(5, random)), summary: Some(words(12, random)), content: text },
        )
    } else {
        let text = words(14, random);
        (text.clone(), Body::AtomicFact { fact: text, context: None })
    };
    let entry_id = format!("{}_20260101_{at:08}", if at % 6 == 5 { "ep" } else { "af" });
    Indexable {
        memory: Memory {
            id: format!("{}_{entry_id}", owner.id),
            path: format!(
                "default_app/default_project/users/{}/.atomic_facts/atomic_fact-2026-01-{:02}.md",
                owner.id,
                at % 28 + 1
            ),
            owner,
            entry_id,
            session_id: Some(format!("session_{}", at / 100)),
            timestamp_us: Some(1_767_225_600_000_000 + at as i64 * 1_000_000),
            parent_type: Some("episode".to_owned()),
            parent_id: Some(format!("ep_{}", at / 6)),
            sender_ids: vec!["user_000".to_owned(), "assistant".to_owned()],
            message_ids: vec![format!("m_{at}")],
            deprecated_by: None,
            body,
        },
        tokens: text,
        vector: Some((0..WIDTH).map(|_| random.f32() - 0.5).collect()),
    }
}

fn ask<'a>(owner: &'a Owner, filter: &'a Filter) -> Ask<'a> {
    Ask { owner, kind: Kind::AtomicFact, filter, parents: None, ids: None, deprecated: false, limit: 10 }
}

fn open(dir: &std::path::Path) -> LanceIndex {
    let options = Options { dimension: Some(WIDTH), ..Options::default() };
    LanceIndex::open(dir, options, Arc::new(RealWorld::new())).expect("an index")
}

fn write(dir: &std::path::Path, n: usize, random: &mut fastrand::Rng) {
    let index = time("open empty", || open(dir));
    let mut at = 0;
    let start = Instant::now();
    let mut writing = 0.0;
    while at < n {
        let rows: Vec<Indexable> = (at..n.min(at + 4096)).map(|at| row(at, random)).collect();
        at += rows.len();
        let begun = Instant::now();
        index.upsert(rows.clone()).expect("upsert");
        index.flush().expect("flush");
        index.upkeep().expect("upkeep");
        writing += begun.elapsed().as_secs_f64();
    }
    println!(
        "bulk: {n} rows in {writing:.2} s = {:.0} rows/s (with making rows {:.2} s)",
        n as f64 / writing,
        start.elapsed().as_secs_f64()
    );
    println!("{:?}", index.info().expect("info"));
}

fn read(dir: &std::path::Path, random: &mut fastrand::Rng) {
    let index = time("open", || open(dir));
    time("info (reads the directory)", || index.info().expect("info"));
    time("info again", || index.info().expect("info"));

    let ids: Vec<String> = (0..12).map(|i| row(i * 12 * OWNERS, random).memory.id).collect();
    let fetch = |index: &LanceIndex| index.fetch(&owner(0), Kind::AtomicFact, &ids).expect("fetch").len();
    time("fetch 10 cold", || fetch(&index));
    for _ in 0..3 {
        time("fetch 10 warm", || fetch(&index));
    }
    let filter = Filter::default();
    let query = vec!["w7".to_owned(), "w900".to_owned(), "w15000".to_owned()];
    let vector: Vec<f32> = (0..WIDTH).map(|_| random.f32() - 0.5).collect();
    for at in 0..3 {
        let owner = owner(at);
        time("first keyword search of an owner (loads it)", || {
            index.matching(&ask(&owner, &filter), &query).expect("matching")
        });
        time("keyword, warm", || index.matching(&ask(&owner, &filter), &query).expect("matching"));
        time("nearest, warm", || index.nearest(&ask(&owner, &filter), &vector).expect("nearest"));
    }
    println!("{:?}", index.info().expect("info"));
}

fn change(dir: &std::path::Path, n: usize, random: &mut fastrand::Rng) {
    let index = open(dir);
    for n_rows in [1, 1, 1, 64, 64, 1000] {
        let rows: Vec<Indexable> = (0..n_rows).map(|i| row(n + 10_000_000 + i, random)).collect();
        index.upsert(rows.clone()).expect("upsert");
        time(&format!("flush {n_rows} new"), || index.flush().expect("flush"));
        let rows: Vec<Indexable> = (0..n_rows).map(|_| row(random.usize(..n), random)).collect();
        index.upsert(rows.clone()).expect("upsert");
        time(&format!("flush {n_rows} replaced"), || index.flush().expect("flush"));
    }
    time("upkeep", || index.upkeep().expect("upkeep"));
    time("upkeep idle", || index.upkeep().expect("upkeep"));
    println!("{:?}", index.info().expect("info"));
}

/// One table for all kinds, or one each: a mixed batch of 60 rows, 20 times, three kinds.
fn kinds(dir: &std::path::Path, random: &mut fastrand::Rng) {
    let tables: Vec<LanceIndex> = (0..4).map(|at| open(&dir.join(format!("kind-{at}")))).collect();
    let batches: Vec<Vec<Indexable>> =
        (0..20).map(|batch| (0..60).map(|at| row(batch * 60 + at, random)).collect()).collect();
    for _ in 0..3 {
        time("20 mixed flushes into one table", || {
            for batch in &batches {
                tables[3].upsert(batch.clone()).expect("upsert");
                tables[3].flush().expect("flush");
            }
        });
        time("20 mixed flushes into three tables", || {
            for batch in &batches {
                for (table, part) in tables.iter().zip(batch.chunks(20)) {
                    table.upsert(part.to_vec()).expect("upsert");
                    table.flush().expect("flush");
                }
            }
        });
    }
}

/// What Lance's own upsert costs on a table of the same rows.
fn merge(dir: &std::path::Path, n: usize, random: &mut fastrand::Rng) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let uri = dir.join("merge.lance").to_string_lossy().into_owned();
    let batches: Vec<RecordBatch> = (0..n.div_ceil(4096))
        .map(|chunk| {
            let rows: Vec<Indexable> = (chunk * 4096..n.min((chunk + 1) * 4096)).map(|at| row(at, random)).collect();
            evermark_lance::encode(&rows, Some(WIDTH)).expect("a batch")
        })
        .collect();
    let schema = batches[0].schema();
    let reader = RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
    let params = WriteParams { mode: WriteMode::Create, ..WriteParams::default() };
    let dataset = time(&format!("lance: write {n} rows"), || {
        runtime.block_on(Dataset::write(reader, uri.as_str(), Some(params))).expect("write")
    });
    let mut dataset = Arc::new(dataset);
    for n_rows in [1, 1, 1, 64, 64, 1000] {
        let rows: Vec<Indexable> = (0..n_rows).map(|at| row(at * 7919 % n, random)).collect();
        let batch = evermark_lance::encode(&rows, Some(WIDTH)).expect("a batch");
        dataset = time(&format!("lance: merge_insert {n_rows} replaced"), || {
            let schema = batch.schema();
            let reader = Box::new(RecordBatchIterator::new([Ok(batch)], schema));
            let mut builder =
                MergeInsertBuilder::try_new(Arc::clone(&dataset), vec!["key".to_owned()]).expect("builder");
            builder.when_matched(WhenMatched::UpdateAll).when_not_matched(WhenNotMatched::InsertAll);
            let job = builder.try_build().expect("job");
            runtime.block_on(job.execute_reader(reader)).expect("merge").0
        });
    }
    let key = 1_u64;
    time("lance: filtered scan by owner_key", || {
        let mut scan = dataset.scan();
        scan.filter(&format!("owner_key = {key}")).expect("filter");
        runtime.block_on(scan.try_into_batch()).expect("scan").num_rows()
    });
}
