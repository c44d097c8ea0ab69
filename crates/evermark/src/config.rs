//! Settings: where each may stand, which place wins, what is allowed.
//!
//! Flags win over `EVERMARK_…`, then `EVEROS_…`, then `evermark.toml`, then `everos.toml`, then what is built in. A value that is
//! not allowed stops the program and is named with its key and place; one that only EverOS allows is left out with a warning.

mod judges;
mod near;
mod raw;
mod shapes;

pub(crate) use judges::Judges;
pub(crate) use raw::{Environment, Shown, Source};

use crate::exit::{Exit, Failure};
use crate::machine;
use anyhow::Context;
use evermark_core::maintenance::Budget;
use evermark_core::maintenance::plan::Policy;
use evermark_core::maintenance::space::{Watermark, Watermarks};
use evermark_engine::settings::Settings;
use evermark_models::fetch;
use raw::{Dialect, Found, Layer, Layers};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of our file in a root.
pub(crate) const FILE: &str = "evermark.toml";
/// EverOS's, read for what we share.
pub(crate) const EVEROS_FILE: &str = "everos.toml";

/// Memory that the rows of owners in use may take where nothing else is set: a sixteenth of what there is, within these.
pub(crate) const VIEW_BYTES_MIN: u64 = 128 << 20;
const VIEW_BYTES_MAX: u64 = 2 << 30;

/// Where EverOS 1.5.1 ships its embedding requests to. Without a key it is a placeholder, not a wish.
const EVEROS_EMBEDDING_URL: &str = "https://api.deepinfra.com/v1/openai";
const OPENAI_URL: &str = "https://api.openai.com/v1";

/// The directory everything is in, and who chose it.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
}

impl Root {
    /// Returns the root to use: the flag, `EVERMARK_ROOT`, `EVEROS_ROOT`, or `~/.evermark`.
    ///
    /// An EverOS root in its usual place is not taken unasked: its own server may be running on it.
    pub(crate) fn choose(flag: Option<&Path>, env: &Environment) -> anyhow::Result<Self> {
        let home = env.get("HOME").map(PathBuf::from);
        let expand = |path: &Path| match (path.strip_prefix("~"), &home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        };
        let from_env =
            |name: &'static str| env.get(name).map(|path| (expand(Path::new(path)), Source::Env(name.to_owned())));
        let (path, source) = if let Some(path) = flag {
            if path.as_os_str().is_empty() {
                return Err(usage("--root needs a directory"));
            }
            (expand(path), Source::Flag("--root"))
        } else if let Some(found) = from_env("EVERMARK_ROOT").or_else(|| from_env("EVEROS_ROOT")) {
            found
        } else {
            let home = home.context("HOME is not set, so there is no ~/.evermark: name a directory with --root")?;
            (home.join(".evermark"), Source::Default)
        };
        let path = std::path::absolute(&path).with_context(|| format!("cannot make {} absolute", path.display()))?;
        // Another name of the same directory must find the same lock holder.
        let path = path.canonicalize().unwrap_or(path);
        Ok(Self { path, source })
    }

    /// Returns an EverOS root that the user may have meant, when ours does not exist.
    pub(crate) fn everos_instead(&self, env: &Environment) -> Option<PathBuf> {
        let theirs = Path::new(env.get("HOME")?).join(".everos");
        (self.source == Source::Default && !self.path.exists() && theirs.join(EVEROS_FILE).exists()).then_some(theirs)
    }
}

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<String>,
    pub(crate) log_level: Option<String>,
    pub(crate) log_format: Option<String>,
    /// The provider of embeddings.
    pub(crate) embedding: Option<String>,
}

/// Where the daemon listens, and who may speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) token: Option<String>,
    /// Names besides `localhost` by which it may be called on loopback, for proxies that pass the caller's on.
    pub(crate) hosts: Vec<String>,
    /// Origins whose pages may call it.
    pub(crate) origins: Vec<String>,
}

/// An OpenAI-compatible endpoint that makes vectors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) base_url: String,
    pub(crate) api_key: Option<String>,
    pub(crate) model: String,
    /// Width of the vectors.
    pub(crate) dim: usize,
    /// The request's `dimensions`, for models that can shorten their vectors.
    pub(crate) dimensions: Option<usize>,
    pub(crate) batch_size: usize,
    pub(crate) timeout: Duration,
    pub(crate) max_retries: u32,
    pub(crate) max_concurrent: usize,
}

