//! An open folder. Everything below the root is reached through one, name by name, so that no link is ever followed.

use evermark_core::reconcile::Stamp;
use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// One name in a folder.
pub(crate) struct Listed {
    pub(crate) name: OsString,
    pub(crate) kind: FileType,
}

impl Dir {
    /// Opens a folder that the program chose itself; links in the path are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = sys::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a folder in this one. A link is `ENOTDIR` or `ELOOP`.
    pub(crate) fn enter(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = sys::openat(&self.fd, name, flags, Mode::empty())?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder and its name durable. One that is there already is fine.
    pub(crate) fn make(&self, name: &OsStr) -> io::Result<()> {
        match sys::mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => self.sync(),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<(FileType, Stamp)> {
        let stat = sys::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((FileType::from_raw_mode(stat.st_mode), stamp_of(&stat)))
    }

    /// Opens a file for reading. Never blocks, whatever the name has become since it was looked at.
    pub(crate) fn read(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(sys::openat(&self.fd, name, flags, Mode::empty())?.into())
    }

    /// Creates a file that must not exist, to be written, and read again through the same handle.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(sys::openat(&self.fd, name, flags, Mode::from_raw_mode(0o666))?.into())
    }

    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(sys::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Swaps two names in one step. `Unsupported` where the file system cannot.
    pub(crate) fn exchange(&self, one: &OsStr, other: &OsStr) -> io::Result<()> {
        self.rename_with(one, other, RenameFlags::EXCHANGE)
    }

    /// Renames, unless the new name is taken (`AlreadyExists`).
    pub(crate) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match self.rename_with(from, to, RenameFlags::NOREPLACE) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                sys::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?;
                self.unlink(from)
            }
            done => done,
        }
    }

    fn rename_with(&self, from: &OsStr, to: &OsStr, flags: RenameFlags) -> io::Result<()> {
        match sys::renameat_with(&self.fd, from, &self.fd, to, flags) {
            Ok(()) => Ok(()),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(sys::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(crate) fn unmake(&self, name: &OsStr) -> io::Result<()> {
        Ok(sys::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    /// Makes the names in this folder durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match sys::fsync(&self.fd) {
            // Some network and user-space file systems cannot sync a folder, and have nothing to sync.
            Err(Errno::INVAL | Errno::NOTSUP | Errno::BADF) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the folder, in no order, without `.` and `..`. An error means that nothing is known about its content.
    pub(crate) fn list(&self) -> io::Result<Vec<Listed>> {
        let mut all = Vec::new();
        for entry in sys::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            all.push(Listed { name: name.to_owned(), kind: entry.file_type() });
        }
        Ok(all)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Returns the stamp of an open file, and whether it is a regular one.
pub(crate) fn stat_file(file: &File) -> io::Result<(FileType, Stamp)> {
    let stat = sys::fstat(file)?;
    Ok((FileType::from_raw_mode(stat.st_mode), stamp_of(&stat)))
}

fn stamp_of(stat: &sys::Stat) -> Stamp {
    let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Stamp {
        size: stat.st_size as u64,
        mtime_ns: ns(stat.st_mtime, stat.st_mtime_nsec as i64),
        inode: stat.st_ino,
        ctime_ns: ns(stat.st_ctime, stat.st_ctime_nsec as i64),
    }
}

/// Names a kind of file for people.
pub(crate) fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown kind",
    }
}
