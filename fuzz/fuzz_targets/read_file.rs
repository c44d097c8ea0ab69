//! Any bytes in any place: no panic, bounded findings, and memories only where entries are.

#![no_main]

use evermark_core::markdown::read_file;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;

const PATHS: [&str; 8] = [
    "a/b/users/u/episodes/episode-2027-02-03.md",
    "a/b/users/u/.atomic_facts/atomic_fact-2027-02-03.md",
    "a/b/users/u/.foresights/foresight-2027-02-03.md",
    "a/b/agents/g/.cases/agent_case-2027-02-03.md",
    "a/b/users/u/user.md",
    "a/b/agents/g/skills/skill_x/SKILL.md",
    "a/b/knowledge/c/d_0/index.md",
    "a/b/knowledge/c/d_0/1_x.md",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let path = PATHS[usize::from(*kind) % PATHS.len()];
    let reading = read_file(path, bytes, &TimeZone::UTC, &[]);
    assert!(reading.findings.len() <= 1001);
    let daily = usize::from(*kind) % PATHS.len() < 4;
    assert!(reading.memories.len() <= if daily { reading.entry_count } else { 1 });
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    for finding in &reading.findings {
        assert!(finding.path == path && !finding.message.is_empty());
        assert!(finding.line.is_none_or(|line| (1..=lines).contains(&line)), "{finding:?}");
    }
    let mut ids: Vec<&str> = reading.memories.iter().map(|memory| memory.id.as_str()).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
});