/// Who makes vectors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Embedding {
    None,
    /// The table that is part of the program.
    BuiltIn,
    /// Weights in a folder of this machine.
    Local {
        name: String,
        dir: PathBuf,
    },
    OpenAi(Endpoint),
    /// Core's hash of words: repeatable, no meaning. For tests and measurements.
    Hash {
        dim: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Everything the program goes by.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) root: Root,
    pub(crate) api: Api,
    pub(crate) embedding: Embedding,
    /// Who reads memories on request.
    pub(crate) judges: Judges,
    pub(crate) settings: Settings,
    /// Memory that the rows of owners in use may take.
    pub(crate) view_bytes_max: u64,
    pub(crate) log_filter: String,
    pub(crate) log_format: LogFormat,
    /// Where the daemon logs to; `None`: standard error.
    pub(crate) log_file: Option<PathBuf>,
    /// Bytes of that file and its predecessor together.
    pub(crate) log_file_bytes_max: u64,
    /// The files that were read.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// Reads every place and resolves each key once.
    pub(crate) fn load(root: Root, env: &Environment, flags: &Flags) -> anyhow::Result<Self> {
        let mut layers = vec![of_flags(flags), of_env(env), of_everos_env(env)];
        let mut files = Vec::new();
        let mut warnings = Vec::new();
        for (name, dialect) in [(FILE, Dialect::Evermark), (EVEROS_FILE, Dialect::Everos)] {
            let path = root.path.join(name);
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            };
            match (Layer::from_toml(&path, &text, dialect), dialect) {
                (Ok(layer), _) => layers.push(layer),
                (Err(problem), Dialect::Evermark) => return Err(usage(problem)),
                (Err(problem), Dialect::Everos) => warnings.push(format!("{problem}; left out")),
            }
            files.push(path);
        }
        let mut layers = Layers::new(layers);
        layers.warnings = warnings;
        let mut config = resolve(&mut layers, root)?;
        layers.warn_of_unknown();
        if !layers.errors.is_empty() {
            return Err(usage(layers.errors.join("\n")));
        }
        config.files = files;
        config.shown = layers.shown;
        config.warnings = layers.warnings;
        Ok(config)
    }

    /// Tells whether a key of the embedding provider is among the settings.
    pub(crate) fn has_provider_key(&self) -> bool {
        matches!(&self.embedding, Embedding::OpenAi(endpoint) if endpoint.api_key.is_some())
    }

    /// Returns the same, with vectors made by the program itself, whatever is set.
    pub(crate) fn without_provider(mut self) -> Self {
        self.embedding = Embedding::BuiltIn;
        self
    }

    /// Returns where the value of `name` came from.
    pub(crate) fn shown_source(&self, name: &str) -> Source {
        self.shown.iter().find(|shown| shown.name == name).map_or(Source::Default, |shown| shown.source.clone())
    }

    /// Returns the address to listen on, unless it would let strangers in.
    pub(crate) fn listen_address(&self) -> anyhow::Result<SocketAddr> {
        if !self.api.host.is_loopback() && self.api.token.is_none() {
            let message = format!(
                "refusing to listen on {} without a token: anybody who reaches this machine could read the memories",
                self.api.host
            );
            let hint = format!("set `api.token` in {FILE} or EVERMARK_API__TOKEN, or listen on 127.0.0.1");
            return Err(Failure::new(Exit::Usage, message).hint(hint).into());
        }
        Ok(SocketAddr::new(self.api.host, self.api.port))
    }
}

fn of_flags(flags: &Flags) -> Layer {
    let mut layer = Layer::new(Dialect::Evermark);
    let all = [
        ("api.host", "--host", &flags.host),
        ("api.port", "--port", &flags.port),
        ("log.level", "--log-level", &flags.log_level),
        ("log.format", "--log-format", &flags.log_format),
        ("embedding.provider", "--model", &flags.embedding),
    ];
    for (name, flag, value) in all {
        if let Some(value) = value {
            layer.insert(name, Found::Text(value.clone()), Source::Flag(flag));
        }
    }
    layer
}

fn of_env(env: &Environment) -> Layer {
    let mut layer = Layer::from_env(env, "EVERMARK_", Dialect::Evermark);
    if let Some(filter) = env.get("EVERMARK_LOG") {
        layer.insert("log.level", Found::Text(filter.to_owned()), Source::Env("EVERMARK_LOG".to_owned()));
    }
    layer
}

