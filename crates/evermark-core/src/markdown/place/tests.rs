use super::{
    FileKind, document_dir, inbox_path, inbox_sequence, path_for, place, sanitize, segment_path, skill_path, topic_name,
};
use crate::id::{Kind, Owner, Scope, Track};
use jiff::civil::{Date, date};
use proptest::prelude::*;

const DAY: Date = date(2027, 2, 3);

#[test]
fn every_glob_of_the_contract_is_placed() {
    let check = |path: &str, kind: FileKind, owner: &str| {
        let place = place(path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!((place.kind, place.owner_dir.as_str()), (kind, owner), "{path}");
        assert_eq!(place.scope, Scope::new("clinic", "default"));
    };
    let memories = FileKind::Memories;
    check("clinic/default_project/users/mira/user.md", memories(Kind::Profile), "mira");
    check("clinic/default_project/users/mira/episodes/episode-2027-02-03.md", memories(Kind::Episode), "mira");
    check("clinic/default_project/users/mira/episodes/episode-anything.md", memories(Kind::Episode), "mira");
    check("clinic/default_project/users/米/.atomic_facts/atomic_fact-2027-02-03.md", memories(Kind::AtomicFact), "米");
    check("clinic/default_project/users/mira/.foresights/foresight-2027-02-03.md", memories(Kind::Foresight), "mira");
    check("clinic/default_project/agents/bot/.cases/agent_case-2027-02-03.md", memories(Kind::AgentCase), "bot");
    check("clinic/default_project/agents/bot/skills/skill_x/SKILL.md", memories(Kind::AgentSkill), "bot");
    check("clinic/default_project/agents/bot/skills/skill_x/references/a.md", FileKind::SkillReference, "bot");
    check("clinic/default_project/knowledge/.taxonomy.md", FileKind::Taxonomy, "");
    check("clinic/default_project/knowledge/Food/Kettle_d_01/index.md", memories(Kind::KnowledgeDocument), "");
    check("clinic/default_project/knowledge/Food/Kettle_d_01/1_Setup.md", memories(Kind::KnowledgeTopic), "");
    check("clinic/default_project/inbox/tea-0a1b2c3d/00000000000000000007.md", FileKind::Inbox, "tea-0a1b2c3d");
    check("clinic/default_project/inbox/tea-0a1b2c3d/segment-mc_0a1b2c3d4e5f.md", FileKind::Segment, "tea-0a1b2c3d");
}

#[test]
fn everything_else_is_not() {
    for path in [
        "",
        "user.md",
        "a/b/user.md",
        "a/b/users/user.md",
        "a/b/users//user.md",
        "a/b/users/../user.md",
        "a/b/users/u/./user.md",
        "/a/b/users/u/user.md",
        "a/b/users/u/episodes/.episode-2027-02-03.md.tmp.0a",
        "a/b/users/u/episodes/sub/episode-x.md",
        "a/b/users/u/episodes/notes.md",
        "a/b/agents/u/episodes/episode-x.md",
        "a/b/agents/u/skills/other/SKILL.md",
        "a/b/knowledge/c/d/notes.md",
        "a/b/knowledge/c/d/_original/1.md",
        "a/b/inbox/s/7.md",
        "a/b/inbox/s/0000000000000000000x.md",
        ".index/lancedb/users/u/user.md",
        "a/b/users/u/USER.md",
        "a/b/inbox/s/99999999999999999999.md",
    ] {
        assert_eq!(place(path), None, "{path}");
    }
}

#[test]
fn paths_lead_back_to_their_place() {
    let user = Owner::user(Scope::default(), "a.b+c@d_e-f");
    let agent = Owner::agent(Scope::new("clinic", "zh"), "bot");
    let check = |path: String, expected: &str, kind: FileKind| {
        assert_eq!(path, expected);
        assert_eq!(place(&path).expect("ours").kind, kind);
    };
    let path = |owner, kind| path_for(owner, kind, DAY).expect("safe");
    check(
        path(&user, Kind::Episode),
        "default_app/default_project/users/a.b+c@d_e-f/episodes/episode-2027-02-03.md",
        FileKind::Memories(Kind::Episode),
    );
    check(
        path(&user, Kind::AtomicFact),
        "default_app/default_project/users/a.b+c@d_e-f/.atomic_facts/atomic_fact-2027-02-03.md",
        FileKind::Memories(Kind::AtomicFact),
    );
    check(
        path(&user, Kind::Foresight),
        "default_app/default_project/users/a.b+c@d_e-f/.foresights/foresight-2027-02-03.md",
        FileKind::Memories(Kind::Foresight),
    );
    check(
        path(&user, Kind::Profile),
        "default_app/default_project/users/a.b+c@d_e-f/user.md",
        FileKind::Memories(Kind::Profile),
    );
    check(
        path(&agent, Kind::AgentCase),
        "clinic/zh/agents/bot/.cases/agent_case-2027-02-03.md",
        FileKind::Memories(Kind::AgentCase),
    );
    check(
        skill_path(&agent, "Reorder item/../x").expect("safe"),
        "clinic/zh/agents/bot/skills/skill_Reorder_item..x/SKILL.md",
        FileKind::Memories(Kind::AgentSkill),
    );
    let dir = document_dir(&agent.scope, "..", "Harbor relay", "d_6b96c43e38f2").expect("safe");
    check(
        format!("{dir}/{}", topic_name(6, "维护 记录")),
        "clinic/zh/knowledge/Others/Harbor_relay_d_6b96c43e38f2/6_维护_记录.md",
        FileKind::Memories(Kind::KnowledgeTopic),
    );
    check(
        inbox_path(&agent.scope, "a/../b c", 7).expect("safe"),
        "clinic/zh/inbox/a..b_c-7ce8f2e8/00000000000000000007.md"
            .replace("7ce8f2e8", &crate::memory::Digest32::of(b"a/../b c").hex()[..8])
            .as_str(),
        FileKind::Inbox,
    );
    check(
        segment_path(&agent.scope, "", "mc_0a").expect("safe"),
        "clinic/zh/inbox/session-e3b0c442/segment-mc_0a.md",
        FileKind::Segment,
    );
    assert_eq!(inbox_sequence("x/00000000000000000007.md"), Some(7));
}

#[test]
fn an_id_never_leaves_its_directory() {
    let long = "x".repeat(129);
    for id in ["", ".", "..", "a/b", "a\\b", "a b", "a\0b", "../x", "é", "a\n", &long] {
        assert!(path_for(&Owner::user(Scope::default(), id), Kind::Episode, DAY).is_err(), "{id:?}");
        assert!(path_for(&Owner::user(Scope::new(id, "default"), "u"), Kind::Episode, DAY).is_err(), "{id:?}");
        assert!(inbox_path(&Scope::new("default", id), "s", 1).is_err(), "{id:?}");
        assert!(segment_path(&Scope::default(), "s", id).is_err(), "{id:?}");
    }
    assert!(path_for(&Owner::user(Scope::new("default_app", "x"), "u"), Kind::Episode, DAY).is_err());
    assert!(path_for(&Owner::user(Scope::new("default_project", "default"), "u"), Kind::Episode, DAY).is_ok());
    assert!(path_for(&Owner::agent(Scope::default(), "a"), Kind::Episode, DAY).is_err());
    assert!(path_for(&Owner::agent(Scope::default(), "a"), Kind::AgentSkill, DAY).is_err());
    assert_eq!(FileKind::Inbox.track(), None);
    assert_eq!(FileKind::Taxonomy.track(), Some(Track::Knowledge));
}

#[test]
fn sanitize_follows_the_contract() {
    let check = |raw: &str, expected: &str| assert_eq!(sanitize(raw, "fallback"), expected, "{raw:?}");
    check("Reorder item", "Reorder_item");
    check("a/b\\c:d*e", "abcde");
    check("..", "fallback");
    check("...", "...");
    check("", "fallback");
    check("!?", "fallback");
    check("e\u{301}te\u{301}", "été");
    check("维护记录 №7", "维护记录_7");
    check("②½", "②½");
    check("a\u{200d}b\u{0}c", "abc");
    check("\u{e01}\u{e34}", "\u{e01}");
    check(&"x".repeat(80), &"x".repeat(50));
}

proptest! {
    #[test]
    fn a_sanitised_name_is_one_component_and_stays(raw in ".*") {
        let name = sanitize(&raw, "f");
        prop_assert_eq!(&sanitize(&name, "f"), &name);
        prop_assert!(!name.contains(['/', '\\', '\0', '\n']) && !matches!(name.as_str(), "" | "." | ".."));
        prop_assert!(name.chars().count() <= 50);
    }
}
