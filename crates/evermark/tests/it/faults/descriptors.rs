//! Descriptors, processors and memory: few of them, or none left.

use super::kit::corpus::{day_files, hits, owner, save, tell, words, write_day};
use super::kit::mount::tool;
use super::kit::sampler::descriptors;
use super::kit::shim::Shim;
use super::kit::{
    SOON, descriptor_limit, health, limit_descriptors, names_fault, or_skip, quick_home, serve_under, well_again,
    whole, within,
};
use crate::kit::{Daemon, Home};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const USER: &str = "ana";

/// A day's work: files, messages, searches side by side, a rebuild, and the oracle.
fn a_days_work(home: &Home, daemon: &Daemon, prefix: &str) {
    let all = words(prefix, 130);
    for day in 0..4_i64 {
        write_day(home, USER, day, &all[day as usize * 30..][..30]);
    }
    for i in 0..4 {
        assert_eq!(tell(daemon, USER, &format!("s{i}"), &all[120 + i]), [Some(200), Some(200)]);
    }
    well_again(daemon);
    std::thread::scope(|scope| {
        for part in all[..120].chunks(20) {
            scope.spawn(move || {
                for word in part {
                    assert_eq!(hits(&daemon.url, USER, word), Some(1), "{word}");
                }
            });
        }
    });
    home.run(&["index", "rebuild"]).ok();
    whole(home, daemon, USER, &[&all[..3], &all[120..124]].concat(), None);
}

#[test]
fn few_descriptors_are_enough_for_everything() {
    for limit in [64, 128, 256] {
        let home = quick_home();
        let wish = format!("--nofile={limit}:{limit}");
        or_skip!(tool("prlimit", &[&wish, "true"]));
        let daemon = serve_under(&home, &["prlimit", &wish], &[]);
        assert_eq!(descriptor_limit(daemon.pid()), limit);
        a_days_work(&home, &daemon, "few");
        daemon.stop();
    }
}

#[test]
fn the_soft_limit_is_raised_and_told() {
    let home = quick_home();
    or_skip!(tool("prlimit", &["--nofile=200:900", "true"]));
    let daemon = serve_under(&home, &["prlimit", "--nofile=200:900"], &[]);
    assert_eq!(descriptor_limit(daemon.pid()), 900);
    within(SOON, "both limits are logged", || {
        let log = daemon.log();
        log.contains("200") && log.contains("900")
    });
    daemon.stop();
}

#[test]
fn running_out_of_descriptors_fails_nothing_for_good_and_forgets_no_file() {
    let home = quick_home();
    let all = words("emfile", 60);
    write_day(&home, USER, 0, &all[..20]);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    or_skip!(limit_descriptors(daemon.pid(), 4096));
    let started = Instant::now();
    let mut round = 0;
    while started.elapsed() < Duration::from_secs(6) {
        // Now none at all, now a handful: every open in turn is the one that fails.
        let left = round % 4;
        limit_descriptors(daemon.pid(), descriptors(daemon.pid()) as u64 + left).expect("our own process");
        let day = i64::try_from(1 + round % 2).expect("small");
        write_day(&home, USER, day, &all[20 * day as usize..][..20]);
        std::thread::park_timeout(Duration::from_millis(300));
        round += 1;
    }
    limit_descriptors(daemon.pid(), 4096).expect("our own process");
    let markdown = home.markdown();
    whole(&home, &daemon, USER, &[&all[..3], &all[20..23], &all[57..]].concat(), Some(&markdown));
    assert_eq!(tell(&daemon, USER, "s", &words("after", 1)[0]), [Some(200), Some(200)]);
    daemon.stop();
}

#[test]
fn every_third_open_that_fails_is_tried_again() {
    let home = quick_home();
    let shim = or_skip!(Shim::new(home.path()));
    let all = words("third", 60);
    write_day(&home, USER, 0, &all[..20]);
    let daemon = Daemon::start(&home, &shim.env());
    whole(&home, &daemon, USER, &all[..2], None);
    // Every open below the index fails for a while, then each for itself.
    shim.rules(&["open memories.lance 1 0 EMFILE"]);
    write_day(&home, USER, 1, &all[20..40]);
    names_fault(&daemon, &["task_failing", "files_failing", "index_writes_failing"]);
    for nth in (1..30).step_by(3) {
        let rule = format!("open memories.lance {nth} {nth} EMFILE");
        shim.rules(&[&rule]);
        write_day(&home, USER, 2, &all[40 - nth % 3..60]);
        std::thread::park_timeout(Duration::from_millis(120));
    }
    shim.lift();
    write_day(&home, USER, 2, &all[40..]);
    whole(&home, &daemon, USER, &[&all[..3], &all[20..23], &all[57..]].concat(), None);
    daemon.stop();
}

#[test]
fn one_processor_is_enough_for_everything() {
    let home = quick_home();
    or_skip!(tool("taskset", &["-c", "0", "true"]));
    let daemon = serve_under(&home, &["taskset", "-c", "0"], &[]);
    a_days_work(&home, &daemon, "one");
    daemon.stop();
}

/// A group of processes with a limit of memory; removed when dropped, once they are gone.
struct Group(PathBuf);

