//! The named checks.

use super::sample::{episode, fact, filter, key, one_of_each_kind, owner, pointing, row, vector};
use super::{Check, Subject, everything};
use evermark_core::error::ErrorKind;
use evermark_core::filter::Filter;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope};
use evermark_core::index::{Ask, Hit, Index, Indexable, Order};
use evermark_core::memory::{Body, Digest32};
use serde_json::json;
use std::collections::BTreeMap;

pub(super) const ALL: &[(&str, Check)] = &[
    ("an empty index answers", an_empty_index_answers),
    ("rows are seen at once and after a flush", rows_are_seen_at_once_and_after_a_flush),
    ("every kind comes back as it was", every_kind_comes_back_as_it_was),
    ("fetch keeps the order asked", fetch_keeps_the_order_asked),
    ("a row replaces the one with its key", a_row_replaces_the_one_with_its_key),
    ("the last of one batch wins", the_last_of_one_batch_wins),
    ("removed rows are gone everywhere", removed_rows_are_gone_everywhere),
    ("doing it twice changes nothing", doing_it_twice_changes_nothing),
    ("flushed and unflushed rows mix", flushed_and_unflushed_rows_mix),
    ("what was flushed survives", what_was_flushed_survives),
    ("keyword scores are BM25", keyword_scores_are_bm25),
    ("terms are compared whole", terms_are_compared_whole),
    ("vectors are compared by cosine", vectors_are_compared_by_cosine),
    ("rows that point nowhere are not near", rows_that_point_nowhere_are_not_near),
    ("a wrong width is refused", a_wrong_width_is_refused),
    ("filters bind every verb", filters_bind_every_verb),
    ("deprecated rows are seen when asked for", deprecated_rows_are_seen_when_asked_for),
    ("deprecated rows do not count", deprecated_rows_do_not_count),
    ("parents narrow", parents_narrow),
    ("ids narrow", ids_narrow),
    ("limits hold", limits_hold),
    ("ties break by id", ties_break_by_id),
    ("listings are ordered by time", listings_are_ordered_by_time),
    ("listings come in pages", listings_come_in_pages),
    ("a scan visits every row once", a_scan_visits_every_row_once),
    ("info counts", info_counts),
    ("scopes, owners, tracks and kinds are apart", scopes_owners_tracks_and_kinds_are_apart),
    ("quotes in names are only characters", quotes_in_names_are_only_characters),
    ("upkeep changes no answer", upkeep_changes_no_answer),
    ("many small writes", many_small_writes),
];

type Found = Vec<(String, Option<String>)>;

fn fresh(subject: &Subject<'_>, rows: &[Indexable]) -> Box<dyn Index> {
    let index = (subject.make)();
    index.upsert(rows.to_vec()).expect("upsert");
    index
}

