//! What was written, what systemd says, what the older systems' variables say, and the defaults: one [`Config`].
//!
//! Precedence, first wins: the older systems' variables (`HOST`, `PORT`, `GOOGLE_SERVICE_ACCOUNT_JSON`,
//! `GOOGLE_SERVICE_ACCOUNT_FILE`, `FFMPEG_PATH`, `MAX_PROGRESS_BYTES`), the file, systemd's variables, the
//! default. A variable that is empty counts as unset. The disk is looked at once, for a credential that
//! systemd may or may not have put into `CREDENTIALS_DIRECTORY`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{ConfigFile, Given, form, place};
use super::{Config, Credentials, Drive, Ffmpeg, Http, Library, Limits, Size, State};

/// Where systemd's `LoadCredential=` puts the Drive key.
const CREDENTIAL: &str = "drive.json";

/// The smallest `limits.buffers`, in bytes: one stream's share.
const MIN_BUFFERS: u64 = 1024 * 1024;

const MIB: u64 = 1024 * 1024;

struct Resolver<'a> {
    text: &'a str,
    name: &'a str,
    folder: Option<&'a Path>,
    env: &'a dyn Fn(&str) -> Option<String>,
    wrong: Vec<String>,
}

/// Resolves the file.
///
/// # Errors
/// Everything that is wrong in the file or in a variable, a sentence each.
pub(super) fn resolve(
    file: &ConfigFile,
    text: &str,
    name: &str,
    folder: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Vec<String>> {
    let mut r = Resolver {
        text,
        name,
        folder,
        env,
        wrong: Vec::new(),
    };
    let state = State {
        dir: r.folder(
            "state.dir",
            &file.state.dir,
            Some("STATE_DIRECTORY"),
            "/var/lib/rill",
        ),
        cache: r.folder(
            "state.cache",
            &file.state.cache,
            Some("CACHE_DIRECTORY"),
            "/var/cache/rill",
        ),
    };
    let videos = match r.path("library.videos", &file.library.videos) {
        Some(path) => path,
        None => state.dir.join("videos"),
    };
    let config = Config {
        http: Http {
            listen: r.listen(&file.http.listen),
            allowed_hosts: r.each("http.allowed_hosts", &file.http.allowed_hosts, host_name),
            allowed_origins: r.each("http.allowed_origins", &file.http.allowed_origins, origin),
            max_connections: r.count(
                "http.max_connections",
                &file.http.max_connections,
                65535,
                512,
            ),
        },
        library: Library {
            videos,
            courses: r.path("library.courses", &file.library.courses),
            keep_originals: is_true(&file.library.keep_originals),
            posters: file.library.posters.is_none() || is_true(&file.library.posters),
        },
        drive: Drive {
            credentials: r.credentials(&file.drive.credentials),
            root: r.text("drive.root", &file.drive.root, folder_id),
            root_key: file
                .drive
                .root
                .as_ref()
                .and_then(|root| folder_key(root.get_ref())),
            endpoint: r
                .text("drive.endpoint", &file.drive.endpoint, endpoint)
                .unwrap_or_else(|| "https://www.googleapis.com".to_owned()),
            ca_file: r.path("drive.ca_file", &file.drive.ca_file),
        },
        ffmpeg: Ffmpeg {
            ffmpeg: match r.variable("FFMPEG_PATH") {
                Some(path) => path,
                None => r.program("ffmpeg.ffmpeg", &file.ffmpeg.ffmpeg, "ffmpeg"),
            },
            ffprobe: r.program("ffmpeg.ffprobe", &file.ffmpeg.ffprobe, "ffprobe"),
            live_streams: r.count("ffmpeg.live_streams", &file.ffmpeg.live_streams, 64, 2),
            jobs: r.count("ffmpeg.jobs", &file.ffmpeg.jobs, 64, 1),
            force_reencode: is_true(&file.ffmpeg.force_reencode),
            stalled: Duration::from_secs(
                r.count("ffmpeg.stalled", &file.ffmpeg.stalled, 3600, 60) as u64
            ),
        },
        limits: Limits {
            progress: r.progress(&file.limits.progress),
            upload: r.size("limits.upload", &file.limits.upload, 1, 20 * 1024 * MIB),
            buffers: r.size(
                "limits.buffers",
                &file.limits.buffers,
                MIN_BUFFERS,
                64 * MIB,
            ),
            repaired: r.size("limits.repaired", &file.limits.repaired, 0, 5_000_000_000),
            free_space: r.size("limits.free_space", &file.limits.free_space, 0, 1024 * MIB),
        },
        state,
    };
    if r.wrong.is_empty() {
        Ok(config)
    } else {
        Err(r.wrong)
    }
}

fn is_true(given: &Given<bool>) -> bool {
    given.as_ref().is_some_and(|value| *value.get_ref())
}

impl Resolver<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    fn wrong(&mut self, key: &str, span: std::ops::Range<usize>, what: &str) {
        let place = place(self.text, span, key);
        self.wrong
            .push(format!("{}, {place}: {what}; {}", self.name, form(key)));
    }

    fn wrong_variable(&mut self, name: &str, what: &str, remedy: &str) {
        self.wrong
            .push(format!("the variable {name}: {what}; {remedy}"));
    }

    fn count(&mut self, key: &str, given: &Given<i64>, max: i64, default: usize) -> usize {
        let Some(value) = given else { return default };
        match usize::try_from(*value.get_ref()) {
            Ok(count) if count > 0 && *value.get_ref() <= max => count,
            _ => {
                self.wrong(
                    key,
                    value.span(),
                    &format!("{} is out of range", value.get_ref()),
                );
                default
            }
        }
    }

    fn size(&mut self, key: &str, given: &Given<Size>, min: u64, default: u64) -> u64 {
        let Some(value) = given else { return default };
        let Size(bytes) = *value.get_ref();
        if bytes < min {
            self.wrong(key, value.span(), &format!("{bytes} bytes are too few"));
        }
        bytes
    }

    fn progress(&mut self, given: &Given<Size>) -> u64 {
        let written = self.size("limits.progress", given, 1, 2 * MIB);
        let Some(text) = self.variable("MAX_PROGRESS_BYTES") else {
            return written;
        };
        match Size::parse(&text) {
            Ok(Size(bytes)) if bytes > 0 => bytes,
            Ok(_) => {
                self.wrong_variable(
                    "MAX_PROGRESS_BYTES",
                    "0 bytes are too few",
                    "set it to a number of bytes such as 2097152, or unset it",
                );
                written
            }
            Err(what) => {
                self.wrong_variable(
                    "MAX_PROGRESS_BYTES",
                    &what,
                    "set it to a number of bytes such as 2097152, or unset it",
                );
                written
            }
        }
    }

    /// A text that `check` accepts and may rewrite; an empty one is none.
    fn text(&mut self, key: &str, given: &Given<String>, check: Check) -> Option<String> {
        let value = given.as_ref()?;
        let text = value.get_ref().trim();
        if text.is_empty() {
            return None;
        }
        check(text)
            .map_err(|what| self.wrong(key, value.span(), &what))
            .ok()
    }

    fn each(&mut self, key: &str, given: &Given<Vec<String>>, check: Check) -> Vec<String> {
        let Some(value) = given else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for text in value.get_ref() {
            match check(text.trim()) {
                Ok(one) if all.contains(&one) => {}
                Ok(one) => all.push(one),
                Err(what) => self.wrong(key, value.span(), &what),
            }
        }
        all
    }

    fn program(&mut self, key: &str, given: &Given<String>, default: &str) -> String {
        self.text(key, given, no_nul)
            .unwrap_or_else(|| default.to_owned())
    }

    /// A path; one that is relative is taken from the folder of the file, which does not move with
    /// the directory a command happens to be started in.
    fn path(&mut self, key: &str, given: &Given<String>) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(key, given, no_nul)?);
        Some(match self.folder {
            Some(folder) => folder.join(path),
            None => path,
        })
    }

    fn folder(
        &mut self,
        key: &str,
        given: &Given<String>,
        variable: Option<&str>,
        default: &str,
    ) -> PathBuf {
        if let Some(path) = self.path(key, given) {
            return path;
        }
        // systemd joins several folders by colons; the first is ours.
        let from_systemd = variable
            .and_then(|name| self.variable(name))
            .and_then(|list| {
                list.split(':')
                    .find(|part| !part.is_empty())
                    .map(PathBuf::from)
            });
        from_systemd.unwrap_or_else(|| PathBuf::from(default))
    }

    fn credentials(&mut self, given: &Given<String>) -> Credentials {
        // The older system looked for the text first.
        if let Some(json) = self.variable("GOOGLE_SERVICE_ACCOUNT_JSON") {
            return Credentials::Inline(json);
        }
        if let Some(path) = self.variable("GOOGLE_SERVICE_ACCOUNT_FILE") {
            return Credentials::File(PathBuf::from(path));
        }
        if let Some(path) = self.path("drive.credentials", given) {
            return Credentials::File(path);
        }
        let from_systemd = self
            .variable("CREDENTIALS_DIRECTORY")
            .map(|folder| Path::new(&folder).join(CREDENTIAL));
        match from_systemd {
            Some(path) if path.is_file() => Credentials::File(path),
            _ => Credentials::None,
        }
    }

    fn listen(&mut self, given: &Given<Vec<String>>) -> Vec<String> {
        let written = match given {
            Some(_) => self.each("http.listen", given, address),
            None => vec!["[::]:8080".to_owned()],
        };
        let (host, port) = (self.variable("HOST"), self.variable("PORT"));
        if host.is_none() && port.is_none() {
            return written;
        }
        // One of the two leaves the other as the file's first address has it.
        let first = written.first().map_or("[::]:8080", String::as_str);
        let (first_host, first_port) = first.rsplit_once(':').unwrap_or(("[::]", "8080"));
        let host = match host {
            Some(text) => match bracketed(&text) {
                Ok(host) => host,
                Err(what) => {
                    self.wrong_variable(
                        "HOST",
                        &what,
                        "set it to an address or a name such as 0.0.0.0, or unset it",
                    );
                    return written;
                }
            },
            None => first_host.to_owned(),
        };
        let port = port.unwrap_or_else(|| first_port.to_owned());
        match address(&format!("{host}:{}", port.trim())) {
            Ok(address) => vec![address],
            Err(what) => {
                self.wrong_variable(
                    "PORT",
                    &what,
                    "set it to a number from 0 to 65535 such as 8080, or unset it",
                );
                written
            }
        }
    }
}