impl Group {
    fn new(name: &str, bytes: u64) -> Result<Self, String> {
        let root = Path::new("/sys/fs/cgroup/memory");
        if !root.join("memory.limit_in_bytes").exists() {
            return Err("no memory controller at /sys/fs/cgroup/memory".to_owned());
        }
        let dir = root.join(format!("evermark-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|error| error.to_string())?;
        let group = Self(dir);
        group.limit(bytes)?;
        Ok(group)
    }

    fn limit(&self, bytes: u64) -> Result<(), String> {
        std::fs::write(self.0.join("memory.limit_in_bytes"), bytes.to_string()).map_err(|error| error.to_string())
    }

    fn peak(&self) -> u64 {
        let text = std::fs::read_to_string(self.0.join("memory.max_usage_in_bytes")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Returns a wrapper that starts a program in the group.
    fn wrapper(&self) -> [String; 4] {
        let enter = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", self.0.display());
        ["sh".to_owned(), "-c".to_owned(), enter, "sh".to_owned()]
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel lets go of a process a moment after its end.
        for _ in 0..200 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        eprintln!("{} stays", self.0.display());
    }
}

/// Twenty entries of a megabyte each, a file for each.
fn wide_days(home: &Home, all: &[String], from: i64) {
    for (word, day) in all.iter().zip(from..) {
        // Words repeat: what is to be large is the text, not its dictionary.
        let padding = format!("{word} and so on. ").repeat((1 << 20) / (word.len() + 12));
        for (path, text) in day_files(&owner(USER), day, std::slice::from_ref(word), &padding) {
            save(&home.root().join(path), &text);
        }
    }
}

#[test]
fn wide_rows_are_merged_in_little_memory() {
    let home = quick_home();
    let group = or_skip!(Group::new("wide", 600 << 20));
    let wrapper = group.wrapper();
    let all = words("wide", 40);
    let daemon = serve_under(&home, &wrapper.each_ref().map(String::as_str), &[("EVERMARK_SYNC__FILES_PER_TICK", "4")]);
    wide_days(&home, &all[..20], 0);
    well_again(&daemon);
    wide_days(&home, &all[20..], 20);
    whole(&home, &daemon, USER, &[&all[..2], &all[38..]].concat(), None);
    println!("peak {} MiB", group.peak() >> 20);
    daemon.stop();
}

#[test]
fn a_process_killed_for_its_memory_is_followed_by_one_that_finishes() {
    let home = quick_home();
    let group = or_skip!(Group::new("oom", 8 << 30));
    let wrapper = group.wrapper();
    let all = words("oom", 40);
    wide_days(&home, &all[..10], 0);
    let daemon = serve_under(&home, &wrapper.each_ref().map(String::as_str), &[]);
    well_again(&daemon);
    // From here on it has no more than it takes now.
    let usage = std::fs::read_to_string(group.0.join("memory.usage_in_bytes")).expect("the group's usage");
    or_skip!(group.limit(usage.trim().parse::<u64>().expect("bytes") + (1 << 20)));
    wide_days(&home, &all[10..], 10);
    let killed = AtomicBool::new(false);
    let pid = daemon.pid();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The kernel may also starve it for ever instead: then it is ended the same way.
            for _ in 0..600 {
                if killed.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
            tool("kill", &["-9", &pid.to_string()]).ok();
        });
        let status = daemon.wait();
        killed.store(true, Ordering::SeqCst);
        assert_eq!(status.code(), None, "a signal ended it");
    });
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &[&all[..2], &all[38..]].concat(), None);
    daemon.stop();
}

#[test]
fn searches_stay_quick_while_the_index_is_written_and_merged() {
    let home = quick_home();
    let all = words("storm", 600);
    for day in 0..6_i64 {
        write_day(&home, USER, day, &all[day as usize * 100..][..100]);
    }
    let daemon = Daemon::start(&home, &[]);
    well_again(&daemon);
    let stop = AtomicBool::new(false);
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let searchers: Vec<_> = (0..4)
            .map(|part| {
                let (stop, all, url) = (&stop, &all, &daemon.url);
                scope.spawn(move || {
                    let mut times = Vec::new();
                    let mut i = part * 150;
                    while !stop.load(Ordering::SeqCst) {
                        let asked = Instant::now();
                        assert_eq!(hits(url, USER, &all[i % 600]), Some(1), "{}", all[i % 600]);
                        times.push(asked.elapsed());
                        i += 1;
                    }
                    times
                })
            })
            .collect();
        let started = Instant::now();
        let mut extra = words("more", 4000).into_iter();
        let mut day = 100;
        while started.elapsed() < Duration::from_secs(8) {
            write_day(&home, USER, day, &extra.by_ref().take(20).collect::<Vec<_>>());
            day += 1;
            std::thread::park_timeout(Duration::from_millis(50));
        }
        stop.store(true, Ordering::SeqCst);
        searchers.into_iter().flat_map(|searcher| searcher.join().expect("every search found its word")).collect()
    });
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100];
    println!("{} searches: median {:?}, 95 % within {:?}, 99 % within {:?}", times.len(), at(50), at(95), at(99));
    assert!(times.len() > 100);
    // Four clients and the writer share the processors with whatever else runs; without waiting for the writer it is a
    // matter of milliseconds, and with it of seconds.
    assert!(at(95) < Duration::from_millis(1500), "95 % within {:?}", at(95));
    let fragments = health(&daemon)["evermark"]["index"]["fragments"].as_u64();
    well_again(&daemon);
    assert!(fragments.is_some_and(|n| n < 100), "it was merged meanwhile: {fragments:?} pieces");
    daemon.stop();
}
