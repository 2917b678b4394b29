//! HTTP/1.1 by hand over one socket.
//!
//! It reads exactly one answer and no byte more, keeps the connection, and leaves it to the test when
//! to read: a paused reader is one that does not call. It believes nothing: an answer that is not well formed is a
//! panic of the test.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer a test waits for; a hang becomes a failure with a line number.
const PATIENCE: Duration = Duration::from_secs(60);

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// Status.
    pub status: u16,
    /// Names as they were written, and values.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The only header of that name; more than one is a panic.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let first = found.next();
        assert!(
            found.next().is_none(),
            "{name} came more than once: {:?}",
            self.headers
        );
        first.map(|(_, value)| value.as_str())
    }

    /// `Content-Length`.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")
            .map(|text| text.parse().expect("a length in digits"))
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its head.
    pub head: Head,
    /// Its body, without framing.
    pub body: Vec<u8>,
    /// The body arrived whole, by its own framing.
    pub whole: bool,
}

impl Response {
    /// Status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The only header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?} {}", self.head, self.text()))
    }

    /// The `error` word of a refusal.
    pub fn code(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    spare: Vec<u8>,
    host: String,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).expect("the daemon accepts");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        socket
            .set_write_timeout(Some(PATIENCE))
            .expect("a socket option");
        socket.set_nodelay(true).expect("a socket option");
        Client {
            socket,
            spare: Vec::new(),
            host: address.to_string(),
        }
    }

    /// Connects with a small receive buffer, so that what the reader does not take stays with the daemon.
    pub fn connect_small(address: SocketAddr) -> Client {
        let client = Client::connect(address);
        rustix::net::sockopt::set_socket_recv_buffer_size(&client.socket, 64 * 1024)
            .expect("a socket option");
        client
    }

    /// Gives a small receive buffer room again, so that reading on is quick.
    pub fn widen(&self) {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.socket, 4 << 20)
            .expect("a socket option");
    }

    /// How long a read may wait.
    pub fn set_patience(&self, time: Duration) {
        self.socket
            .set_read_timeout(Some(time))
            .expect("a socket option");
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.write_all(bytes.as_ref())
    }

    /// Sends a request without a body.
    pub fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send(head).expect("the daemon reads the request");
    }

    /// Sends a request and reads its answer.
    pub fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.ask(method, target, headers);
        self.response(method)
    }

    /// GET.
    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[])
    }

    /// GET of a range.
    pub fn get_range(&mut self, target: &str, range: &str) -> Response {
        self.request("GET", target, &[("Range", range)])
    }

    /// Reads a head.
    pub fn head(&mut self) -> Head {
        self.try_head().expect("a head of an answer")
    }

    /// Reads a head; the connection's end before one is an error.
    pub fn try_head(&mut self) -> io::Result<Head> {
        let end = loop {
            if let Some(end) = self.spare.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(self.spare.len() < 64 * 1024, "a head has an end");
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let text =
            String::from_utf8(self.spare.drain(..end + 4).collect()).expect("a head is text");
        let mut lines = text.trim_end().split("\r\n");
        let mut status = lines.next().expect("a status line").splitn(3, ' ');
        let version = status.next().expect("a version").to_owned();
        assert!(
            version.starts_with("HTTP/1."),
            "{text:?} begins with a version"
        );
        let status = status
            .next()
            .and_then(|text| text.parse().ok())
            .expect("a status");
        let headers = lines.map(|line| {
            let (name, value) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("{line:?} is no header"));
            (name.to_owned(), value.to_owned())
        });
        Ok(Head {
            version,
            status,
            headers: headers.collect(),
        })
    }

    /// Reads an answer to `method`.
    pub fn response(&mut self, method: &str) -> Response {
        let head = self.head();
        let (body, whole) = self.body_of(&head, method);
        Response { head, body, whole }
    }

    /// Reads the body that `head` announces, and says whether it came whole.
    pub fn body_of(&mut self, head: &Head, method: &str) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        if method == "HEAD" || matches!(head.status, 100..=199 | 204 | 304) {
            return (body, true);
        }
        if head.header("transfer-encoding").is_some() {
            let whole = self.chunked(&mut body).is_ok();
            return (body, whole);
        }
        match head.length() {
            Some(length) => {
                let whole = self.read_into(&mut body, length).is_ok();
                (body, whole)
            }
            None => {
                body.append(&mut self.spare);
                let whole = self.socket.read_to_end(&mut body).is_ok();
                (body, whole)
            }
        }
    }

    fn chunked(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let end = loop {
                if let Some(end) = self.spare.windows(2).position(|two| two == b"\r\n") {
                    break end;
                }
                if self.fill()? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            };
            let line: Vec<u8> = self.spare.drain(..end + 2).collect();
            let digits = std::str::from_utf8(&line[..end]).map_err(io::Error::other)?;
            let size = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
            self.read_into(body, size)?;
            let mut last = Vec::new();
            self.read_into(&mut last, 2)?;
            assert_eq!(last, b"\r\n", "a chunk ends with its line");
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Reads exactly `length` bytes of body onto `body`.
    pub fn read_into(&mut self, body: &mut Vec<u8>, length: u64) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.spare.is_empty() {
                // Large bodies go past the spare buffer.
                let begin = body.len();
                let step = left.min(256 * 1024) as usize;
                body.resize(begin + step, 0);
                let n = loop {
                    match self.socket.read(&mut body[begin..]) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => {
                            body.truncate(begin);
                            return Err(error);
                        }
                        Ok(n) => break n,
                    }
                };
                body.truncate(begin + n);
                if n == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                left -= n as u64;
            } else {
                let n = left.min(self.spare.len() as u64) as usize;
                body.extend(self.spare.drain(..n));
                left -= n as u64;
            }
        }
        Ok(())
    }

    /// Reads exactly `length` bytes.
    pub fn take(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.read_into(&mut body, length)?;
        Ok(body)
    }

    /// Whether the daemon has ended the connection (and nothing more comes).
    pub fn is_over(&mut self) -> bool {
        matches!(self.fill(), Ok(0))
            || matches!(self.fill(), Err(error) if error.kind() == ErrorKind::ConnectionReset)
    }

    /// Ends the connection at once, as a player does that is switched off: with a reset.
    pub fn abort(self) {
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }

    /// Says that nothing more will be asked.
    pub fn finish(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let n = self.socket.read(&mut buffer)?;
        self.spare.extend_from_slice(&buffer[..n]);
        Ok(n)
    }
}

/// GET over a connection of its own.
pub fn get(address: SocketAddr, target: &str) -> Response {
    Client::connect(address).get(target)
}

/// GET of a range over a connection of its own.
pub fn get_range(address: SocketAddr, target: &str, range: &str) -> Response {
    Client::connect(address).get_range(target, range)
}
