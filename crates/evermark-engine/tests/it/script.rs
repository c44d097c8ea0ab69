//! An index that does what a test says: fails, hangs, panics, weighs what it is told to, loses rows.

use evermark_core::error::ErrorKind;
use evermark_core::exact::ExactIndex;
use evermark_core::id::{Kind, MemoryKey, Owner};
use evermark_core::index::{
    Ask, Due, Hit, Index, IndexError, IndexInfo, Indexable, Inspection, Listing, Merge, Order, Question, Recall,
    Reclaimed,
};
use evermark_core::maintenance::Budget;
use evermark_core::memory::{Digest32, Memory};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// What a call comes to instead of its work.
#[derive(Clone)]
pub(crate) enum Fault {
    Fails(ErrorKind),
    Panics,
    /// Waits until the latch is opened, then works.
    Hangs(Arc<Latch>),
}

/// Holds whoever passes it, until it is opened.
#[derive(Default)]
pub(crate) struct Latch {
    is_open: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    pub(crate) fn open(&self) {
        *self.is_open.lock().expect("not poisoned") = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let is_open = self.is_open.lock().expect("not poisoned");
        drop(self.changed.wait_while(is_open, |is_open| !*is_open).expect("not poisoned"));
    }
}

/// What all generations of one root do.
#[derive(Default)]
pub(crate) struct Script {
    faults: Mutex<HashMap<&'static str, Fault>>,
    calls: Mutex<HashMap<&'static str, u64>>,
    called: Condvar,
    weight: Mutex<Option<IndexInfo>>,
    due: Mutex<Option<Due>>,
    budgets: Mutex<Vec<Budget>>,
    pub(crate) losses: AtomicU64,
    pub(crate) flushes: AtomicU64,
    /// What the next reclaim gives back.
    pub(crate) reclaimable: AtomicU64,
}

impl Script {
    pub(crate) fn set(&self, call: &'static str, fault: Fault) {
        self.faults.lock().expect("not poisoned").insert(call, fault);
    }

    pub(crate) fn clear(&self, call: &'static str) {
        self.faults.lock().expect("not poisoned").remove(call);
    }

    /// Returns how often something was asked for, whatever came of it.
    pub(crate) fn calls(&self, call: &'static str) -> u64 {
        self.calls.lock().expect("not poisoned").get(call).copied().unwrap_or(0)
    }

    /// Waits until something was asked for so often.
    pub(crate) fn wait_for(&self, call: &'static str, times: u64) {
        let calls = self.calls.lock().expect("not poisoned");
        let is_short = |calls: &mut HashMap<&'static str, u64>| calls.get(call).is_none_or(|calls| *calls < times);
        drop(self.called.wait_while(calls, is_short).expect("not poisoned"));
    }

    /// Has the index say that it weighs this; rows are what they are.
    pub(crate) fn weigh(&self, weight: IndexInfo) {
        *self.weight.lock().expect("not poisoned") = Some(weight);
    }

    /// Has so many pieces be due for merging; the first merge that works ends that.
    pub(crate) fn set_due(&self, pieces: u64) {
        *self.due.lock().expect("not poisoned") = Some(Due { pieces, bytes: pieces << 20, dead_rows: 0 });
    }

    pub(crate) fn budgets(&self) -> Vec<Budget> {
        self.budgets.lock().expect("not poisoned").clone()
    }

    fn meet(&self, call: &'static str) -> Result<(), IndexError> {
        *self.calls.lock().expect("not poisoned").entry(call).or_default() += 1;
        self.called.notify_all();
        let fault = self.faults.lock().expect("not poisoned").get(call).cloned();
        match fault {
            None => Ok(()),
            Some(Fault::Fails(kind)) => Err(IndexError::new(kind, format!("{call} fails, as the test wants"))),
            Some(Fault::Panics) => panic!("{call} panics, as the test wants"),
            Some(Fault::Hangs(latch)) => {
                latch.wait();
                Ok(())
            }
        }
    }
}

/// One generation.
pub(crate) struct Scripted {
    pub(crate) rows: Arc<ExactIndex>,
    pub(crate) script: Arc<Script>,
}

impl Index for Scripted {
    fn upsert(&self, rows: Vec<Indexable>) -> Result<(), IndexError> {
        self.script.meet("upsert")?;
        self.rows.upsert(rows)
    }

    fn remove(&self, keys: &[MemoryKey]) -> Result<(), IndexError> {
        self.script.meet("remove")?;
        self.rows.remove(keys)
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.script.meet("flush")?;
        self.script.flushes.fetch_add(1, Ordering::SeqCst);
        self.rows.flush()
    }

    fn matching(&self, ask: &Ask<'_>, terms: &[String]) -> Result<Vec<Hit>, IndexError> {
        self.rows.matching(ask, terms)
    }

    fn recall(&self, ask: &Ask<'_>, question: &Question<'_>) -> Result<Recall, IndexError> {
        self.rows.recall(ask, question)
    }

    fn holding(&self, owner: &Owner, kind: Kind, terms: &[String]) -> Result<Option<Vec<u64>>, IndexError> {
        self.rows.holding(owner, kind, terms)
    }

    fn nearest(&self, ask: &Ask<'_>, vector: &[f32]) -> Result<Vec<Hit>, IndexError> {
        self.rows.nearest(ask, vector)
    }

    fn fetch(&self, owner: &Owner, kind: Kind, ids: &[String]) -> Result<Vec<Memory>, IndexError> {
        self.rows.fetch(owner, kind, ids)
    }

    fn list(&self, ask: &Ask<'_>, order: Order, offset: usize) -> Result<Listing, IndexError> {
        self.rows.list(ask, order, offset)
    }

    fn scan(&self, visit: &mut dyn FnMut(MemoryKey, &str, Digest32)) -> Result<(), IndexError> {
        self.rows.scan(visit)
    }

    fn set_budget(&self, budget: Budget) {
        self.script.budgets.lock().expect("not poisoned").push(budget);
    }

    fn reclaim(&self) -> Result<Reclaimed, IndexError> {
        self.script.meet("reclaim")?;
        let bytes = self.script.reclaimable.swap(0, Ordering::SeqCst);
        Ok(Reclaimed { versions: 1, files: 1, bytes })
    }

    fn compact(&self) -> Result<Merge, IndexError> {
        self.script.meet("compact")?;
        Ok(match self.script.due.lock().expect("not poisoned").take() {
            None => Merge::NothingDue,
            Some(due) => {
                Merge::Done { pieces: due.pieces, bytes_read: due.bytes, bytes_written: due.bytes, quarantined: 0 }
            }
        })
    }

    fn due(&self) -> Result<Option<Due>, IndexError> {
        Ok(self.script.due.lock().expect("not poisoned").clone())
    }

    fn inspect(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Inspection, IndexError> {
        self.script.meet("inspect")?;
        progress(1, 1);
        Ok(Inspection { pieces: 1, ..Inspection::default() })
    }

    fn losses(&self) -> u64 {
        self.script.losses.load(Ordering::SeqCst)
    }

    fn info(&self) -> Result<IndexInfo, IndexError> {
        self.script.meet("info")?;
        let real = self.rows.info()?;
        Ok(match self.script.weight.lock().expect("not poisoned").clone() {
            None => real,
            Some(weight) => IndexInfo { rows: real.rows, pending: real.pending, dimension: real.dimension, ..weight },
        })
    }
}
