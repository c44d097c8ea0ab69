//! What the Markdown should say, kept beside the disk: the truth that every answer is compared with.
//!
//! The model reads files by a few rules of its own, not by the program's parser, so that the two can disagree. Every memory
//! holds words that stand nowhere else; by them the harness tells what was lost, doubled, or is found though it is gone.

use evermark_core::id::{Kind, MemoryKey, Owner, Scope};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// The folder of the scope that everything happens in.
pub const SCOPE: &str = "default_app/default_project";
pub const USERS: [&str; 3] = ["amy", "ben", "cleo"];
pub const AGENT: &str = "robo";

/// A memory that some file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub path: String,
    pub words: BTreeSet<String>,
}

/// A save that somebody makes; `text` is `None` for a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Save {
    pub path: String,
    pub text: Option<String>,
    /// The file's time stays what it was.
    pub is_quiet: bool,
}

/// The Markdown as it should be.
#[derive(Default)]
pub struct Model {
    /// Text by path, as last seen or saved.
    pub files: BTreeMap<String, String>,
    /// Files that are cut off right now, and what they are when whole.
    cut: BTreeMap<String, String>,
    n_words: u32,
    n_entries: u32,
    /// Acknowledged messages whose memories have not been seen in a file yet.
    pub promised: BTreeSet<String>,
    /// Words that a person took out, or whose message was never acknowledged.
    released: BTreeSet<String>,
    /// Every word there ever was.
    pub words: BTreeSet<String>,
}

impl Model {
    /// Makes a word that no other text has. All have one length, so that one can stand for another in a file of the same size,
    /// and no analyser has a rule for their ends.
    pub fn word(&mut self) -> String {
        const LETTERS: &[u8; 10] = b"bcdfghjklm";
        let mut n = self.n_words;
        self.n_words += 1;
        let mut middle = [b'b'; 5];
        for letter in middle.iter_mut().rev() {
            *letter = LETTERS[(n % 10) as usize];
            n /= 10;
        }
        let word = format!("zq{}zq", String::from_utf8_lossy(&middle));
        self.words.insert(word.clone());
        word
    }

    /// Returns what one more entry of a kind says, as it stands in a file.
    fn entry(&mut self, kind: Kind, owner: &str) -> String {
        self.n_entries += 1;
        let id = format!("{}_20260102_{:08}", kind.entry_prefix().unwrap_or("xx"), self.n_entries);
        let word = self.word();
        let says = format!("The {word} stands by the mill.");
        let body = match kind {
            Kind::AtomicFact => format!("### Fact\n{says}\n"),
            Kind::AgentCase => format!("### TaskIntent\n{says}\n\n### Approach\nLook twice.\n"),
            _ => format!("### Subject\n{says}\n\n### Content\n{says}\n"),
        };
        let score = if kind == Kind::AgentCase { "**quality_score**: 0.5\n" } else { "" };
        format!(
            "<!-- entry:{id} -->\n## {id}\n\n**owner_id**: {owner}\n**timestamp**: 2026-01-02T03:04:05+00:00\n{score}\n\
             {body}<!-- /entry:{id} -->\n"
        )
    }

    /// A person writes a new file, or more entries into one that is there.
    pub fn write(&mut self, pick: u32, kind: Kind, n_entries: u32) -> Save {
        let (owner, path) = hand_file(pick, kind);
        let mut text = self.files.get(&path).cloned().unwrap_or_else(|| header(kind, &owner));
        for _ in 0..n_entries {
            let entry = self.entry(kind, &owner);
            text.push_str(&entry);
        }
        Save { path, text: Some(text), is_quiet: false }
    }

    /// Picks a file that is whole.
    fn pick(&self, pick: u32) -> Option<(&String, &String)> {
        let whole: Vec<_> = self.files.iter().filter(|(path, _)| !self.cut.contains_key(*path)).collect();
        whole.get(pick as usize % whole.len().max(1)).copied()
    }

    /// A person puts another word for one of an entry's words; the file's size stays.
    pub fn edit(&mut self, pick: u32, is_quiet: bool) -> Option<Save> {
        let (path, text) = self.pick(pick).map(|(path, text)| (path.clone(), text.clone()))?;
        let entries = entries(&text);
        let entry = entries.get(pick as usize / 7 % entries.len().max(1))?;
        let old = words(entry.text).into_iter().next()?;
        let new = self.word();
        let edited = entry.text.replace(&old, &new);
        Some(Save { path, text: Some(text.replacen(entry.text, &edited, 1)), is_quiet })
    }

    /// A person takes one entry out.
    pub fn remove_entry(&self, pick: u32) -> Option<Save> {
        let (path, text) = self.pick(pick)?;
        let entries = entries(text);
        let entry = entries.get(pick as usize / 7 % entries.len().max(1))?;
        Some(Save { path: path.clone(), text: Some(text.replacen(entry.text, "", 1)), is_quiet: false })
    }