fn terms(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

/// What the default ask finds among facts of the sample owner.
fn matching(index: &dyn Index, text: &str) -> Vec<String> {
    let (owner, filter) = (owner(), Filter::everything());
    let hits = index.matching(&everything(&owner, Kind::AtomicFact, &filter), &terms(text)).expect("matching");
    hits.into_iter().map(|hit| hit.id).collect()
}

fn nearest(index: &dyn Index, vector: &[f32]) -> Vec<String> {
    let (owner, filter) = (owner(), Filter::everything());
    let hits = index.nearest(&everything(&owner, Kind::AtomicFact, &filter), vector).expect("nearest");
    hits.into_iter().map(|hit| hit.id).collect()
}

fn listed(index: &dyn Index, kind: Kind) -> Vec<String> {
    let (owner, filter) = (owner(), Filter::everything());
    let listing = index.list(&everything(&owner, kind, &filter), Order { descending: false }, 0).expect("list");
    assert_eq!(listing.total, listing.memories.len());
    listing.memories.into_iter().map(|memory| memory.id).collect()
}

fn scanned(index: &dyn Index) -> BTreeMap<MemoryKey, (String, Digest32)> {
    let mut found = BTreeMap::new();
    index
        .scan(&mut |key, path, digest| {
            let before = found.insert(key.clone(), (path.to_owned(), digest));
            assert!(before.is_none(), "{key:?} is visited twice");
        })
        .expect("scan");
    found
}

/// What an ask finds by keyword, by vector and in a listing: must be the same rows.
fn seen(index: &dyn Index, ask: &Ask<'_>, term: &str, vector: &[f32]) -> Vec<String> {
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let of = |hits: Vec<Hit>| sorted(hits.into_iter().map(|hit| hit.id).collect());
    let by_keyword = of(index.matching(ask, &terms(term)).expect("matching"));
    let by_vector = of(index.nearest(ask, vector).expect("nearest"));
    let listing = index.list(ask, Order { descending: true }, 0).expect("list");
    let by_list = sorted(listing.memories.into_iter().map(|memory| memory.id).collect());
    assert_eq!(by_keyword, by_vector, "keyword and vector see different rows");
    assert_eq!(by_keyword, by_list, "keyword and listing see different rows");
    assert_eq!(listing.total, by_list.len());
    by_list
}

fn an_empty_index_answers(subject: &Subject<'_>) {
    let index = (subject.make)();
    assert!(matching(&*index, "x").is_empty() && nearest(&*index, &vector(subject.dimension, &[1.0])).is_empty());
    assert!(listed(&*index, Kind::Episode).is_empty() && scanned(&*index).is_empty());
    assert!(index.fetch(&owner(), Kind::AtomicFact, &strings(&["a"])).expect("fetch").is_empty());
    index.upsert(vec![]).expect("nothing to write");
    index.remove(&[key(&fact("a", "x"))]).expect("nothing to remove");
    index.flush().expect("nothing to flush");
    index.upkeep().expect("nothing to keep up");
    let info = index.info().expect("info");
    assert!(info.rows.iter().all(|&(_, n_rows)| n_rows == 0) && info.pending == 0);
}

fn rows_are_seen_at_once_and_after_a_flush(subject: &Subject<'_>) {
    let d = subject.dimension;
    let rows = [pointing(fact("a", "hot pot"), d, &[1.0]), pointing(fact("b", "cold soup"), d, &[0.0, 1.0])];
    let index = fresh(subject, &rows);
    for _ in 0..2 {
        assert_eq!(matching(&*index, "pot"), ["a"]);
        assert_eq!(nearest(&*index, &vector(d, &[0.1, 1.0])), ["b", "a"]);
        assert_eq!(listed(&*index, Kind::AtomicFact), ["a", "b"]);
        let fetched = index.fetch(&owner(), Kind::AtomicFact, &strings(&["b"])).expect("fetch");
        assert_eq!(fetched, [rows[1].memory.clone()]);
        assert_eq!(scanned(&*index).len(), 2);
        index.flush().expect("flush");
    }
}

fn every_kind_comes_back_as_it_was(subject: &Subject<'_>) {
    let rows = one_of_each_kind();
    let index = fresh(subject, &rows);
    for _ in 0..2 {
        for row in &rows {
            let kind = row.memory.kind();
            let fetched = index.fetch(&owner(), kind, std::slice::from_ref(&row.memory.id)).expect("fetch");
            assert_eq!(fetched, std::slice::from_ref(&row.memory));
            assert_eq!(listed(&*index, kind), std::slice::from_ref(&row.memory.id));
            assert_eq!(scanned(&*index).get(&key(row)), Some(&(row.memory.path.clone(), row.memory.digest())));
        }
        index.flush().expect("flush");
    }
}

fn fetch_keeps_the_order_asked(subject: &Subject<'_>) {
    let index = fresh(subject, &[fact("a", "x"), fact("b", "x"), fact("c", "x")]);
    index.flush().expect("flush");
    index.upsert(vec![fact("d", "x")]).expect("upsert");
    let asked = strings(&["d", "nobody", "b", "a", "c"]);
    let fetched = index.fetch(&owner(), Kind::AtomicFact, &asked).expect("fetch");
    assert_eq!(fetched.iter().map(|memory| memory.id.as_str()).collect::<Vec<_>>(), ["d", "b", "a", "c"]);
    assert!(index.fetch(&owner(), Kind::Episode, &asked).expect("fetch").is_empty());
    assert!(index.fetch(&owner(), Kind::AtomicFact, &[]).expect("fetch").is_empty());
}

fn a_row_replaces_the_one_with_its_key(subject: &Subject<'_>) {
    let d = subject.dimension;
    for flushed in [false, true] {
        let index = fresh(subject, &[pointing(fact("a", "old"), d, &[1.0]), pointing(fact("b", "other"), d, &[0.5])]);
        if flushed {
            index.flush().expect("flush");
        }
        let mut new = pointing(fact("a", "new words"), d, &[-1.0]);
        new.memory.path = "moved.md".to_owned();
        index.upsert(vec![new.clone()]).expect("upsert");
        assert!(matching(&*index, "old").is_empty());
        assert_eq!(matching(&*index, "words"), ["a"]);
        assert_eq!(nearest(&*index, &vector(d, &[1.0])), ["b", "a"]);
        assert_eq!(listed(&*index, Kind::AtomicFact), ["a", "b"]);
        assert_eq!(scanned(&*index).get(&key(&new)), Some(&("moved.md".to_owned(), new.memory.digest())));
        new.vector = None;
        index.upsert(vec![new]).expect("upsert");
        assert_eq!(nearest(&*index, &vector(d, &[1.0])), ["b"]);
    }
}

fn the_last_of_one_batch_wins(subject: &Subject<'_>) {
    let index = fresh(subject, &[fact("a", "one"), fact("b", "two"), fact("a", "three")]);
    for _ in 0..2 {
        assert!(matching(&*index, "one").is_empty());
        assert_eq!(matching(&*index, "three"), ["a"]);
        assert_eq!(listed(&*index, Kind::AtomicFact), ["a", "b"]);
        index.flush().expect("flush");
    }
}

fn removed_rows_are_gone_everywhere(subject: &Subject<'_>) {
    let d = subject.dimension;
    for flushed in [false, true] {
        let rows = [pointing(fact("a", "x"), d, &[1.0]), pointing(fact("b", "x"), d, &[1.0])];
        let index = fresh(subject, &rows);
        if flushed {
            index.flush().expect("flush");
        }
        index.remove(&[key(&rows[0]), key(&fact("nobody", "x"))]).expect("remove");
        for _ in 0..2 {
            assert_eq!(matching(&*index, "x"), ["b"]);
            assert_eq!(nearest(&*index, &vector(d, &[1.0])), ["b"]);
            assert_eq!(listed(&*index, Kind::AtomicFact), ["b"]);
            assert!(index.fetch(&owner(), Kind::AtomicFact, &strings(&["a"])).expect("fetch").is_empty());
            assert_eq!(scanned(&*index).into_keys().collect::<Vec<_>>(), [key(&rows[1])]);
            index.flush().expect("flush");
        }
        index.upsert(rows[..1].to_vec()).expect("upsert");
        assert_eq!(matching(&*index, "x"), ["a", "b"]);
    }
}

fn doing_it_twice_changes_nothing(subject: &Subject<'_>) {
    let d = subject.dimension;
    let rows = [pointing(fact("a", "x y"), d, &[1.0]), pointing(fact("b", "x"), d, &[0.0, 1.0])];
    let index = fresh(subject, &rows);
    let (owner, everything_passes) = (owner(), Filter::everything());
    let ask = everything(&owner, Kind::AtomicFact, &everything_passes);
    let answers = |index: &dyn Index| {
        let by_keyword = index.matching(&ask, &terms("x y")).expect("matching");
        (by_keyword, index.nearest(&ask, &vector(d, &[1.0, 0.5])).expect("nearest"), scanned(index))
    };
    let before = answers(&*index);
    index.upsert(rows.to_vec()).expect("upsert");
    assert_eq!(answers(&*index), before);
    index.flush().expect("flush");
    index.upsert(rows.to_vec()).expect("upsert");
    index.flush().expect("flush");
    index.flush().expect("flush");
    assert_eq!(answers(&*index), before);
    for _ in 0..2 {
        index.remove(&[key(&rows[0])]).expect("remove");
    }
    assert_eq!(matching(&*index, "x y"), ["b"]);
}

fn flushed_and_unflushed_rows_mix(subject: &Subject<'_>) {
    let d = subject.dimension;
    let rows: Vec<_> = (0..6).map(|n| pointing(fact(&format!("f{n}"), "x"), d, &[1.0, n as f32])).collect();
    let index = fresh(subject, &rows[..3]);
    index.flush().expect("flush");
    index.remove(&[key(&rows[1])]).expect("remove");
    index.upsert(vec![pointing(fact("f0", "x again"), d, &[0.0, 1.0])]).expect("upsert");
    index.upsert(rows[3..].to_vec()).expect("upsert");
    index.remove(&[key(&rows[4])]).expect("remove");
    for _ in 0..2 {
        assert_eq!(listed(&*index, Kind::AtomicFact), ["f0", "f2", "f3", "f5"]);
        assert_eq!(matching(&*index, "x"), ["f2", "f3", "f5", "f0"]);
        assert_eq!(nearest(&*index, &vector(d, &[0.0, 1.0])), ["f0", "f5", "f3", "f2"]);
        assert_eq!(scanned(&*index).len(), 4);
        index.flush().expect("flush");
    }
}

fn what_was_flushed_survives(subject: &Subject<'_>) {
    let Some(reopen) = subject.reopen else { return };
    let d = subject.dimension;
    let mut rows = one_of_each_kind();
    rows.extend((0..50).map(|n| pointing(fact(&format!("f{n:02}"), "x"), d, &[1.0, n as f32])));
    let index = fresh(subject, &rows);
    index.flush().expect("flush");
    index.remove(&[key(&rows[10])]).expect("remove");
    index.upsert(vec![pointing(fact("f00", "changed"), d, &[0.0, 1.0])]).expect("upsert");
    index.flush().expect("flush");
    let before = (scanned(&*index), listed(&*index, Kind::AtomicFact), nearest(&*index, &vector(d, &[0.3, 1.0])));
    let index = reopen(reopen(index));
    let after = (scanned(&*index), listed(&*index, Kind::AtomicFact), nearest(&*index, &vector(d, &[0.3, 1.0])));
    assert_eq!(after, before);
    assert_eq!(matching(&*index, "changed"), ["f00"]);
    assert_eq!(index.info().expect("info").pending, 0);
    for row in &rows[..8] {
        let ids = std::slice::from_ref(&row.memory.id);
        let fetched = index.fetch(&owner(), row.memory.kind(), ids).expect("fetch");
        assert_eq!(fetched, std::slice::from_ref(&row.memory));
    }
    index.upsert(rows[10..11].to_vec()).expect("upsert");
    assert_eq!(scanned(&*index).len(), rows.len());
}

fn keyword_scores_are_bm25(subject: &Subject<'_>) {
    let index = fresh(subject, &[fact("a", "hot pot"), fact("b", "cold soup dish"), fact("c", "hot hot spring bath")]);
    let (owner, everything_passes) = (owner(), Filter::everything());
    let ask = everything(&owner, Kind::AtomicFact, &everything_passes);
    for _ in 0..2 {
        let hits = index.matching(&ask, &terms("hot pot hot nowhere")).expect("matching");
        assert_eq!(ids(&hits), ["a", "c"]);
        // See the same figures in evermark-core's BM25 tests.
        let (hot, pot) = (1.6_f32.ln(), (1.0 + 2.5 / 1.5_f32).ln());
        for (hit, score) in hits.iter().zip([(hot + pot) * 2.2 / 1.9, hot * 4.4 / 3.5]) {
            assert!((hit.score - score).abs() < super::TOLERANCE, "{hit:?} {score}");
        }
        index.flush().expect("flush");
    }
}

fn terms_are_compared_whole(subject: &Subject<'_>) {
    let index = fresh(subject, &[fact("a", "src/foo.rs foo rs 火锅"), fact("b", "food FOO"), fact("c", "")]);
    index.flush().expect("flush");
    assert_eq!(matching(&*index, "foo"), ["a"]);
    assert_eq!(matching(&*index, "src/foo.rs"), ["a"]);
    assert_eq!(matching(&*index, "火锅"), ["a"]);
    assert!(matching(&*index, "fo").is_empty() && matching(&*index, "").is_empty());
    assert_eq!(listed(&*index, Kind::AtomicFact), ["a", "b", "c"]);
}

fn vectors_are_compared_by_cosine(subject: &Subject<'_>) {
    let d = subject.dimension;
    let rows = [
        pointing(fact("same", "x"), d, &[300.0]),
        pointing(fact("half", "x"), d, &[0.001, 0.001]),
        pointing(fact("across", "x"), d, &[0.0, 1.0]),
        pointing(fact("against", "x"), d, &[-2.0]),
        fact("blind", "x"),
    ];
    let index = fresh(subject, &rows);
    let (owner, everything_passes) = (owner(), Filter::everything());
    let ask = everything(&owner, Kind::AtomicFact, &everything_passes);
    for _ in 0..2 {
        let hits = index.nearest(&ask, &vector(d, &[5.0])).expect("nearest");
        assert_eq!(ids(&hits), ["same", "half", "across", "against"]);
        for (hit, score) in hits.iter().zip([1.0, 0.5_f32.sqrt(), 0.0, -1.0]) {
            assert!((hit.score - score).abs() < super::TOLERANCE, "{hit:?} {score}");
            assert!((-1.0..=1.0).contains(&hit.score));
        }
        index.flush().expect("flush");
    }
}

fn rows_that_point_nowhere_are_not_near(subject: &Subject<'_>) {
    let d = subject.dimension;
    let rows = [pointing(fact("zero", "x"), d, &[]), fact("none", "x"), pointing(fact("some", "x"), d, &[0.0, 1.0])];
    let index = fresh(subject, &rows);
    for _ in 0..2 {
        assert_eq!(nearest(&*index, &vector(d, &[1.0])), ["some"]);
        assert!(nearest(&*index, &vector(d, &[])).is_empty());
        assert_eq!(matching(&*index, "x"), ["none", "some", "zero"]);
        index.flush().expect("flush");
    }
}

fn a_wrong_width_is_refused(subject: &Subject<'_>) {
    let d = subject.dimension;
    let index = fresh(subject, &[pointing(fact("a", "x"), d, &[1.0])]);
    let error = index.upsert(vec![fact("b", "x"), pointing(fact("c", "x"), d + 1, &[1.0])]).expect_err("too wide");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(matching(&*index, "x"), ["a"], "a refused batch leaves nothing behind");
    let (owner, everything_passes) = (owner(), Filter::everything());
    let ask = everything(&owner, Kind::AtomicFact, &everything_passes);
    let error = index.nearest(&ask, &vector(d - 1, &[1.0])).expect_err("too narrow");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    index.flush().expect("still works");
    assert_eq!(nearest(&*index, &vector(d, &[1.0])), ["a"]);
}

/// Returns six facts that differ in what filters read.
fn varied(d: usize) -> Vec<Indexable> {
    let mut rows: Vec<_> = (0..6).map(|n| pointing(fact(&format!("f{n}"), "x"), d, &[1.0, n as f32])).collect();
    for (n, row) in rows.iter_mut().enumerate() {
        let memory = &mut row.memory;
        memory.session_id = (n != 0).then(|| format!("s{}", n % 2));
        memory.timestamp_us = (n != 1).then_some(n as i64 * 1_000_000);
        memory.parent_type = Some(if n < 3 { "episode" } else { "memcell" }.to_owned());
        memory.parent_id = (n != 2).then(|| format!("p{}", n / 2));
        memory.sender_ids = (0..n).map(|sender| format!("u{sender}")).collect();
    }
    rows
}

fn filters_bind_every_verb(subject: &Subject<'_>) {
    let d = subject.dimension;
    let rows = varied(d);
    let index = fresh(subject, &rows[..3]);
    index.flush().expect("flush");
    index.upsert(rows[3..].to_vec()).expect("upsert");
    let owner = owner();
    for _ in 0..2 {
        for (filters, expected) in [
            (json!(null), &["f0", "f1", "f2", "f3", "f4", "f5"][..]),
            (json!({"session_id": "s1"}), &["f1", "f3", "f5"]),
            (json!({"session_id": {"ne": "s1"}}), &["f2", "f4"]),
            (json!({"session_id": {"in": ["s0", "s9"]}}), &["f2", "f4"]),
            (json!({"timestamp": {"gte": 2, "lt": 4}}), &["f2", "f3"]),
            (json!({"timestamp": {"ne": 3}}), &["f0", "f2", "f4", "f5"]),
            (json!({"parent_type": "episode", "parent_id": "p0"}), &["f0", "f1"]),
            (json!({"sender_id": "u2"}), &["f3", "f4", "f5"]),
            (json!({"sender_id": {"in": ["u4", "u3"]}}), &["f4", "f5"]),
            (json!({"OR": [{"session_id": "s0"}, {"timestamp": 5}]}), &["f2", "f4", "f5"]),
            (json!({"session_id": "nowhere"}), &[]),
        ] {
            let compiled = filter(filters.clone());
            let ask = everything(&owner, Kind::AtomicFact, &compiled);
            assert_eq!(seen(&*index, &ask, "x", &vector(d, &[1.0])), expected, "{filters}");
        }
        index.flush().expect("flush");
    }
}

fn deprecated_rows_are_seen_when_asked_for(subject: &Subject<'_>) {
    let d = subject.dimension;
    let mut rows = varied(d);
    rows[1].memory.deprecated_by = Some("f2".to_owned());
    rows[4].memory.deprecated_by = Some(String::new());
    let index = fresh(subject, &rows);
    let (owner, everything_passes) = (owner(), Filter::everything());
    for _ in 0..2 {
        let ask = everything(&owner, Kind::AtomicFact, &everything_passes);
        assert_eq!(seen(&*index, &ask, "x", &vector(d, &[1.0])), ["f0", "f2", "f3", "f5"]);
        let ask = Ask { deprecated: true, ..ask };
        assert_eq!(seen(&*index, &ask, "x", &vector(d, &[1.0])).len(), 6);
        let fetched = index.fetch(&owner, Kind::AtomicFact, &strings(&["f1"])).expect("fetch");
        assert_eq!(fetched, [rows[1].memory.clone()], "fetch is by name");
        index.flush().expect("flush");
    }
    rows[1].memory.deprecated_by = None;
    index.upsert(rows[1..2].to_vec()).expect("upsert");
    assert_eq!(matching(&*index, "x").len(), 5);
}

fn deprecated_rows_do_not_count(subject: &Subject<'_>) {
    let rows = [fact("a", "hot pot"), fact("b", "cold soup dish"), fact("c", "hot spring")];
    let plain = fresh(subject, &rows);
    let mut old = fact("old", "hot hot hot and a long tail of other words");
    old.memory.deprecated_by = Some("a".to_owned());
    let index = fresh(subject, &rows);
    index.upsert(vec![old]).expect("upsert");
    let (owner, everything_passes) = (owner(), Filter::everything());
    let ask = everything(&owner, Kind::AtomicFact, &everything_passes);
    let scores = |index: &dyn Index, ask: &Ask<'_>| -> Vec<(String, f32)> {
        let hits = index.matching(ask, &terms("hot soup tail")).expect("matching");
        hits.into_iter().map(|hit| (hit.id, hit.score)).collect()
    };
    for _ in 0..2 {
        assert_eq!(scores(&*index, &ask), scores(&*plain, &ask));
        let with_old = scores(&*index, &Ask { deprecated: true, ..ask.clone() });
        assert_eq!(with_old.len(), 4);
        assert!(scores(&*plain, &ask).iter().all(|hit| with_old.contains(hit)), "{with_old:?}");
        index.flush().expect("flush");
        plain.flush().expect("flush");
    }
}

