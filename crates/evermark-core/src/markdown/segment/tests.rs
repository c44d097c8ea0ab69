use super::{SegmentPlan, memcell_id, parse, render};
use crate::id::{Owner, Scope, Track};
use jiff::civil::date;
use proptest::prelude::*;

fn plan() -> SegmentPlan {
    let scope = Scope::default();
    let message_ids = vec!["m_tea, [7]_1801642470000_000".to_owned(), "m_tea, [7]_1801642470000_001".to_owned()];
    SegmentPlan {
        memcell_id: memcell_id(&scope, "tea, [7]", &message_ids),
        session_id: "tea, [7]".into(),
        day: date(2027, 2, 3),
        message_ids,
        owners: vec![Owner::user(scope.clone(), "mira"), Owner::agent(scope.clone(), "helper")],
        scope,
    }
}

#[test]
fn a_plan_is_readable() {
    let expected = "---
type: evermark_segment
schema_version: 1
memcell_id: mc_5158be52cab3
session_id: tea, [7]
app_id: default
project_id: default
day: '2027-02-03'
owners:
- track: user
  id: mira
- track: agent
  id: helper
message_ids:
- m_tea, [7]_1801642470000_000
- m_tea, [7]_1801642470000_001
---
The messages named above are being made into memories. Evermark removes this file when that is done.
";
    let text = render(&plan());
    assert_eq!(text, expected.replace("mc_5158be52cab3", &plan().memcell_id));
    assert_eq!(parse("p", text.as_bytes()), Ok(plan()));
}

#[test]
fn a_damaged_plan_is_refused() {
    let good = render(&plan());
    let check = |bytes: &[u8], code: &str| assert_eq!(parse("p", bytes).expect_err(code).code, code);
    let replaced = |from: &str, to: &str| good.replacen(from, to, 1).into_bytes();
    check(b"", "wrong_type");
    check(&good.as_bytes()[..40], "front_matter_unterminated");
    check(&replaced("evermark_segment", "episode_daily"), "wrong_type");
    check(&replaced("'2027-02-03'", "'2027-02-33'"), "field_invalid");
    check(&replaced("track: user", "track: nobody"), "field_invalid");
    check(&replaced("- m_tea, [7]_1801642470000_000", "- 7"), "field_invalid");
    check(&replaced("owners:", "others:"), "field_invalid");
    check(&replaced("mira", "mi\0ra"), "nul");
}

#[test]
fn a_memcell_is_its_messages() {
    let id = |session: &str, ids: &[&str]| {
        memcell_id(&Scope::default(), session, &ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    };
    let first = id("s", &["a", "b"]);
    assert!(first.len() == 15 && first.starts_with("mc_"));
    assert_eq!(first, id("s", &["a", "b"]));
    for other in [
        id("s", &["ab"]),
        id("s", &["b", "a"]),
        id("t", &["a", "b"]),
        memcell_id(&Scope::new("x", "default"), "s", &["a".into(), "b".into()]),
    ] {
        assert_ne!(first, other);
    }
}

proptest! {
    #[test]
    fn any_plan_comes_back(app in ".*", session_id in ".*", message_ids in proptest::collection::vec(".*", 0..5), owners in proptest::collection::vec((any::<bool>(), ".*"), 0..4)) {
        let scope = Scope::new(app, "default");
        let owners = owners.into_iter().map(|(agent, id)| Owner { scope: scope.clone(), track: if agent { Track::Agent } else { Track::User }, id }).collect();
        let plan = SegmentPlan { memcell_id: memcell_id(&scope, &session_id, &message_ids), scope, session_id, day: date(2027, 2, 3), message_ids, owners };
        prop_assert_eq!(parse("p", render(&plan).as_bytes()), Ok(plan));
    }
}
