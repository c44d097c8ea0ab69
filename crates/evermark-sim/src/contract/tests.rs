use super::*;
use evermark_core::error::ErrorKind;
use evermark_core::exact::ExactIndex;
use evermark_core::id::MemoryKey;
use evermark_core::index::{IndexError, IndexInfo, Indexable, Listing, Order, Question, Recall, Upkeep};
use evermark_core::memory::{Digest32, Memory};
use evermark_core::shelf::{Payloads, Shelf, ShelfRow};
use std::collections::BTreeMap;
use std::sync::Mutex;

const DIMENSION: usize = 8;

/// An index of nothing but shelves, one per owner.
#[derive(Default)]
struct Shelves {
    shelves: Mutex<BTreeMap<Owner, Shelf>>,
}

impl Shelves {
    fn with<T>(&self, owner: &Owner, f: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut shelves = self.shelves.lock().expect("no panic before");
        let shelf =
            shelves.entry(owner.clone()).or_insert_with(|| Shelf::new(owner.clone(), Some(DIMENSION), Payloads::Keep));
        f(shelf)
    }
}

impl Index for Shelves {
    fn upsert(&self, rows: Vec<Indexable>) -> Result<(), IndexError> {
        if rows.iter().any(|row| row.vector.as_ref().is_some_and(|vector| vector.len() != DIMENSION)) {
            return Err(IndexError::new(ErrorKind::Invalid, "width"));
        }
        for row in &rows {
            self.with(&row.memory.owner, |shelf| shelf.upsert([ShelfRow::of(row)]))?;
        }
        Ok(())
    }

    fn remove(&self, keys: &[MemoryKey]) -> Result<(), IndexError> {
        for key in keys {
            self.with(&key.owner, |shelf| shelf.remove(key.kind, &key.id));
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }

    fn matching(&self, ask: &Ask<'_>, terms: &[String]) -> Result<Vec<Hit>, IndexError> {
        Ok(self.with(ask.owner, |shelf| shelf.matching(ask, terms)))
    }

    fn recall(&self, ask: &Ask<'_>, question: &Question<'_>) -> Result<Recall, IndexError> {
        self.with(ask.owner, |shelf| shelf.recall(ask, question))
    }

    fn holding(&self, owner: &Owner, kind: Kind, terms: &[String]) -> Result<Option<Vec<u64>>, IndexError> {
        Ok(Some(self.with(owner, |shelf| shelf.holding(kind, terms))))
    }

    fn nearest(&self, ask: &Ask<'_>, vector: &[f32]) -> Result<Vec<Hit>, IndexError> {
        self.with(ask.owner, |shelf| {
            let hits = shelf.nearest(ask, vector)?;
            let ids: Vec<String> = hits.iter().map(|hit| hit.id.clone()).collect();
            let scores = shelf.scores_of(ask.kind, &ids, vector)?;
            assert!(hits.iter().zip(scores).all(|(hit, score)| score == Some(hit.score)));
            Ok(hits)
        })
    }

    fn fetch(&self, owner: &Owner, kind: Kind, ids: &[String]) -> Result<Vec<Memory>, IndexError> {
        self.with(owner, |shelf| shelf.fetch(kind, ids))
    }

    fn list(&self, ask: &Ask<'_>, order: Order, offset: usize) -> Result<Listing, IndexError> {
        self.with(ask.owner, |shelf| {
            let listing = shelf.list(ask, order, offset)?;
            let page = shelf.page(ask, order, offset);
            assert_eq!(page.ids, listing.memories.iter().map(|memory| memory.id.clone()).collect::<Vec<_>>());
            assert_eq!(page.total, listing.total);
            Ok(listing)
        })
    }

    fn scan(&self, visit: &mut dyn FnMut(MemoryKey, &str, Digest32)) -> Result<(), IndexError> {
        self.shelves.lock().expect("no panic before").values().try_for_each(|shelf| shelf.scan(visit))
    }

    fn upkeep(&self) -> Result<Upkeep, IndexError> {
        self.shelves.lock().expect("no panic before").values_mut().for_each(Shelf::settle);
        Ok(Upkeep::default())
    }

    fn info(&self) -> Result<IndexInfo, IndexError> {
        let mut rows: BTreeMap<Kind, u64> = BTreeMap::new();
        for shelf in self.shelves.lock().expect("no panic before").values() {
            assert!(shelf.bytes() > 0);
            shelf.rows().for_each(|(kind, n_rows)| *rows.entry(kind).or_default() += n_rows as u64);
        }
        Ok(IndexInfo { rows: rows.into_iter().collect(), dimension: Some(DIMENSION), ..IndexInfo::default() })
    }
}

fn shelves() -> Box<dyn Index> {
    Box::<Shelves>::default()
}

fn exact() -> Box<dyn Index> {
    Box::new(ExactIndex::new(Some(DIMENSION)))
}

#[test]
fn the_exact_index_keeps_the_contract() {
    suite(&Subject { make: &exact, reopen: Some(&|index| index), dimension: DIMENSION });
}

#[test]
fn shelves_keep_the_contract() {
    let subject = Subject { make: &shelves, reopen: Some(&|index| index), dimension: DIMENSION };
    // Shelves have nothing to flush, so nothing is ever pending.
    for (name, check) in all().into_iter().filter(|(name, _)| *name != "info counts") {
        assert!(!name.is_empty());
        check(&subject);
    }
}

#[test]
fn shelves_answer_as_the_exact_index() {
    for seed in 0..12 {
        random(&Subject { make: &shelves, reopen: Some(&|index| index), dimension: DIMENSION }, seed, 120);
    }
}

#[test]
fn the_exact_index_agrees_with_itself() {
    random(&Subject { make: &exact, reopen: None, dimension: DIMENSION }, 1, 40);
}