fn parents_narrow(subject: &Subject<'_>) {
    let d = subject.dimension;
    let index = fresh(subject, &varied(d));
    let (owner, everything_passes) = (owner(), Filter::everything());
    let session = filter(json!({"session_id": "s1"}));
    for _ in 0..2 {
        for (parents, filter, expected) in [
            (&["p0"][..], &everything_passes, &["f0", "f1"][..]),
            (&["p2", "nobody", "p1", "p2"], &everything_passes, &["f3", "f4", "f5"]),
            (&["p0", "p1"], &session, &["f1", "f3"]),
            (&["nobody"], &everything_passes, &[]),
            (&[], &everything_passes, &[]),
        ] {
            let parents = strings(parents);
            let ask = Ask { parents: Some(&parents), ..everything(&owner, Kind::AtomicFact, filter) };
            assert_eq!(seen(&*index, &ask, "x", &vector(d, &[1.0])), expected, "{parents:?}");
        }
        index.flush().expect("flush");
    }
}

fn ids_narrow(subject: &Subject<'_>) {
    let d = subject.dimension;
    let index = fresh(subject, &varied(d));
    let (owner, everything_passes) = (owner(), Filter::everything());
    for _ in 0..2 {
        for (asked, expected) in
            [(&["f3", "f1", "nobody", "f1"][..], &["f1", "f3"][..]), (&["nobody"], &[]), (&[], &[])]
        {
            let asked = strings(asked);
            let ask = Ask { ids: Some(&asked), ..everything(&owner, Kind::AtomicFact, &everything_passes) };
            assert_eq!(seen(&*index, &ask, "x", &vector(d, &[1.0])), expected, "{asked:?}");
        }
        let (asked, parents) = (strings(&["f1", "f3"]), strings(&["p1"]));
        let all = everything(&owner, Kind::AtomicFact, &everything_passes);
        let ask = Ask { ids: Some(&asked), parents: Some(&parents), ..all };
        assert_eq!(seen(&*index, &ask, "x", &vector(d, &[1.0])), ["f3"]);
        index.flush().expect("flush");
    }
}

