//! Which file is what, and where a memory goes: the layout of contract §C.1, §C.6 and §C.8 as two pure functions.

use crate::id::{Kind, Owner, Scope, Track};
use crate::memory::Digest32;
use jiff::civil::Date;
use std::fmt;
use unicode_normalization::UnicodeNormalization;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Memories: entries of a daily file, or one that fills the file.
    Memories(Kind),
    /// `references/*.md` of a skill: read together with its `SKILL.md`.
    SkillReference,
    /// `.taxonomy.md`: the categories of knowledge.
    Taxonomy,
    /// Messages accepted but not yet made into memories. EverOS ignores it.
    Inbox,
    /// What a segment of a conversation is about to become. EverOS ignores it.
    Segment,
}

impl FileKind {
    /// Returns whose files of this kind are; `None` where they belong to a session.
    pub fn track(self) -> Option<Track> {
        match self {
            Self::Memories(kind) => Some(track_of(kind)),
            Self::SkillReference => Some(Track::Agent),
            Self::Taxonomy => Some(Track::Knowledge),
            Self::Inbox | Self::Segment => None,
        }
    }
}

/// Returns whose memories of this kind are.
pub fn track_of(kind: Kind) -> Track {
    match kind {
        Kind::Episode | Kind::AtomicFact | Kind::Foresight | Kind::Profile => Track::User,
        Kind::AgentCase | Kind::AgentSkill => Track::Agent,
        Kind::KnowledgeDocument | Kind::KnowledgeTopic => Track::Knowledge,
    }
}

/// What a path below the root says about its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub scope: Scope,
    pub kind: FileKind,
    /// The directory named for the owner (or for the session, in an inbox); empty for knowledge. The owner's id itself is in
    /// the front matter.
    pub owner_dir: String,
}

impl Place {
    /// Returns the owner that the directory is named for: what holds where the front matter does not say. `None` in an inbox.
    pub fn owner(&self) -> Option<Owner> {
        self.kind.track().map(|track| Owner { scope: self.scope.clone(), track, id: self.owner_dir.clone() })
    }
}

/// Returns what the file at `rel_path` is, or `None` if it is nothing of ours. `rel_path` is relative to the root, `/`
/// between its parts.
///
/// Source: the globs of contract §C.8, and our own inbox beside `users` and `agents`.
pub fn place(rel_path: &str) -> Option<Place> {
    let parts: Vec<&str> = rel_path.split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return None;
    }
    let [app, project, rest @ ..] = parts.as_slice() else { return None };
    // Our own and EverOS's working directories are never scopes.
    if matches!(*app, ".index" | ".tmp" | ".evermark") {
        return None;
    }
    let memories = |kind, dir: &&str| Some((FileKind::Memories(kind), (*dir).to_owned()));
    let (kind, owner_dir) = match rest {
        ["users", user, "user.md"] => memories(Kind::Profile, user),
        ["users", user, "episodes", name] if is_daily(name, "episode-") => memories(Kind::Episode, user),
        ["users", user, ".atomic_facts", name] if is_daily(name, "atomic_fact-") => memories(Kind::AtomicFact, user),
        ["users", user, ".foresights", name] if is_daily(name, "foresight-") => memories(Kind::Foresight, user),
        ["agents", agent, ".cases", name] if is_daily(name, "agent_case-") => memories(Kind::AgentCase, agent),
        ["agents", agent, "skills", dir, "SKILL.md"] if dir.starts_with("skill_") => memories(Kind::AgentSkill, agent),
        ["agents", agent, "skills", dir, "references", name] if dir.starts_with("skill_") && name.ends_with(".md") => {
            Some((FileKind::SkillReference, (*agent).to_owned()))
        }
        ["knowledge", ".taxonomy.md"] => Some((FileKind::Taxonomy, String::new())),
        ["knowledge", _, _, "index.md"] => memories(Kind::KnowledgeDocument, &""),
        ["knowledge", _, _, name] if name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(".md") => {
            memories(Kind::KnowledgeTopic, &"")
        }
        ["inbox", session, name] if inbox_sequence(name).is_some() => Some((FileKind::Inbox, (*session).to_owned())),
        ["inbox", session, name] if name.starts_with("segment-") && name.ends_with(".md") => {
            Some((FileKind::Segment, (*session).to_owned()))
        }
        _ => None,
    }?;
    Some(Place { scope: Scope::from_dirs(app, project), kind, owner_dir })
}

fn is_daily(name: &str, prefix: &str) -> bool {
    name.starts_with(prefix) && name.ends_with(".md")
}

/// An id that must not become part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsafeName {
    pub field: &'static str,
    pub value: String,
}

