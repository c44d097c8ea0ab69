//! The settings: whether they can be read, and what in them is not meant.

use super::Findings;
use crate::config::{self, Config, Environment, Flags, Root};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Returns the settings when they can be used.
pub(super) fn examine(root: &Root, env: &Environment, found: &mut Findings) -> Option<Config> {
    let file = root.path.join(config::FILE);
    let config = match Config::load(root.clone(), env, &Flags::default()) {
        Ok(config) => config,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                found.fail(
                    "settings",
                    "invalid",
                    line,
                    format!("mend it where it stands ({}, or the environment); `evermark config show` says what is in force", file.display()),
                );
            }
            return None;
        }
    };
    let files = match config.files.len() {
        0 => "no file of settings: what is built in holds".to_owned(),
        _ => config.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
    };
    found.ok("settings", "files", files);
    for warning in &config.warnings {
        found.warn("settings", "doubtful", warning, "`evermark config show` prints what is in force");
    }
    if let Err(error) = config.listen_address() {
        let remedy = crate::exit::hint(&error).unwrap_or_default();
        found.fail("settings", "open_to_strangers", error.to_string(), remedy);
    }
    let has_secret = config.api.token.is_some() || config.has_provider_key();
    for file in &config.files {
        let readable = fs::metadata(file).is_ok_and(|metadata| metadata.mode() & 0o044 != 0);
        if has_secret && readable {
            found.warn(
                "settings",
                "secrets_readable",
                format!("{} may hold a token or key, and other users can read it", file.display()),
                format!("`chmod 600 {}`", file.display()),
            );
        }
    }
    Some(config)
}
