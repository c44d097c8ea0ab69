//! Room: what a volume has left, what a folder takes, what this process holds open, and a file kept in reserve.
//!
//! All of it only looks, but for the [`Ballast`]. Bytes are bytes of disk: allocated blocks, not lengths.

use crate::error::{At, Result};
use evermark_core::maintenance::space::Volume;
use evermark_core::world::World;
use rustix::fs::{FallocateFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// Passed before the ballast is made.
pub const BALLAST: &str = "space.ballast";

/// Returns what the volume that holds `path` has left.
pub fn volume(world: &dyn World, path: &Path) -> Result<Volume> {
    let stat = rustix::fs::statvfs(path).at("look at the volume of", path)?;
    let measured = Volume {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_inodes: stat.f_favail,
        total_inodes: stat.f_files,
        is_read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
    };
    Ok(world.volume(path, measured))
}

/// Tells whether two paths are on one volume; `false` when either cannot be looked at.
pub fn share_volume(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.dev() == other.dev(),
        _ => false,
    }
}

/// What a folder takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub bytes: u64,
    pub files: u64,
}

/// Returns what lies below `dir`, the folder itself included. What vanishes meanwhile counts for nothing.
pub fn footprint(dir: &Path) -> Footprint {
    let mut total = Footprint { bytes: file_bytes(dir), files: 0 };
    let Ok(entries) = std::fs::read_dir(dir) else { return total };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let below = footprint(&entry.path());
            total.bytes += below.bytes;
            total.files += below.files;
        } else {
            total.bytes += file_bytes(&entry.path());
            total.files += 1;
        }
    }
    total
}

/// Returns the bytes of disk under one file; 0 when there is none.
pub fn file_bytes(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |metadata| blocks(&metadata))
}

fn blocks(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// Returns the bytes of files below `dir` that were deleted and are still open in this process. They take space that no
/// listing shows. Linux only; 0 elsewhere.
pub fn deleted_open_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for entry in entries.flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let is_deleted = target.to_str().is_some_and(|target| target.ends_with(" (deleted)"));
        if !is_deleted || !target.starts_with(dir) {
            continue;
        }
        // Through the descriptor: the name is gone.
        if let Ok(metadata) = std::fs::metadata(entry.path())
            && metadata.nlink() == 0
            && seen.insert((metadata.dev(), metadata.ino()))
        {
            bytes += blocks(&metadata);
        }
    }
    bytes
}

/// Returns how many descriptors this process uses, and may use at most. `None` where the system does not tell.
pub fn descriptors() -> (Option<u64>, Option<u64>) {
    let dir = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    // One is the listing's own.
    let used = std::fs::read_dir(dir).ok().map(|entries| (entries.count() as u64).saturating_sub(1));
    (used, getrlimit(Resource::Nofile).current)
}

/// A file that is there to be given up: what it takes is free the moment it is needed.
#[derive(Clone, Debug)]
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the bytes it holds; 0 when there is none.
    pub fn bytes(&self) -> u64 {
        file_bytes(&self.path)
    }

    /// Makes it so large. What is there already stays; when it cannot be made whole, nothing of it is left.
    pub fn make(&self, world: &dyn World, bytes: u64) -> Result<()> {
        world.reach(BALLAST).at("make", &self.path)?;
        let made = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.path)
            .and_then(|file| fill(&file, bytes).and_then(|()| file.sync_all()));
        if made.is_err() {
            self.release()?;
        }
        made.at("make", &self.path)
    }

    /// Gives up what it holds, and returns how much that was.
    pub fn release(&self) -> Result<u64> {
        let bytes = self.bytes();
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            done => done.at("remove", &self.path).map(|()| bytes),
        }
    }
}

/// Gives a file so many bytes of disk.
fn fill(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Not every file system can; then they are written. One that compresses them gives no reserve, and takes none.
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {
            let zeros = vec![0; 1 << 16];
            let mut writer = file;
            let mut left = bytes;
            while left > 0 {
                let n = left.min(zeros.len() as u64);
                writer.write_all(&zeros[..usize::try_from(n).unwrap_or(zeros.len())])?;
                left -= n;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
