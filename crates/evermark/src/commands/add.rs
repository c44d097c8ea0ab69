//! `evermark add` and `evermark flush`.

use crate::cli::{AddArgs, FlushArgs, RoleArg, ScopeArgs, WaitArgs};
use crate::exit::{Exit, Failure};
use crate::output::Out;
use crate::session::Session;
use crate::view;
use anyhow::Context;
use evermark_core::world::{RealWorld, World};
use evermark_server::api::{FlushAnswer, FlushBody, Wait};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Read};
use std::path::Path;

/// Messages the API takes in one request.
const MESSAGES_MAX: usize = 500;
/// What is read from a file or standard input: room for a hundred thousand long messages.
const INPUT_MAX: u64 = 512 << 20;
/// Longest wait the API takes.
const WAIT_MAX_SECONDS: f64 = 60.0;
const SESSION: &str = "cli";

pub(crate) fn add(args: &AddArgs, session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    let mut body = body(args)?;
    let name = body.get("session_id").and_then(Value::as_str).unwrap_or(SESSION).to_owned();
    let messages = match body.remove("messages") {
        Some(Value::Array(messages)) => messages,
        _ => Vec::new(),
    };
    if messages.is_empty() {
        return Err(Failure::new(Exit::Usage, "there is no message to add").into());
    }
    let mut answers = Vec::new();
    for batch in messages.chunks(MESSAGES_MAX) {
        body.insert("messages".to_owned(), batch.into());
        let answer = session.add(&Value::Object(body.clone()))?;
        if !out.json {
            view::added(&answer, out);
            out.flush();
        }
        answers.push(answer);
    }
    let flushed = args.flush.then(|| flush_session(&name, &args.scope, &args.wait, session)).transpose()?;
    if out.json {
        out.document(&json!({ "added": answers, "flushed": flushed }));
    } else if let Some(answer) = &flushed {
        view::flushed(answer, out);
    }
    Ok(Exit::Ok)
}

pub(crate) fn flush(args: &FlushArgs, session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    let answer = flush_session(&args.session, &args.scope, &args.wait, session)?;
    if out.json {
        out.document(&answer);
    } else {
        view::flushed(&answer, out);
    }
    Ok(Exit::Ok)
}

fn flush_session(name: &str, scope: &ScopeArgs, wait: &WaitArgs, session: &Session) -> anyhow::Result<FlushAnswer> {
    session.flush(&FlushBody {
        session_id: name.to_owned(),
        app_id: scope.app.clone(),
        project_id: scope.project.clone(),
        wait: wait.wait.map(|_| Wait::Indexed),
        wait_timeout_ms: wait.wait.map(|_| wait_ms(wait)),
    })
}

fn wait_ms(wait: &WaitArgs) -> u64 {
    // A float that is not a number becomes the least wait.
    let seconds = if wait.timeout >= 0.001 { wait.timeout.min(WAIT_MAX_SECONDS) } else { 0.001 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 60,000")]
    let ms = (seconds * 1000.0) as u64;
    ms
}

/// Returns the request: what was read, with what the flags say on top.
fn body(args: &AddArgs) -> anyhow::Result<Map<String, Value>> {
    let mut body = if args.message.is_empty() { read(args.file.as_deref())? } else { said(args)? };
    if let Some(session) = &args.session {
        body.insert("session_id".to_owned(), session.as_str().into());
    }
    let defaults = [("session_id", SESSION), ("app_id", &args.scope.app), ("project_id", &args.scope.project)];
    for (key, value) in defaults {
        if !body.contains_key(key) || (key != "session_id" && value != "default") {
            body.insert(key.to_owned(), value.into());
        }
    }
    if args.defer {
        body.insert("defer_extraction".to_owned(), true.into());
    }
    if args.queued {
        body.insert("async_mode".to_owned(), true.into());
    }
    if args.wait.wait.is_some() && !args.flush {
        body.insert("wait".to_owned(), "indexed".into());
        body.insert("wait_timeout_ms".to_owned(), wait_ms(&args.wait).into());
    }
    Ok(body)
}

fn said(args: &AddArgs) -> anyhow::Result<Map<String, Value>> {
    let Some(sender) = &args.sender else {
        return Err(Failure::new(Exit::Usage, "who says it? --message needs --sender").into());
    };
    let timestamp = match &args.time {
        None => RealWorld::new().now_us() / 1000,
        Some(time) => milliseconds(time)?,
    };
    let role = match args.role {
        RoleArg::User => "user",
        RoleArg::Assistant => "assistant",
        RoleArg::Tool => "tool",
    };
    let messages = args.message.iter().map(|text| {
        let mut message = json!({ "sender_id": sender, "role": role, "timestamp": timestamp, "content": text });
        if let Some(name) = &args.sender_name {
            message["sender_name"] = name.as_str().into();
        }
        message
    });
    Ok(Map::from_iter([("messages".to_owned(), messages.collect())]))
}

fn milliseconds(time: &str) -> anyhow::Result<i64> {
    if let Ok(number) = time.parse() {
        return Ok(number);
    }
    let parsed = time.parse::<jiff::Timestamp>();
    let wrong = || {
        Failure::new(Exit::Usage, format!("`--time {time}` is no time")).hint("for example 2027-02-03T08:14:30+08:00")
    };
    Ok(parsed.map_err(|_| wrong())?.as_millisecond())
}

/// Reads a whole body, a list of messages, or one message a line.
fn read(file: Option<&Path>) -> anyhow::Result<Map<String, Value>> {
    let (text, place) = match file {
        Some(path) if path != Path::new("-") => {
            let opened = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            (read_all(opened)?, path.display().to_string())
        }
        _ => {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                let failure = Failure::new(Exit::Usage, "there is nothing to add");
                return Err(failure
                    .hint("give --message, a file, or pipe JSON in; `evermark add --help` shows how")
                    .into());
            }
            (read_all(stdin.lock())?, "standard input".to_owned())
        }
    };
    parse(&text).map_err(|problem| Failure::new(Exit::Usage, format!("{place}: {problem}")).into())
}

fn read_all(from: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    from.take(INPUT_MAX + 1).read_to_string(&mut text).context("cannot read the messages")?;
    if text.len() as u64 > INPUT_MAX {
        return Err(Failure::new(Exit::Usage, "that is too much at once").hint("split it into several files").into());
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let of_messages = |messages: Vec<Value>| Map::from_iter([("messages".to_owned(), Value::Array(messages))]);
    match serde_json::from_str(text) {
        Ok(Value::Array(messages)) => Ok(of_messages(messages)),
        Ok(Value::Object(body)) if body.contains_key("messages") => Ok(body),
        Ok(message @ Value::Object(_)) => Ok(of_messages(vec![message])),
        Ok(_) => Err("neither a body, nor a list of messages, nor a message".to_owned()),
        Err(whole) => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            let mut messages = Vec::new();
            for (i, line) in lines {
                match serde_json::from_str(line) {
                    Ok(message) => messages.push(message),
                    // What fails on its first line was meant as one document, unless it stands on one line alone.
                    Err(_) if messages.is_empty() => return Err(format!("not JSON: {whole}")),
                    Err(error) => return Err(format!("line {} is not JSON: {error}", i + 1)),
                }
            }
            Ok(of_messages(messages))
        }
    }
}
