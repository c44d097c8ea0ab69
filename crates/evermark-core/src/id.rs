//! The names of things: kinds, scopes, owners and keys.

use std::fmt;

/// What sort of memory something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Episode,
    AtomicFact,
    Foresight,
    Profile,
    AgentCase,
    AgentSkill,
    KnowledgeDocument,
    KnowledgeTopic,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Episode,
        Self::AtomicFact,
        Self::Foresight,
        Self::Profile,
        Self::AgentCase,
        Self::AgentSkill,
        Self::KnowledgeDocument,
        Self::KnowledgeTopic,
    ];

    /// Returns the name used in JSON, SQL, the index and the CLI.
    pub fn name(self) -> &'static str {
        match self {
            Self::Episode => "episode",
            Self::AtomicFact => "atomic_fact",
            Self::Foresight => "foresight",
            Self::Profile => "profile",
            Self::AgentCase => "agent_case",
            Self::AgentSkill => "agent_skill",
            Self::KnowledgeDocument => "knowledge_document",
            Self::KnowledgeTopic => "knowledge_topic",
        }
    }

    /// Returns the kind with this [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the prefix of entry ids (`ep`, `af`, `fs`, `ac`) for kinds that live in daily files.
    pub fn entry_prefix(self) -> Option<&'static str> {
        match self {
            Self::Episode => Some("ep"),
            Self::AtomicFact => Some("af"),
            Self::Foresight => Some("fs"),
            Self::AgentCase => Some("ac"),
            Self::Profile | Self::AgentSkill | Self::KnowledgeDocument | Self::KnowledgeTopic => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The app and project a memory belongs to. `default` is written `default_app` / `default_project` on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    pub app: String,
    pub project: String,
}

impl Scope {
    pub fn new(app: impl Into<String>, project: impl Into<String>) -> Self {
        Self { app: app.into(), project: project.into() }
    }

    /// Returns the first folder below the root.
    pub fn app_dir(&self) -> &str {
        if self.app == "default" { "default_app" } else { &self.app }
    }

    /// Returns the second folder below the root.
    pub fn project_dir(&self) -> &str {
        if self.project == "default" { "default_project" } else { &self.project }
    }

    /// Returns the scope whose folders these are.
    pub fn from_dirs(app_dir: &str, project_dir: &str) -> Self {
        Self {
            app: if app_dir == "default_app" { "default" } else { app_dir }.to_owned(),
            project: if project_dir == "default_project" { "default" } else { project_dir }.to_owned(),
        }
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new("default", "default")
    }
}

/// Whose memory it is: a user's, an agent's, or the project's own (knowledge).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Track {
    User,
    Agent,
    Knowledge,
}

impl Track {
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::Knowledge => "knowledge",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Agent, Self::Knowledge].into_iter().find(|track| track.name() == name)
    }
}

/// One owner within one scope: the unit that is searched. For knowledge `id` is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub scope: Scope,
    pub track: Track,
    pub id: String,
}

impl Owner {
    pub fn user(scope: Scope, id: impl Into<String>) -> Self {
        Self { scope, track: Track::User, id: id.into() }
    }

    pub fn agent(scope: Scope, id: impl Into<String>) -> Self {
        Self { scope, track: Track::Agent, id: id.into() }
    }

    pub fn knowledge(scope: Scope) -> Self {
        Self { scope, track: Track::Knowledge, id: String::new() }
    }
}

/// What tells one memory from every other: owner, kind and id. The id alone repeats across scopes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemoryKey {
    pub owner: Owner,
    pub kind: Kind,
    pub id: String,
}