/// Accepts a text, perhaps rewritten, or says what is wrong with it.
type Check = fn(&str) -> Result<String, String>;

fn no_nul(text: &str) -> Result<String, String> {
    match text.find('\0') {
        Some(_) => Err("it holds a NUL character".to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// The host of a listening address as it is written before `:PORT`.
fn bracketed(host: &str) -> Result<String, String> {
    let host = host.trim();
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => Ok(format!("[{ip}]")),
        Ok(IpAddr::V4(ip)) => Ok(ip.to_string()),
        Err(_) if bare == "*" => Ok(format!("[{}]", Ipv6Addr::UNSPECIFIED)),
        Err(_) => name(bare),
    }
}

fn address(text: &str) -> Result<String, String> {
    // An IPv6 address with a scope (`[fe80::1%2]:8080`) is one only to this parser.
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.to_string());
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("`{text}` has no port"));
    };
    let port: u16 = port.parse().map_err(|_| format!("`{port}` is no port"))?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("`{text}` needs brackets around the IPv6 address"));
    }
    let host = if host.is_empty() { "*" } else { host };
    Ok(format!("{}:{port}", bracketed(host)?))
}

/// A host name (RFC 1123 section 2.1), with underscores, which home networks have.
fn name(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // All digits and dots is an address with a slip in it, not a name.
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if text.len() <= 253 && !numeric && text.split('.').all(label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("`{text}` is no host name"))
    }
}

