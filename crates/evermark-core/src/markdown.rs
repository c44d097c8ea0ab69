//! The truth on disk: memories as Markdown files, in the layout of EverOS.
//!
//! Invariant: what is parsed and rendered again is the same bytes, and an edit changes nothing but what it names. Nothing
//! here panics on any input, and all of it is linear in the input. No I/O: paths and bytes come from the vault.
//!
//! Flow: [`place()`] tells what a path is → [`read_file`] makes memories and findings of its bytes; [`DailyFile`] takes drafts
//! and edits and gives the bytes to write. Format: decision 0005 and contract §C.

mod daily;
mod decode;
mod draft;
mod entry;
mod escape;
mod front_matter;
pub mod inbox;
mod place;
mod read;
pub mod segment;
mod time;
mod whole;
mod yaml;

pub use daily::{DailyFile, EditError};
pub use draft::EntryDraft;
pub use entry::Entry;
pub use front_matter::{FrontMatter, FrontMatterFault, Newline, NotEditable};
pub use place::{
    FileKind, Place, UnsafeName, document_dir, inbox_path, inbox_sequence, is_safe_id, owner_dir, path_for, place,
    sanitize, scope_dir, segment_path, session_dir, skill_path, topic_name, track_of,
};
pub use read::{ENTRY_BYTES_MAX, FileReading, read_file};
pub use whole::{Category, parse_taxonomy, render_taxonomy, render_whole};

/// One thing wrong with one file or one entry, told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the root, `/` between parts.
    pub path: String,
    /// The entry it is about; `None` for the file as a whole.
    pub entry: Option<String>,
    /// 1-based.
    pub line: Option<usize>,
    /// What kind of thing, for code: see decision 0005.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}
