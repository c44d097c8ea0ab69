//! The leanest HTTP client there can be: on two cores a client's own work is part of what is measured.
//!
//! One connection that is kept, one request at a time, the answer's bytes as they come. A connection that the other side gave
//! up while nothing was asked is made anew, once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No answer takes longer, and no answer is larger.
const PATIENCE: Duration = Duration::from_secs(120);
const ANSWER_MAX: u64 = 256 << 20;

/// A connection to a server on this machine.
pub(super) struct Wire {
    authority: String,
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Wire {
    /// Connects to `http://HOST:PORT`.
    pub(super) fn connect(url: &str) -> io::Result<Self> {
        let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = stream(&authority)?;
        Ok(Self { authority, stream, request: Vec::new(), answer: Vec::new() })
    }

    /// Sends JSON and returns status and body.
    pub(super) fn send(&mut self, verb: &str, path: &str, body: &str) -> io::Result<(u16, &[u8])> {
        self.request.clear();
        write!(
            self.request,
            "{verb} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.authority,
            body.len()
        )?;
        let status = match self.exchange() {
            Err(error) if is_stale(&error) => {
                self.stream = stream(&self.authority)?;
                self.exchange()?
            }
            other => other?,
        };
        Ok((status, &self.answer))
    }

    fn exchange(&mut self) -> io::Result<u16> {
        self.answer.clear();
        self.stream.get_mut().write_all(&self.request)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| odd(&line))?;
        let mut length = None;
        let mut is_chunked = false;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or_else(|| odd(header))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse::<u64>().map_err(|_| odd(header))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = value.trim().eq_ignore_ascii_case("chunked");
            }
        }
        if is_chunked {
            self.chunks()?;
        } else {
            self.take(length.ok_or_else(|| odd("an answer without a length"))?)?;
        }
        Ok(status)
    }

    fn chunks(&mut self) -> io::Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let size = line.trim_end().split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(|_| odd(&line))?;
            self.take(size)?;
            line.clear();
            self.stream.read_line(&mut line)?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn take(&mut self, length: u64) -> io::Result<()> {
        let wanted = length.min(ANSWER_MAX);
        let taken = self.stream.by_ref().take(wanted).read_to_end(&mut self.answer)?;
        if taken as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn stream(authority: &str) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(authority)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(BufReader::with_capacity(64 << 10, stream))
}

/// Tells whether the other side had closed the connection before it saw the request.
fn is_stale(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted
    )
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an answer in HTTP/1.1: {what}"))
}
