use super::*;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[a-z0-9_]{1,12}", "\\PC{0,12}"].boxed()
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

pub(crate) fn any_body() -> BoxedStrategy<Body> {
    prop_oneof![
        (of(text()), of(text()), text()).prop_map(|(subject, summary, content)| Body::Episode {
            subject,
            summary,
            content
        }),
        (text(), of(text())).prop_map(|(fact, context)| Body::AtomicFact { fact, context }),
        (text(), text(), of(text()), of(text()), of(any::<i64>())).prop_map(
            |(foresight, evidence, start_time, end_time, duration_days)| Body::Foresight {
                foresight,
                evidence,
                start_time,
                end_time,
                duration_days
            }
        ),
        (text(), json(), json(), any::<i64>()).prop_map(
            |(summary, explicit_info, implicit_traits, profile_timestamp_ms)| Body::Profile {
                summary,
                explicit_info,
                implicit_traits,
                profile_timestamp_ms
            }
        ),
        (text(), text(), of(text()), -1e9..1e9).prop_map(|(task_intent, approach, key_insight, quality_score)| {
            Body::AgentCase { task_intent, approach, key_insight, quality_score }
        }),
        (text(), text(), text(), 0.0..1.0, 0.0..1.0, vec(text(), 0..4), of(text())).prop_map(
            |(name, description, content, confidence, maturity_score, source_case_ids, cluster_id)| {
                Body::AgentSkill { name, description, content, confidence, maturity_score, source_case_ids, cluster_id }
            }
        ),
        (text(), text(), text(), of(text()), of(text())).prop_map(
            |(category_id, title, summary, source_name, source_type)| Body::KnowledgeDocument {
                category_id,
                title,
                summary,
                source_name,
                source_type
            }
        ),
        (vec(text(), 6), any::<(i64, i64)>(), of(text()), vec(text(), 0..3), vec(text(), 0..3)).prop_map(
            |(mut texts, (topic_index, depth), parent_node_id, children_node_ids, content_labels)| {
                let mut next = || texts.pop().unwrap_or_default();
                Body::KnowledgeTopic {
                    doc_id: next(),
                    category_id: next(),
                    topic_index,
                    topic_name: next(),
                    topic_path: next(),
                    summary: next(),
                    depth,
                    parent_node_id,
                    children_node_ids,
                    content_labels,
                    content: next(),
                }
            }
        ),
    ]
    .boxed()
}

prop_compose! {
    fn any_memory()(
        texts in vec(text(), 5),
        tail_is_entry in any::<bool>(),
        track in prop_oneof![Just(Track::User), Just(Track::Agent), Just(Track::Knowledge)],
        options in vec(of(text()), 4),
        timestamp_us in of(any::<i64>()),
        sender_ids in vec(text(), 0..4),
        message_ids in vec("m_sé?_[0-9]{0,4}", 0..4),
        body in any_body(),
    ) -> Memory {
        let [app, project, owner, id, path] = <[String; 5]>::try_from(texts).expect("five");
        let [session_id, parent_type, parent_id, deprecated_by] = <[Option<String>; 4]>::try_from(options).expect("four");
        Memory {
            owner: Owner { scope: Scope { app, project }, track, id: owner },
            entry_id: if tail_is_entry { id.clone() } else { "entry".to_owned() },
            id,
            path,
            session_id,
            timestamp_us,
            parent_type,
            parent_id,
            sender_ids,
            message_ids,
            deprecated_by,
            body,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(memory in any_memory()) {
        let bytes = encode(&memory);
        prop_assert_eq!(decode(&bytes).expect("ours"), memory.clone());
        let mut rest = vec![7];
        encode_rest(&memory, &mut rest);
        let read = decode_rest(&memory.id, &rest[1..]).expect("ours");
        prop_assert_eq!((read.entry_id, read.message_ids, read.deprecated_by, read.body),
            (memory.entry_id, memory.message_ids, memory.deprecated_by, memory.body));
    }

    #[test]
    fn damage_is_an_error_not_a_panic(memory in any_memory(), cut in any::<prop::sample::Index>(), flip in any::<u8>()) {
        let mut bytes = encode(&memory);
        let at = cut.index(bytes.len());
        prop_assert!(decode(&bytes[..at]).is_err());
        bytes[at] ^= flip;
        drop(decode(&bytes));
    }
}

#[test]
fn another_version_is_refused() {
    assert_eq!(decode(&[9]), Err(CodecError::Version(9)));
    assert_eq!(decode(&[]), Err(CodecError::Short));
}

#[test]
fn deep_json_ends_in_an_error() {
    assert_eq!(Reader { bytes: &[7, 1].repeat(100_000) }.json(JSON_DEPTH_MAX), Err(CodecError::Wrong("depth")));
}
