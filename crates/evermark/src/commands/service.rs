//! `evermark service …`: has the daemon started by the system's own manager.

use crate::cli::{ManagerArg, ServiceArgs, ServiceCommand, ServiceInstallArgs, ServiceUninstallArgs};
use crate::client::Client;
use crate::config::{Environment, Root};
use crate::exit::{Exit, Failure};
use crate::output::{Out, note};
use crate::service::{Service, Whose, is_sealed};
use crate::world::world;
use anyhow::Context;
use evermark_store::durable;
use evermark_store::layout::Layout;
use evermark_store::lock::RootLock;
use serde_json::json;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(crate) fn run(command: &ServiceCommand, root: &Root, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    match command {
        ServiceCommand::Install(args) => install(args, &service(args.whose, root, env)?, out),
        ServiceCommand::Uninstall(args) => uninstall(args, &service(args.whose, root, env)?, out),
        ServiceCommand::Status(args) => status(&service(*args, root, env)?, out),
    }
}

fn service(args: ServiceArgs, root: &Root, env: &Environment) -> anyhow::Result<Service> {
    let usual = if cfg!(target_os = "macos") { ManagerArg::Launchd } else { ManagerArg::Systemd };
    let home = env.get("HOME").map(PathBuf::from).context("HOME is not set: whose service is meant?")?;
    let (user, group) = owner(&root.path, env);
    Ok(Service {
        manager: args.manager.unwrap_or(usual),
        whose: if args.system { Whose::System } else { Whose::User },
        program: std::env::current_exe().context("cannot tell where this program is")?,
        root: root.path.clone(),
        user,
        group,
        home,
        config_home: env.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute()),
    })
}

/// Returns who owns the root, by name where the system's tables have one: only they can write it.
fn owner(root: &Path, env: &Environment) -> (String, String) {
    let usual = if cfg!(target_os = "macos") { "_evermark" } else { "evermark" };
    let Ok(metadata) = fs::metadata(root) else { return (usual.to_owned(), usual.to_owned()) };
    let named = |table: &str, id: u32| {
        let text = fs::read_to_string(table).ok()?;
        let entry = text.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()))?;
        entry.split(':').next().map(str::to_owned)
    };
    // macOS keeps its people elsewhere; there the one who called sudo is meant.
    let user = named("/etc/passwd", metadata.uid()).or_else(|| env.get("SUDO_USER").map(str::to_owned));
    let group = named("/etc/group", metadata.gid());
    (user.unwrap_or_else(|| metadata.uid().to_string()), group.unwrap_or_else(|| metadata.gid().to_string()))
}

/// What stands at the service's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// What this program would write now.
    Current,
    /// Written by us and unchanged since, with other paths or by another version.
    Ours,
    /// Somebody else's, or changed by hand.
    Foreign,
}

impl There {
    fn at(service: &Service) -> anyhow::Result<Self> {
        let path = service.path();
        let found = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nothing),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let text = String::from_utf8_lossy(&found);
        Ok(if text == service.text() {
            Self::Current
        } else if is_sealed(&text) {
            Self::Ours
        } else {
            Self::Foreign
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "absent",
            Self::Current => "current",
            Self::Ours => "outdated",
            Self::Foreign => "foreign",
        }
    }
}

fn install(args: &ServiceInstallArgs, service: &Service, out: &mut Out) -> anyhow::Result<Exit> {
    let (path, text) = (service.path(), service.text());
    if args.dry_run {
        if out.json {
            out.document(&json!({ "path": path, "did": "nothing", "text": text, "next": service.next_steps() }));
        } else {
            note(format_args!("would be written to {}:", path.display()));
            out.bytes(text.as_bytes());
        }
        return Ok(Exit::Ok);
    }
    let there = There::at(service)?;
    refuse_foreign(there, args.force, &path)?;
    let did = match there {
        There::Current => "kept",
        There::Nothing => "created",
        There::Ours | There::Foreign => "replaced",
    };
    if there != There::Current {
        write(service, &path, &text).map_err(|error| not_allowed(error, service))?;
    }
    if out.json {
        out.document(&json!({ "path": path, "did": did, "next": service.next_steps() }));
        return Ok(Exit::Ok);
    }
    out.line(format_args!("{did} {}", path.display()));
    if service.whose == Whose::System && !service.root.exists() {
        out.line(format_args!(
            "{} is not there yet; if user `{}` is not either:",
            service.root.display(),
            service.user
        ));
        out.line(format_args!("  useradd --system --shell /usr/sbin/nologin {}", service.user));
        out.line(format_args!("  install -d -m 700 -o {0} -g {0} {1}", service.user, service.root.display()));
    }
    out.line("next:");
    service.next_steps().iter().for_each(|step| out.line(format_args!("  {step}")));
    Ok(Exit::Ok)
}

