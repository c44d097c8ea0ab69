//! `evermark init`: gives a root its identity and a file of settings. Running it again changes nothing.

use crate::cli::InitArgs;
use crate::config::{self, Root};
use crate::exit::Exit;
use crate::output::Out;
use crate::session::held;
use crate::world::world;
use anyhow::Context;
use evermark_core::world::World;
use evermark_store::durable::{self, Created};
use evermark_store::error::Error;
use evermark_store::layout::Layout;
use evermark_store::lock::RootLock;
use serde_json::json;
use std::path::Path;

/// What `init` writes: every line a comment, so that a later release may change a default.
const TEMPLATE: &str = include_str!("../evermark.toml");

pub(crate) fn run(args: &InitArgs, root: &Root, out: &mut Out) -> anyhow::Result<Exit> {
    if args.print {
        out.bytes(TEMPLATE.as_bytes());
        return Ok(Exit::Ok);
    }
    let world = world(None, None)?;
    let adopts = root.path.join(config::EVEROS_FILE).exists() || root.path.join("default_app").is_dir();
    let layout = Layout::create(&root.path)?;
    let was_known = layout.identity()?.is_some();
    // A daemon that has the root open has given it an identity already; only the settings may be missing then.
    let lock = match RootLock::take(&layout, world.as_ref(), None) {
        Ok(lock) => Some(lock),
        Err(Error::Held { .. }) if was_known => None,
        Err(error) => return Err(held(error.into())),
    };
    let (identity, made) = layout.ensure_identity(world.as_ref())?;
    let settings = layout.root().join(config::FILE);
    let wrote = write_settings(world.as_ref(), &settings, args.force)?;
    drop(lock);

    let did = |new: bool| if new { "created" } else { "kept" };
    let is_new = made == Created::New;
    if out.json {
        out.document(&json!({
            "root": layout.root(),
            "root_id": identity.root_id,
            "adopted": adopts && is_new,
            "identity": did(is_new),
            "settings": { "path": settings, "did": wrote },
        }));
        return Ok(Exit::Ok);
    }
    let paint = out.paint;
    match (adopts, is_new) {
        (true, true) => out.line(format_args!(
            "adopting {}: EverOS's files stay as they are, its settings are read for what we share",
            layout.root().display()
        )),
        (_, true) => out.line(format_args!("new root {}", paint.bold(layout.root().display()))),
        (_, false) => out.line(format_args!("root {} is there already", layout.root().display())),
    }
    out.line(format_args!("  {:8} {}", did(is_new), layout.identity_file().display()));
    out.line(format_args!("  {wrote:8} {}", settings.display()));
    if layout.root().join(".index/lancedb").is_dir() {
        out.line("`evermark adopt` takes over the vectors that EverOS has paid for, and shows what its index weighs");
    }
    out.line("next: `evermark serve`, or `evermark add --sender me --message 'I like oolong' --flush`");
    Ok(Exit::Ok)
}

fn write_settings(world: &dyn World, path: &Path, force: bool) -> anyhow::Result<&'static str> {
    let existed = path.exists();
    if force {
        durable::write(world, path, TEMPLATE.as_bytes())
            .with_context(|| format!("cannot replace {}", path.display()))?;
        return Ok(if existed { "replaced" } else { "created" });
    }
    Ok(match durable::create_new(world, path, TEMPLATE.as_bytes())? {
        Created::New => "created",
        Created::Existed => "kept",
    })
}