fn limits_hold(subject: &Subject<'_>) {
    let d = subject.dimension;
    let rows: Vec<_> =
        (0..40).map(|n| pointing(fact(&format!("f{n:02}"), &"x ".repeat(n + 1)), d, &[n as f32, 10.0])).collect();
    let index = fresh(subject, &rows[..20]);
    index.flush().expect("flush");
    index.upsert(rows[20..].to_vec()).expect("upsert");
    let (owner, everything_passes) = (owner(), Filter::everything());
    let ask = |limit| Ask { limit, ..everything(&owner, Kind::AtomicFact, &everything_passes) };
    let by_keyword = |limit| index.matching(&ask(limit), &terms("x")).expect("matching");
    let by_vector = |limit| index.nearest(&ask(limit), &vector(d, &[1.0])).expect("nearest");
    let (all_by_keyword, all_by_vector) = (by_keyword(usize::MAX), by_vector(usize::MAX));
    assert_eq!((all_by_keyword.len(), all_by_vector.len()), (40, 40));
    for limit in [0, 1, 2, 19, 39, 40, 41, 1000] {
        assert_eq!(by_keyword(limit), all_by_keyword[..limit.min(40)]);
        assert_eq!(by_vector(limit), all_by_vector[..limit.min(40)]);
        let listing = index.list(&ask(limit), Order { descending: false }, 0).expect("list");
        assert_eq!((listing.memories.len(), listing.total), (limit.min(40), 40));
    }
}

