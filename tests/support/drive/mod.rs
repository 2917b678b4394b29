//! A stand-in for Google Drive v3 and its token endpoint, on loopback, with real TLS.
//!
//! It behaves as `reference/drive.md` says Google does, down to the shapes of its errors, verifies what a client signs,
//! and can be told to misbehave (`fault`), file by file and request by request. What it saw and sent is on record
//! (`record`). A thread per connection: nothing here needs to scale, and a test may block.
//!
//! Integration tests use it as `support::drive`; `examples/demo.rs` and `examples/fake-drive.rs` include it by path.
//! It is also the upstream that Drive streaming is measured against, so bodies are made and
//! encrypted in large pieces.
//!
//! ```text
//! conn   one connection: TLS, heads, bodies, and every way to break them
//! api    what each route answers          query  the languages of `q` and `fields`
//! token  the two grants                   file   what lies on the drive
//! fault  rules of misbehaviour            record what was asked and sent
//! ```

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "several targets include this and use parts of it"
)]

mod api;
mod conn;
mod fault;
mod file;
mod query;
mod record;
mod token;

pub use fault::{Action, Kind, Refusal, RuleId};
pub use file::{Content, File, pattern_byte, pattern_fill, pattern_mismatch};
pub use record::Request;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use fault::Rule;
use record::Record;
use token::Token;

/// The certificate that signed the fake's own, as PEM.
pub const CA: &str = include_str!("../keys/ca.pem");
const LEAF: &str = include_str!("../keys/leaf.pem");
const LEAF_KEY: &str = include_str!("../keys/leaf.key.pem");
const ACCOUNT_KEY: &str = include_str!("../keys/service-account.key.pem");
const STRANGER_KEY: &str = include_str!("../keys/stranger.key.pem");

/// The service account's address.
pub const EMAIL: &str = "rill@test-project.iam.gserviceaccount.com";
/// The OAuth client of the authorized user.
pub const CLIENT_ID: &str = "1234567890-test.apps.googleusercontent.com";
/// Its secret.
pub const CLIENT_SECRET: &str = "GOCSPX-test";
/// The authorized user's refresh token.
pub const REFRESH_TOKEN: &str = "1//test-refresh-token";

/// What the fake knows and was told. One lock, never held while a socket is touched.
struct State {
    files: BTreeMap<String, Arc<File>>,
    /// Ids in the order they were added or removed in, for `changes`.
    changes: Vec<(String, bool)>,
    rules: Vec<Rule>,
    next_rule: u64,
    tokens: Vec<Token>,
    tokens_made: u64,
    token_lifetime: Duration,
    refresh_revoked: bool,
    clock_offset: i64,
    anyone: bool,
    /// Id of the folder that `root` stands for.
    my_drive: Option<String>,
    record: Vec<Arc<Record>>,
    /// Open connections by number, and whether each waits for a request.
    open: BTreeMap<usize, (TcpStream, Arc<AtomicBool>)>,
}

impl State {
    /// The fake's own time, in seconds since 1970.
    fn now(&self) -> i64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        now as i64 + self.clock_offset
    }
}

