//! The file that has a service manager keep the daemon running: which, where, and with what in it.
//!
//! The texts are those of `deploy/`, which people may copy by hand; only paths and the user are put in their place. Pure: what
//! is read and written is the command's.

use crate::cli::ManagerArg;
use evermark_core::memory::Digest32;
use std::path::{Path, PathBuf};

const SYSTEM_UNIT: &str = include_str!("../../../deploy/systemd/evermark.service");
const USER_UNIT: &str = include_str!("../../../deploy/systemd/evermark-user.service");
const PLIST: &str = include_str!("../../../deploy/launchd/io.github.evermark.plist");

/// The root that `StateDirectory=` makes.
const STATE_DIR: &str = "/var/lib/evermark";
const LABEL: &str = "io.github.evermark";
/// Stands on the last line of what we write, with the digest of all before it: so a change by hand is seen.
const SEAL: &str = "evermark-service";

/// Whose service it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    User,
    System,
}

/// What the file has to say.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) manager: ManagerArg,
    pub(crate) whose: Whose,
    pub(crate) program: PathBuf,
    pub(crate) root: PathBuf,
    /// Who runs it, for the machine's service.
    pub(crate) user: String,
    pub(crate) group: String,
    pub(crate) home: PathBuf,
    /// `$XDG_CONFIG_HOME`, where it is set.
    pub(crate) config_home: Option<PathBuf>,
}

impl Service {
    /// Returns where the file belongs.
    pub(crate) fn path(&self) -> PathBuf {
        match (self.manager, self.whose) {
            (ManagerArg::Systemd, Whose::System) => PathBuf::from("/etc/systemd/system/evermark.service"),
            (ManagerArg::Systemd, Whose::User) => {
                let config = self.config_home.clone().unwrap_or_else(|| self.home.join(".config"));
                config.join("systemd/user/evermark.service")
            }
            (ManagerArg::Launchd, Whose::System) => PathBuf::from(format!("/Library/LaunchDaemons/{LABEL}.plist")),
            (ManagerArg::Launchd, Whose::User) => self.home.join(format!("Library/LaunchAgents/{LABEL}.plist")),
        }
    }

    /// Returns the link that systemd makes when the service is enabled.
    pub(crate) fn enabling_link(&self) -> Option<PathBuf> {
        let target = match (self.manager, self.whose) {
            (ManagerArg::Systemd, Whose::System) => "multi-user.target.wants",
            (ManagerArg::Systemd, Whose::User) => "default.target.wants",
            (ManagerArg::Launchd, _) => return None,
        };
        Some(self.path().parent()?.join(target).join("evermark.service"))
    }

    /// Returns the folder that has to be there before the daemon is started, beside the root.
    pub(crate) fn log_dir(&self) -> Option<PathBuf> {
        match (self.manager, self.whose) {
            (ManagerArg::Systemd, _) => None,
            (ManagerArg::Launchd, Whose::System) => Some(PathBuf::from("/Library/Logs/evermark")),
            (ManagerArg::Launchd, Whose::User) => Some(self.home.join("Library/Logs/evermark")),
        }
    }

    /// Returns the file's text, sealed.
    pub(crate) fn text(&self) -> String {
        let body = match (self.manager, self.whose) {
            (ManagerArg::Systemd, Whose::System) => self.unit(SYSTEM_UNIT),
            (ManagerArg::Systemd, Whose::User) => self.unit(USER_UNIT),
            (ManagerArg::Launchd, _) => self.plist(),
        };
        let digest = Digest32::of(body.as_bytes()).hex();
        match self.manager {
            ManagerArg::Systemd => format!("{body}# {SEAL}: {digest}\n"),
            ManagerArg::Launchd => format!("{body}<!-- {SEAL}: {digest} -->\n"),
        }
    }

    /// Returns the commands that make it run.
    pub(crate) fn next_steps(&self) -> Vec<String> {
        let path = self.path().display().to_string();
        match (self.manager, self.whose) {
            (ManagerArg::Systemd, Whose::User) => vec![
                "systemctl --user daemon-reload".to_owned(),
                "systemctl --user enable --now evermark".to_owned(),
                "loginctl enable-linger    # to keep it running when you log out".to_owned(),
                "journalctl --user --unit evermark --follow".to_owned(),
            ],
            (ManagerArg::Systemd, Whose::System) => vec![
                "systemctl daemon-reload".to_owned(),
                "systemctl enable --now evermark".to_owned(),
                "journalctl --unit evermark --follow".to_owned(),
            ],
            (ManagerArg::Launchd, Whose::User) => vec![format!("launchctl bootstrap gui/$(id -u) {path}")],
            (ManagerArg::Launchd, Whose::System) => vec![format!("sudo launchctl bootstrap system {path}")],
        }
    }

