//! Which file system a folder is on, as Linux tells it. Elsewhere nothing is known, and nothing is said.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) point: PathBuf,
    pub(super) kind: String,
    pub(super) read_only: bool,
    device: u64,
}

/// Returns the mount that `path` is on.
pub(super) fn of(path: &Path) -> Option<Mount> {
    let device = fs::metadata(path).ok()?.dev();
    let all = parse(&fs::read_to_string("/proc/self/mountinfo").ok()?);
    // The longest point wins, the later of two equal ones; btrfs gives files another device than the mount has.
    let above = all.into_iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| (mount.device == device, mount.point.as_os_str().len()))
}

fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// Reads `id parent major:minor root point options… - kind source super-options`.
fn line(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let fields: Vec<&str> = before.split(' ').collect();
    let (major, minor) = fields.get(2)?.split_once(':')?;
    let mut after = after.split(' ');
    let kind = after.next()?.to_owned();
    let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
    let read_only = has_ro(fields.get(5)?) || after.nth(1).is_some_and(has_ro);
    let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    Some(Mount { point: PathBuf::from(unescape(fields.get(4)?)), kind, read_only, device })
}

/// Undoes `\040` and its like, which stand for blanks in paths.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let octal = others.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Mount {
    /// Tells whether another machine, or the host of a virtual one, keeps the files: locks and events may not come through.
    pub(super) fn is_remote(&self) -> bool {
        const REMOTE: [&str; 14] = [
            "9p",
            "afs",
            "ceph",
            "cifs",
            "drvfs",
            "fuse.sshfs",
            "fuse.s3fs",
            "glusterfs",
            "lustre",
            "nfs",
            "nfs4",
            "prl_fs",
            "smb3",
            "vboxsf",
        ];
        REMOTE.contains(&self.kind.as_str()) || self.kind == "virtiofs" || self.kind == "fuse.glusterfs"
    }

    /// Tells whether the files are gone with the machine's memory or with the container.
    pub(super) fn is_fleeting(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs" | "overlay")
    }
}