fn ties_break_by_id(subject: &Subject<'_>) {
    let d = subject.dimension;
    let names = ["f10", "f9", "f1", "F2", "é", "f", "f1-", "中"];
    let rows: Vec<_> = names.iter().map(|id| pointing(fact(id, "x y"), d, &[1.0, 2.0])).collect();
    let index = fresh(subject, &rows);
    let mut sorted: Vec<_> = names.to_vec();
    sorted.sort_unstable();
    let (owner, everything_passes) = (owner(), Filter::everything());
    for _ in 0..2 {
        assert_eq!(matching(&*index, "x"), sorted);
        assert_eq!(nearest(&*index, &vector(d, &[1.0])), sorted);
        assert_eq!(listed(&*index, Kind::AtomicFact), sorted);
        let ask = Ask { limit: 3, ..everything(&owner, Kind::AtomicFact, &everything_passes) };
        assert_eq!(ids(&index.matching(&ask, &terms("y")).expect("matching")), sorted[..3]);
        assert_eq!(ids(&index.nearest(&ask, &vector(d, &[1.0])).expect("nearest")), sorted[..3]);
        index.flush().expect("flush");
    }
}

/// Returns facts with times, equal times and none.
fn timed() -> Vec<Indexable> {
    let times = [("a", Some(5)), ("b", None), ("c", Some(-7)), ("d", Some(5)), ("e", Some(9)), ("f", None)];
    let at = |(id, time): (&str, Option<i64>)| {
        let mut row = fact(id, "x");
        row.memory.timestamp_us = time.map(|seconds| seconds * 1_000_001);
        row
    };
    times.into_iter().map(at).collect()
}