    /// Returns the commands that end it once the file is gone.
    pub(crate) fn last_steps(&self) -> Vec<String> {
        let steps: &[&str] = match (self.manager, self.whose) {
            (ManagerArg::Systemd, Whose::User) => &["systemctl --user stop evermark", "systemctl --user daemon-reload"],
            (ManagerArg::Systemd, Whose::System) => &["systemctl stop evermark", "systemctl daemon-reload"],
            (ManagerArg::Launchd, Whose::User) => &["launchctl bootout gui/$(id -u)/io.github.evermark"],
            (ManagerArg::Launchd, Whose::System) => &["sudo launchctl bootout system/io.github.evermark"],
        };
        steps.iter().map(|step| (*step).to_owned()).collect()
    }

    fn unit(&self, template: &str) -> String {
        let (program, root) = (quoted(&self.program), quoted(&self.root));
        let at_home = |path: &Path| ["/home", "/root", "/run/user"].iter().any(|home| path.starts_with(home));
        let needs_homes = at_home(&self.root) || at_home(&self.program);
        let mut unit = "# Written by `evermark service install`, which replaces it as long as it is unchanged.\n\
                        # Your own settings: `systemctl edit evermark` (for a user's service `systemctl --user edit evermark`).\n"
            .to_owned();
        // The head of the template says how to use it by hand.
        for line in template.lines().skip_while(|line| line.starts_with('#')) {
            let key = line.split_once('=').map_or(line, |(key, _)| key);
            let line = match key {
                "ExecStart" => format!("ExecStart={program} --root {root} serve"),
                "RequiresMountsFor" => format!("RequiresMountsFor={root}"),
                "ReadWritePaths" => format!("ReadWritePaths={root}"),
                "User" => format!("User={}", self.user),
                "Group" => format!("Group={}", self.group),
                // It makes that folder and no other.
                "StateDirectory" | "StateDirectoryMode" if self.root != Path::new(STATE_DIR) => continue,
                // Hidden homes would hide the root, or the program.
                "ProtectHome" if needs_homes => "ProtectHome=read-only".to_owned(),
                _ => line.to_owned(),
            };
            unit.push_str(&line);
            unit.push('\n');
        }
        unit
    }

    fn plist(&self) -> String {
        let logs = self.log_dir().unwrap_or_default();
        let mut plist = String::new();
        let (mut in_head, mut in_system) = (false, false);
        for line in PLIST.lines() {
            match line.trim() {
                "<!--" => in_head = true,
                "<!-- system only: begin -->" => in_system = true,
                "<!-- system only: end -->" => {
                    in_system = false;
                    continue;
                }
                _ => {}
            }
            let is_for_others = in_system && (self.whose == Whose::User || line.contains("<!--"));
            if !in_head && !is_for_others {
                let line = line
                    .replace("/usr/local/bin/evermark", &escaped(&self.program))
                    .replace("/usr/local/var/evermark", &escaped(&self.root))
                    .replace("/usr/local/var/log/evermark", &escaped(&logs))
                    .replace("_evermark", &self.user);
                plist.push_str(&line);
                plist.push('\n');
            }
            in_head &= line.trim() != "-->";
        }
        plist
    }
}

/// Whether a text is one that we wrote and nobody has changed since.
pub(crate) fn is_sealed(text: &str) -> bool {
    let Some(body) = text.strip_suffix('\n').and_then(|text| text.rfind('\n')).map(|at| &text[..=at]) else {
        return false;
    };
    let seal =
        text[body.len()..].trim().trim_start_matches(['#', '<', '!', '-', ' ']).trim_end_matches(['-', '>', ' ']);
    seal.strip_prefix(SEAL).and_then(|rest| rest.strip_prefix(": ")) == Some(&Digest32::of(body.as_bytes()).hex())
}

/// Returns a path as systemd reads it: quoted, with its own signs doubled.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@:,".contains(&byte));
    if plain {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$"))
}

fn escaped(path: &Path) -> String {
    path.display().to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