fn of_everos_env(env: &Environment) -> Layer {
    let mut layer = Layer::from_env(env, "EVEROS_", Dialect::Everos);
    for name in ["EVEROS_LOG_LEVEL", "RUST_LOG"] {
        if let Some(filter) = env.get(name) {
            layer.insert("log.level", Found::Text(filter.to_owned()), Source::Env(name.to_owned()));
        }
    }
    layer
}

/// Asks for every key there is. The bounds keep out what cannot be meant (a scan every 0 seconds), not what is unwise.
fn resolve(layers: &mut Layers, root: Root) -> anyhow::Result<Config> {
    let timezone = layers.take("memory.timezone", Some("memory.timezone"), &shapes::zone(), "UTC".to_owned());
    let api = resolve_api(layers);
    let embedding = resolve_embedding(layers, &root.path);
    let judges = judges::resolve(layers, &root.path);
    let mut settings = resolve_settings(layers, &timezone)?;
    settings.judges = judges::bounds(layers, &settings.judges);
    let view_bytes_max =
        layers.take("search.memory_bytes", None, &shapes::whole(16 << 20, 1 << 40), view_bytes_usual());
    let log_filter = layers.take("log.level", Some("log.level"), &shapes::log_filter(), "info".to_owned());
    let log_format = layers.take("log.format", None, &shapes::choice(&["text", "json"]), None);
    let log_file = layers.take("log.file", None, &shapes::file(), None);
    let log_file_bytes_max = layers.take("log.file_bytes_max", None, &shapes::whole(64 << 10, 1 << 40), 16 << 20);
    Ok(Config {
        root,
        api,
        embedding,
        judges,
        settings,
        view_bytes_max,
        log_filter,
        log_format: if log_format.as_deref() == Some("json") { LogFormat::Json } else { LogFormat::Text },
        log_file: log_file.map(PathBuf::from),
        log_file_bytes_max,
        files: Vec::new(),
        shown: Vec::new(),
        warnings: Vec::new(),
    })
}

/// Returns a sixteenth of the memory there is, within bounds.
fn view_bytes_usual() -> u64 {
    machine::memory_bytes().map_or(VIEW_BYTES_MIN, |bytes| (bytes / 16).clamp(VIEW_BYTES_MIN, VIEW_BYTES_MAX))
}

fn resolve_api(layers: &mut Layers) -> Api {
    let host = layers.take("api.host", Some("api.host"), &shapes::host(), "127.0.0.1".to_owned());
    let port = layers.take("api.port", Some("api.port"), &shapes::whole(0, 65_535), 8000);
    let token = layers.take("api.token", None, &shapes::secret(16), None);
    let hosts = layers.take("api.hosts", None, &shapes::names("host names"), Vec::new());
    let origins = layers.take("api.origins", None, &shapes::names("origins such as https://notes.example"), Vec::new());
    Api {
        hosts,
        origins,
        host: host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: u16::try_from(port).unwrap_or(u16::MAX),
        token,
    }
}

/// Returns where a model lies: what was fetched under its id, or a folder by its path, below the root unless it begins with `/`.
pub(crate) fn model_dir(root: &Path, model: &str) -> PathBuf {
    let fetched = fetch::folder_name(model).map(|folder| root.join(".evermark").join("models").join(folder));
    let folder = root.join(model);
    match fetched {
        Some(fetched) if !folder.is_dir() => fetched,
        _ => folder,
    }
}

