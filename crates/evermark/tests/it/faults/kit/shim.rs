//! The shim: a library that answers for the kernel, and the rules it goes by.

use super::mount::{text, tool};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What the shim has mapped: a counter and a text.
const SIZE: u64 = 4096;

/// A compiled shim and its rules, which can be changed while processes run under it.
pub(crate) struct Shim {
    library: PathBuf,
    control: PathBuf,
    version: std::cell::Cell<u64>,
}

impl Shim {
    /// Compiles it into `dir`; there are no rules at first.
    pub(crate) fn new(dir: &Path) -> Result<Self, String> {
        let (source, library, control) = (dir.join("shim.c"), dir.join("shim.so"), dir.join("shim.rules"));
        std::fs::write(&source, include_str!("shim.c")).map_err(|error| error.to_string())?;
        tool("cc", &["-shared", "-fPIC", "-O1", "-o", text(&library), text(&source), "-ldl", "-lpthread"])?;
        File::create(&control).and_then(|file| file.set_len(SIZE)).map_err(|error| error.to_string())?;
        Ok(Self { library, control, version: 0.into() })
    }

    /// Returns the environment of a process under the shim.
    pub(crate) fn env(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", text(&self.library)), ("EVERMARK_SHIM", text(&self.control))]
    }

    /// Makes these the rules, from now on; see `shim.c`.
    pub(crate) fn rules(&self, rules: &[&str]) {
        let mut bytes = rules.join("\n").into_bytes();
        assert!(bytes.len() < SIZE as usize - 16, "too many rules");
        bytes.push(0);
        let file = File::options().write(true).open(&self.control).expect("the rules");
        file.write_all_at(&bytes, 8).expect("written");
        self.version.set(self.version.get() + 1);
        file.write_all_at(&self.version.get().to_le_bytes(), 0).expect("written");
    }

    /// Takes all rules away.
    pub(crate) fn lift(&self) {
        self.rules(&[]);
    }
}
