//! One connection of the fake: TLS, heads in, answers out, and every way to break an answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustls::ServerConnection;

use super::fault::{Kind, Plan};
use super::file::{Content, Reader};
use super::record::{Record, Request};
use super::{Shared, api};

/// The largest head taken.
const HEAD: usize = 32 * 1024;
/// The piece in which bodies are made and encrypted: sixteen TLS records.
const PIECE: usize = 256 * 1024;

/// A request whose head and body are read.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The body of an answer.
pub(super) enum Body {
    Bytes(Vec<u8>),
    /// Sent chunked, as Google's JSON is.
    Chunked(Vec<u8>),
    /// Part of a file, counted as upstream bytes.
    File(Content, Range<u64>),
}

/// An answer before faults are laid on it.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

/// Serves a connection until either side ends it.
pub(super) fn serve(shared: &Arc<Shared>, socket: TcpStream, number: usize) {
    let idle = Arc::new(AtomicBool::new(true));
    let Ok(twin) = socket.try_clone() else { return };
    shared.state().open.insert(number, (twin, idle.clone()));
    if let Ok(tls) = ServerConnection::new(shared.tls.clone()) {
        let mut conn = Conn {
            shared: shared.clone(),
            socket,
            tls,
            idle,
            number,
            spare: Vec::new(),
            reset: false,
        };
        let _ = socket_options(&conn.socket, shared.send_buffer.load(Ordering::Acquire));
        // An error is a peer that left or a fault that was asked for.
        let _ = conn.run();
        // A goodbye in the TCP sense would forestall a reset.
        if !conn.reset {
            let _ = conn.socket.shutdown(Shutdown::Both);
        }
    }
    shared.state().open.remove(&number);
}

fn socket_options(socket: &TcpStream, send_buffer: usize) -> io::Result<()> {
    socket.set_nodelay(true)?;
    if send_buffer > 0 {
        rustix::net::sockopt::set_socket_send_buffer_size(socket, send_buffer)?;
    }
    Ok(())
}

struct Conn {
    shared: Arc<Shared>,
    socket: TcpStream,
    tls: ServerConnection,
    idle: Arc<AtomicBool>,
    number: usize,
    /// Bytes read past the last request.
    spare: Vec<u8>,
    /// The connection ends with a reset.
    reset: bool,
}

