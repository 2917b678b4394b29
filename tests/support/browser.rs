//! Headless Chromium, driven over its debugging protocol (CDP) through a WebSocket of our own.
//!
//! Only what the tests need: open a page, run script in it, wait for a promise. The WebSocket client is RFC 6455 for
//! one peer that is known to be sound: text frames, masked one way, and pings.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A cold start on a loaded machine with a slow disk.
const START: Duration = Duration::from_secs(60);
/// Longer than any clip plays.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running browser with one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    socket: BufReader<TcpStream>,
    session: String,
    last: u64,
    /// Removed after the child is gone.
    profile: Option<TempDir>,
}

impl Browser {
    /// Starts Chromium with an empty profile.
    pub fn start() -> Browser {
        let profile = tempfile::Builder::new()
            .prefix("rill-browser-")
            .tempdir()
            .expect("a temp folder");
        let programs = ["chromium", "chromium-browser", "google-chrome"];
        let mut child = programs
            .iter()
            .find_map(|program| command(program, &profile).spawn().ok())
            .expect("Chromium is installed (`tests/run` sees to it)");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (said, url) = mpsc::channel();
        std::thread::spawn(move || {
            // Read to the end, so that the browser never waits for its log.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("DevTools listening on ws://") {
                    let _ = said.send(url.to_owned());
                }
            }
        });
        let url = url
            .recv_timeout(START)
            .expect("Chromium says where it listens");
        let (authority, path) = url.split_once('/').expect("a URL with a path");
        let socket = open(authority, &format!("/{path}")).expect("a WebSocket to Chromium");
        let profile = Some(profile);
        let mut browser = Browser {
            child,
            socket,
            session: String::new(),
            last: 0,
            profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = browser.call(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        browser.session = attached["sessionId"]
            .as_str()
            .expect("a session")
            .to_owned();
        browser.call("Page.enable", json!({}));
        browser
    }

    /// Opens a page and waits until its document is there.
    pub fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert_eq!(answer.get("errorText"), None, "{url} opens");
        let ready = "new Promise(done => { const look = () => \
                     document.readyState == 'loading' ? setTimeout(look, 20) : done(location.href); look() })";
        // The old document may answer first; ask until the new one does.
        for _ in 0..100 {
            if self
                .evaluate(ready)
                .as_str()
                .is_some_and(|at| at != "about:blank")
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{url} never became a document");
    }

    /// Runs an expression in the page, waits when it is a promise, and returns its value; null when the page gave way
    /// to another one meanwhile.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.ask(
            "Runtime.evaluate",
            json!({
                "expression": expression,
                "awaitPromise": true,
                "returnByValue": true,
                "userGesture": true,
            }),
        );
        let answer = match answer {
            Err(refusal) if refusal["message"] == "Inspected target navigated or closed" => {
                return Value::Null;
            }
            answer => answer.expect("an expression is evaluated"),
        };
        if let Some(wrong) = answer.get("exceptionDetails") {
            panic!("{expression}\n{wrong:#}");
        }
        answer["result"]["value"].clone()
    }

    /// Calls a method of the protocol and returns its result, passing over events.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.ask(method, parameters)
            .unwrap_or_else(|refusal| panic!("{method} is refused: {refusal}"))
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last += 1;
        let id = self.last;
        self.say(id, method, parameters);
        loop {
            let text = receive(&mut self.socket)
                .unwrap_or_else(|error| panic!("no answer to {method}: {error}"));
            let answer: Value = serde_json::from_slice(&text).expect("CDP is JSON");
            if answer["id"] == json!(id) {
                return match answer.get("error") {
                    Some(refusal) => Err(refusal.clone()),
                    None => Ok(answer["result"].clone()),
                };
            }
            // A page that asks whether it may be left (told of after `Page.enable`) waits for a word, and all else for
            // it.
            if answer["method"] == "Page.javascriptDialogOpening" {
                self.last += 1;
                let accept = json!({ "accept": true });
                self.say(self.last, "Page.handleJavaScriptDialog", accept);
            }
        }
    }

    fn say(&mut self, id: u64, method: &str, parameters: Value) {
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        send(self.socket.get_mut(), 1, message.to_string().as_bytes()).expect("Chromium reads");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its children die with it: it is the leader of a group of its own.
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
        drop(self.profile.take());
    }
}

fn command(program: &str, profile: &TempDir) -> Command {
    use std::os::unix::process::CommandExt;

    let mut command = Command::new(program);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--mute-audio",
            "--autoplay-policy=no-user-gesture-required",
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("about:blank")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The opening handshake (RFC 6455 section 4.1); the accept key is not checked, since the peer is our own child.
fn open(authority: &str, path: &str) -> io::Result<BufReader<TcpStream>> {
    let mut socket = TcpStream::connect(authority)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cmlsbC10ZXN0LWJyb3dzZQ==\r\n\r\n"
    )?;
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 101") {
        return Err(io::Error::other(line));
    }
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    Ok(reader)
}

/// Writes one whole frame; a client's are masked (section 5.3), here with zeros.
fn send(socket: &mut TcpStream, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    socket.write_all(&frame)
}

/// Reads one message, answering pings on the way (sections 5.2 and 5.5).
fn receive(reader: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut head = [0; 2];
        reader.read_exact(&mut head)?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut long = [0; 2];
                reader.read_exact(&mut long)?;
                u64::from(u16::from_be_bytes(long))
            }
            127 => {
                let mut long = [0; 8];
                reader.read_exact(&mut long)?;
                u64::from_be_bytes(long)
            }
            short => u64::from(short),
        };
        let mut payload = Vec::new();
        reader.take(length).read_to_end(&mut payload)?;
        match head[0] & 0x0f {
            0..=2 => message.append(&mut payload),
            8 => return Err(io::ErrorKind::ConnectionAborted.into()),
            9 => {
                send(reader.get_mut(), 10, &payload)?;
                continue;
            }
            _ => continue,
        }
        if head[0] & 0x80 != 0 {
            return Ok(message);
        }
    }
}
