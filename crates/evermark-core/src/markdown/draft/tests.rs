use super::{EntryDraft, json_list, parse_list, render_list};
use crate::memory::Body;
use proptest::prelude::*;

fn draft(body: Body) -> EntryDraft {
    EntryDraft {
        owner_id: "mira".into(),
        session_id: Some("tea-7".into()),
        timestamp_us: 1_801_642_470_000_000,
        parent_type: Some("memcell".into()),
        parent_id: Some("mc_0a1b2c3d4e5f".into()),
        sender_ids: Vec::new(),
        message_ids: Vec::new(),
        body,
    }
}

/// The made-up examples of contract §C.5.
#[test]
fn entries_are_written_as_everos_writes_them() {
    let mut episode = draft(Body::Episode {
        subject: Some("Tea order".into()),
        summary: Some("Mira orders oolong.".into()),
        content: "Mira asked the helper to reorder oolong for Friday.".into(),
    });
    episode.sender_ids = vec!["mira".into(), "helper".into()];
    assert_eq!(
        episode.render("ep_20270203_00000001", "\n"),
        "<!-- entry:ep_20270203_00000001 -->
## ep_20270203_00000001

**owner_id**: mira
**session_id**: tea-7
**timestamp**: 2027-02-03T08:14:30+00:00
**parent_type**: memcell
**parent_id**: mc_0a1b2c3d4e5f
**sender_ids**: [mira, helper]

### Subject
Tea order

### Summary
Mira orders oolong.

### Content
Mira asked the helper to reorder oolong for Friday.
<!-- /entry:ep_20270203_00000001 -->"
    );

    let mut fact = draft(Body::AtomicFact { fact: "Mira prefers oolong.".into(), context: None });
    fact.parent_type = Some("episode".into());
    fact.parent_id = Some("ep_20270203_00000001".into());
    fact.message_ids = vec!["m_tea 7, [x]_1_000".into()];
    assert_eq!(
        fact.render("af_20270203_00000001", "\r\n").replace("\r\n", "\n"),
        "<!-- entry:af_20270203_00000001 -->
## af_20270203_00000001

**owner_id**: mira
**timestamp**: 2027-02-03T08:14:30+00:00
**parent_type**: episode
**parent_id**: ep_20270203_00000001
**session_id**: tea-7
**message_ids**: [\"m_tea 7, [x]_1_000\"]

### Fact
Mira prefers oolong.
<!-- /entry:af_20270203_00000001 -->"
    );

    let foresight = draft(Body::Foresight {
        foresight: "Mira will expect tea by Friday.".into(),
        evidence: "She named Friday.".into(),
        start_time: Some("2027-02-03".into()),
        end_time: Some("2027-02-05".into()),
        duration_days: Some(2),
    });
    assert!(foresight.render("fs_20270203_00000001", "\n").contains(
        "**parent_id**: mc_0a1b2c3d4e5f
**start_time**: 2027-02-03
**end_time**: 2027-02-05
**duration_days**: 2

### Foresight
Mira will expect tea by Friday.

### Evidence
She named Friday.
<!--"
    ));

    let case = draft(Body::AgentCase {
        task_intent: "Reorder a product".into(),
        approach: "1. find the last order 2. repeat it".into(),
        key_insight: Some("Order history is enough.".into()),
        quality_score: 0.75,
    });
    assert!(case.render("ac_20270203_00000001", "\n").contains(
        "**parent_id**: mc_0a1b2c3d4e5f
**quality_score**: 0.75

### TaskIntent
Reorder a product

### Approach
1. find the last order 2. repeat it

### KeyInsight
Order history is enough.
<!--"
    ));
}

#[test]
fn lists_are_read_in_both_spellings() {
    let check = |text: &str, expected: &[&str]| assert_eq!(parse_list(text), expected, "{text:?}");
    check("[mira, helper]", &["mira", "helper"]);
    check("[]", &[]);
    check("", &[]);
    check("mira", &["mira"]);
    check("[ 'a' , \"b\",, c ]", &["a", "b", "c"]);
    check(r#"["a, b", "[c]", " d "]"#, &["a, b", "[c]", " d "]);
    check("[\"a\", broken", &["a", "broken"]);
    assert_eq!(render_list(&["a".into(), "b c".into()]), "[a, b c]");
    assert_eq!(render_list(&["a,b".into()]), r#"["a,b"]"#);
    assert_eq!(render_list(&["'".into()]), r#"["'"]"#);
}

proptest! {
    #[test]
    fn any_list_comes_back(items in proptest::collection::vec(".*", 1..4)) {
        prop_assert_eq!(&parse_list(&json_list(&items)), &items);
        prop_assert_eq!(&parse_list(&render_list(&items)), &items);
    }
}
