//! Comparing the index with the Markdown, without changing either.

use crate::engine::Inner;
use crate::error::Error;
use crate::status::{FileProblem, ProgressMark, VerifyReport};
use evermark_core::id::MemoryKey;
use evermark_core::memory::Digest32;
use std::collections::HashMap;

/// Differences of each sort that are named; all are counted by their lists' lengths up to this.
const NAMED_MAX: usize = 10_000;

impl Inner {
    pub(crate) fn verify(&self, progress: &mut dyn FnMut(ProgressMark)) -> Result<VerifyReport, Error> {
        let mut rows: HashMap<MemoryKey, (String, Digest32)> = HashMap::new();
        self.live().index.scan(&mut |key, path, digest| {
            rows.insert(key, (path.to_owned(), digest));
        })?;
        let scan = self.scan_memories()?;
        let mut report = VerifyReport { rows: rows.len() as u64, ..VerifyReport::default() };
        let total = scan.len() as u64;
        let mut seen: HashMap<MemoryKey, ()> = HashMap::new();
        for (done, path) in scan.iter().enumerate() {
            progress(ProgressMark { done: done as u64, total });
            report.files += 1;
            let reading = match self.read_memories(path) {
                Ok(Some((_, reading))) => reading,
                Ok(None) => continue,
                Err(problem) => {
                    report.problems.push(problem);
                    continue;
                }
            };
            for finding in &reading.findings {
                report.problems.push(FileProblem::of(finding));
            }
            for memory in reading.memories {
                let key = memory.key();
                if seen.insert(key.clone(), ()).is_some() {
                    continue;
                }
                report.memories += 1;
                match rows.remove(&key) {
                    None => push(&mut report.missing, &key, path),
                    Some((_, digest)) if digest != memory.digest() => push(&mut report.different, &key, path),
                    Some(_) => {}
                }
            }
        }
        for (key, (path, _)) in rows {
            push(&mut report.extra, &key, &path);
        }
        report.extra.sort_unstable();
        progress(ProgressMark { done: total, total });
        Ok(report)
    }
}

fn push(list: &mut Vec<String>, key: &MemoryKey, path: &str) {
    if list.len() < NAMED_MAX {
        list.push(format!("{} {} ({path})", key.kind, key.id));
    }
}
