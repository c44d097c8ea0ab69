use super::*;
use evermark_core::id::Kind;
use std::collections::BTreeSet;

#[test]
fn the_same_seed_makes_the_same_lives() {
    let spec = Spec::of_facts(3, 300, 3);
    let first: Vec<Memory> = memories(&spec).collect();
    assert_eq!(first, memories(&spec).collect::<Vec<_>>());
    assert_ne!(first, memories(&Spec { seed: 4, ..spec }).collect::<Vec<_>>());
    let facts = first.iter().filter(|memory| memory.kind() == Kind::AtomicFact).count();
    assert_eq!((facts, first.len() - facts), (300, 60));
    let keys: BTreeSet<_> = first.iter().map(Memory::key).collect();
    assert_eq!(keys.len(), first.len());
}

#[test]
fn facts_hang_on_their_episodes() {
    let mut episode = String::new();
    for memory in memories(&Spec::of_facts(1, 100, 2)) {
        match memory.kind() {
            Kind::Episode => episode = memory.entry_id,
            _ => assert_eq!(memory.parent_id.as_deref(), Some(episode.as_str())),
        }
    }
}

#[test]
fn days_are_civil_days() {
    assert_eq!(date_of(0), "1970-01-01");
    assert_eq!(date_of(FIRST_DAY_US), "2025-01-01");
    assert_eq!(date_of(1_709_164_800_000_000), "2024-02-29");
}