impl Conn {
    fn run(&mut self) -> io::Result<()> {
        self.tls.set_buffer_limit(None);
        loop {
            self.idle.store(true, Ordering::Release);
            let Some(asked) = self.read_request()? else {
                self.tls.send_close_notify();
                return self.flush();
            };
            self.idle.store(false, Ordering::Release);
            let (kind, id) = api::kind(&asked);
            let record = Arc::new(Record::new(Request {
                at: Instant::now(),
                kind,
                method: asked.method.clone(),
                path: asked.path.clone(),
                query: asked.query.clone(),
                id: id.clone(),
                range: asked.header("range").map(str::to_owned),
                accept_encoding: asked.header("accept-encoding").map(str::to_owned),
                host: asked.header("host").map(str::to_owned),
                authorized: asked.header("authorization").is_some(),
                connection: self.number,
                status: 0,
                sent: 0,
                ended: false,
            }));
            let plan = {
                let mut state = self.shared.state();
                state.record.push(record.clone());
                super::fault::plan(&mut state.rules, kind, id.as_deref(), &asked.query)
            };
            let result = self.answer(&asked, kind, id.as_deref(), &plan, &record);
            record.ended.store(true, Ordering::Release);
            result?;
            if let Some(delay) = plan.close_after {
                std::thread::sleep(delay);
                return Ok(());
            }
            let close = asked.header("connection");
            if close.is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                self.tls.send_close_notify();
                return self.flush();
            }
        }
    }

    fn answer(
        &mut self,
        asked: &Asked,
        kind: Kind,
        id: Option<&str>,
        plan: &Plan,
        record: &Record,
    ) -> io::Result<()> {
        if let Some(delay) = plan.latency {
            self.sleep(delay)?;
        }
        if plan.hangup {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let shared = self.shared.clone();
        let mut answer = api::answer(&shared, asked, kind, id, plan);
        if let (Some(bytes), Body::Chunked(_)) = (&plan.garbage, &answer.body) {
            answer
                .headers
                .retain(|(name, _)| *name != "Content-Encoding");
            answer.body = Body::Chunked(bytes.clone());
        }
        record.status.store(answer.status, Ordering::Release);
        let mut head = format!(
            "HTTP/1.1 {} {}\r\n",
            answer.status,
            api::phrase(answer.status)
        );
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!(
            "Date: {}\r\nServer: ESF\r\n",
            api::http_date(shared.state().now())
        ));
        let (reader, range, counted) = match answer.body {
            Body::Bytes(bytes) => {
                head.push_str(&format!("Content-Length: {}\r\n\r\n", bytes.len()));
                (
                    Reader::Bytes(Arc::new(bytes.clone())),
                    0..bytes.len() as u64,
                    false,
                )
            }
            Body::Chunked(bytes) => {
                head.push_str("Transfer-Encoding: chunked\r\n\r\n");
                let framed = chunked(&bytes);
                let len = framed.len() as u64;
                (Reader::Bytes(Arc::new(framed)), 0..len, false)
            }
            Body::File(content, range) => {
                head.push_str(&format!(
                    "Content-Length: {}\r\n\r\n",
                    range.end - range.start
                ));
                (content.open()?, range, true)
            }
        };
        if plan.cut_head {
            self.send(&head.as_bytes()[..head.len().min(30)])?;
            return Err(ErrorKind::ConnectionAborted.into());
        }
        // An answer to HEAD says a length and has no body (RFC 9110 section 9.3.2).
        let range = if asked.method == "HEAD" { 0..0 } else { range };
        let transfer = counted.then(|| Transfer::begin(&shared));
        let result = self.send_body(head.into_bytes(), &reader, range, plan, record, counted);
        drop(transfer);
        result
    }

    /// Sends the head together with the first piece of the body, then the rest, under the plan.
    fn send_body(
        &mut self,
        head: Vec<u8>,
        reader: &Reader,
        range: Range<u64>,
        plan: &Plan,
        record: &Record,
        counted: bool,
    ) -> io::Result<()> {
        let stop =
            |point: Option<u64>| point.map_or(u64::MAX, |after| range.start.saturating_add(after));
        let cut = stop(plan.cut.map(|(after, _)| after));
        let mut stall = stop(plan.stall.map(|(after, _)| after));
        let step = match plan.bandwidth {
            // Twenty steps a second are smooth enough, and a step is felt within one.
            Some(rate) => (rate / 20).clamp(1, PIECE as u64),
            None => PIECE as u64,
        };
        let begun = Instant::now();
        let mut pending = head;
        let mut buffer = Vec::new();
        let mut at = range.start;
        while at < range.end || !pending.is_empty() {
            let end = range.end.min(at + step).min(cut.max(at)).min(stall.max(at));
            buffer.resize((end - at) as usize, 0);
            reader.read(at, &mut buffer)?;
            if !pending.is_empty() {
                pending.extend_from_slice(&buffer);
                self.send(&pending)?;
                pending.clear();
            } else if !buffer.is_empty() {
                self.send(&buffer)?;
            }
            record.sent.fetch_add(end - at, Ordering::AcqRel);
            if counted {
                self.shared.sent.fetch_add(end - at, Ordering::AcqRel);
            }
            at = end;
            if at >= cut {
                return self.cut(plan.cut.is_some_and(|(_, reset)| reset));
            }
            if at >= stall {
                match plan.stall {
                    Some((_, Some(time))) => self.sleep(time)?,
                    _ => self.sleep(Duration::from_secs(3600))?,
                }
                stall = u64::MAX;
            }
            if let Some(rate) = plan.bandwidth {
                let due = Duration::from_secs_f64((at - range.start) as f64 / rate as f64);
                if at < range.end {
                    self.sleep(due.saturating_sub(begun.elapsed()))?;
                }
            }
        }
        Ok(())
    }

    fn cut(&mut self, reset: bool) -> io::Result<()> {
        if reset {
            rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO))?;
            // Only the last descriptor's close resets, and the registry holds one.
            self.shared.state().open.remove(&self.number);
            self.reset = true;
        }
        Err(ErrorKind::ConnectionAborted.into())
    }

    /// Sleeps, unless the client leaves meanwhile.
    fn sleep(&self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
            let step = left.min(Duration::from_millis(500));
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(step.subsec_nanos()),
            };
            rustix::event::poll(&mut fds, Some(&timeout))?;
            if !fds[0].revents().is_empty() {
                return Err(ErrorKind::ConnectionReset.into());
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// Reads more into `spare`; how many bytes, 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.socket);
        let n = match stream.read(&mut buffer) {
            Ok(n) => n,
            // A peer that closes without a TLS goodbye is common and no fault.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        self.spare.extend_from_slice(&buffer[..n]);
        Ok(n)
    }

    fn read_request(&mut self) -> io::Result<Option<Asked>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(&self.spare).map_err(io::Error::other)?;
            if let httparse::Status::Complete(len) = parsed {
                let target = request.path.unwrap_or_default();
                let (path, query) = target.split_once('?').unwrap_or((target, ""));
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let mut asked = Asked {
                    method: request.method.unwrap_or_default().to_owned(),
                    path: path.to_owned(),
                    query: query.to_owned(),
                    headers: (request.headers.iter())
                        .map(|header| (header.name.to_owned(), text(header.value)))
                        .collect(),
                    body: Vec::new(),
                };
                self.spare.drain(..len);
                self.read_body(&mut asked)?;
                return Ok(Some(asked));
            }
            if self.spare.len() > HEAD {
                return Err(ErrorKind::InvalidData.into());
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    fn read_body(&mut self, asked: &mut Asked) -> io::Result<()> {
        let coding = asked.header("transfer-encoding");
        if coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            loop {
                match httparse::parse_chunk_size(&self.spare) {
                    Ok(httparse::Status::Complete((start, size))) => {
                        let size = usize::try_from(size).map_err(io::Error::other)?;
                        while self.spare.len() < start + size + 2 {
                            self.fill_or_end()?;
                        }
                        asked
                            .body
                            .extend_from_slice(&self.spare[start..start + size]);
                        self.spare.drain(..start + size + 2);
                        if size == 0 {
                            return Ok(());
                        }
                    }
                    Ok(httparse::Status::Partial) => self.fill_or_end()?,
                    Err(_) => return Err(ErrorKind::InvalidData.into()),
                }
            }
        }
        let length = asked
            .header("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        while self.spare.len() < length {
            self.fill_or_end()?;
        }
        asked.body = self.spare.drain(..length).collect();
        Ok(())
    }

    fn fill_or_end(&mut self) -> io::Result<()> {
        if self.fill()? == 0 {
            Err(ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }
}

/// Counts a body of a file while it is under way.
struct Transfer(Arc<Shared>);

impl Transfer {
    fn begin(shared: &Arc<Shared>) -> Transfer {
        shared.transfers.fetch_add(1, Ordering::AcqRel);
        Transfer(shared.clone())
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.transfers.fetch_sub(1, Ordering::AcqRel);
    }
}

fn chunked(bytes: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in bytes.chunks(8 * 1024) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}
