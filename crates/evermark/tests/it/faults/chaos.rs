//! Everything at once, from a seed.

use super::kit::corpus::{hits, owner, paths, save, tell, words, write_day};
use super::kit::sampler::{Bound, Sampler, descriptors};
use super::kit::shim::Shim;
use super::kit::{limit_descriptors, or_skip, reasons, rounds, stub_home, well_again, whole};
use crate::kit::Daemon;
use evermark_sim::stub_embeddings::{Answer, StubEmbeddings};
use std::time::{Duration, Instant};

const USER: &str = "ana";

/// A minute of everything at once, from one seed; longer with `EVERMARK_TEST_EFFORT`.
#[test]
fn random_faults_from_all_groups_end_in_the_same_memories() {
    let stub = StubEmbeddings::start(32);
    let home = stub_home(&stub);
    let shim = or_skip!(Shim::new(home.path()));
    let seed = std::env::var("EVERMARK_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7_u64);
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let all = words("chaos", 120);
    for day in 0..12_i64 {
        write_day(&home, USER, day, &all[day as usize * 10..][..10]);
    }
    let mut daemon = Daemon::start(&home, &shim.env());
    well_again(&daemon);
    let sampler = Sampler::start(&home.root(), None, None, Bound { k: 0.0, c: 96 << 20 });
    let started = Instant::now();
    let mut told = Vec::new();
    let mut done = std::collections::BTreeMap::<&str, u32>::new();
    let seconds = 30 * rounds(1) as u64;
    let mut step = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        step += 1;
        let rules = [
            "write memories.lance 1 0 ENOSPC",
            "write ledger.db 1 0 ENOSPC",
            "open memories.lance 1 0 EMFILE",
            "read memories.lance 1 3 EIO",
            "write memories.lance 1 0 short",
            "sync memories.lance 1 0 EIO",
            "rename memories.lance 1 0 EIO",
            "sync ledger.db 1 0 delay=200",
            "clock 31536000",
            "clock -31536000",
            "unlink memories.lance 1 0 EACCES",
            "list memories.lance 1 0 EIO",
        ];
        let what = match random(8) {
            0..=3 => {
                let rule = rules[usize::try_from(random(rules.len() as u64)).expect("small")];
                shim.rules(&[rule]);
                rule
            }
            4 => {
                daemon.kill();
                shim.lift();
                daemon = Daemon::start(&home, &shim.env());
                "kill -9"
            }
            5 => {
                limit_descriptors(daemon.pid(), descriptors(daemon.pid()) as u64 + random(4)).ok();
                "no descriptors"
            }
            6 => {
                stub.always(Some(Answer::status(503, "down")));
                "provider down"
            }
            _ => "no fault",
        };
        *done.entry(what).or_default() += 1;
        for _ in 0..4 {
            let day = i64::try_from(random(12)).expect("small");
            for path in paths(&owner(USER), day) {
                let path = home.root().join(path);
                let text = std::fs::read_to_string(&path).expect("a file");
                let (from, to) = if random(2) == 0 { ("word of", "very word of") } else { ("very word of", "word of") };
                save(&path, &text.replace(from, to));
            }
            let word = format!("toldq{}q", words("x", step + 1)[step]);
            if tell(&daemon, USER, &format!("s-{word}"), &word) == [Some(200), Some(200)] && told.last() != Some(&word)
            {
                told.push(word);
            }
            std::thread::park_timeout(Duration::from_millis(random(150)));
        }
        limit_descriptors(daemon.pid(), 4096).expect("our own process");
        shim.lift();
        stub.always(None);
    }
    println!("seed {seed}: {done:?}, {} words acknowledged", told.len());
    let markdown = home.markdown();
    whole(&home, &daemon, USER, &[&all[..5], &all[110..]].concat(), Some(&markdown));
    for word in &told {
        let said = format!("is {word}.");
        let facts = markdown.iter().filter(|(path, _)| path.contains(".atomic_facts"));
        let places: Vec<(&String, usize)> = facts.map(|(path, text)| (path, text.matches(&said).count())).collect();
        let n: usize = places.iter().map(|(_, n)| n).sum();
        let where_it_is: Vec<_> = places.iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(n, 1, "{word} was acknowledged; it is in {where_it_is:?}");
        assert_eq!(hits(&daemon.url, USER, word), Some(1), "{word}");
    }
    println!("{:?}, reasons at the end {:?}", sampler.finish(), reasons(&daemon));
    daemon.stop();
}