fn resolve_embedding(layers: &mut Layers, root: &Path) -> Embedding {
    const PROVIDERS: &[&str] = &["builtin", "none", "local", "openai", "hash"];
    let provider = layers.take("embedding.provider", None, &shapes::choice(PROVIDERS), None);
    let base_url = layers.take("embedding.base_url", Some("embedding.base_url"), &shapes::url(), None);
    let api_key = layers.take("embedding.api_key", Some("embedding.api_key"), &shapes::secret(1), None);
    let model = layers.take("embedding.model", Some("embedding.model"), &shapes::text(200), None);
    let dim = layers.take("embedding.dim", Some("embedding.dim"), &shapes::whole(1, 16_384), 1024);
    let dimensions =
        layers.take("embedding.dimensions", Some("embedding.dimensions"), &shapes::maybe_whole(1, 16_384), None);
    let batch_size = layers.take("embedding.batch_size", Some("embedding.batch_size"), &shapes::whole(1, 2048), 64);
    let timeout =
        layers.take("embedding.timeout_seconds", Some("embedding.timeout_seconds"), &shapes::seconds(0.1, 600.0), 30.0);
    let max_retries = layers.take("embedding.max_retries", Some("embedding.max_retries"), &shapes::whole(0, 20), 3);
    let max_concurrent =
        layers.take("embedding.max_concurrent", Some("embedding.max_concurrent"), &shapes::whole(1, 64), 4);

    let is_placeholder = base_url.as_deref() == Some(EVEROS_EMBEDDING_URL) && api_key.is_none();
    let provider = provider.unwrap_or_else(|| {
        if base_url.is_some() && !is_placeholder {
            "openai".to_owned()
        } else {
            if base_url.is_none() && api_key.is_some() {
                layers.warnings.push(format!(
                    "`embedding.api_key` is set ({}) but no endpoint is: the built-in model makes the vectors until `embedding.base_url` is set",
                    layers.source("embedding.api_key")
                ));
            }
            "builtin".to_owned()
        }
    });
    match provider.as_str() {
        "openai" | "local" => {}
        "builtin" => return Embedding::BuiltIn,
        "hash" => return Embedding::Hash { dim: size(dim) },
        _ => return Embedding::None,
    }
    let Some(model) = model else {
        layers.errors.push(
            "`embedding.model` is not set: an endpoint needs the name of the model that makes the vectors, `local` a folder or the id of a model that was fetched".to_owned(),
        );
        return Embedding::None;
    };
    if provider == "local" {
        return Embedding::Local { dir: model_dir(root, &model), name: model };
    }
    Embedding::OpenAi(Endpoint {
        base_url: base_url.unwrap_or_else(|| OPENAI_URL.to_owned()),
        api_key,
        model,
        dim: size(dim),
        dimensions: dimensions.map(size),
        batch_size: size(batch_size),
        timeout: Duration::from_secs_f64(timeout),
        max_retries: u32::try_from(max_retries).unwrap_or(u32::MAX),
        max_concurrent: size(max_concurrent),
    })
}

fn resolve_settings(layers: &mut Layers, timezone: &str) -> anyhow::Result<Settings> {
    const DAY: f64 = 86_400.0;
    let usual = Settings::default();
    let sweep = layers.take(
        "sync.sweep_interval_seconds",
        Some("cascade.scan_interval_seconds"),
        &shapes::seconds(0.1, DAY),
        usual.sweep_interval.as_secs_f64(),
    );
    let settle = layers.take("sync.settle_ms", None, &shapes::whole(0, 60_000), millis(usual.settle));
    let second_look =
        layers.take("sync.second_look_seconds", None, &shapes::seconds(0.0, DAY), usual.second_look.as_secs_f64());
    let watch = layers.take("sync.watch", None, &shapes::flag(), usual.watch);
    let file_bytes_max = layers.take("sync.file_bytes_max", None, &shapes::whole(4096, 4 << 30), usual.file_bytes_max);
    let files_per_tick =
        layers.take("sync.files_per_tick", None, &shapes::whole(1, 100_000), usual.files_per_tick as u64);
    let flush_rows_max =
        layers.take("index.flush_rows_max", None, &shapes::whole(1, 1_000_000), usual.flush_rows_max as u64);
    let flush_age = layers.take("index.flush_age_ms", None, &shapes::whole(1, 600_000), millis(usual.flush_age_max));
    let gap = layers.take(
        "extract.segment_gap_seconds",
        None,
        &shapes::seconds(1.0, 30.0 * DAY),
        usual.segment_gap.as_secs_f64(),
    );
    let segment_messages_max =
        layers.take("extract.segment_messages_max", None, &shapes::whole(1, 500), usual.segment_messages_max as u64);
    let segment_chars_max =
        layers.take("extract.segment_chars_max", None, &shapes::whole(100, 10_000_000), usual.segment_chars_max as u64);
    let inbox_session_max =
        layers.take("inbox.session_max", None, &shapes::whole(500, 10_000_000), usual.inbox_session_max as u64);
    let inbox_total_max =
        layers.take("inbox.total_max", None, &shapes::whole(500, 1_000_000_000), usual.inbox_total_max as u64);
    let query_timeout = layers.take(
        "search.embed_timeout_seconds",
        None,
        &shapes::seconds(0.05, 120.0),
        usual.query_embed_timeout.as_secs_f64(),
    );
    let upkeep = resolve_upkeep(layers, &usual.upkeep);
    let beat_commits = layers.take("index.beat_commits", None, &shapes::whole(1, 100_000), usual.beat_commits);
    let beat_after =
        layers.take("index.beat_after_seconds", None, &shapes::seconds(0.1, DAY), usual.beat_after.as_secs_f64());
    let step_limit =
        layers.take("index.step_limit_seconds", None, &shapes::seconds(1.0, DAY), usual.step_limit.as_secs_f64());
    let loop_limit =
        layers.take("index.loop_limit_seconds", None, &shapes::seconds(1.0, DAY), usual.loop_limit.as_secs_f64());
    Ok(Settings {
        timezone: jiff::tz::TimeZone::get(timezone).with_context(|| format!("cannot load the time zone {timezone}"))?,
        sweep_interval: Duration::from_secs_f64(sweep),
        settle: Duration::from_millis(settle),
        second_look: Duration::from_secs_f64(second_look),
        watch,
        flush_rows_max: size(flush_rows_max),
        flush_age_max: Duration::from_millis(flush_age),
        files_per_tick: size(files_per_tick),
        file_bytes_max,
        segment_gap: Duration::from_secs_f64(gap),
        segment_messages_max: size(segment_messages_max),
        segment_chars_max: size(segment_chars_max),
        inbox_session_max: size(inbox_session_max),
        inbox_total_max: size(inbox_total_max),
        query_embed_timeout: Duration::from_secs_f64(query_timeout),
        judges: usual.judges,
        upkeep,
        beat_commits,
        beat_after: Duration::from_secs_f64(beat_after),
        step_limit: Duration::from_secs_f64(step_limit),
        loop_limit: Duration::from_secs_f64(loop_limit),
        status_limit: usual.status_limit,
    })
}