fn write(service: &Service, path: &Path, text: &str) -> anyhow::Result<()> {
    for dir in path.parent().map(Path::to_owned).into_iter().chain(service.log_dir()) {
        durable::create_dirs(&dir)?;
    }
    Ok(durable::write(world(None, None)?.as_ref(), path, text.as_bytes())?)
}

fn uninstall(args: &ServiceUninstallArgs, service: &Service, out: &mut Out) -> anyhow::Result<Exit> {
    let path = service.path();
    let there = There::at(service)?;
    refuse_foreign(there, args.force, &path)?;
    if there != There::Nothing {
        fs::remove_file(&path)
            .with_context(|| format!("cannot remove {}", path.display()))
            .map_err(|error| not_allowed(error, service))?;
        // Without its unit the link that enabled it leads nowhere.
        if let Some(link) = service.enabling_link().filter(|link| link.is_symlink() && !link.exists()) {
            fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
        }
    }
    let did = if there == There::Nothing { "nothing" } else { "removed" };
    if out.json {
        out.document(&json!({ "path": path, "did": did, "next": service.last_steps() }));
        return Ok(Exit::Ok);
    }
    if there == There::Nothing {
        out.line(format_args!("there is no {}", path.display()));
        return Ok(Exit::Ok);
    }
    out.line(format_args!("removed {}; the memories in {} stay", path.display(), service.root.display()));
    out.line("next:");
    service.last_steps().iter().for_each(|step| out.line(format_args!("  {step}")));
    Ok(Exit::Ok)
}

/// Ends with [`Exit::NotFound`] when no service is installed.
fn status(service: &Service, out: &mut Out) -> anyhow::Result<Exit> {
    let (path, there) = (service.path(), There::at(service)?);
    let enabled = service.enabling_link().map(|link| link.is_symlink());
    let address = Layout::open(&service.root)
        .ok()
        .and_then(|layout| RootLock::last_holder(&layout))
        .and_then(|holder| holder.address)
        // Whoever answers there has the root open; a token is not needed to hear that.
        .filter(|address| Client::new(address, None).is_there());
    if out.json {
        out.document(&json!({ "path": path, "state": there.name(), "enabled": enabled, "daemon": address }));
    } else {
        let says = match there {
            There::Nothing => "is not there: `evermark service install` makes it",
            There::Current => "is what this program would write",
            There::Ours => "was written by another version, or for other paths: `evermark service install` renews it",
            There::Foreign => "was not written by this program, or was changed by hand",
        };
        out.line(format_args!("{} {says}", path.display()));
        match enabled {
            Some(true) => out.line("it is enabled"),
            Some(false) if there != There::Nothing => out.line("it is not enabled"),
            Some(false) | None => {}
        }
        match &address {
            Some(address) => out.line(format_args!("a daemon answers at {address}")),
            None => out.line(format_args!("no daemon answers for {}", service.root.display())),
        }
    }
    Ok(if there == There::Nothing { Exit::NotFound } else { Exit::Ok })
}

fn refuse_foreign(there: There, force: bool, path: &Path) -> anyhow::Result<()> {
    if there != There::Foreign || force {
        return Ok(());
    }
    let message = format!("{} was not written by this program, or was changed by hand", path.display());
    Err(Failure::new(Exit::Failed, message).hint("look at it first; --force replaces or removes it").into())
}

fn not_allowed(error: anyhow::Error, service: &Service) -> anyhow::Error {
    let denied = error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    });
    if denied && service.whose == Whose::System {
        let failure = Failure::new(Exit::Failed, format!("{} may be written by root only", service.path().display()));
        return error.context(failure.hint("use sudo, or --user for a service of your own"));
    }
    error
}
