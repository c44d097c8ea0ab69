//! Gathers what is shown of upkeep.

use super::Books;
use crate::beat::millis;
use crate::engine::Inner;
use crate::maintenance::{Descriptors, Maintenance, TableFootprint};
use crate::probe::Seen;
use crate::reconcile::Swept;
use crate::space::{IndexSeen, ledger_footprint};
use evermark_core::index::IndexInfo;
use evermark_store::space::{descriptors, footprint};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The one table of a generation.
const TABLE: &str = "memories";

impl Inner {
    pub(super) fn maintenance_status(
        self: &Arc<Self>,
        swept: &Swept,
        index: &Seen<IndexSeen>,
        books: &Seen<Books>,
    ) -> Maintenance {
        let now = self.world.monotonic();
        let live = self.live();
        // A ledger that did not answer one question is not asked another.
        let size = match &books.problem {
            None => self.look_at_ledger_size(),
            Some(_) => self.upkeep.ledger_size.last(now),
        };
        let ledger = ledger_footprint(size.value.as_ref());
        let whole = self.whole(index.value.as_ref());
        let live_bytes = Self::live_bytes(index.value.as_ref(), size.value.as_ref());
        let mut tables: Vec<TableFootprint> = Vec::new();
        if let Some(seen) = &index.value {
            tables.push(table(&seen.info, live.generation.to_string()));
        }
        if self.rebuilding.load(Ordering::Acquire) {
            let others = self.layout.generations().unwrap_or_default();
            for generation in others.into_iter().filter(|generation| *generation != live.generation) {
                let bytes = footprint(&self.layout.generation_dir(generation)).bytes;
                // Nothing of it is superseded yet that matters: it is being built.
                tables.push(TableFootprint {
                    name: TABLE.to_owned(),
                    generation: generation.to_string(),
                    allocated_bytes: bytes,
                    live_bytes: bytes,
                    ..TableFootprint::default()
                });
            }
        }
        let total = sum(&tables);
        let ballast = self.ballast_status();
        let counted = total.allocated_bytes + ledger.allocated_bytes + ballast.bytes;
        let without_ballast = whole.total_bytes.saturating_sub(ballast.bytes);
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people: nobody has 2^53 bytes")]
        let ratio = (swept.bytes > 0).then(|| without_ballast as f64 / swept.bytes as f64);
        let (used, limit) = descriptors();
        let beat_ms = self.upkeep.beat_ms.load(Ordering::Acquire);
        Maintenance {
            total,
            tables,
            ledger,
            other_bytes: whole.total_bytes.saturating_sub(counted),
            ballast,
            allocated_bytes: whole.total_bytes,
            deleted_open_bytes: whole.deleted_open_bytes,
            budget: self.budget_status(whole.total_bytes, live_bytes),
            markdown_bytes: swept.bytes,
            markdown_files: swept.files,
            index_to_markdown_ratio: ratio,
            steps: self.upkeep.steps.status(now),
            beats: self.upkeep.beats.load(Ordering::Acquire),
            last_beat_age_ms: (beat_ms > 0).then(|| millis(now).saturating_sub(beat_ms)),
            space: self.space_status(),
            writes: self.upkeep.gate.writes(now),
            descriptors: Descriptors { used, limit },
            quarantine: index.value.as_ref().map(|seen| seen.info.quarantine.clone()).unwrap_or_default(),
            losses: index.value.as_ref().map_or(0, |seen| seen.losses),
            repair_pending: self.has_losses(),
            loops: self.tasks.pulses.status(now, self.settings.loop_limit),
            ledger_age_ms: books.age.or(size.age).map(millis),
            index_age_ms: index.age.map(millis),
        }
    }
}

fn table(info: &IndexInfo, generation: String) -> TableFootprint {
    TableFootprint {
        name: TABLE.to_owned(),
        generation,
        rows: info.rows.iter().map(|(_, n)| n).sum(),
        allocated_bytes: info.allocated_bytes,
        live_bytes: info.live_bytes,
        dead_bytes: info.dead_bytes,
        orphan_bytes: info.orphan_bytes,
        held_bytes: info.held_bytes,
        versions: info.versions,
        fragments: info.fragments,
        unindexed_rows: 0,
        pending_rows: info.pending,
        bound_bytes: info.bound_bytes,
        readers: info.readers,
        oldest_reader_ms: info.oldest_reader_ms,
    }
}

fn sum(tables: &[TableFootprint]) -> TableFootprint {
    let of = |part: fn(&TableFootprint) -> u64| tables.iter().map(part).sum();
    TableFootprint {
        name: "total".to_owned(),
        generation: tables.first().map(|table| table.generation.clone()).unwrap_or_default(),
        rows: of(|table| table.rows),
        allocated_bytes: of(|table| table.allocated_bytes),
        live_bytes: of(|table| table.live_bytes),
        dead_bytes: of(|table| table.dead_bytes),
        orphan_bytes: of(|table| table.orphan_bytes),
        held_bytes: of(|table| table.held_bytes),
        versions: of(|table| table.versions),
        fragments: of(|table| table.fragments),
        unindexed_rows: of(|table| table.unindexed_rows),
        pending_rows: of(|table| table.pending_rows),
        bound_bytes: tables.iter().map(|table| table.bound_bytes).sum(),
        readers: of(|table| table.readers),
        oldest_reader_ms: tables.iter().filter_map(|table| table.oldest_reader_ms).max(),
    }
}