/// Asks for the bound on the index, and for the marks on free space.
fn resolve_upkeep(layers: &mut Layers, usual: &Policy) -> Policy {
    const BYTES_MAX: u64 = 1 << 50;
    // Below these an index could not even be opened, or would merge without end.
    const SLACK_MIN: u64 = 16 << 20;
    const CAP_MIN: u64 = 4 << 20;
    let ratio = layers.take("index.ratio", None, &shapes::real(1.0, 100.0), usual.budget.ratio);
    let slack_bytes =
        layers.take("index.slack_bytes", None, &shapes::whole(SLACK_MIN, BYTES_MAX), usual.budget.slack_bytes);
    let cap_bytes =
        layers.take("index.bytes_max", None, &shapes::maybe_whole(CAP_MIN, BYTES_MAX), usual.budget.cap_bytes);
    let ballast_bytes = layers.take("index.ballast_bytes", None, &shapes::whole(0, 16 << 30), usual.ballast_bytes);
    let usual_low = usual.watermarks.low;
    let usual_out = usual.watermarks.out;
    let low = Watermark {
        bytes: layers.take("space.low_bytes", None, &shapes::whole(0, BYTES_MAX), usual_low.bytes),
        percent: layers.take("space.low_percent", None, &shapes::whole(0, 90), usual_low.percent),
        inodes: layers.take("space.low_inodes", None, &shapes::whole(0, 1 << 40), usual_low.inodes),
        inode_percent: layers.take("space.low_inode_percent", None, &shapes::whole(0, 90), usual_low.inode_percent),
    };
    let out = Watermark {
        bytes: layers.take("space.out_bytes", None, &shapes::whole(0, BYTES_MAX), usual_out.bytes),
        percent: layers.take("space.out_percent", None, &shapes::whole(0, 90), usual_out.percent),
        inodes: layers.take("space.out_inodes", None, &shapes::whole(0, 1 << 40), usual_out.inodes),
        inode_percent: layers.take("space.out_inode_percent", None, &shapes::whole(0, 90), usual_out.inode_percent),
    };
    let pairs = [
        ("bytes", low.bytes, out.bytes),
        ("percent", low.percent, out.percent),
        ("inodes", low.inodes, out.inodes),
        ("inode_percent", low.inode_percent, out.inode_percent),
    ];
    for (name, low, out) in pairs {
        if out > low {
            let source = layers.source(&format!("space.out_{name}"));
            layers.errors.push(format!(
                "`space.out_{name}` ({out}, {source}) is above `space.low_{name}` ({low}): space is low before it is out"
            ));
        }
    }
    Policy {
        watermarks: Watermarks { low, out },
        budget: Budget { ratio, slack_bytes, cap_bytes },
        ballast_bytes,
        ..*usual
    }
}

fn usage(message: impl Into<String>) -> anyhow::Error {
    Failure::new(Exit::Usage, message).into()
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
