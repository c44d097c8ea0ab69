//! A log file that cannot fill the disk: so many bytes, its one predecessor included.
//!
//! Half of them full, the file becomes the predecessor (`….1`) and another begins. Where that is impossible (no space, no
//! rights) it is emptied instead. Lines that cannot be written are counted, and the count is written when writing works again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Standard error of a launched daemon goes to a file that nothing bounds; beyond this it is emptied when we start.
const STDERR_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Capped {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Bytes of one of the two files.
    half: u64,
    lost: u64,
}

impl Capped {
    /// Opens the file, or makes it and the folders above it; it and its predecessor never exceed `bytes_max`.
    pub(super) fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        bound_stderr();
        Ok(Self { path: path.to_owned(), file, bytes, half: (bytes_max / 2).max(1), lost: 0 })
    }

    fn make_room(&mut self, wanted: u64) -> io::Result<()> {
        if self.bytes == 0 || self.bytes.saturating_add(wanted) <= self.half {
            return Ok(());
        }
        let mut predecessor = self.path.clone().into_os_string();
        predecessor.push(".1");
        let turned = fs::rename(&self.path, &predecessor).and_then(|()| append(&self.path));
        match turned {
            Ok(file) => self.file = file,
            // Emptying needs no space and no other name. If the rename went through, it is the predecessor that begins anew.
            Err(_) => self.file.set_len(0)?,
        }
        self.bytes = 0;
        Ok(())
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        self.make_room(line.len() as u64)?;
        // A line beyond the bound is cut: the bound holds.
        let line = &line[..line.len().min(usize::try_from(self.half).unwrap_or(usize::MAX))];
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        if written < line.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }
}

impl Write for Capped {
    /// Takes a whole line, whatever comes of it: whoever logs cannot do anything about a full disk.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lost > 0 {
            let note = format!("{} lines before this one could not be written\n", self.lost);
            if self.put(note.as_bytes()).is_ok() {
                self.lost = 0;
            }
        }
        if self.put(line).is_err() {
            self.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    // Logs name files and people: others need not read them.
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Empties standard error where it is a file that has grown: what comes here is only what precedes the log, start by start.
fn bound_stderr() {
    let stderr = io::stderr();
    let is_large = rustix::fs::fstat(&stderr).is_ok_and(|stat| {
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        kind == rustix::fs::FileType::RegularFile && u64::try_from(stat.st_size).unwrap_or(0) > STDERR_BYTES_MAX
    });
    if is_large && let Err(error) = rustix::fs::ftruncate(&stderr, 0) {
        crate::output::note(format_args!("note: standard error is a large file and cannot be emptied: {error}"));
    }
}
