//! Which of EverOS's vectors belong to a memory of ours: same place, same id, same text.

use evermark_core::id::Kind;
use evermark_core::markdown::{self, FileKind, place};
use evermark_core::memory::Digest32;
use evermark_core::vector;
use evermark_engine::settings::Settings;
use evermark_lance::lancedb::{ForeignRow, LanceDb};
use evermark_models::cache::Shelf;
use evermark_store::vault::Vault;
use serde_json::{Value, json};
use std::collections::HashMap;

/// What EverOS writes into the metadata of its vector columns.
const MODEL_KEY: &str = "everos.embedding_model";
/// Vectors written to the cache at once.
const BATCH: usize = 512;

/// Where EverOS keeps the vectors of one kind, and of which columns the embedded text is made, one per line.
pub(super) struct Table {
    name: &'static str,
    kind: Kind,
    text: &'static [&'static str],
}

/// What became of the memories' vectors.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Memories of ours that are searched by meaning.
    pub(super) memories: u64,
    taken: u64,
    there: u64,
    other_text: u64,
    no_vector: u64,
    wrong_dimension: u64,
    no_row: u64,
    /// Rows of EverOS's that are no memory of ours.
    strangers: u64,
    unreadable: u64,
    pub(super) problems: Vec<String>,
}

impl Taken {
    pub(super) fn told(&self) -> [(u64, &'static str); 8] {
        [
            (self.taken, "taken over"),
            (self.there, "were kept already, or are of a text met before"),
            (self.other_text, "are of another text than the Markdown has now"),
            (self.no_vector, "have no vector there"),
            (self.wrong_dimension, "have a vector of another width"),
            (self.no_row, "are not in EverOS's index"),
            (self.unreadable, "rows cannot be read"),
            (self.strangers, "rows belong to no memory"),
        ]
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "memories": self.memories, "taken": self.taken, "already_there": self.there,
            "other_text": self.other_text, "no_vector": self.no_vector, "wrong_dimension": self.wrong_dimension,
            "no_row": self.no_row, "unreadable_rows": self.unreadable, "rows_without_memory": self.strangers,
            "problems": self.problems,
        })
    }
}

/// Takes vectors over, one table after another.
pub(super) struct Taker<'a> {
    shelf: &'a Shelf,
    /// App, project, kind and id → the text's digest, until its row is met.
    wanted: HashMap<(String, String, Kind, String), Digest32>,
    batch: Vec<(Digest32, Vec<f32>)>,
    taken: Taken,
    failure: Option<anyhow::Error>,
}

impl<'a> Taker<'a> {
    pub(super) const TABLES: [Table; 6] = [
        Table { name: "episode", kind: Kind::Episode, text: &["episode"] },
        Table { name: "atomic_fact", kind: Kind::AtomicFact, text: &["fact"] },
        Table { name: "foresight", kind: Kind::Foresight, text: &["foresight"] },
        Table { name: "agent_case", kind: Kind::AgentCase, text: &["task_intent"] },
        Table { name: "agent_skill", kind: Kind::AgentSkill, text: &["name", "description"] },
        Table { name: "knowledge_topic", kind: Kind::KnowledgeTopic, text: &["summary"] },
    ];

    /// Reads every memory, and remembers what would be embedded.
    pub(super) fn new(vault: &Vault, settings: &Settings, shelf: &'a Shelf) -> Self {
        let mut paths = Vec::new();
        vault.scan(&mut |path, _| {
            if place(path).is_some_and(|place| matches!(place.kind, FileKind::Memories(_))) {
                paths.push(path.to_owned());
            }
        });
        let mut wanted = HashMap::new();
        for path in paths {
            // What cannot be read now is embedded when it can be.
            let Ok(file) = vault.read(&path, settings.file_bytes_max) else { continue };
            for memory in markdown::read_file(&path, &file.bytes, &settings.timezone, &[]).memories {
                let Some(text) = memory.body.embed_text() else { continue };
                let scope = memory.owner.scope.clone();
                let key = (scope.app, scope.project, memory.kind(), memory.id);
                wanted.insert(key, Digest32::of(text.as_bytes()));
            }
        }
        let taken = Taken { memories: wanted.len() as u64, ..Taken::default() };
        Self { shelf, wanted, batch: Vec::new(), taken, failure: None }
    }

    /// Goes through one table; returns the model that its vectors say they are of.
    pub(super) fn take(&mut self, db: &LanceDb, table: &Table) -> anyhow::Result<Option<String>> {
        let columns: Vec<&str> = ["id", "app_id", "project_id"].iter().chain(table.text).copied().collect();
        let read = db.rows(table.name, &columns, "vector", &mut |row| self.meet(table, row));
        self.write();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        Ok(match read {
            None => None,
            Some(Ok(read)) => {
                self.taken.unreadable += read.unreadable;
                read.vector_metadata.get(MODEL_KEY).cloned()
            }
            // A table that cannot be opened costs embeddings, not the adoption.
            Some(Err(error)) => {
                self.taken.problems.push(format!("{}: {error}", table.name));
                None
            }
        })
    }

    fn meet(&mut self, table: &Table, mut row: ForeignRow) {
        let mut text = |column: &str| row.texts.remove(column).unwrap_or_default();
        let key = (text("app_id"), text("project_id"), table.kind, text("id"));
        let embedded = table.text.iter().map(|column| text(column)).collect::<Vec<_>>().join("\n");
        let Some(wanted) = self.wanted.remove(&key) else {
            self.taken.strangers += 1;
            return;
        };
        if Digest32::of(embedded.as_bytes()) != wanted {
            self.taken.other_text += 1;
            return;
        }
        match row.vector.filter(|vector| vector::unit(vector).is_some()) {
            None => self.taken.no_vector += 1,
            Some(vector) if vector.len() != self.shelf.model().dimension => self.taken.wrong_dimension += 1,
            Some(vector) => self.batch.push((wanted, vector)),
        }
        if self.batch.len() >= BATCH {
            self.write();
        }
    }

    fn write(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let entries: Vec<(Digest32, &[f32])> = batch.iter().map(|(key, vector)| (*key, vector.as_slice())).collect();
        match self.shelf.put_many(&entries) {
            Ok(new) => {
                self.taken.taken += new as u64;
                self.taken.there += (entries.len() - new) as u64;
            }
            Err(error) => {
                self.failure.get_or_insert_with(|| anyhow::Error::new(error).context("cannot keep EverOS's vectors"));
            }
        }
    }

    pub(super) fn finish(mut self) -> anyhow::Result<Taken> {
        self.write();
        self.taken.no_row = self.wanted.len() as u64;
        self.failure.map_or(Ok(self.taken), Err)
    }
}
