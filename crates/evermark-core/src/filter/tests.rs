use super::*;
use crate::id::{Owner, Scope};
use crate::memory::Body;
use jiff::tz::TimeZone;
use serde_json::json;

fn shanghai() -> TimeZone {
    TimeZone::get("Asia/Shanghai").expect("bundled zone")
}

fn row() -> Memory {
    Memory {
        owner: Owner::user(Scope::default(), "u"),
        id: "u_af_1".into(),
        entry_id: "af_1".into(),
        path: "x.md".into(),
        session_id: Some("s1".into()),
        timestamp_us: Some(1_764_554_400_000_000), // 2025-12-01T02:00:00Z
        parent_type: Some("episode".into()),
        parent_id: Some("ep_1".into()),
        sender_ids: vec!["ana".into(), "bo".into()],
        message_ids: vec![],
        deprecated_by: None,
        body: Body::AtomicFact { fact: "x".into(), context: None },
    }
}

fn check(filters: Value, expected: bool) {
    let filter = Filter::parse(&filters, &shanghai()).unwrap_or_else(|error| panic!("{filters}: {error}"));
    assert_eq!(filter.matches(&row()), expected, "{filters}");
}

fn refused(filters: Value, field: Option<&str>) {
    let error = Filter::parse(&filters, &TimeZone::UTC).expect_err(&filters.to_string());
    assert_eq!(error.field(), field, "{filters}: {error}");
    if let Some(field) = field {
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn a_scalar_means_equal() {
    check(json!({"session_id": "s1"}), true);
    check(json!({"session_id": "s2"}), false);
    check(json!({"parent_type": "episode", "parent_id": "ep_1"}), true);
    check(json!({"parent_type": "episode", "parent_id": "ep_2"}), false);
    check(json!({"sender_id": "bo"}), true);
    check(json!({"sender_id": "b"}), false);
}

#[test]
fn every_operator_on_text() {
    for (op, value, expected) in [
        ("eq", json!("s1"), true),
        ("ne", json!("s1"), false),
        ("ne", json!("s2"), true),
        ("gt", json!("s0"), true),
        ("gt", json!("s1"), false),
        ("gte", json!("s1"), true),
        ("lt", json!("s1"), false),
        ("lt", json!("s10"), true),
        ("lte", json!("s1"), true),
        ("in", json!(["x", "s1"]), true),
        ("in", json!(["x"]), false),
    ] {
        check(json!({"session_id": {op: value}}), expected);
    }
    check(json!({"session_id": {"gte": "s0", "lt": "s2"}}), true);
    check(json!({"session_id": {"gte": "s0", "lt": "s1"}}), false);
    check(json!({"sender_id": {"eq": "ana"}}), true);
    check(json!({"sender_id": {"in": ["zoe", "ana"]}}), true);
    check(json!({"sender_id": {"in": ["zoe"]}}), false);
}

#[test]
fn times_in_every_spelling() {
    for value in [
        json!(1_764_554_400_000_i64),
        json!(1_764_554_400),
        json!(1_764_554_400.9),
        json!("2025-12-01T02:00:00Z"),
        json!("2025-12-01T10:00:00"),
        json!("2025-12-01 10:00"),
        json!("2025-12-01T03:00:00+01:00"),
        json!(" 2025-12-01T02:00:00Z "),
    ] {
        check(json!({"timestamp": value}), true);
        check(json!({"timestamp": {"ne": value}}), false);
        check(json!({"timestamp": {"gte": value, "lte": value}}), true);
        check(json!({"timestamp": {"gt": value}}), false);
        check(json!({"timestamp": {"in": [0, value]}}), true);
    }
    check(json!({"timestamp": {"gte": "2025-12-01", "lt": "2025-12-02"}}), true);
    check(json!({"timestamp": {"lt": "2025-12-01"}}), false);
    check(json!({"timestamp": {"gt": -1e9}}), true);
    for wrong in [json!(true), json!("yesterday"), json!("2025-12-01'"), json!([1]), json!(1e300), json!("")] {
        refused(json!({"timestamp": {"gt": wrong}}), Some("timestamp"));
    }
    refused(json!({"timestamp": false}), Some("timestamp"));
}

#[test]
fn nodes_nest() {
    check(json!({"AND": [{"session_id": "s1"}, {"sender_id": "ana"}]}), true);
    check(json!({"AND": [{"session_id": "s1"}, {"sender_id": "zoe"}]}), false);
    check(json!({"OR": [{"session_id": "s2"}, {"sender_id": "ana"}]}), true);
    check(json!({"OR": [{"session_id": "s2"}, {"sender_id": "zoe"}]}), false);
    check(json!({"session_id": "s1", "OR": [{"session_id": "s2"}, {"sender_id": "zoe"}]}), false);
    check(json!({"AND": [{"OR": [{"session_id": "s1"}, {"session_id": "s2"}]}, {"parent_id": {"ne": "x"}}]}), true);
    check(json!({"OR": [{"session_id": "s2", "sender_id": "ana"}, {"parent_id": "ep_2"}]}), false);
}

#[test]
fn what_is_empty_or_null_contributes_nothing() {
    for filters in [
        json!(null),
        json!({}),
        json!({"AND": []}),
        json!({"OR": []}),
        json!({"AND": [], "OR": [{}]}),
        json!({"session_id": null}),
        json!({"AND": null, "OR": null}),
        json!({"OR": [{"session_id": null}, {"AND": []}]}),
    ] {
        let filter = Filter::parse(&filters, &TimeZone::UTC).expect("valid");
        assert!(filter.is_everything() && filter == Filter::default() && filter == Filter::everything(), "{filters}");
        check(filters, true);
    }
    check(json!({"OR": [{}, {"session_id": "s2"}]}), false);
}

#[test]
fn a_row_without_a_value_matches_no_clause_on_it() {
    let mut bare = row();
    (bare.session_id, bare.timestamp_us, bare.parent_id, bare.sender_ids) = (None, None, None, vec![]);
    for filters in [
        json!({"session_id": {"ne": "s1"}}),
        json!({"session_id": {"lt": "zzz"}}),
        json!({"timestamp": {"ne": 0}}),
        json!({"parent_id": {"in": ["", "x"]}}),
        json!({"sender_id": "ana"}),
    ] {
        let filter = Filter::parse(&filters, &TimeZone::UTC).expect("valid");
        assert!(!filter.matches(&bare), "{filters}");
    }
}

#[test]
fn mistakes_name_the_field() {
    for field in ["owner_id", "owner_type", "app_id", "project_id"] {
        refused(json!({field: "x"}), Some(field));
        refused(json!({"AND": [{field: {"eq": "x"}}]}), Some(field));
    }
    refused(json!({"colour": "x"}), Some("colour"));
    refused(json!({"and": []}), Some("and"));
    refused(json!({"session_id": {}}), Some("session_id"));
    refused(json!({"session_id": {"like": "x"}}), Some("session_id"));
    refused(json!({"session_id": 5}), Some("session_id"));
    refused(json!({"session_id": ["s1"]}), Some("session_id"));
    refused(json!({"session_id": {"gt": null}}), Some("session_id"));
    refused(json!({"session_id": {"in": []}}), Some("session_id"));
    refused(json!({"session_id": {"in": "s1"}}), Some("session_id"));
    refused(json!({"parent_id": {"in": ["a", 1]}}), Some("parent_id"));
    refused(json!({"sender_id": {"ne": "ana"}}), Some("sender_id"));
    refused(json!({"sender_id": {"gt": "ana"}}), Some("sender_id"));
    refused(json!({"sender_id": {"eq": 1}}), Some("sender_id"));
    refused(json!("x"), None);
    refused(json!([{}]), None);
    refused(json!({"AND": {}}), None);
    refused(json!({"OR": ["x"]}), None);
    refused(json!({"OR": [null]}), None);
}

#[test]
fn depth_and_size_are_bounded() {
    let mut deep = json!({"session_id": "s1"});
    for _ in 1..DEPTH_MAX {
        deep = json!({"AND": [deep]});
    }
    check(deep.clone(), true);
    refused(json!({"AND": [deep]}), None);
    refused(json!({"session_id": {"in": vec!["x"; VALUES_MAX + 1]}}), None);
    refused(json!({"OR": vec![json!({}); VALUES_MAX + 1]}), None);
}

#[test]
fn kinds_without_the_column_are_refused() {
    let filter = |filters: Value| Filter::parse(&filters, &TimeZone::UTC).expect("valid");
    let sender = filter(json!({"OR": [{"sender_id": "a"}, {"timestamp": 1, "session_id": "s"}]}));
    assert_eq!(sender.fields(), [Field::SessionId, Field::Timestamp, Field::SenderId]);
    assert!(sender.check_kind(Kind::Episode).is_ok() && sender.check_kind(Kind::AtomicFact).is_ok());
    let error = sender.check_kind(Kind::AgentCase).expect_err("no senders");
    assert_eq!((error.field(), error.kind()), (Some("sender_id"), ErrorKind::Invalid));
    assert!(error.to_string().contains("agent_case"));
    let session = filter(json!({"session_id": "s"}));
    assert!(session.check_kind(Kind::AgentCase).is_ok());
    for kind in [Kind::AgentSkill, Kind::Profile, Kind::KnowledgeTopic] {
        assert!(session.check_kind(kind).is_err() && Filter::everything().check_kind(kind).is_ok());
    }
}

#[test]
fn only_a_plain_session_at_the_top_asks_for_waiting_messages() {
    assert_eq!(Filter::top_level_session(&json!({"session_id": "s1", "sender_id": "a"})), Some("s1"));
    for filters in [json!({"session_id": {"eq": "s1"}}), json!({"AND": [{"session_id": "s1"}]}), json!(null)] {
        assert_eq!(Filter::top_level_session(&filters), None);
    }
}
