//! The admin token: made once, kept in a file that root and the service alone can read, and compared
//! without telling by the clock how much of a guess was right.
//!
//! How a token is presented (a header, a cookie, a form) is the business of `routes`. The cookie's value
//! is derived from the token and does not contain it, so that a stolen cookie ends with the token.
//! `rill token --new` replaces the file while the daemon runs: before each check it is looked whether it is
//! still the file that was read ([`Admin::refresh`]). The checks themselves ask no disk.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use smol::future::or;

use crate::error::{Error, Kind, Result};
use crate::store::atomic;

/// The file's name in the state folder.
pub const FILE: &str = "admin-token";

/// Read and written by the service, read by its group, nothing for others.
const MODE: u32 = 0o640;

/// Random bytes of a token; base64url makes 43 characters of them.
const BYTES: usize = 32;

/// Shorter ones that a person wrote into the file could be guessed.
const MIN_LENGTH: usize = 16;
const MAX_LENGTH: usize = 256;

/// Wrong tries that a peer has within [`WINDOW`].
const TRIES: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// Peers whose tries are remembered; a home has fewer, and beyond it the one that was quiet longest is
/// forgotten.
const MAX_PEERS: usize = 1024;

/// How long a disk may take to say whether the token is still the same; after that it is what it was.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a cookie's value is derived with.
const COOKIE_CONTEXT: &[u8] = b"rill admin cookie, first version";

/// What came of presenting a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no token to compare with.
    NoToken,
    /// It is the token.
    Right,
    /// It is not.
    Wrong,
    /// This peer was wrong too often; nothing was compared.
    TooMany {
        /// When another try is heard.
        retry_after: Duration,
    },
}

/// The token of a state folder, and the tries of those who do not know it.
pub struct Admin {
    path: PathBuf,
    /// Held for a few instructions, and never while the disk is asked.
    state: Mutex<State>,
    /// Held while the disk is asked, so that one that hangs takes one thread and no more.
    looking: Arc<smol::lock::Mutex<()>>,
}

#[derive(Default)]
struct State {
    /// What was read, and of which file; written by whoever finds the file changed.
    kept: Option<(Stamp, String)>,
    tries: HashMap<IpAddr, VecDeque<Instant>>,
}

