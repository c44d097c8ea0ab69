//! The volumes under the root: room, files left, how they are mounted.

use super::{Findings, mounts};
use crate::config::Config;
use crate::output::size;
use evermark_core::maintenance::space::{Level, Volume, Watermarks};
use evermark_store::layout::Layout;
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders counted for the watcher at most; more need a limit that is raised anyway.
const FOLDERS_MAX: u64 = 1_000_000;

pub(super) fn examine(layout: &Layout, config: Option<&Config>, found: &mut Findings) {
    let mut volumes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let parts = [layout.root().to_owned(), layout.own_dir(), layout.index_dir()];
    for part in parts.into_iter().chain(apps(layout.root())) {
        if let Ok(metadata) = fs::metadata(&part) {
            volumes.entry(metadata.dev()).or_insert(part);
        }
    }
    let marks = config.map_or_else(Watermarks::default, |config| config.settings.upkeep.watermarks);
    for dir in volumes.values() {
        volume(dir, &marks, found);
    }
    if config.is_none_or(|config| config.settings.watch) {
        watches(layout.root(), found);
    }
}

fn volume(dir: &Path, marks: &Watermarks, found: &mut Findings) {
    let shown = dir.display();
    let stats = match statvfs(dir) {
        Ok(stats) => stats,
        Err(error) => {
            let says = format!("the file system of {shown} does not answer: {}", std::io::Error::from(error));
            return found.fail("space", "volume_silent", says, format!("`df {shown}`; see that it is mounted"));
        }
    };
    room(dir, &stats, marks, found);
    let mount = mounts::of(dir);
    if stats.f_flag.contains(StatVfsMountFlags::RDONLY) || mount.as_ref().is_some_and(|mount| mount.read_only) {
        found.fail(
            "space",
            "read_only",
            format!("the file system of {shown} is mounted read-only: searches work, nothing can be stored"),
            format!("find out why (`dmesg | tail`), then `mount -o remount,rw` what `findmnt -T {shown}` names"),
        );
    }
    let Some(mount) = mount else { return };
    let (kind, point) = (&mount.kind, mount.point.display());
    if mount.is_remote() {
        found.warn(
            "space",
            "network_file_system",
            format!("{shown} is on {kind} ({point}): locks and events of other machines may not come through; edits are found by sweeping"),
            "keep the root on a local disk, or let one machine alone use it",
        );
    } else if mount.is_fleeting() {
        found.warn(
            "space",
            "fleeting_file_system",
            format!("{shown} is on {kind} ({point}): it is gone with the container, or when the machine restarts"),
            "put the root on a disk or a volume",
        );
    } else {
        found.ok("space", "file_system", format!("{shown} is on {kind} ({point})"));
    }
}

fn room(dir: &Path, stats: &StatVfs, marks: &Watermarks, found: &mut Findings) {
    let shown = dir.display();
    let volume = Volume {
        free_bytes: stats.f_bavail.saturating_mul(stats.f_frsize),
        total_bytes: stats.f_blocks.saturating_mul(stats.f_frsize),
        free_inodes: stats.f_favail,
        total_inodes: stats.f_files,
        is_read_only: false,
    };
    let inodes = match volume.total_inodes {
        0 => String::new(),
        total => format!(", {} files of {total} can be made", volume.free_inodes),
    };
    let says = format!("{} free of {} under {shown}{inodes}", size(volume.free_bytes), size(volume.total_bytes));
    let remedy = "`evermark index prune` frees what the index does not need; then free or add space and files there";
    match marks.level(&volume) {
        Level::Ample => found.ok("space", "space", says),
        Level::Low => {
            let (bytes, inodes) = (size(marks.low.bytes_of(&volume)), marks.low.inodes_of(&volume));
            let says = format!("{says}: below {bytes} or {inodes} files the index is not tidied");
            found.warn("space", "space_low", says, remedy);
        }
        Level::Out => {
            let (bytes, inodes) = (size(marks.out.bytes_of(&volume)), marks.out.inodes_of(&volume));
            let says = format!("{says}: below {bytes} or {inodes} files the index takes no writes");
            found.fail("space", "space_out", says, remedy);
        }
    }
}

fn apps(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

/// The watcher needs one watch per folder; without enough of them edits are found by sweeping, half a minute later.
fn watches(root: &Path, found: &mut Findings) {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let (Some(watches), Some(instances)) = (read("max_user_watches"), read("max_user_instances")) else { return };
    let folders = folders(root, FOLDERS_MAX);
    let says = format!("{folders} folders to watch, {watches} watches and {instances} watchers allowed to this user");
    let wanted = (folders.saturating_mul(2)).max(8_192);
    if watches < folders.saturating_add(16) || instances == 0 {
        found.warn(
            "limits",
            "watches_few",
            format!("{says}: edits by hand are found by sweeping only"),
            format!("`sysctl fs.inotify.max_user_watches={wanted} fs.inotify.max_user_instances=128`"),
        );
    } else {
        found.ok("limits", "watches", says);
    }
}

fn folders(root: &Path, max: u64) -> u64 {
    let mut open = vec![root.to_owned()];
    let mut count = 0;
    while let Some(dir) = open.pop() {
        count += 1;
        if count >= max {
            break;
        }
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let below_index = entry.file_name() == ".index" || entry.file_name() == ".evermark";
            if !below_index && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    count
}