struct Shared {
    state: Mutex<State>,
    /// Bytes of bodies of files handed to connections.
    sent: AtomicU64,
    /// Bodies of files under way.
    transfers: AtomicUsize,
    connections: AtomicUsize,
    stopping: AtomicBool,
    tls: Arc<rustls::ServerConfig>,
    address: SocketAddr,
    /// Bound on the kernel's send buffer of each connection; 0 leaves it to the kernel.
    send_buffer: AtomicUsize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// A running fake. Dropping it closes every connection.
pub struct FakeDrive {
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl FakeDrive {
    /// Starts one with nothing on it, on a free port of 127.0.0.1.
    pub fn start() -> FakeDrive {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                files: BTreeMap::new(),
                changes: Vec::new(),
                rules: Vec::new(),
                next_rule: 0,
                tokens: Vec::new(),
                tokens_made: 0,
                token_lifetime: token::LIFETIME,
                refresh_revoked: false,
                clock_offset: 0,
                anyone: false,
                my_drive: None,
                record: Vec::new(),
                open: BTreeMap::new(),
            }),
            sent: AtomicU64::new(0),
            transfers: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            tls: Arc::new(tls_config()),
            address: listener
                .local_addr()
                .expect("a bound socket has an address"),
            send_buffer: AtomicUsize::new(0),
        });
        let fake = FakeDrive {
            shared,
            acceptor: Mutex::new(None),
        };
        fake.accept(listener);
        fake
    }

    fn accept(&self, listener: TcpListener) {
        let shared = self.shared.clone();
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming() {
                if shared.stopping.load(Ordering::Acquire) {
                    break;
                }
                let Ok(socket) = socket else {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                };
                let number = shared.connections.fetch_add(1, Ordering::AcqRel) + 1;
                let shared = shared.clone();
                std::thread::spawn(move || conn::serve(&shared, socket, number));
            }
        });
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Stops listening, so that connections are refused, and closes those there are.
    pub fn refuse_connections(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        let acceptor = self
            .acceptor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = acceptor {
            // A connection of our own wakes the thread from `accept`.
            let _ = TcpStream::connect(self.shared.address);
            let _ = thread.join();
        }
        self.close_connections();
    }

    /// Listens again, on the same port.
    pub fn accept_connections(&self) {
        self.shared.stopping.store(false, Ordering::Release);
        let listener = TcpListener::bind(self.shared.address).expect("the port is still free");
        self.accept(listener);
    }

    /// Closes every connection, whatever it is doing.
    pub fn close_connections(&self) {
        for (socket, _) in self.shared.state().open.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Closes the connections that wait for a request.
    pub fn close_idle_connections(&self) {
        for (socket, idle) in self.shared.state().open.values() {
            if idle.load(Ordering::Acquire) {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    // What lies on it.

    /// Puts a file there, in place of one with the same id.
    pub fn add(&self, file: File) -> &FakeDrive {
        let mut state = self.shared.state();
        state.changes.push((file.id.clone(), false));
        state.files.insert(file.id.clone(), Arc::new(file));
        self
    }

    /// Changes a file in place.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut File)) {
        let mut state = self.shared.state();
        let file = state
            .files
            .get_mut(id)
            .expect("the file to change is there");
        change(Arc::make_mut(file));
        state.changes.push((id.to_owned(), false));
    }

    /// Takes a file away for good.
    pub fn remove(&self, id: &str) {
        let mut state = self.shared.state();
        state.files.remove(id);
        state.changes.push((id.to_owned(), true));
    }

    // How it misbehaves.

    /// Begins a rule: `fake.on(Kind::Media).file("..").times(3).does(Action::Cut(1000))`.
    pub fn on(&self, kind: Kind) -> RuleBuilder<'_> {
        RuleBuilder {
            fake: self,
            kind,
            file: None,
            skip: 0,
            times: None,
        }
    }

    /// Ends a rule.
    pub fn end(&self, rule: RuleId) {
        self.shared.state().rules.retain(|other| other.id != rule);
    }

    /// Ends every rule.
    pub fn behave(&self) {
        self.shared.state().rules.clear();
    }

    /// Rules that wait for requests still.
    pub fn rules_left(&self) -> usize {
        self.shared.state().rules.len()
    }

    /// How long tokens given out from now on are good.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.shared.state().token_lifetime = lifetime;
    }

    /// Ends every token that was given out.
    pub fn expire_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Refuses the authorized user's refresh token from now on, or takes it again.
    pub fn revoke_refresh_token(&self, revoked: bool) {
        self.shared.state().refresh_revoked = revoked;
    }

    /// Sets the fake's clock so many seconds ahead of this machine's (behind, when negative).
    pub fn set_clock_offset(&self, seconds: i64) {
        self.shared.state().clock_offset = seconds;
    }

    /// Makes a folder the account's own Drive, which `root` stands for.
    pub fn my_drive(&self, id: &str) {
        self.shared.state().my_drive = Some(id.to_owned());
    }

    /// Serves files without credentials too, as the host of a redirected download does.
    pub fn serve_anyone(&self, anyone: bool) {
        self.shared.state().anyone = anyone;
    }

    /// Bounds what the kernel holds of each later connection, so that bytes sent are bytes taken.
    pub fn set_send_buffer(&self, bytes: usize) {
        self.shared.send_buffer.store(bytes, Ordering::Release);
    }

    // What it saw.

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared
            .state()
            .record
            .iter()
            .map(|record| record.now())
            .collect()
    }

    /// Requests of one kind.
    pub fn requests_of(&self, kind: Kind) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|request| request.kind == kind)
            .collect()
    }

    /// Requests for bytes of files.
    pub fn media_requests(&self) -> Vec<Request> {
        self.requests_of(Kind::Media)
    }

    /// Forgets the requests so far, so that what follows can be counted alone.
    pub fn forget_requests(&self) {
        self.shared.state().record.clear();
    }

    /// Connections accepted since the start.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.shared.state().open.len()
    }

    /// Bytes of files handed to connections since the start.
    pub fn bytes_sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Acquire)
    }

    /// Bodies of files under way.
    pub fn open_transfers(&self) -> usize {
        self.shared.transfers.load(Ordering::Acquire)
    }

    /// Waits until `condition` holds; whether it did in time.
    pub fn wait_until(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&FakeDrive) -> bool,
    ) -> bool {
        let end = Instant::now() + timeout;
        loop {
            if condition(self) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    // How to reach it.

    /// Base URL, `https://127.0.0.1:PORT`, as `drive.endpoint` takes it.
    pub fn endpoint(&self) -> String {
        self.shared.endpoint()
    }

    /// The same server by another name, which is another host to a client that follows redirects.
    pub fn other_endpoint(&self) -> String {
        format!("https://localhost:{}", self.port())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.shared.address.port()
    }

    /// A service account's credentials.
    pub fn service_account(&self) -> String {
        self.service_account_with(ACCOUNT_KEY)
    }

    /// The same account with a key that is not its own.
    pub fn stranger_account(&self) -> String {
        self.service_account_with(STRANGER_KEY)
    }

    fn service_account_with(&self, key: &str) -> String {
        let json = serde_json::json!({
            "type": "service_account",
            "project_id": "test-project",
            "private_key_id": "0123456789abcdef0123456789abcdef01234567",
            "private_key": key,
            "client_email": EMAIL,
            "client_id": "100000000000000000001",
            "token_uri": format!("{}/token", self.endpoint()),
            "universe_domain": "googleapis.com",
        });
        json.to_string()
    }

    /// An authorized user's credentials, as gcloud writes them (with the token endpoint, which is not Google's here).
    pub fn authorized_user(&self) -> String {
        let json = serde_json::json!({
            "type": "authorized_user",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "refresh_token": REFRESH_TOKEN,
            "token_uri": format!("{}/token", self.endpoint()),
        });
        json.to_string()
    }

    /// A token for clients that bring their own, such as curl.
    pub fn token(&self) -> String {
        let mut state = self.shared.state();
        state.tokens_made += 1;
        let text = format!("ya29.given-{}", state.tokens_made);
        let until = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        state.tokens.push(Token {
            text: text.clone(),
            until,
        });
        text
    }

    /// Writes `ca.pem` and `credentials.json` (the service account's) into `folder`; their paths.
    pub fn write_files(&self, folder: &Path) -> io::Result<(PathBuf, PathBuf)> {
        let (ca, credentials) = (folder.join("ca.pem"), folder.join("credentials.json"));
        std::fs::write(&ca, CA)?;
        std::fs::write(&credentials, self.service_account())?;
        Ok((ca, credentials))
    }
}

impl Drop for FakeDrive {
    fn drop(&mut self) {
        self.refuse_connections();
    }
}

impl std::fmt::Debug for FakeDrive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeDrive({})", self.endpoint())
    }
}