/// A file that was renamed into place is another one: its inode, time or length differs.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    length: u64,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// Names the token of a state folder; neither needs to be there yet.
    pub fn open(state_dir: &Path) -> Admin {
        Admin {
            path: state_dir.join(FILE),
            state: Mutex::default(),
            looking: Arc::default(),
        }
    }

    /// The token, made when there is none.
    ///
    /// # Errors
    /// `admin_token`: the file cannot be read or made, or does not hold a token.
    pub fn token(&self) -> Result<String> {
        match read(&self.path) {
            Ok((_, token)) => Ok(token),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = generate()
                    .and_then(|token| atomic::create(&self.path, line(&token).as_bytes(), MODE))
                    .and_then(|_| read(&self.path));
                made.map(|(_, token)| token)
                    .map_err(|error| self.refused("made", error))
            }
            Err(error) => Err(self.refused("read", error)),
        }
    }

    /// A new token in place of the old one, which ends every session that knew it.
    ///
    /// # Errors
    /// `admin_token`: the file cannot be written; the old token then stays.
    pub fn replace(&self) -> Result<String> {
        let token = generate().map_err(|error| self.refused("made", error))?;
        atomic::replace(&self.path, line(&token).as_bytes(), MODE)
            .map_err(|error| self.refused("replaced", error))?;
        Ok(token)
    }

    /// Finds out whether the file is another one by now; of a disk that does not answer, what was known before holds.
    pub async fn refresh(self: &Arc<Self>) {
        let admin = Arc::clone(self);
        let looked = async move {
            let turn = admin.looking.lock_arc().await;
            smol::unblock(move || {
                admin.look();
                drop(turn);
            })
            .await;
        };
        let late = async {
            smol::Timer::after(PATIENCE).await;
        };
        or(looked, late).await;
    }

    /// Reads the file again when it is another one than was read. Blocks on the disk.
    fn look(&self) {
        let stamp = fs::metadata(&self.path).ok().map(|m| Stamp::of(&m));
        let known = self.lock().kept.as_ref().map(|(kept, _)| *kept);
        if stamp.is_none() || known != stamp {
            let read = read(&self.path).ok();
            self.lock().kept = read;
        }
    }

    /// Compares what `peer` presents with the token as it was known last. Five wrong tries a minute are heard, also
    /// from peers that take a new IPv6 address of the same network for each.
    pub fn verify(&self, peer: IpAddr, presented: &str) -> Verdict {
        self.verify_at(peer, presented, Instant::now())
    }

    fn verify_at(&self, peer: IpAddr, presented: &str, now: Instant) -> Verdict {
        let peer = network(peer);
        let mut state = self.lock();
        if let Some(tries) = state.tries.get_mut(&peer) {
            tries.retain(|at| now.saturating_duration_since(*at) < WINDOW);
            if let (true, Some(oldest)) = (tries.len() >= TRIES, tries.front()) {
                let retry_after = WINDOW.saturating_sub(now.saturating_duration_since(*oldest));
                return Verdict::TooMany { retry_after };
            }
        }
        let Some((_, token)) = &state.kept else {
            return Verdict::NoToken;
        };
        if same(token.as_bytes(), presented.as_bytes()) {
            state.tries.remove(&peer);
            return Verdict::Right;
        }
        if state.tries.len() >= MAX_PEERS && !state.tries.contains_key(&peer) {
            let quiet = state
                .tries
                .iter()
                .min_by_key(|(_, tries)| tries.back().copied())
                .map(|(ip, _)| *ip);
            if let Some(quiet) = quiet {
                state.tries.remove(&quiet);
            }
        }
        state.tries.entry(peer).or_default().push_back(now);
        Verdict::Wrong
    }

    /// The value of the cookie that stands for the token; `None` while there is no token.
    pub fn cookie_value(&self) -> Option<String> {
        let state = self.lock();
        let (_, token) = state.kept.as_ref()?;
        Some(URL_SAFE_NO_PAD.encode(cookie_tag(token)))
    }

    /// Whether a cookie stands for the token as it was known last.
    pub fn cookie_matches(&self, value: &str) -> bool {
        let state = self.lock();
        let Some((_, token)) = &state.kept else {
            return false;
        };
        match URL_SAFE_NO_PAD.decode(value.trim()) {
            Ok(presented) => same(cookie_tag(token).as_ref(), &presented),
            Err(_) => false,
        }
    }

    fn refused(&self, verb: &str, error: io::Error) -> Error {
        let path = self.path.display();
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "run this as root (sudo), or make it and its folder rill's (sudo chown rill:)"
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "make its disk writable, for the service as well (ReadWritePaths= in README.Debian)"
            }
            io::ErrorKind::InvalidData => "replace it with `rill token --new`",
            io::ErrorKind::NotFound => "make the state folder, or name another one as state.dir",
            io::ErrorKind::StorageFull => "free some space on its disk",
            _ => "look after its disk",
        };
        let sentence = format!("the admin token {path} cannot be {verb} ({error}); {remedy}");
        Error::new(Kind::Unavailable, "admin_token", sentence)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Stamp {
        Stamp {
            inode: metadata.ino(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
            length: metadata.len(),
        }
    }
}

fn read(path: &Path) -> io::Result<(Stamp, String)> {
    use io::Read;

    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    let mut text = String::new();
    file.take(MAX_LENGTH as u64 + 2).read_to_string(&mut text)?;
    let token = text.trim();
    let whole = (MIN_LENGTH..=MAX_LENGTH).contains(&token.len());
    if metadata.is_file() && whole && token.bytes().all(|b| b.is_ascii_graphic()) {
        Ok((Stamp::of(&metadata), token.to_owned()))
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it does not hold 16 to 256 visible characters",
        ))
    }
}

fn line(token: &str) -> String {
    format!("{token}\n")
}

fn generate() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn cookie_tag(token: &str) -> hmac::Tag {
    hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()),
        COOKIE_CONTEXT,
    )
}

