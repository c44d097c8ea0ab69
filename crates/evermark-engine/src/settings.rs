//! Bounds and intervals, as data.

use crate::judges::JudgeSettings;
use evermark_core::maintenance::plan::Policy;
use std::time::Duration;

/// Everything about the engine that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Zone of naive timestamps and of the day in file names.
    pub timezone: jiff::tz::TimeZone,
    pub sweep_interval: Duration,
    /// A file younger than this is not read yet: it may be half written.
    pub settle: Duration,
    /// A missing file, or one that lost most of its entries, must still be so this much later.
    pub second_look: Duration,
    /// Watch for edits; off, only the sweep sees them.
    pub watch: bool,
    /// Rows and age at which accepted rows are committed.
    pub flush_rows_max: usize,
    pub flush_age_max: Duration,
    /// Files taken per indexer round.
    pub files_per_tick: usize,
    /// Largest Markdown file that is read.
    pub file_bytes_max: u64,
    /// A silence this long ends a segment.
    pub segment_gap: Duration,
    /// A segment holds at most this many messages and characters.
    pub segment_messages_max: usize,
    pub segment_chars_max: usize,
    /// Messages that may wait in one session's inbox, and in all.
    pub inbox_session_max: usize,
    pub inbox_total_max: usize,
    /// How long one search may wait for the query's embedding.
    pub query_embed_timeout: Duration,
    /// Bounds of searches that ask a reranker or a language model.
    pub judges: JudgeSettings,
    /// The bound on the index, the marks on free space, the file in reserve.
    pub upkeep: Policy,
    /// Commits, or time since the last one, after which a round of upkeep is made. Each commit leaves a version of a few
    /// kilobytes behind until then.
    pub beat_commits: u64,
    pub beat_after: Duration,
    /// How long a step of upkeep may go without a sign of life. Longer than any one operation of the index may take.
    pub step_limit: Duration,
    /// How long one round of a background loop may take before it is said to be stuck.
    pub loop_limit: Duration,
    /// How long a status waits for ledger and index before it shows what it saw last.
    pub status_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timezone: jiff::tz::TimeZone::UTC,
            sweep_interval: Duration::from_secs(30),
            settle: Duration::from_millis(100),
            second_look: Duration::from_secs(2),
            watch: true,
            flush_rows_max: 4096,
            flush_age_max: Duration::from_millis(500),
            files_per_tick: 128,
            file_bytes_max: 256 << 20,
            segment_gap: Duration::from_secs(30 * 60),
            segment_messages_max: 50,
            segment_chars_max: 24_000,
            inbox_session_max: 20_000,
            inbox_total_max: 1_000_000,
            query_embed_timeout: Duration::from_secs(2),
            judges: JudgeSettings::default(),
            upkeep: Policy::default(),
            beat_commits: 8,
            beat_after: Duration::from_secs(30),
            step_limit: Duration::from_secs(300),
            loop_limit: Duration::from_secs(600),
            status_limit: Duration::from_secs(2),
        }
    }
}
