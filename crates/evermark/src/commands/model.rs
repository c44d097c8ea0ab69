//! `evermark model fetch`: has a model's files come to this machine, because somebody asked for it.

use crate::cli::ModelFetchArgs;
use crate::config::{Environment, Root, model_dir};
use crate::exit::{Exit, Failure};
use crate::output::{Out, Progress, note};
use evermark_models::fetch::{self, FetchError, HUB, Wanted};
use serde_json::json;

pub(crate) fn fetch(args: &ModelFetchArgs, root: &Root, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    let hub = args.endpoint.as_deref().or_else(|| env.get("HF_ENDPOINT")).unwrap_or(HUB);
    if fetch::folder_name(&args.id).is_none() {
        let message = FetchError::Name { id: args.id.clone() }.to_string();
        return Err(Failure::new(Exit::Usage, message).into());
    }
    let wanted = Wanted {
        id: args.id.clone(),
        revision: args.revision.clone(),
        hub: hub.trim_end_matches('/').to_owned(),
        token: env.get("HF_TOKEN").map(str::to_owned),
        into: model_dir(&root.path, &args.id),
    };
    note(format_args!("fetching {} from {} into {}", wanted.id, wanted.hub, wanted.into.display()));
    let bar = Progress::new("fetching", out.json);
    let fetched = fetch::fetch(&wanted, &mut |progress| {
        bar.at(progress.done_bytes, progress.total_bytes.unwrap_or(progress.done_bytes));
    });
    drop(bar);
    let fetched = fetched.map_err(|error| {
        let exit = Exit::from(error.kind());
        let message = match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        Failure::new(exit, message).hint("run it again: what came so far is kept")
    })?;
    if out.json {
        let files: Vec<_> = fetched
            .files
            .iter()
            .map(|file| {
                json!({ "name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256, "checked": file.is_checked })
            })
            .collect();
        out.document(
            &json!({ "id": wanted.id, "into": wanted.into, "read_bytes": fetched.read_bytes, "files": files }),
        );
        return Ok(Exit::Ok);
    }
    for file in &fetched.files {
        let checked = if file.is_checked { ", as the hub says" } else { "" };
        out.line(format_args!("  {:>10} bytes  sha256 {}{checked}  {}", file.size_bytes, file.sha256, file.name));
    }
    out.line(format_args!(
        "{} is here; set `embedding.provider = \"local\"` and `embedding.model = \"{}\"` (of a cross-encoder: `rerank.provider` and `rerank.model`), and start again",
        out.paint.bold(&wanted.id),
        wanted.id
    ));
    Ok(Exit::Ok)
}
