use super::*;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A hub on the loopback: it redirects large files as Hugging Face does, and breaks off when told to.
struct Hub {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    /// After how many bytes of its body the next large answer ends.
    breaks_after: Option<usize>,
    /// What the hub says of large files, instead of the truth.
    lies: Option<String>,
    /// Path and range of every request.
    asked: Vec<(String, Option<usize>)>,
    tokens: Vec<(String, bool)>,
}

impl Hub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, base) = (Arc::clone(&state), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up early is the test's own doing.
                serve(&stream, &shared, &base).ok();
            }
        });
        Self { address, state }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.state.lock().unwrap().files.insert(name.to_owned(), bytes.to_vec());
    }

    fn asked(&self) -> Vec<(String, Option<usize>)> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn serve(stream: &TcpStream, state: &Mutex<State>, base: &str) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut range, mut has_token) = (None, false);
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        range = line.strip_prefix("range: bytes=").and_then(|rest| rest.trim_end_matches('-').parse().ok()).or(range);
        has_token |= line == "authorization: bearer secret";
    }
    let mut state = state.lock().unwrap();
    state.tokens.push((path.clone(), has_token));
    let name = path.rsplit("/main/").next().unwrap_or_default().trim_start_matches("/large/").to_owned();
    let Some(bytes) = state.files.get(&name).cloned() else {
        state.asked.push((path, range));
        return write!(&*stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let is_large = name.ends_with(".safetensors");
    if is_large && !path.starts_with("/large/") {
        let tag = state.lies.clone().unwrap_or_else(|| sha256(&bytes));
        return write!(
            &*stream,
            "HTTP/1.1 302 Found\r\nLocation: {base}/large/{name}\r\nX-Linked-Etag: \"{tag}\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    state.asked.push((name, range));
    let begin = range.unwrap_or(0);
    if begin >= bytes.len() && begin > 0 {
        let tag = format!("t{}", bytes.len());
        return write!(
            &*stream,
            "HTTP/1.1 416 Range Not Satisfiable\r\nETag: \"{tag}\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let rest = &bytes[begin..];
    write!(
        &*stream,
        "HTTP/1.1 {status}\r\nETag: \"t{}\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len(),
        rest.len()
    )?;
    let most = if is_large { state.breaks_after.take().unwrap_or(rest.len()) } else { rest.len() };
    (&*stream).write_all(&rest[..most.min(rest.len())])
}

fn hub_with_model() -> (Hub, Vec<u8>) {
    let hub = Hub::start();
    let weights: Vec<u8> = (0..300_000u32).map(|n| (n * 31 % 251) as u8).collect();
    hub.put("config.json", b"{}");
    hub.put("vocab.txt", b"a\nb\n");
    hub.put("1_Pooling/config.json", b"{\"pooling_mode_mean_tokens\": true}");
    hub.put("model.safetensors", &weights);
    (hub, weights)
}

fn wanted(hub: &Hub, dir: &Path) -> Wanted {
    Wanted {
        id: "owner/tiny".to_owned(),
        revision: "main".to_owned(),
        hub: hub.address.clone(),
        token: None,
        into: dir.join("models").join("owner--tiny"),
    }
}

#[test]
fn a_model_is_fetched_whole_and_checked() {
    let (hub, weights) = hub_with_model();
    let dir = tempfile::tempdir().unwrap();
    let wanted = Wanted { token: Some("secret".to_owned()), ..wanted(&hub, dir.path()) };
    let mut last = None;
    let fetched = fetch(&wanted, &mut |progress| last = Some(progress)).unwrap();
    let names: Vec<(&str, bool)> = fetched.files.iter().map(|file| (file.name, file.is_checked)).collect();
    let expected =
        [("config.json", false), ("vocab.txt", false), ("1_Pooling/config.json", false), ("model.safetensors", true)];
    assert_eq!(names, expected);
    assert_eq!(fs::read(wanted.into.join("model.safetensors")).unwrap(), weights);
    assert!(wanted.into.join("1_Pooling/config.json").is_file());
    let total = Some(weights.len() as u64);
    assert_eq!(
        last,
        Some(Progress { file: "model.safetensors", done_bytes: weights.len() as u64, total_bytes: total })
    );
    assert!(!beside(&wanted.into, ".part").exists());
    // The key is for the hub and not for where it redirects.
    for (path, has_token) in &hub.state.lock().unwrap().tokens {
        assert_eq!(*has_token, !path.starts_with("/large/"), "{path}");
    }
}

#[test]
fn what_broke_off_goes_on_where_it_ended() {
    let (hub, weights) = hub_with_model();
    let dir = tempfile::tempdir().unwrap();
    let wanted = wanted(&hub, dir.path());
    hub.state.lock().unwrap().breaks_after = Some(100_000);
    let error = fetch(&wanted, &mut |_| {}).unwrap_err();
    assert_eq!((error.kind(), wanted.into.exists()), (ErrorKind::Unavailable, false), "{error}");
    hub.asked();
    let fetched = fetch(&wanted, &mut |_| {}).unwrap();
    let ranges: Vec<(String, Option<usize>)> =
        hub.asked().into_iter().filter(|(name, _)| name == "model.safetensors").collect();
    assert_eq!(ranges, [("model.safetensors".to_owned(), Some(100_000))]);
    assert_eq!(fetched.read_bytes, 200_000);
    assert_eq!(fs::read(wanted.into.join("model.safetensors")).unwrap(), weights);
}

#[test]
fn a_file_that_changed_meanwhile_begins_anew() {
    let (hub, _) = hub_with_model();
    let dir = tempfile::tempdir().unwrap();
    let wanted = wanted(&hub, dir.path());
    hub.state.lock().unwrap().breaks_after = Some(100_000);
    fetch(&wanted, &mut |_| {}).unwrap_err();
    let other = vec![7; 250_000];
    hub.put("model.safetensors", &other);
    let fetched = fetch(&wanted, &mut |_| {}).unwrap();
    assert_eq!(fs::read(wanted.into.join("model.safetensors")).unwrap(), other);
    assert!(fetched.files.iter().any(|file| file.name == "model.safetensors" && file.sha256 == sha256(&other)));
}

#[test]
fn what_differs_from_what_the_hub_says_is_not_kept() {
    let (hub, _) = hub_with_model();
    let dir = tempfile::tempdir().unwrap();
    let wanted = wanted(&hub, dir.path());
    hub.state.lock().unwrap().lies = Some("0".repeat(64));
    let error = fetch(&wanted, &mut |_| {}).unwrap_err();
    assert_eq!((error.kind(), wanted.into.exists()), (ErrorKind::Corrupt, false), "{error}");
    hub.state.lock().unwrap().lies = None;
    fetch(&wanted, &mut |_| {}).unwrap();
    assert!(wanted.into.exists());
}

#[test]
fn a_model_that_is_there_is_replaced_only_by_a_whole_one() {
    let (hub, weights) = hub_with_model();
    let dir = tempfile::tempdir().unwrap();
    let wanted = wanted(&hub, dir.path());
    fetch(&wanted, &mut |_| {}).unwrap();
    hub.put("model.safetensors", &[1; 200_000]);
    hub.state.lock().unwrap().breaks_after = Some(10);
    fetch(&wanted, &mut |_| {}).unwrap_err();
    assert_eq!(fs::read(wanted.into.join("model.safetensors")).unwrap(), weights);
    fetch(&wanted, &mut |_| {}).unwrap();
    assert_eq!(fs::read(wanted.into.join("model.safetensors")).unwrap(), [1; 200_000]);
    assert!(!beside(&wanted.into, ".old").exists());
}

#[test]
fn names_and_absent_models_are_told_apart() {
    for (id, expected) in [
        ("intfloat/e5-small-v2", Some("intfloat--e5-small-v2")),
        ("e5", None),
        ("../x", None),
        ("a/b/c", None),
        ("a/.b", None),
        ("a/", None),
    ] {
        assert_eq!(folder_name(id).as_deref(), expected, "{id}");
    }
    let hub = Hub::start();
    let dir = tempfile::tempdir().unwrap();
    let error = fetch(&wanted(&hub, dir.path()), &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let nobody = Wanted { hub: "http://127.0.0.1:9".to_owned(), ..wanted(&hub, dir.path()) };
    assert_eq!(fetch(&nobody, &mut |_| {}).unwrap_err().kind(), ErrorKind::Unavailable);
}