fn host_name(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Err(format!("`{text}` is a URL; a host name alone belongs here"));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.parse::<u16>().is_ok() => Err(format!(
            "`{text}` names a port; the name alone belongs here"
        )),
        _ => name(text),
    }
}

/// `scheme://authority/path`, taken apart as far as is needed here.
fn split_url(text: &str) -> Option<(String, String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.strip_prefix('[') {
        Some(v6) => {
            let (ip, port) = v6.split_once(']')?;
            ip.parse::<Ipv6Addr>().ok()?;
            port_or_none(port)?;
            format!("[{ip}]")
        }
        None => {
            let (host, port) = authority
                .find(':')
                .map_or((authority, ""), |at| authority.split_at(at));
            port_or_none(port)?;
            match host.parse::<std::net::Ipv4Addr>() {
                Ok(ip) => ip.to_string(),
                Err(_) => name(host).ok()?,
            }
        }
    };
    Some((scheme.to_ascii_lowercase(), host, path))
}

/// `""` or `:PORT`.
fn port_or_none(text: &str) -> Option<()> {
    if text.is_empty() {
        return Some(());
    }
    let port = text.strip_prefix(':')?;
    port.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    port.parse::<u16>().ok().map(|_| ())
}

/// An origin as browsers send it (RFC 6454 section 7.1): lower case, no path.
fn origin(text: &str) -> Result<String, String> {
    match split_url(text) {
        Some((scheme, _, path))
            if matches!(&*scheme, "http" | "https") && matches!(path, "" | "/") =>
        {
            Ok(text.trim_end_matches('/').to_ascii_lowercase())
        }
        _ => Err(format!(
            "`{text}` is no origin (http or https, a host, perhaps a port, nothing behind it)"
        )),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    let plain = url.bytes().all(|b| b.is_ascii_graphic()) && !url.contains(['?', '#', '@']);
    match split_url(url) {
        Some((scheme, _, _)) if plain && scheme == "https" => Ok(url.to_owned()),
        Some((scheme, host, _)) if plain && scheme == "http" => {
            let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
            if host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback()) {
                Ok(url.to_owned())
            } else {
                Err(format!("`{text}` would send the token in the clear"))
            }
        }
        _ => Err(format!("`{text}` is no base URL")),
    }
}

/// What the address of a folder that was shared by link before September 2021 has behind `resourcekey=`.
fn folder_key(text: &str) -> Option<String> {
    let (_, query) = text.trim().split_once('?')?;
    let mut fields = query.split(['&', '#']);
    let key = fields.find_map(|field| field.strip_prefix("resourcekey="))?;
    (!key.is_empty()).then(|| key.to_owned())
}

/// A folder's id, alone or in the address a browser shows; `root` is the account's own Drive.
fn folder_id(text: &str) -> Result<String, String> {
    let id = match text.split_once("/folders/") {
        Some((_, rest)) => rest.split(['?', '/', '#']).next().unwrap_or(""),
        None => text,
    };
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if id == "root" || ((10..=128).contains(&id.len()) && id.bytes().all(known)) {
        Ok(id.to_owned())
    } else {
        Err(format!("`{text}` is no id of a Drive folder"))
    }
}