/// Equality whose time depends on nothing but the lengths: two MACs under a key that nobody knows are
/// compared, by ring, in constant time.
fn same(a: &[u8], b: &[u8]) -> bool {
    let mut key = [0; 32];
    if rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty()).is_err() {
        return false;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, b, hmac::sign(&key, a).as_ref()).is_ok()
}

/// Whose tries are counted together: an IPv4 address, or the /64 that one IPv6 host may number itself in.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn made_once_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let admin = Admin::open(folder.path());
        let peer = ip("192.0.2.1");
        assert_eq!(admin.verify(peer, ""), Verdict::NoToken);
        assert_eq!(admin.cookie_value(), None);
        let token = admin.token().expect("made");
        assert_eq!(token.len(), 43);
        assert_eq!(admin.token().expect("read"), token);
        assert_eq!(Admin::open(folder.path()).token().expect("read"), token);
        admin.look();
        let mode = fs::metadata(folder.path().join(FILE))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(admin.verify(peer, &token), Verdict::Right);
        let cookie = admin.cookie_value().expect("a cookie");
        assert!(admin.cookie_matches(&cookie) && !cookie.contains(&token));
        assert!(
            !admin.cookie_matches(&token)
                && !admin.cookie_matches("")
                && !admin.cookie_matches("%%")
        );
        // Another process replaces it; this one notices.
        let next = Admin::open(folder.path()).replace().expect("replaced");
        assert_ne!(next, token);
        admin.look();
        assert_eq!(admin.verify(peer, &token), Verdict::Wrong);
        assert_eq!(admin.verify(peer, &next), Verdict::Right);
        assert!(!admin.cookie_matches(&cookie));
        fs::remove_file(folder.path().join(FILE)).expect("removed");
        admin.look();
        assert_eq!(admin.verify(peer, &next), Verdict::NoToken);
    }

    #[test]
    fn a_file_that_holds_no_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let admin = Admin::open(folder.path());
        for text in [
            "",
            "\n",
            "short",
            "has a space in the middle",
            "größe-größe-größe-größe",
        ] {
            fs::write(folder.path().join(FILE), text).expect("written");
            let error = admin.token().expect_err(text);
            assert!(
                error.sentence().contains("rill token --new"),
                "{}",
                error.sentence()
            );
            admin.look();
            assert_eq!(admin.verify(ip("192.0.2.9"), text.trim()), Verdict::NoToken);
            admin.lock().tries.clear();
        }
        let error = Admin::open(&folder.path().join("missing"))
            .token()
            .expect_err("no folder");
        assert_eq!(error.code(), "admin_token");
    }

    #[test]
    fn five_wrong_tries_a_minute() {
        let folder = tempfile::tempdir().expect("a folder");
        let admin = Admin::open(folder.path());
        let token = admin.token().expect("made");
        admin.look();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let peer = ip("2001:db8::1");
        for n in 0..5 {
            assert_eq!(admin.verify_at(peer, "guess", at(n)), Verdict::Wrong);
        }
        let refused = admin.verify_at(ip("2001:db8::2"), &token, at(10));
        assert_eq!(
            refused,
            Verdict::TooMany {
                retry_after: Duration::from_secs(50)
            }
        );
        assert_eq!(
            admin.verify_at(ip("::ffff:192.0.2.1"), &token, at(10)),
            Verdict::Right
        );
        assert_eq!(admin.verify_at(peer, "guess", at(60)), Verdict::Wrong);
        assert!(matches!(
            admin.verify_at(peer, "guess", at(60)),
            Verdict::TooMany { .. }
        ));
        assert_eq!(admin.verify_at(peer, &token, at(121)), Verdict::Right);
    }

    #[test]
    fn many_peers_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let admin = Admin::open(folder.path());
        admin.token().expect("made");
        admin.look();
        let now = Instant::now();
        for n in 0..3000_u32 {
            admin.verify_at(
                IpAddr::V4(n.into()),
                "guess",
                now + Duration::from_millis(n.into()),
            );
        }
        assert!(admin.lock().tries.len() <= MAX_PEERS);
    }
}