    pub fn remove_file(&self, pick: u32) -> Option<Save> {
        let (path, _) = self.pick(pick)?;
        Some(Save { path: path.clone(), text: None, is_quiet: false })
    }

    /// A person gives a file of their own another name, in the same folder or another user's.
    pub fn move_file(&self, pick: u32, to: u32) -> Option<(String, String)> {
        let (path, _) = self.pick(pick)?;
        let (_, kind) = place(path)?;
        let (_, target) = hand_file(to, kind);
        // The program numbers entries by the file it finds in its place; moved away, the next file would begin anew.
        let is_hand = path.contains("-2026-");
        (is_hand && !self.files.contains_key(&target)).then(|| (path.clone(), target))
    }

    /// A person saves a file that they did not change.
    pub fn touch(&self, pick: u32) -> Option<Save> {
        let (path, text) = self.pick(pick)?;
        Some(Save { path: path.clone(), text: Some(text.clone()), is_quiet: false })
    }

    /// A save that was cut off: the rest comes with [`Self::mend`].
    pub fn cut(&mut self, pick: u32, permille: u32) -> Option<Save> {
        let (path, text) = self.pick(pick).map(|(path, text)| (path.clone(), text.clone()))?;
        let end = text.len() * permille.min(999) as usize / 1000;
        // Everything is ASCII.
        let short = text.get(..end)?.to_owned();
        self.cut.insert(path.clone(), text);
        Some(Save { path, text: Some(short), is_quiet: false })
    }

    /// What was cut off is saved whole.
    pub fn mend(&mut self) -> Vec<Save> {
        let cut = std::mem::take(&mut self.cut);
        cut.into_iter().map(|(path, text)| Save { path, text: Some(text), is_quiet: false }).collect()
    }

    /// Notes a save: what it takes out nobody is promised any more.
    pub fn saved(&mut self, save: &Save) {
        let before = self.files.get(&save.path).map(|text| words(text)).unwrap_or_default();
        let after = save.text.as_deref().map(words).unwrap_or_default();
        if !self.cut.contains_key(&save.path) {
            self.released.extend(before.difference(&after).cloned());
        }
        match &save.text {
            Some(text) => self.files.insert(save.path.clone(), text.clone()),
            None => self.files.remove(&save.path),
        };
    }

    pub fn moved(&mut self, from: &str, to: &str) {
        if let Some(text) = self.files.remove(from) {
            self.files.insert(to.to_owned(), text);
        }
    }

    /// Tells whether what was said still waits to be written down, or stands in an episode, and no file is cut off.
    pub fn keeps(&self, said: &str) -> bool {
        let stands = |word: &String| {
            let mut episodes =
                self.files.iter().filter(|(path, _)| place(path).is_some_and(|(_, kind)| kind == Kind::Episode));
            episodes.any(|(_, text)| text.contains(word))
        };
        let waits = |word: &String| self.promised.contains(word) && !self.released.contains(word);
        self.cut.is_empty() && words(said).iter().all(|word| waits(word) || stands(word))
    }

    /// Takes over what the program wrote, and tells what it may not have written: it appends entries, and touches no byte of
    /// anybody's text but the front matter's counters.
    pub fn observe(&mut self, disk: BTreeMap<String, String>) -> Result<(), String> {
        for (path, before) in &self.files {
            let Some(after) = disk.get(path) else { return Err(format!("{path} was removed by the program")) };
            if after == before {
                continue;
            }
            let kept = match (body(before), body(after)) {
                (Some(before), Some(after)) => after.starts_with(before),
                // Without a front matter to keep count in, or with a damaged one, the text is only appended to.
                _ => after.starts_with(before.as_str()) || after.ends_with(before.as_str()) || before.is_empty(),
            };
            if !kept {
                return Err(format!("{path} was changed by the program\nbefore: {before:?}\nafter: {after:?}"));
            }
        }
        for path in disk.keys().filter(|path| !self.files.contains_key(*path)) {
            if path.contains("-2026-") || place(path).is_none() {
                return Err(format!("{path} was made by the program"));
            }
        }
        self.files = disk;
        Ok(())
    }

