//! The root's folders: there, ours, and ours to write.

use super::Findings;
use crate::config::Root;
use evermark_store::error::Error;
use evermark_store::layout::Layout;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the layout when there is a root to look into.
pub(super) fn examine(root: &Root, found: &mut Findings) -> Option<Layout> {
    let path = &root.path;
    let shown = path.display();
    let layout = match Layout::open(path) {
        Ok(layout) => layout,
        Err(error) => {
            missing(path, &error, found);
            return None;
        }
    };
    found.ok("root", "path", format!("{shown} (from {})", root.source));
    identity(&layout, found);
    let euid = geteuid().as_raw();
    let root_owner = fs::metadata(path).map(|metadata| metadata.uid()).ok();
    let dirs = [path.clone(), layout.own_dir(), layout.index_dir()];
    for dir in dirs.iter().chain(&scopes(path)) {
        if let Ok(metadata) = fs::metadata(dir) {
            usable(dir, &metadata, found);
            owned(dir, &metadata, root_owner, found);
        }
    }
    match root_owner {
        Some(owner) if owner != euid => found.warn(
            "root",
            "other_user",
            format!("{shown} belongs to user {owner} and this is user {euid}: what it writes the other could not"),
            format!("run as its owner, for example `sudo -u '#{owner}' evermark …`"),
        ),
        Some(_) | None => found.ok("root", "owner", format!("it belongs to this user ({euid})")),
    }
    Some(layout)
}

fn missing(path: &Path, error: &Error, found: &mut Findings) {
    let shown = path.display();
    let (code, says) = match error {
        Error::Io { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => ("missing", format!("there is no root at {shown}")),
            io::ErrorKind::NotADirectory => ("not_a_folder", format!("{shown} is not a folder")),
            _ => ("unreachable", format!("{shown} cannot be opened: {source}")),
        },
        _ => ("unreachable", error.to_string()),
    };
    let remedy = match code {
        "missing" => format!(
            "`evermark --root {shown} init` makes one; --root or EVERMARK_ROOT name another; is its disk mounted?"
        ),
        "not_a_folder" => "name a folder with --root or EVERMARK_ROOT".to_owned(),
        _ => format!("`ls -ld {shown}` and the folders above it: this user needs rwx"),
    };
    found.fail("root", code, says, remedy);
}

fn identity(layout: &Layout, found: &mut Findings) {
    let file = layout.identity_file();
    match layout.identity() {
        Ok(Some(identity)) => found.ok(
            "root",
            "identity",
            format!("root {}, format {} of {}", identity.root_id, identity.format, evermark_store::layout::FORMAT),
        ),
        Ok(None) => found.warn(
            "root",
            "identity_missing",
            format!("nothing says which root this is: {} is not there, and the next start makes it", file.display()),
            format!(
                "`evermark --root {} init`; if it was there before, see that the right disk is mounted",
                layout.root().display()
            ),
        ),
        Err(error @ Error::NewerFormat { .. }) => found.fail(
            "root",
            "format_newer",
            error.to_string(),
            "use the version of evermark that made it, or a newer one; nothing has been changed",
        ),
        Err(error) => found.fail(
            "root",
            "identity_unreadable",
            error.to_string(),
            format!("bring it back from a backup, or `mv {0} {0}.bad && evermark init`", file.display()),
        ),
    }
}

/// Returns the folders of apps and projects: a file system or an owner may change at each.
fn scopes(root: &Path) -> Vec<std::path::PathBuf> {
    const SHOWN_MAX: usize = 200;
    let below = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        dirs.map(|entry| entry.path()).filter(|path| !hidden(path)).take(SHOWN_MAX).collect::<Vec<_>>()
    };
    let apps = below(root);
    let projects = apps.iter().flat_map(|app| below(app)).take(SHOWN_MAX).collect::<Vec<_>>();
    apps.into_iter().chain(projects).collect()
}

fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().first() == Some(&b'.'))
}

/// Asks the system what this user may do there, as it would answer a write.
fn usable(dir: &Path, metadata: &Metadata, found: &mut Findings) {
    let shown = dir.display();
    if !metadata.is_dir() {
        let remedy = format!("`mv {shown} {shown}.bad`: the next start makes the folder");
        return found.fail("root", "not_a_folder", format!("{shown} is not a folder"), remedy);
    }
    match access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => {}
        Err(Errno::ROFS) => found.fail(
            "root",
            "read_only",
            format!("{shown} is on a file system that is mounted read-only: searches work, nothing can be stored"),
            format!("find out why (`dmesg | tail`), then `mount -o remount,rw` what `findmnt -T {shown}` names"),
        ),
        Err(error) => found.fail(
            "root",
            "not_permitted",
            format!("{shown} cannot be read and written by this user: {}", io::Error::from(error)),
            format!("`chmod u+rwx {shown}`, or `chown` it to this user"),
        ),
    }
    if metadata.mode() & 0o002 != 0 {
        let says = format!("everybody may write into {shown}, and so change or delete memories");
        found.warn("root", "open_to_all", says, format!("`chmod o-w {shown}`"));
    }
}

/// A folder of another user than the root's is what a command run once as the administrator leaves behind.
fn owned(dir: &Path, metadata: &Metadata, root_owner: Option<u32>, found: &mut Findings) {
    if let Some(owner) = root_owner.filter(|owner| *owner != metadata.uid()) {
        let shown = dir.display();
        found.warn(
            "root",
            "mixed_owners",
            format!("{shown} belongs to user {}, the root to user {owner}", metadata.uid()),
            format!("`chown -R {owner} {shown}`"),
        );
    }
}