impl fmt::Display for UnsafeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` cannot name a directory", self.field, self.value)
    }
}

impl std::error::Error for UnsafeName {}

/// Tells whether an id may name a directory: 1 to 128 of `A-Z a-z 0-9 _ . @ + -`, and not `.` or `..` (contract §A.3).
pub fn is_safe_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'@' | b'+' | b'-'))
        && !matches!(id, "." | "..")
}

fn safe<'a>(field: &'static str, id: &'a str) -> Result<&'a str, UnsafeName> {
    if is_safe_id(id) { Ok(id) } else { Err(UnsafeName { field, value: id.to_owned() }) }
}

/// Returns `<app>/<project>` for a scope.
///
/// Errors: ids that are unsafe, or that are the written form of `default` and would name another scope's directory.
pub fn scope_dir(scope: &Scope) -> Result<String, UnsafeName> {
    let reserved = |field, id: &str, taken: &str| {
        if id == taken { Err(UnsafeName { field, value: id.to_owned() }) } else { Ok(()) }
    };
    reserved("app_id", &scope.app, "default_app")?;
    reserved("project_id", &scope.project, "default_project")?;
    safe("app_id", scope.app_dir())?;
    safe("project_id", scope.project_dir())?;
    Ok(format!("{}/{}", scope.app_dir(), scope.project_dir()))
}

/// Returns an owner's directory.
pub fn owner_dir(owner: &Owner) -> Result<String, UnsafeName> {
    let scope = scope_dir(&owner.scope)?;
    match owner.track {
        Track::User => Ok(format!("{scope}/users/{}", safe("user_id", &owner.id)?)),
        Track::Agent => Ok(format!("{scope}/agents/{}", safe("agent_id", &owner.id)?)),
        Track::Knowledge => Ok(format!("{scope}/knowledge")),
    }
}

/// Returns the file that memories of a kind extracted on `day` go to. `day` counts only for daily files.
///
/// Errors: ids that must not name a directory; kinds whose path needs more than an owner (skills: [`skill_path`],
/// knowledge: [`document_dir`]) and owners of another track give an error that names the kind.
pub fn path_for(owner: &Owner, kind: Kind, day: Date) -> Result<String, UnsafeName> {
    let dir = owner_dir(owner)?;
    if owner.track != track_of(kind) {
        return Err(UnsafeName { field: "kind", value: kind.name().to_owned() });
    }
    match kind {
        Kind::Episode => Ok(format!("{dir}/episodes/episode-{day}.md")),
        Kind::AtomicFact => Ok(format!("{dir}/.atomic_facts/atomic_fact-{day}.md")),
        Kind::Foresight => Ok(format!("{dir}/.foresights/foresight-{day}.md")),
        Kind::AgentCase => Ok(format!("{dir}/.cases/agent_case-{day}.md")),
        Kind::Profile => Ok(format!("{dir}/user.md")),
        Kind::AgentSkill | Kind::KnowledgeDocument | Kind::KnowledgeTopic => {
            Err(UnsafeName { field: "kind", value: kind.name().to_owned() })
        }
    }
}

/// Returns the `SKILL.md` of an agent's skill.
pub fn skill_path(agent: &Owner, name: &str) -> Result<String, UnsafeName> {
    Ok(format!("{}/skills/skill_{}/SKILL.md", owner_dir(agent)?, sanitize(name, "unnamed")))
}

/// Returns a document's directory; its file is `index.md` in it, its topics are [`topic_name`].
pub fn document_dir(scope: &Scope, category: &str, title: &str, doc_id: &str) -> Result<String, UnsafeName> {
    let dir = owner_dir(&Owner::knowledge(scope.clone()))?;
    let (category, title) = (sanitize(category, "Others"), sanitize(title, "doc"));
    Ok(format!("{dir}/{category}/{title}_{}", safe("doc_id", doc_id)?))
}

/// Returns the file name of a document's `number`-th topic.
pub fn topic_name(number: u64, topic: &str) -> String {
    format!("{number}_{}.md", sanitize(topic, &format!("topic_{number}")))
}

/// Returns the directory for what a session said: a readable start of its id and 8 digits of the id's digest, since
/// session ids are free text.
pub fn session_dir(scope: &Scope, session_id: &str) -> Result<String, UnsafeName> {
    let digest = Digest32::of(session_id.as_bytes()).hex();
    Ok(format!("{}/inbox/{}-{}", scope_dir(scope)?, sanitize(session_id, "session"), &digest[..8]))
}

/// Returns the file for the batch accepted as number `sequence`: names sort as numbers do.
pub fn inbox_path(scope: &Scope, session_id: &str, sequence: u64) -> Result<String, UnsafeName> {
    Ok(format!("{}/{sequence:020}.md", session_dir(scope, session_id)?))
}

/// Returns the number in an inbox file's name, or `None` if it is not one.
pub fn inbox_sequence(name: &str) -> Option<u64> {
    let digits = name.rsplit('/').next()?.strip_suffix(".md")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Returns the file of a segment's plan.
pub fn segment_path(scope: &Scope, session_id: &str, memcell_id: &str) -> Result<String, UnsafeName> {
    Ok(format!("{}/segment-{}.md", session_dir(scope, session_id)?, safe("memcell_id", memcell_id)?))
}

/// Most characters of a sanitised name.
const NAME_CHARS_MAX: usize = 50;

/// Returns free text as one path component: composed (NFC), spaces to `_`, only word characters, `-` and `.`, at most 50
/// of them; `fallback` when nothing usable is left. Lossy; applying it twice changes nothing.
///
/// Source: contract §C.6. Word characters are those of Python's `\w`: letters, numbers of any sort, `_`.
pub fn sanitize(raw: &str, fallback: &str) -> String {
    let name: String = raw
        .nfc()
        .map(|c| if c == ' ' { '_' } else { c })
        .filter(|c| c.is_alphanumeric() && !is_mark(*c) || matches!(c, '_' | '-' | '.'))
        .take(NAME_CHARS_MAX)
        .collect();
    if matches!(name.as_str(), "" | "." | "..") { fallback.to_owned() } else { name }
}

/// Tells a combining mark, which Rust counts as alphabetic where a vowel sign is meant and Python's `\w` does not.
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

#[cfg(test)]
mod tests;