    /// Checks that every acknowledged message is written down once, and none twice. What is seen is promised no longer: from
    /// then on [`Self::observe`] sees to it.
    pub fn keep_promises(&mut self) -> Result<(), String> {
        let mut count: BTreeMap<(Kind, String), u32> = BTreeMap::new();
        for (path, text) in &self.files {
            let Some((_, kind)) = place(path) else { continue };
            for entry in entries(text) {
                for word in words(entry.text) {
                    *count.entry((kind, word)).or_default() += 1;
                }
            }
        }
        if let Some(((kind, word), n)) = count.iter().find(|(_, n)| **n > 1) {
            return Err(format!("{word} stands in {n} entries of kind {kind}"));
        }
        for word in std::mem::take(&mut self.promised) {
            for kind in [Kind::Episode, Kind::AtomicFact] {
                if !self.released.contains(&word) && !count.contains_key(&(kind, word.clone())) {
                    return Err(format!("{word} was acknowledged, and is in no {kind}"));
                }
            }
        }
        Ok(())
    }

    /// Returns every memory that can be found, by its key.
    pub fn expected(&self) -> Result<BTreeMap<MemoryKey, Expected>, String> {
        let mut expected = BTreeMap::new();
        for (path, text) in &self.files {
            let Some((_, kind)) = place(path) else { continue };
            let Some(owner) = owner_of(text, kind) else { continue };
            for entry in entries(text) {
                let key = MemoryKey { owner: owner.clone(), kind, id: format!("{}_{}", owner.id, entry.id) };
                let words = words(entry.text);
                let before = expected.insert(key, Expected { path: path.clone(), words });
                if let Some(before) = before {
                    return Err(format!("entry {} stands in {path} and in {}", entry.id, before.path));
                }
            }
        }
        Ok(expected)
    }
}

/// Returns the owner and path of one of the few files that people write by hand.
fn hand_file(pick: u32, kind: Kind) -> (String, String) {
    let user = USERS[pick as usize % USERS.len()];
    let day = 1 + pick / 16 % 3;
    match kind {
        Kind::AtomicFact => {
            (user.to_owned(), format!("{SCOPE}/users/{user}/.atomic_facts/atomic_fact-2026-01-0{day}.md"))
        }
        Kind::AgentCase => (AGENT.to_owned(), format!("{SCOPE}/agents/{AGENT}/.cases/agent_case-2026-01-0{day}.md")),
        _ => (user.to_owned(), format!("{SCOPE}/users/{user}/episodes/episode-2026-01-0{day}.md")),
    }
}

fn header(kind: Kind, owner: &str) -> String {
    let (key, track) = if kind == Kind::AgentCase { ("agent_id", "agent") } else { ("user_id", "user") };
    format!(
        "---\nid: {kind}_log_{owner}_2026-01-02\ntype: {kind}_daily\nfile_type: {kind}_daily\nschema_version: 1\n\
         {key}: {owner}\ntrack: {track}\ndate: '2026-01-02'\nentry_count: 0\n---\n"
    )
}

/// Tells whose folder a path is in, and what kind of memory the file holds.
fn place(path: &str) -> Option<(String, Kind)> {
    let rest = path.strip_prefix(SCOPE)?;
    let mut parts = rest.split('/').skip(2);
    let owner = parts.next()?.to_owned();
    let kind = match parts.next()? {
        "episodes" => Kind::Episode,
        ".atomic_facts" => Kind::AtomicFact,
        ".cases" => Kind::AgentCase,
        _ => return None,
    };
    Some((owner, kind))
}

/// Returns the owner that the front matter names.
fn owner_of(text: &str, kind: Kind) -> Option<Owner> {
    let key = if kind == Kind::AgentCase { "agent_id: " } else { "user_id: " };
    let id = text.lines().find_map(|line| line.strip_prefix(key))?.trim_matches(['\'', '"']);
    let scope = Scope::default();
    Some(if kind == Kind::AgentCase { Owner::agent(scope, id) } else { Owner::user(scope, id) })
}

/// An entry as it stands in a file, markers included.
pub struct Entry<'a> {
    pub id: &'a str,
    pub text: &'a str,
}

/// Returns the whole entries of a file.
pub fn entries(text: &str) -> Vec<Entry<'_>> {
    const OPEN: &str = "<!-- entry:";
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(OPEN).map(|start| at + start) {
        at = start + OPEN.len();
        let Some(end) = text[at..].find(" -->") else { break };
        let id = &text[at..at + end];
        let close = format!("<!-- /entry:{id} -->");
        // An entry that never ends costs itself alone.
        let Some(length) = text[at..].find(&close) else { continue };
        let stop = at + length + close.len();
        let line = usize::from(text[stop..].starts_with('\n'));
        found.push(Entry { id, text: &text[start..stop + line] });
        at = stop;
    }
    found
}

/// Returns the words of a text that stand nowhere else.
pub fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 9 && word.starts_with("zq") && word.ends_with("zq"))
        .map(str::to_owned)
        .collect()
}

/// Returns what follows the front matter, `None` without a whole one.
fn body(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("---\n")?;
    rest.find("\n---\n").map(|end| &rest[end + 5..])
}