fn listings_are_ordered_by_time(subject: &Subject<'_>) {
    let index = fresh(subject, &timed());
    let (owner, everything_passes) = (owner(), Filter::everything());
    let ask = everything(&owner, Kind::AtomicFact, &everything_passes);
    for _ in 0..2 {
        for (descending, expected) in [(false, ["c", "a", "d", "e", "b", "f"]), (true, ["e", "a", "d", "c", "b", "f"])]
        {
            let listing = index.list(&ask, Order { descending }, 0).expect("list");
            assert_eq!(listing.memories.iter().map(|memory| memory.id.as_str()).collect::<Vec<_>>(), expected);
        }
        index.flush().expect("flush");
    }
}

fn listings_come_in_pages(subject: &Subject<'_>) {
    let index = fresh(subject, &timed());
    index.flush().expect("flush");
    let (owner, everything_passes) = (owner(), Filter::everything());
    let page = |limit, offset| -> (Vec<String>, usize) {
        let ask = Ask { limit, ..everything(&owner, Kind::AtomicFact, &everything_passes) };
        let listing = index.list(&ask, Order { descending: true }, offset).expect("list");
        (listing.memories.into_iter().map(|memory| memory.id).collect(), listing.total)
    };
    assert_eq!(page(4, 0), (strings(&["e", "a", "d", "c"]), 6));
    assert_eq!(page(4, 4), (strings(&["b", "f"]), 6));
    assert_eq!(page(1, 2), (strings(&["d"]), 6));
    assert_eq!(page(4, 6), (Vec::new(), 6));
    assert_eq!(page(4, usize::MAX), (Vec::new(), 6));
    assert_eq!(page(usize::MAX, 5), (strings(&["f"]), 6));
    assert_eq!(page(0, 0), (Vec::new(), 6));
}

