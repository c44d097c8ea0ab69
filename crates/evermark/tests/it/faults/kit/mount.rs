//! Volumes of our own: small, full, without inodes, read-only, gone. Each is unmounted when dropped, also by a panic.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted volume.
pub(crate) struct Mount {
    at: PathBuf,
    mounted: std::cell::Cell<bool>,
}

/// Runs a command to its end, or says why it did not succeed.
pub(crate) fn tool(program: &str, args: &[&str]) -> Result<String, String> {
    let line = format!("{program} {}", args.join(" "));
    let done = Command::new(program).args(args).output().map_err(|error| format!("{line}: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(format!("{line}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

impl Mount {
    fn new(at: &Path, args: &[&str]) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let mut all = args.to_vec();
        all.push(text(at));
        tool("mount", &all)?;
        Ok(Self { at: at.to_owned(), mounted: true.into() })
    }

    /// A volume in memory.
    pub(crate) fn tmpfs(at: &Path, bytes: u64) -> Result<Self, String> {
        Self::new(at, &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
    }

    /// An ext4 volume in the file `image`.
    pub(crate) fn ext4(
        at: &Path,
        image: &Path,
        bytes: u64,
        inodes: Option<u32>,
        options: &str,
    ) -> Result<Self, String> {
        File::create(image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
        let inodes = inodes.map(|n| n.to_string());
        let mut args = vec!["-q", "-F"];
        args.extend(inodes.as_ref().into_iter().flat_map(|n| ["-N", n.as_str()]));
        args.push(text(image));
        tool("mkfs.ext4", &args)?;
        Self::image(at, image, options)
    }

    /// What is in the file `image` already.
    pub(crate) fn image(at: &Path, image: &Path, options: &str) -> Result<Self, String> {
        Self::new(at, &["-o", &format!("loop,{options}"), text(image)])
    }

    /// Another place of a folder.
    pub(crate) fn bind(at: &Path, from: &Path) -> Result<Self, String> {
        Self::new(at, &["--bind", text(from)])
    }

    /// Mounts it again with other options, for example `ro`.
    pub(crate) fn remount(&self, options: &str) {
        tool("mount", &["-o", &format!("remount,{options}"), text(&self.at)]).expect("a volume of ours");
    }

    /// Takes it away, whoever uses it.
    pub(crate) fn away(&self) {
        if self.mounted.replace(false) {
            tool("umount", &["-l", text(&self.at)]).expect("a volume of ours");
        }
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) -> Filler {
        Filler::new(&self.at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted.get()
            && let Err(why) = tool("umount", &["-l", text(&self.at)])
        {
            eprintln!("{why}");
        }
    }
}

/// A file that takes all the room there is, until it is dropped.
pub(crate) struct Filler {
    path: PathBuf,
}

impl Filler {
    pub(crate) fn new(dir: &Path) -> Self {
        Self::named(dir, 0)
    }

    /// Takes what has become free since the last one.
    pub(crate) fn named(dir: &Path, n: usize) -> Self {
        let path = dir.join(format!("filler{n}"));
        let mut file = File::create(&path).expect("a file");
        for size in [1 << 20, 1 << 16, 1 << 12, 1] {
            let block = vec![0x5A; size];
            while file.write_all(&block).is_ok() {}
        }
        Self { path }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}
