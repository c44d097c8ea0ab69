//! What a segment of a conversation is about to become, written before its first episode: after a crash the same segment
//! gives the same entries on the same day, and none twice.

use super::Finding;
use super::decode::Decoded;
use super::front_matter::{FrontMatter, Newline};
use super::inbox::{Header, finding};
use crate::id::{Owner, Scope, Track};
use crate::memory::Digest32;
use jiff::civil::Date;
use serde_json::{Value, json};

const TYPE: &str = "evermark_segment";

/// A closed segment and what it turns into.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentPlan {
    /// [`memcell_id`] of what follows.
    pub memcell_id: String,
    pub scope: Scope,
    pub session_id: String,
    /// The day its entries are filed under.
    pub day: Date,
    /// Its messages, in their order.
    pub message_ids: Vec<String>,
    /// Whose memories it gives, all in `scope`.
    pub owners: Vec<Owner>,
}

/// Returns the file that keeps a plan.
pub fn render(plan: &SegmentPlan) -> String {
    let owners: Vec<Value> =
        plan.owners.iter().map(|owner| json!({"track": owner.track.name(), "id": owner.id})).collect();
    let header = FrontMatter::fresh(
        [
            ("type", json!(TYPE)),
            ("schema_version", json!(1)),
            ("memcell_id", json!(plan.memcell_id)),
            ("session_id", json!(plan.session_id)),
            ("app_id", json!(plan.scope.app)),
            ("project_id", json!(plan.scope.project)),
            ("day", json!(plan.day.to_string())),
            ("owners", json!(owners)),
            ("message_ids", json!(plan.message_ids)),
        ],
        Newline::Lf,
    );
    let mut out = header.render().to_owned();
    out.push_str(
        "The messages named above are being made into memories. Evermark removes this file when that is done.\n",
    );
    out
}

/// Returns the plan a file keeps.
///
/// Errors: the first thing wrong with it.
pub fn parse(path: &str, bytes: &[u8]) -> Result<SegmentPlan, Finding> {
    let decoded = Decoded::of(bytes);
    if let Some(damage) = decoded.damage(0..decoded.text.len()) {
        return Err(finding(path, None, Some(decoded.line(damage.span.start)), damage.code, damage.message()));
    }
    let (front, _) = FrontMatter::split(&decoded.text);
    if let Some(fault) = front.fault() {
        return Err(finding(path, None, Some(fault.line), fault.code, &fault.message));
    }
    let header = Header { path, header: &front };
    header.check_type(TYPE)?;
    let list = |key: &str| front.get(key).and_then(Value::as_array).ok_or_else(|| header.invalid(key));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let scope = header.scope()?;
    let owner = |value: &Value| {
        let track = Track::from_name(value.get("track")?.as_str()?)?;
        Some(Owner { scope: scope.clone(), track, id: text(value.get("id")?)? })
    };
    Ok(SegmentPlan {
        memcell_id: header.string("memcell_id")?,
        session_id: header.string("session_id")?,
        day: header.string("day")?.parse().map_err(|_| header.invalid("day"))?,
        message_ids: list("message_ids")?
            .iter()
            .map(text)
            .collect::<Option<_>>()
            .ok_or_else(|| header.invalid("message_ids"))?,
        owners: list("owners")?.iter().map(owner).collect::<Option<_>>().ok_or_else(|| header.invalid("owners"))?,
        scope,
    })
}

/// Returns `mc_` and 12 hexadecimal digits, the same for the same messages of the same session wherever it is computed.
pub fn memcell_id(scope: &Scope, session_id: &str, message_ids: &[String]) -> String {
    // JSON keeps apart what joining would run together.
    let name = json!([scope.app, scope.project, session_id, message_ids]).to_string();
    format!("mc_{}", &Digest32::of(name.as_bytes()).hex()[..12])
}

#[cfg(test)]
mod tests;