fn a_scan_visits_every_row_once(subject: &Subject<'_>) {
    let mut rows = one_of_each_kind();
    rows.extend((0..30).map(|n| fact(&format!("f{n}"), "x")));
    let other = Owner::agent(Scope::new("app", "project"), "bot");
    rows.push(row(other, "f1", "x", Body::AtomicFact { fact: "x".to_owned(), context: None }));
    rows[9].memory.deprecated_by = Some("f5".to_owned());
    let index = fresh(subject, &rows[..20]);
    index.flush().expect("flush");
    index.upsert(rows[15..].to_vec()).expect("upsert");
    let expected: BTreeMap<_, _> =
        rows.iter().map(|row| (key(row), (row.memory.path.clone(), row.memory.digest()))).collect();
    for _ in 0..2 {
        assert_eq!(scanned(&*index), expected);
        index.flush().expect("flush");
    }
}

fn info_counts(subject: &Subject<'_>) {
    let rows = [fact("a", "x"), fact("b", "x"), episode("a", "x")];
    let index = fresh(subject, &rows);
    let counts = |index: &dyn Index| -> BTreeMap<Kind, u64> {
        index.info().expect("info").rows.into_iter().filter(|&(_, n_rows)| n_rows > 0).collect()
    };
    assert!(index.info().expect("info").pending > 0);
    for _ in 0..2 {
        assert_eq!(counts(&*index), BTreeMap::from([(Kind::AtomicFact, 2), (Kind::Episode, 1)]));
        index.flush().expect("flush");
        assert_eq!(index.info().expect("info").pending, 0);
    }
    index.upsert(rows[..1].to_vec()).expect("upsert");
    index.remove(&[key(&rows[1])]).expect("remove");
    for _ in 0..2 {
        assert_eq!(counts(&*index), BTreeMap::from([(Kind::AtomicFact, 1), (Kind::Episode, 1)]));
        index.flush().expect("flush");
    }
    assert_eq!(index.info().expect("info").dimension, Some(subject.dimension));
}

