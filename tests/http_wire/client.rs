//! A client that sends the bytes it is told and reads whole answers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

pub(super) struct Client {
    pub(super) socket: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().skip(1).filter_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        let value = found.next();
        assert!(found.next().is_none(), "two {name} in {}", self.head);
        value
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Client {
            socket,
            buffer: Vec::new(),
        }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.socket.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends a request with a Host and no body.
    pub(super) fn request(&mut self, line: &str, fields: &str) -> &mut Client {
        self.send(format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        ))
    }

    pub(super) fn finish(&mut self) -> &mut Client {
        self.socket.shutdown(Shutdown::Write).unwrap();
        self
    }

    fn fill(&mut self) -> usize {
        let mut piece = [0; 64 * 1024];
        let n = match self.socket.read(&mut piece) {
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("no answer in time: {error}"),
        };
        self.buffer.extend_from_slice(&piece[..n]);
        n
    }

    /// The next head, `None` when the connection ends without one.
    pub(super) fn head(&mut self) -> Option<Answer> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                let status = head[9..12].parse().unwrap();
                return Some(Answer {
                    status,
                    head,
                    body: Vec::new(),
                });
            }
            if self.fill() == 0 {
                assert!(self.buffer.is_empty(), "half a head: {:?}", self.buffer);
                return None;
            }
        }
    }

    /// The next answer to a GET or the like, whole.
    pub(super) fn answer(&mut self) -> Answer {
        let mut answer = self.head().expect("an answer");
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            answer.body = self.take(length);
        } else if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = self.line();
                let size = usize::from_str_radix(&line, 16).unwrap();
                answer.body.extend(self.take(size));
                assert_eq!(self.take(2), b"\r\n");
                if size == 0 {
                    break;
                }
            }
        } else if !matches!(answer.status, 100..=199 | 204 | 304) {
            answer.body = self.rest();
        }
        answer
    }

    pub(super) fn take(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n {
            assert!(
                self.fill() > 0,
                "cut after {} of {n} bytes",
                self.buffer.len()
            );
        }
        self.buffer.drain(..n).collect()
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).unwrap();
            }
            assert!(self.fill() > 0, "cut in a line");
        }
    }

    /// All that comes until the end of the connection.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the connection ended, and with nothing more.
    pub(super) fn is_closed(&mut self) -> bool {
        self.fill() == 0 && self.buffer.is_empty()
    }
}