/// A rule in the making.
#[derive(Debug)]
#[must_use]
pub struct RuleBuilder<'a> {
    fake: &'a FakeDrive,
    kind: Kind,
    file: Option<String>,
    skip: u32,
    times: Option<u32>,
}

impl RuleBuilder<'_> {
    /// Only requests that name this file.
    pub fn file(mut self, id: &str) -> Self {
        self.file = Some(id.to_owned());
        self
    }

    /// Lets the first `requests` that fit pass.
    pub fn skip(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Ends after so many requests; without it the rule holds until it is ended.
    pub fn times(mut self, requests: u32) -> Self {
        self.times = Some(requests);
        self
    }

    /// Once.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Sets the rule.
    pub fn does(self, action: Action) -> RuleId {
        let mut state = self.fake.shared.state();
        state.next_rule += 1;
        let id = RuleId(state.next_rule);
        let (kind, file, skip, left) = (self.kind, self.file, self.skip, self.times);
        state.rules.push(Rule {
            id,
            kind,
            file,
            skip,
            left,
            action,
        });
        id
    }

    /// Refuses with Google's status and reason.
    pub fn refuses(self, status: u16, reason: &str) -> RuleId {
        self.does(Action::Refuse(Refusal::new(status, reason)))
    }
}

fn tls_config() -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(LEAF.as_bytes()).expect("the leaf is PEM")];
    let key = PrivateKeyDer::from_pem_slice(LEAF_KEY.as_bytes()).expect("the key is PEM");
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .expect("the test certificate is good")
}