fn scopes_owners_tracks_and_kinds_are_apart(subject: &Subject<'_>) {
    let d = subject.dimension;
    let elsewhere = Scope::new("clinic", "zh");
    let owners = [
        Owner::user(Scope::default(), "ana"),
        Owner::user(elsewhere.clone(), "ana"),
        Owner::user(Scope::new("clinic", "default"), "ana"),
        Owner::user(Scope::default(), "an"),
        Owner::agent(Scope::default(), "ana"),
        Owner::knowledge(elsewhere),
    ];
    let mut rows = Vec::new();
    for (n, owner) in owners.iter().enumerate() {
        let said = format!("x own{n}");
        for body in [
            Body::AtomicFact { fact: said.clone(), context: None },
            Body::Episode { subject: None, summary: None, content: said.clone() },
        ] {
            rows.push(pointing(row(owner.clone(), "same", &said, body), d, &[1.0, n as f32]));
        }
    }
    let index = fresh(subject, &rows);
    let everything_passes = Filter::everything();
    for _ in 0..2 {
        for row in &rows {
            let ask = everything(&row.memory.owner, row.memory.kind(), &everything_passes);
            let hits = index.matching(&ask, &terms("x own0 own1 own2 own3 own4 own5")).expect("matching");
            // One row of two terms, alone in its statistics: each term adds ln(4/3).
            let score = 2.0 * (4.0 / 3.0_f32).ln();
            assert_eq!(ids(&hits), ["same"]);
            assert!((hits[0].score - score).abs() < super::TOLERANCE, "{hits:?} {score}");
            assert_eq!(index.nearest(&ask, &vector(d, &[1.0])).expect("nearest").len(), 1);
            let fetched = index.fetch(ask.owner, ask.kind, &strings(&["same"])).expect("fetch");
            assert_eq!(fetched, std::slice::from_ref(&row.memory));
        }
        index.flush().expect("flush");
    }
    index.remove(&[key(&rows[2])]).expect("remove");
    assert_eq!(scanned(&*index).len(), rows.len() - 1);
    let found: Found = scanned(&*index).into_keys().map(|key| (key.owner.scope.app, Some(key.owner.id))).collect();
    assert_eq!(found.len(), rows.len() - 1);
    assert!(!scanned(&*index).contains_key(&key(&rows[2])));
}

fn quotes_in_names_are_only_characters(subject: &Subject<'_>) {
    let d = subject.dimension;
    let names = ["o'brien", "'; DROP TABLE x; --", "a\\'b", "%", "_", "a\"b", "`a`", "名'字", "a\nb"];
    let owner = Owner::user(Scope::new("o'app", "p\"roject"), "o'user");
    let rows: Vec<_> = names
        .iter()
        .map(|name| {
            let body = Body::AtomicFact { fact: "x".to_owned(), context: None };
            let mut row = pointing(row(owner.clone(), name, "x", body), d, &[1.0]);
            row.memory.parent_id = Some((*name).to_owned());
            row.memory.session_id = Some((*name).to_owned());
            row
        })
        .collect();
    let index = fresh(subject, &rows);
    for _ in 0..2 {
        for name in names {
            let session = filter(json!({"session_id": name}));
            let names = strings(&[name]);
            let all = everything(&owner, Kind::AtomicFact, &session);
            let ask = Ask { parents: Some(&names), ids: Some(&names), ..all };
            assert_eq!(seen(&*index, &ask, "x", &vector(d, &[1.0])), [name]);
        }
        index.flush().expect("flush");
    }
    index.remove(&rows.iter().map(key).collect::<Vec<_>>()).expect("remove");
    assert!(scanned(&*index).is_empty());
}

fn upkeep_changes_no_answer(subject: &Subject<'_>) {
    let d = subject.dimension;
    let index = (subject.make)();
    for n in 0..12 {
        let name = format!("f{}", n % 5);
        index.upsert(vec![pointing(fact(&name, &format!("x w{n}")), d, &[1.0, n as f32])]).expect("upsert");
        index.flush().expect("flush");
    }
    index.remove(&[key(&fact("f3", "x"))]).expect("remove");
    let answers =
        |index: &dyn Index| (scanned(index), matching(index, "x w11 w7 w10"), nearest(index, &vector(d, &[1.0, 3.0])));
    let before = answers(&*index);
    assert_eq!(before.0.len(), 4);
    for _ in 0..3 {
        index.upkeep().expect("upkeep");
        assert_eq!(answers(&*index), before);
        index.flush().expect("flush");
    }
}

fn many_small_writes(subject: &Subject<'_>) {
    let d = subject.dimension;
    let index = (subject.make)();
    for n in 0_u16..300 {
        let row = pointing(fact(&format!("f{:02}", n % 60), &format!("x w{n}")), d, &[1.0, f32::from(n)]);
        index.upsert(vec![row]).expect("upsert");
        if n % 7 == 0 {
            index.remove(&[key(&fact(&format!("f{:02}", n / 5), "x"))]).expect("remove");
        }
        if n % 50 == 49 {
            index.flush().expect("flush");
        }
    }
    let found = matching(&*index, "x");
    assert_eq!(found, listed(&*index, Kind::AtomicFact));
    assert_eq!(matching(&*index, "w299"), ["f59"]);
    assert!(matching(&*index, "w0").is_empty());
    index.flush().expect("flush");
    index.upkeep().expect("upkeep");
    assert_eq!(matching(&*index, "x"), found);
}
