//! Roots in temporary folders, commands run on them, and daemons that are never left behind.

use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_evermark");

/// A home folder with a root in it, and the environment in which commands run: nothing of the tester's own gets in.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Returns the exit code; `None` when a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Returns the JSON it printed, and fails where it failed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        self.ok();
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    #[track_caller]
    pub(crate) fn ok(&self) -> &Self {
        assert_eq!(self.code(), Some(0), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn fails(&self, code: i32, says: &str) -> &Self {
        assert_eq!(self.code(), Some(code), "{self:?}");
        assert!(self.stderr.contains(says), "`{says}` is not in: {self:?}");
        self
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self { dir, env: Vec::new() }
    }

    /// Runs every command from now on with this variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", "/usr/bin:/bin")
            .env("EVERMARK_ROOT", self.root());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args).spawn().expect("the program starts"), None)
    }

    pub(crate) fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        finish(self.command(args).envs(env.iter().copied()).spawn().expect("the program starts"), None)
    }

    pub(crate) fn pipe(&self, args: &[&str], input: &str) -> Ran {
        let child = self.command(args).stdin(Stdio::piped()).spawn().expect("the program starts");
        finish(child, Some(input))
    }

    /// Writes a file below the root.
    pub(crate) fn write(&self, rel: &str, text: &str) {
        let path = self.root().join(rel);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }

    /// Returns the Markdown files below the root with their texts, by path.
    pub(crate) fn markdown(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "md") {
                    let rel = path.strip_prefix(self.root()).expect("below the root").display().to_string();
                    files.push((rel, std::fs::read_to_string(&path).expect("text")));
                }
            }
        }
        files.sort();
        files
    }

    /// Searches for a user's memories and returns the answer.
    #[track_caller]
    pub(crate) fn search(&self, query: &str, user: &str) -> Value {
        self.run(&["search", query, "--user", user, "--json"]).json()
    }
}

fn finish(mut child: Child, input: Option<&str>) -> Ran {
    if let Some(input) = input {
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).expect("the program reads");
    }
    let done = child.wait_with_output().expect("the program ends");
    Ran {
        status: done.status,
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// Returns a body of messages by `user`, one for each text, a second apart.
pub(crate) fn body(session: &str, user: &str, texts: &[&str]) -> String {
    let mut messages = String::new();
    for (i, text) in texts.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let at = 1_795_000_000_000_u64 + 1000 * i as u64;
        write!(messages, r#"{comma}{{"sender_id":"{user}","role":"user","timestamp":{at},"content":"{text}"}}"#)
            .expect("a string takes it");
    }
    format!(r#"{{"session_id":"{session}","messages":[{messages}]}}"#)
}

/// Returns every text of an answer's episodes and facts.
pub(crate) fn texts(answer: &Value) -> Vec<String> {
    let episodes = answer["episodes"].as_array().cloned().unwrap_or_default();
    let mut texts = Vec::new();
    for episode in &episodes {
        texts.extend(episode["episode"].as_str().map(str::to_owned));
        let facts = episode["atomic_facts"].as_array().cloned().unwrap_or_default();
        texts.extend(facts.iter().filter_map(|fact| Some(fact["content"].as_str()?.to_owned())));
    }
    texts
}

/// Tries until `is_so`, for up to twenty seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) url: String,
    pub(crate) ready: Value,
    log: Arc<Mutex<Vec<u8>>>,
}

impl Daemon {
    pub(crate) fn start(home: &Home, env: &[(&str, &str)]) -> Self {
        let mut command = home.command(&["--json", "serve", "--port", "0"]);
        command.envs(env.iter().copied());
        Self::spawn(command)
    }

    /// Starts a daemon by a command that ends up as `serve --json`.
    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("the program speaks");
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            child.kill().ok();
            let done = child.wait_with_output().expect("the program ends");
            panic!("no daemon ({}): {line}{}", done.status, String::from_utf8_lossy(&done.stderr));
        };
        let url = ready["address"].as_str().expect("an address").to_owned();
        // A full pipe would stop it: its log is read all the time.
        let mut stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut some) {
                kept.lock().expect("nobody panics with it").extend_from_slice(&some[..n]);
            }
        });
        Self { child, url, ready, log }
    }

    /// Returns what it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().expect("nobody panics with it")).into_owned()
    }

    /// Returns the end of its log, for those who have to find out.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(self) {
        self.signal(rustix::process::Signal::KILL);
        self.wait();
    }

    /// Asks it to end and waits until it has.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "a daemon that is asked to end ends well");
    }

    /// Asks for a page and returns its JSON; `None` when the daemon is not there.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        get(&self.url, path)
    }

    /// Tells whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a request and returns status and body; `None` when the daemon is not there.
    pub(crate) fn post(&self, path: &str, body: &str) -> Option<(u16, Value)> {
        post(&self.url, path, body)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Longer than any answer takes; a daemon that was stopped must not stop the test.
const PATIENCE: Duration = Duration::from_secs(75);

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE)).build().into()
}

pub(crate) fn get(url: &str, path: &str) -> Option<Value> {
    agent().get(format!("{url}{path}")).call().ok()?.body_mut().read_json().ok()
}

pub(crate) fn post(url: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let mut response =
        agent().post(format!("{url}{path}")).content_type("application/json").send(body.as_bytes()).ok()?;
    let status = response.status().as_u16();
    Some((status, response.body_mut().read_json().ok()?))
}
