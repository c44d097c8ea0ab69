//! Files that hold one thing: a profile, a skill, a document, a topic, and the list of knowledge categories.

use super::Finding;
use super::decode::Decoded;
use super::front_matter::{BOM, FrontMatter, Newline, NotEditable};
use crate::memory::{Body, Memory};
use serde_json::{Value, json};

/// Returns the file that says what `memory` says; `None` for kinds that are entries of daily files.
///
/// `existing` is the file as it stands: its other keys, their order and its comments are kept. A skill's `content` is taken
/// for its own text alone: pass it without its references.
///
/// Errors: [`NotEditable`] when `existing` has a front matter that is damaged or cannot be changed key by key.
pub fn render_whole(memory: &Memory, existing: Option<&str>) -> Option<Result<String, NotEditable>> {
    let (fields, text) = parts(memory)?;
    let existing = existing.unwrap_or_default();
    let (mut header, start) = FrontMatter::split(existing);
    if header.fault().is_some() {
        return Some(Err(NotEditable));
    }
    if header.is_present() {
        for (key, value) in &fields {
            if let Err(error) = header.set(key, value) {
                return Some(Err(error));
            }
        }
    } else {
        header = FrontMatter::fresh(fields.iter().map(|(key, value)| (*key, value.clone())), header.newline());
    }
    let mut out =
        if existing.starts_with(BOM) && !header.render().starts_with(BOM) { BOM.to_string() } else { String::new() };
    out.push_str(header.render());
    let lines = |text: &str| text.replace("\r\n", "\n");
    if start > 0 && lines(&existing[start..]).trim_end() == text.trim_end() {
        out.push_str(&existing[start..]);
    } else {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let text = format!("{text}{end}");
        out.push_str(&if header.newline() == Newline::CrLf { lines(&text).replace('\n', "\r\n") } else { text });
    }
    Some(Ok(out))
}

/// Returns the front matter in the order of contract §C.3, and the text behind it.
fn parts(memory: &Memory) -> Option<(Vec<(&'static str, Value)>, &str)> {
    let owner = &memory.owner.id;
    let id = &memory.id;
    Some(match &memory.body {
        Body::Profile { summary, explicit_info, implicit_traits, profile_timestamp_ms } => (
            vec![
                ("id", json!(format!("profile_{owner}"))),
                ("type", json!("user_profile")),
                ("schema_version", json!(1)),
                ("user_id", json!(owner)),
                ("track", json!("user")),
                ("summary", json!(summary)),
                ("explicit_info", explicit_info.clone()),
                ("implicit_traits", implicit_traits.clone()),
                ("profile_timestamp_ms", json!(profile_timestamp_ms)),
            ],
            summary,
        ),
        Body::AgentSkill { name, description, content, confidence, maturity_score, source_case_ids, cluster_id } => (
            vec![
                ("id", json!(id)),
                ("type", json!("agent_skill")),
                ("schema_version", json!(1)),
                ("agent_id", json!(owner)),
                ("track", json!("agent")),
                ("name", json!(name)),
                ("description", json!(description)),
                ("confidence", json!(confidence)),
                ("maturity_score", json!(maturity_score)),
                ("source_case_ids", json!(source_case_ids)),
                ("cluster_id", json!(cluster_id)),
                ("created_at", Value::Null),
                ("updated_at", Value::Null),
            ],
            content,
        ),
        Body::KnowledgeDocument { category_id, title, summary, source_name, source_type } => {
            let mut fields = vec![
                ("type", json!("knowledge_document")),
                ("id", json!(id)),
                ("doc_id", json!(id)),
                ("category_id", json!(category_id)),
                ("title", json!(title)),
                ("schema_version", json!(1)),
            ];
            fields.extend(source_name.as_ref().map(|name| ("source_name", json!(name))));
            fields.extend(source_type.as_ref().map(|name| ("source_type", json!(name))));
            (fields, summary)
        }
        Body::KnowledgeTopic {
            doc_id,
            category_id,
            topic_index,
            topic_name,
            topic_path,
            summary,
            depth,
            parent_node_id,
            children_node_ids,
            content_labels,
            content,
        } => (
            vec![
                ("type", json!("knowledge_topic")),
                ("id", json!(id)),
                ("node_id", json!(id)),
                ("doc_id", json!(doc_id)),
                ("category_id", json!(category_id)),
                ("topic_index", json!(topic_index)),
                ("topic_name", json!(topic_name)),
                ("topic_path", json!(topic_path)),
                ("summary", json!(summary)),
                ("depth", json!(depth)),
                ("parent_node_id", json!(parent_node_id)),
                ("children_node_ids", json!(children_node_ids)),
                ("content_labels", json!(content_labels)),
                ("schema_version", json!(1)),
            ],
            content,
        ),
        Body::Episode { .. } | Body::AtomicFact { .. } | Body::Foresight { .. } | Body::AgentCase { .. } => {
            return None;
        }
    })
}

/// A category of knowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    pub id: String,
    pub description: String,
}

/// Returns the categories in `.taxonomy.md`, as far as they have an id.
///
/// Errors: what makes the file unreadable as a whole.
pub fn parse_taxonomy(path: &str, bytes: &[u8]) -> Result<Vec<Category>, Finding> {
    let tell = |line, code, message: &str| Finding {
        path: path.to_owned(),
        entry: None,
        line,
        code,
        message: message.to_owned(),
    };
    let decoded = Decoded::of(bytes);
    if let Some(damage) = decoded.damage(0..decoded.text.len()) {
        return Err(tell(Some(decoded.line(damage.span.start)), damage.code, damage.message()));
    }
    let (header, _) = FrontMatter::split(&decoded.text);
    if let Some(fault) = header.fault() {
        return Err(tell(Some(fault.line), fault.code, &fault.message));
    }
    if header.get("kind").and_then(Value::as_str) != Some("knowledge_taxonomy") {
        return Err(tell(Some(1), "wrong_type", "its front matter does not say `kind: knowledge_taxonomy`"));
    }
    let Some(Value::Array(items)) = header.get("categories") else {
        return Err(tell(
            header.line("categories").or(Some(1)),
            "field_missing",
            "the front matter has no list of `categories`",
        ));
    };
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let category = |item: &Value| {
        Some(Category { id: text(item, "id")?, description: text(item, "description").unwrap_or_default() })
    };
    Ok(items.iter().filter_map(category).collect())
}

/// Returns a new `.taxonomy.md`.
pub fn render_taxonomy(categories: &[Category]) -> String {
    let items: Vec<Value> =
        categories.iter().map(|category| json!({"id": category.id, "description": category.description})).collect();
    FrontMatter::fresh([("kind", json!("knowledge_taxonomy")), ("categories", json!(items))], Newline::Lf)
        .render()
        .to_owned()
}

#[cfg(test)]
mod tests;
