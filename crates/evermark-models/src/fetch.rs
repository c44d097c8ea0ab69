//! Fetches a model's files from a hub, for people who ask for it: nothing here runs by itself.
//!
//! Flow of one file: ask without following redirects → the hub names size and digest → the rest of it is read from where it
//! broke off → its SHA-256 is compared → it gets its name. The folder gets its own when all files are there. A transfer that
//! is cut off, by whatever, is taken up where it ended; a file that changed at the hub meanwhile begins anew.

use evermark_core::error::ErrorKind;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode, header};

/// Where models are looked for unless a mirror is named.
pub const HUB: &str = "https://huggingface.co";

/// The files of a model, and whether it may lack them. The weights are last: what is small fails first.
const FILES: [(&str, bool); 9] = [
    ("config.json", false),
    ("vocab.txt", true),
    ("tokenizer.json", true),
    ("tokenizer_config.json", true),
    ("sentence_bert_config.json", true),
    ("config_sentence_transformers.json", true),
    ("1_Pooling/config.json", true),
    ("README.md", true),
    ("model.safetensors", false),
];

/// Most redirects of one request: the hub needs one or two.
const REDIRECTS_MAX: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest silence of the hub in the middle of a file.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What to fetch.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `owner/name`.
    pub id: String,
    pub revision: String,
    /// Address of the hub, without a slash at its end.
    pub hub: String,
    /// Sent to the hub only, never to where it redirects.
    pub token: Option<String>,
    /// The folder that the model will be.
    pub into: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub files: Vec<FetchedFile>,
    /// Bytes that came over the network.
    pub read_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedFile {
    pub name: &'static str,
    pub size_bytes: u64,
    pub sha256: String,
    /// The hub named this digest, so it is known to be right and not only whole.
    pub is_checked: bool,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub file: &'static str,
    pub done_bytes: u64,
    /// As far as the hub says.
    pub total_bytes: Option<u64>,
}

/// Why a model could not be fetched. What came so far stays, and is not fetched again.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("`{id}` is no name of a model: it should be like owner/name")]
    Name { id: String },
    #[error("{url} answers {status}")]
    Refused { url: String, status: u16 },
    #[error("cannot reach {url}")]
    Unreachable { url: String, source: Box<ureq::Error> },
    #[error("{url} broke off after {done_bytes} bytes")]
    Broken { url: String, done_bytes: u64 },
    #[error("{} is not what the hub says it is", path.display())]
    Differs { path: PathBuf },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl FetchError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name { .. } => ErrorKind::Invalid,
            Self::Refused { status: 404, .. } => ErrorKind::NotFound,
            Self::Refused { .. } | Self::Unreachable { .. } | Self::Broken { .. } => ErrorKind::Unavailable,
            Self::Differs { .. } => ErrorKind::Corrupt,
            Self::Write { source, .. } => ErrorKind::of_io(source).unwrap_or(ErrorKind::Internal),
        }
    }
}

/// Returns the folder's name of a model: an id has a slash, a folder's name cannot.
pub fn folder_name(id: &str) -> Option<String> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let (owner, name) = id.split_once('/')?;
    (is_plain(owner) && is_plain(name)).then(|| format!("{owner}--{name}"))
}

/// Fetches a model into its folder. One that is there already is replaced when all is fetched.
pub fn fetch(wanted: &Wanted, progress: &mut dyn FnMut(Progress)) -> Result<Fetched, FetchError> {
    if folder_name(&wanted.id).is_none() {
        return Err(FetchError::Name { id: wanted.id.clone() });
    }
    let partial = beside(&wanted.into, ".part");
    make_dir(&partial)?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // The hub says what a file is in its redirect, and its key is for nobody else.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Libraries read no environment; ureq would look for proxies there.
        .proxy(None)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(SILENCE_MAX))
        .user_agent(concat!("evermark/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut fetched = Fetched { files: Vec::new(), read_bytes: 0 };
    for (name, may_lack) in FILES {
        let file = Transfer { wanted, agent: &agent, name, path: partial.join(name) };
        match file.run(&mut fetched.read_bytes, progress) {
            Ok(done) => fetched.files.push(done),
            Err(FetchError::Refused { status: 404, .. }) if may_lack => {}
            Err(error) => return Err(error),
        }
    }
    // A folder cannot replace one that is not empty: the old one steps aside, and goes when the new one has its name.
    let old = beside(&wanted.into, ".old");
    let write = |path: &Path| {
        let path = path.to_path_buf();
        move |source| FetchError::Write { path, source }
    };
    if wanted.into.exists() {
        remove(&old)?;
        fs::rename(&wanted.into, &old).map_err(write(&wanted.into))?;
    }
    fs::rename(&partial, &wanted.into).map_err(write(&wanted.into))?;
    remove(&old)?;
    Ok(fetched)
}

/// One file on its way.
struct Transfer<'a> {
    wanted: &'a Wanted,
    agent: &'a ureq::Agent,
    name: &'static str,
    path: PathBuf,
}

/// What the hub says about a file.
struct Stated {
    /// Changes when the file does.
    tag: String,
    /// For files in large storage the tag is their SHA-256.
    sha256: Option<String>,
}

