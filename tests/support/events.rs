//! A reader of server-sent events, which sees comments too.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One event, or a comment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// `id:`
    pub id: String,
    /// `event:`; `:` of a comment.
    pub name: String,
    /// `data:`
    pub data: Value,
}

/// A connection that listens.
#[derive(Debug)]
pub struct Events {
    reader: BufReader<TcpStream>,
    chunked: bool,
    pending: VecDeque<u8>,
    /// The head of the answer.
    pub head: String,
}

impl Events {
    /// Listens, by HTTP/1.1.
    pub fn listen(address: SocketAddr, last: Option<&str>) -> Events {
        Events::listen_by(address, "HTTP/1.1", last)
    }

    /// Listens by a version of HTTP.
    pub fn listen_by(address: SocketAddr, version: &str, last: Option<&str>) -> Events {
        let mut socket = TcpStream::connect(address).expect("the daemon accepts");
        let timeout = Some(Duration::from_secs(60));
        socket.set_read_timeout(timeout).expect("a socket option");
        let last = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        write!(
            socket,
            "GET /api/events {version}\r\nHost: {address}\r\n{last}\r\n"
        )
        .expect("the daemon reads");
        let mut reader = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let n = reader.read_line(&mut head).expect("a head");
            assert!(n > 0, "the connection ended in {head:?}");
        }
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        Events {
            reader,
            chunked,
            pending: VecDeque::new(),
            head,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        while self.pending.is_empty() {
            if !self.chunked {
                let bytes = self.reader.fill_buf().ok()?;
                if bytes.is_empty() {
                    return None;
                }
                self.pending.extend(bytes);
                let n = bytes.len();
                self.reader.consume(n);
                continue;
            }
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let size = usize::from_str_radix(line.trim(), 16).expect("a chunk size");
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).ok()?;
            if size == 0 {
                return None;
            }
            self.pending.extend(&chunk[..size]);
        }
        self.pending.pop_front()
    }

    /// The next event or comment; `None` at the end of the connection.
    pub fn any(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = Vec::new();
            loop {
                match self.byte()? {
                    b'\n' => break,
                    byte => line.push(byte),
                }
            }
            let line = String::from_utf8(line).expect("UTF-8");
            match line.split_once(": ").unwrap_or((&line, "")) {
                ("", _) if event != Event::default() => return Some(event),
                ("", _) => {}
                (":", _) => event.name = ":".to_owned(),
                ("id", id) => event.id = id.to_owned(),
                ("event", name) => event.name = name.to_owned(),
                ("data", data) => event.data = serde_json::from_str(data).expect("JSON"),
                ("retry", _) => {}
                (other, _) => panic!("{other:?} is no field"),
            }
        }
    }

    /// The next event that is no comment.
    pub fn next(&mut self) -> Event {
        loop {
            let event = self.any().expect("the events go on");
            if event.name != ":" {
                return event;
            }
        }
    }

    /// The next event of which `holds` is true, within a minute.
    pub fn until(&mut self, holds: impl Fn(&Event) -> bool) -> Event {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let event = self.next();
            if holds(&event) {
                return event;
            }
            assert!(Instant::now() < end, "the last was {event:?}");
        }
    }
}
