//! The same memories as basic-memory keeps them: a note for each episode, its facts as observations, a folder for each user.

use anyhow::Context;
use evermark_core::markdown::read_file;
use evermark_core::memory::{Body, Memory};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes the notes of a root's files and returns how many there are.
pub(super) fn write(files: &[(PathBuf, Vec<u8>)], folder: &Path) -> anyhow::Result<usize> {
    let mut episodes = Vec::new();
    let mut facts: HashMap<(String, String), Vec<String>> = HashMap::new();
    for (path, bytes) in files {
        let path = path.to_str().context("a made-up root has plain names")?;
        for memory in read_file(path, bytes, &jiff::tz::TimeZone::UTC, &[]).memories {
            match memory.body {
                Body::AtomicFact { fact, .. } => {
                    let parent = memory.parent_id.unwrap_or_default();
                    facts.entry((memory.owner.id, parent)).or_default().push(fact);
                }
                Body::Episode { .. } => episodes.push(memory),
                _ => {}
            }
        }
    }
    for episode in &episodes {
        let folder = folder.join(&episode.owner.id);
        let path = folder.join(format!("{}.md", episode.entry_id));
        let of = (episode.owner.id.clone(), episode.entry_id.clone());
        let note = note(episode, facts.get(&of).map_or(&[], Vec::as_slice));
        let written = fs::create_dir_all(&folder).and_then(|()| File::create(&path)?.write_all(note.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(episodes.len())
}

fn note(episode: &Memory, facts: &[String]) -> String {
    let Body::Episode { subject, content, .. } = &episode.body else { return String::new() };
    let title = subject.as_deref().unwrap_or("Episode");
    let title = format!("{title} ({})", episode.entry_id);
    let facts = facts.iter().map(|fact| format!("- [fact] {fact}\n")).collect::<String>();
    format!("---\ntitle: {title}\ntype: note\n---\n\n# {title}\n\n{content}\n## Observations\n{facts}")
}
