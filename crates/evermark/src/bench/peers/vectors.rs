//! The built-in table as an OpenAI-compatible endpoint on the loopback, so that every program has the same vectors.

use super::base64::base64;
use crate::clock;
use anyhow::Context;
use evermark_core::embed::{Embedder, Purpose};
use evermark_models::builtin::{BuiltinEmbedder, DIMENSION};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// No request is larger.
const BODY_MAX: u64 = 64 << 20;

/// An endpoint that runs until it is dropped.
pub(super) struct Endpoint {
    pub(super) url: String,
    address: std::net::SocketAddr,
    over: Arc<AtomicBool>,
    spent_us: Arc<AtomicU64>,
}

impl Endpoint {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let (spent_us, table) = (Arc::new(AtomicU64::new(0)), Arc::new(BuiltinEmbedder::new()));
        let (ended, spent) = (Arc::clone(&over), Arc::clone(&spent_us));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(stream), table, spent) = (stream, Arc::clone(&table), Arc::clone(&spent)) else { continue };
                // A client that breaks off ends its own thread only.
                std::thread::spawn(move || serve(stream, &table, &spent).ok());
            }
        });
        Ok(Self { url: format!("http://{address}/v1"), address, over, spent_us })
    }

    /// Returns how long making vectors has taken so far: on two cores it is taken from who waits for them.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_micros(self.spent_us.load(Ordering::Relaxed))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // It looks when somebody comes.
        TcpStream::connect(self.address).ok();
    }
}

/// Answers one connection until it ends.
fn serve(stream: TcpStream, table: &BuiltinEmbedder, spent_us: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse::<u64>().map_err(io::Error::other)?;
                }
                Some(_) => {}
            }
        }
        let mut body = Vec::new();
        stream.by_ref().take(length.min(BODY_MAX)).read_to_end(&mut body)?;
        let started = clock::now();
        let (status, answer) = match serde_json::from_slice(&body).ok().and_then(|body| answer(&body, table)) {
            Some(answer) => ("200 OK", answer),
            None => ("400 Bad Request", json!({ "error": { "message": "texts in `input`, please" } })),
        };
        let answer = answer.to_string();
        spent_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        write!(
            stream.get_mut(),
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

/// Returns the vectors of a request's texts; nothing when it is no such request.
fn answer(body: &Value, table: &BuiltinEmbedder) -> Option<Value> {
    let texts = match &body["input"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        _ => return None,
    };
    let as_text = body["encoding_format"] == "base64";
    let data = table.embed_each(&texts, Purpose::Passage, PATIENCE).into_iter().enumerate().map(|(i, vector)| {
        // Text that the table cannot read points in a direction of its own: other programs know no text without a vector.
        let vector = vector.unwrap_or_else(|_| {
            let mut vector = vec![0.0; DIMENSION];
            vector[0] = 1.0;
            vector
        });
        let embedding = if as_text { base64(&vector).into() } else { json!(vector) };
        json!({ "object": "embedding", "index": i, "embedding": embedding })
    });
    let usage = json!({ "prompt_tokens": texts.len(), "total_tokens": texts.len() });
    Some(json!({ "object": "list", "model": body["model"], "data": data.collect::<Vec<_>>(), "usage": usage }))
}