impl Transfer<'_> {
    fn run(&self, read_bytes: &mut u64, progress: &mut dyn FnMut(Progress)) -> Result<FetchedFile, FetchError> {
        let unfinished = beside(&self.path, ".unfinished");
        let tag_file = beside(&self.path, ".tag");
        if let Some(parent) = self.path.parent() {
            make_dir(parent)?;
        }
        let url = format!("{}/{}/resolve/{}/{}", self.wanted.hub, self.wanted.id, self.wanted.revision, self.name);
        let known = fs::read_to_string(&tag_file).unwrap_or_default();
        let is_whole = self.path.is_file();
        let begun = fs::metadata(if is_whole { &self.path } else { &unfinished }).map_or(0, |metadata| metadata.len());
        let (mut answer, stated) = self.ask(&url, begun)?;
        let is_same = !known.is_empty() && known == stated.tag;
        let status = answer.status();
        if is_same && is_whole && matches!(status, StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::OK) {
            return self.checked(&self.path, &stated);
        }
        if is_same && status == StatusCode::PARTIAL_CONTENT && !is_whole {
            // It goes on where it broke off.
        } else if status == StatusCode::OK {
            remove(&unfinished)?;
        } else if begun > 0 && matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) {
            // What is here is of another file, or of nobody knows which.
            remove(&unfinished)?;
            remove(&self.path)?;
            return self.run(read_bytes, progress);
        } else {
            return Err(FetchError::Refused { url, status: status.as_u16() });
        }
        put(&tag_file, stated.tag.as_bytes())?;
        let write = |source| FetchError::Write { path: unfinished.clone(), source };
        let mut to = OpenOptions::new().create(true).append(true).open(&unfinished).map_err(write)?;
        let mut done_bytes = to.metadata().map_err(write)?.len();
        let left = answer.body().content_length();
        let total_bytes = left.map(|left| done_bytes + left);
        let mut from = answer.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            progress(Progress { file: self.name, done_bytes, total_bytes });
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(FetchError::Broken { url, done_bytes }),
            };
            to.write_all(&buffer[..n]).map_err(write)?;
            done_bytes += n as u64;
            *read_bytes += n as u64;
        }
        if total_bytes.is_some_and(|total| done_bytes < total) {
            return Err(FetchError::Broken { url, done_bytes });
        }
        to.sync_all().map_err(write)?;
        match self.checked(&unfinished, &stated) {
            Ok(done) => {
                fs::rename(&unfinished, &self.path).map_err(write)?;
                Ok(done)
            }
            Err(error) => {
                // Whatever it is, more of it would not mend it.
                remove(&unfinished)?;
                Err(error)
            }
        }
    }

    /// Asks for a file from byte `begun` on, and follows where it lies.
    fn ask(&self, url: &str, begun: u64) -> Result<(Response<ureq::Body>, Stated), FetchError> {
        let mut at = url.to_owned();
        let mut stated = Stated { tag: String::new(), sha256: None };
        for hop in 0..=REDIRECTS_MAX {
            let mut request = self.agent.get(&at);
            if begun > 0 {
                request = request.header(header::RANGE, format!("bytes={begun}-"));
            }
            if let (Some(token), 0) = (&self.wanted.token, hop) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let answer =
                request.call().map_err(|error| FetchError::Unreachable { url: at.clone(), source: Box::new(error) })?;
            // The first who speaks for the file is the hub; what it redirects to may have tags of its own.
            if stated.tag.is_empty() {
                stated = Stated::of(answer.headers());
            }
            if !answer.status().is_redirection() {
                return Ok((answer, stated));
            }
            let to = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            at = match to {
                path if path.starts_with('/') => format!("{}{path}", origin(&at)),
                whole => whole.to_owned(),
            };
        }
        Err(FetchError::Refused { url: url.to_owned(), status: StatusCode::LOOP_DETECTED.as_u16() })
    }

    /// Reads a whole file and compares it with what the hub says.
    fn checked(&self, path: &Path, stated: &Stated) -> Result<FetchedFile, FetchError> {
        let write = |source| FetchError::Write { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(write)?;
        let mut hash = Sha256::new();
        let size_bytes = io::copy(&mut file, &mut hash).map_err(write)?;
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if stated.sha256.as_ref().is_some_and(|stated| *stated != sha256) {
            return Err(FetchError::Differs { path: path.to_path_buf() });
        }
        Ok(FetchedFile { name: self.name, size_bytes, sha256, is_checked: stated.sha256.is_some() })
    }
}

impl Stated {
    fn of(headers: &HeaderMap) -> Self {
        let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let tag = get("x-linked-etag").or_else(|| get("etag")).unwrap_or_default();
        let tag = tag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_sha256 = tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
        Self { sha256: is_sha256.then(|| tag.clone()), tag }
    }
}

/// Returns scheme and host of an address.
fn origin(url: &str) -> &str {
    let host_at = url.find("://").map_or(0, |at| at + 3);
    url[host_at..].find('/').map_or(url, |length| &url[..host_at + length])
}

/// Returns the same path with more at the end of its name.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

fn make_dir(path: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(path).map_err(|source| FetchError::Write { path: path.to_path_buf(), source })
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|source| FetchError::Write { path: path.to_path_buf(), source })
}

/// Removes a file or a folder; one that is not there is no fault.
fn remove(path: &Path) -> Result<(), FetchError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FetchError::Write { path: path.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
