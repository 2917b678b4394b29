//! Who may do what: the names this daemon answers to, the pages of others, the admin token.
//!
//! A browser carries requests for any page it has open, so a household's network is no fence. A name that an
//! attacker's DNS points here is refused (DNS rebinding); a request that changes something and was caused by another
//! site's page is refused; what changes the box asks for the token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http_types::Method;

use crate::config::Http;
use crate::error::{Error, Kind, Result};
use crate::http::{Request, Response, StatusCode};
use crate::routes::Route;
use crate::store::token::{Admin, Verdict};

/// The cookie that stands for the admin token. Cookies know no ports, hence the name.
pub(super) const COOKIE: &str = "rill_admin";

/// Suffixes that home routers and mDNS put behind a machine's own name.
const HOME_SUFFIXES: &[&str] = &["local", "lan", "home", "fritz.box", "home.arpa"];

/// What scripts of allowed origins may read of an answer beside the CORS-safelisted headers (Fetch section 3.3.3).
const EXPOSED: &str = "Accept-Ranges, Content-Length, Content-Range, ETag, Last-Modified, Location, Retry-After, \
     Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Expires, \
     Upload-Length, Upload-Metadata, Upload-Offset";

/// What they may send.
const SENDABLE: &str = "Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range, Tus-Resumable, \
     Upload-Checksum, Upload-Length, Upload-Metadata, Upload-Offset, X-HTTP-Method-Override, X-Requested-With";

/// The rules, over what is configured.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    http: &'a Http,
    admin: &'a Arc<Admin>,
}

impl<'a> Access<'a> {
    /// The rules of a daemon.
    pub fn new(http: &'a Http, admin: &'a Arc<Admin>) -> Access<'a> {
        Access { http, admin }
    }

    /// Refuses a request that came by a name which is not ours.
    ///
    /// # Errors
    /// `unknown_host` (421).
    pub fn check_host(&self, request: &Request) -> Result<()> {
        // Only HTTP/1.0 may leave it out, which no browser speaks.
        let Some(host) = request.host() else {
            return Ok(());
        };
        if host_name(host).is_some_and(|name| self.is_ours(&name)) {
            return Ok(());
        }
        let shown: String = host.chars().filter(|c| !c.is_control()).take(100).collect();
        Err(Error::new(
            Kind::Misdirected,
            "unknown_host",
            format!(
                "This daemon does not answer to the name {shown:?}; use its IP address, or add the name to \
                 http.allowed_hosts in rill.toml."
            ),
        ))
    }

    /// Refuses a request that changes something and was caused by a page of another site.
    ///
    /// # Errors
    /// `cross_site` (403).
    pub fn check_site(&self, request: &Request) -> Result<()> {
        if matches!(
            request.method(),
            Method::Get | Method::Head | Method::Options
        ) {
            return Ok(());
        }
        self.check_acting(request)
    }

    /// As [`Access::check_site`] for a request that acts whatever its method is.
    ///
    /// # Errors
    /// `cross_site` (403).
    pub(super) fn check_acting(&self, request: &Request) -> Result<()> {
        let foreign = match request.header("origin") {
            Some(origin) => !self.is_same(request, origin) && !self.is_allowed(origin),
            // Two origins are none that a browser sends.
            None if request.has("origin") => true,
            // A browser that sends no Origin may still say whence the request came; a program says neither.
            None => match request.header("sec-fetch-site") {
                Some(site) => site.eq_ignore_ascii_case("cross-site"),
                None => request.has("sec-fetch-site"),
            },
        };
        match foreign {
            false => Ok(()),
            true => Err(Error::new(
                Kind::Forbidden,
                "cross_site",
                "A page of another site may change nothing here; add its origin to http.allowed_origins in \
                 rill.toml if it is yours.",
            )),
        }
    }

    /// Adds to an answer what an allowed origin's scripts need to read it.
    pub(super) fn share(&self, request: &Request, mut response: Response) -> Response {
        // Caches must know that the answer depends on who asks, even when nobody asked from elsewhere.
        match response
            .headers
            .iter_mut()
            .find(|(name, _)| *name == "vary")
        {
            Some((_, vary)) => vary.push_str(", Origin"),
            None => response.headers.push(("vary", "Origin".to_owned())),
        }
        match request.header("origin") {
            Some(origin) if self.is_allowed(origin) => response
                .header("access-control-allow-origin", origin)
                .header("access-control-expose-headers", EXPOSED),
            _ => response,
        }
    }

    /// Answers OPTIONS, a CORS preflight or not.
    pub(super) fn preflight(&self, request: &Request, route: &Route) -> Response {
        let allow = route.allow();
        let response = Response::new(StatusCode::NoContent).header("allow", allow.clone());
        match request.header("origin") {
            Some(origin) if self.is_allowed(origin) => response
                .header("access-control-allow-methods", allow)
                .header("access-control-allow-headers", SENDABLE)
                .header("access-control-max-age", "600"),
            _ => response,
        }
    }

    /// Lets the admin through: `Authorization: Bearer TOKEN`, or the cookie that `/login` set.
    ///
    /// # Errors
    /// `admin_required` (401), `wrong_token` (401), `too_many_tries` (429).
    pub async fn require_admin(&self, request: &Request) -> Result<()> {
        if self.is_admin(request).await {
            return Ok(());
        }
        match bearer(request) {
            Some(token) => self.try_token(request, token).await,
            None => Err(Error::new(
                Kind::Unauthorized,
                "admin_required",
                "This changes the box and asks for the admin token; log in at /login with what `rill token` shows.",
            )),
        }
    }

    /// Whether the request comes from the admin's browser: for what a page shows, not for what it does.
    pub(super) async fn is_admin(&self, request: &Request) -> bool {
        // Who shows none waits for no disk.
        let Some(value) = cookie(request) else {
            return false;
        };
        self.admin.refresh().await;
        self.admin.cookie_matches(value)
    }

    /// Lets this machine's own programs through, and the admin. What a proxy on this machine passes
    /// on came from elsewhere, and it says so.
    ///
    /// # Errors
    /// As [`Access::require_admin`].
    pub async fn require_loopback_or_admin(&self, request: &Request) -> Result<()> {
        let forwarded = ["forwarded", "x-forwarded-for"]
            .iter()
            .any(|name| request.has(name));
        if request.peer().is_loopback() && !forwarded {
            return Ok(());
        }
        self.require_admin(request).await
    }

    /// Tries a token, and counts wrong ones.
    pub(super) async fn try_token(&self, request: &Request, token: &str) -> Result<()> {
        self.admin.refresh().await;
        match self
            .admin
            .verify(request.peer().address.ip().to_canonical(), token)
        {
            Verdict::Right => Ok(()),
            Verdict::NoToken => Err(no_token()),
            Verdict::Wrong => Err(Error::new(
                Kind::Unauthorized,
                "wrong_token",
                "That is not the admin token; run `sudo rill token` on the box to see it.",
            )),
            Verdict::TooMany { retry_after } => Err(Error::new(
                Kind::TooMany,
                "too_many_tries",
                "Too many wrong tokens came from this address; wait a minute, then try again.",
            )
            .retry_after(retry_after)),
        }
    }

    fn is_ours(&self, name: &str) -> bool {
        name.parse::<Ipv4Addr>().is_ok()
            || name.parse::<Ipv6Addr>().is_ok()
            || name == "localhost"
            || is_home_name(
                name,
                rustix::system::uname().nodename().to_str().unwrap_or(""),
            )
            || self.http.allowed_hosts.iter().any(|allowed| {
                host_name(allowed).is_some_and(|allowed| match allowed.strip_prefix("*.") {
                    Some(suffix) => name.strip_suffix(suffix).is_some_and(|n| n.ends_with('.')),
                    None => name == allowed,
                })
            })
    }

    /// Whether `origin` is this daemon's own, by the name the request came by. The scheme is not compared: a
    /// proxy in front may speak TLS.
    fn is_same(&self, request: &Request, origin: &str) -> bool {
        let Some((default_port, authority)) = origin_parts(origin) else {
            return false;
        };
        let full = |authority: &str| {
            let (_, port) = split_port(authority)?;
            Some((
                host_name(authority)?,
                port.map_or(Some(default_port), |port| port.parse().ok())?,
            ))
        };
        match (request.host().and_then(full), full(authority)) {
            (Some(host), Some(origin)) => host == origin,
            _ => false,
        }
    }

    /// Whether `origin` is of this machine's own loopback, or configured.
    fn is_allowed(&self, origin: &str) -> bool {
        let configured =
            |allowed: &String| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin);
        if self.http.allowed_origins.iter().any(configured) {
            return true;
        }
        let name = origin_parts(origin).and_then(|(_, authority)| host_name(authority));
        name.is_some_and(|name| {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    }
}

/// Nobody can be let in, whatever they present.
pub(super) fn no_token() -> Error {
    Error::new(
        Kind::Unavailable,
        "no_token",
        "This box has no admin token, as its state folder is missing or cannot be written; run `sudo rill token` on \
         it, which says what to mend.",
    )
}

/// Whether `name` is the machine's: `hostname` bare, or under a suffix of home networks, or anything under
/// `.local`, which is mDNS's and no DNS server's to point here (RFC 6762 section 3).
fn is_home_name(name: &str, hostname: &str) -> bool {
    let hostname = hostname.to_ascii_lowercase();
    let bare = hostname.split('.').next().unwrap_or_default();
    if name
        .strip_suffix(".local")
        .is_some_and(|rest| !rest.is_empty())
    {
        return true;
    }
    !bare.is_empty()
        && (name == hostname
            || name.strip_prefix(bare).is_some_and(|rest| {
                rest.is_empty()
                    || rest
                        .strip_prefix('.')
                        .is_some_and(|suffix| HOME_SUFFIXES.contains(&suffix))
            }))
}

/// The name in a `Host` value (RFC 9110 section 7.2: `uri-host [ ":" port ]`), in lower case, without its
/// port, brackets, zone and final dot; `None` when it is no host.
fn host_name(host: &str) -> Option<String> {
    let (name, _) = split_port(host)?;
    let name = match name.strip_prefix('[') {
        Some(literal) => {
            let literal = literal.strip_suffix(']')?;
            let literal = literal.split('%').next()?;
            literal.parse::<Ipv6Addr>().ok()?;
            literal
        }
        None => name.strip_suffix('.').unwrap_or(name),
    };
    let sound = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'*'));
    sound.then(|| name.to_ascii_lowercase())
}

/// Splits `host[:port]`; the port, where there is one, is of digits (or empty, which means none).
fn split_port(host: &str) -> Option<(&str, Option<&str>)> {
    let end = match host.starts_with('[') {
        true => host.find(']')? + 1,
        false => host.find(':').unwrap_or(host.len()),
    };
    match host[end..].strip_prefix(':') {
        None if end == host.len() => Some((host, None)),
        Some("") => Some((&host[..end], None)),
        Some(port) if port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((&host[..end], Some(port)))
        }
        _ => None,
    }
}

/// The default port and the authority of an origin (RFC 6454 section 7: `scheme "://" host [ ":" port ]`).
fn origin_parts(origin: &str) -> Option<(u16, &str)> {
    let (scheme, authority) = origin.split_once("://")?;
    match scheme {
        "http" => Some((80, authority)),
        "https" => Some((443, authority)),
        _ => None,
    }
}

fn cookie(request: &Request) -> Option<&str> {
    request
        .header("cookie")?
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_host_headers() {
        for (host, name) in [
            ("Pi.Local:8080", Some("pi.local")),
            ("pi.local.", Some("pi.local")),
            ("192.168.1.2:80", Some("192.168.1.2")),
            ("[::1]:8080", Some("::1")),
            ("[fe80::1%25eth0]", Some("fe80::1")),
            ("localhost:", Some("localhost")),
            ("", None),
            (":80", None),
            ("a@b", None),
            ("a:b", None),
            ("[::1", None),
            ("[pi]", None),
            ("::1", None),
            ("[::1]x", None),
            ("a/b", None),
        ] {
            assert_eq!(host_name(host).as_deref(), name, "{host}");
        }
    }

    #[test]
    fn names_of_the_house() {
        for good in [
            "pi",
            "pi.local",
            "pi.lan",
            "pi.home",
            "pi.fritz.box",
            "pi.home.arpa",
            "tv.local",
        ] {
            assert!(is_home_name(good, "Pi"), "{good}");
        }
        assert!(is_home_name("pi.example.org", "pi.example.org"));
        for bad in [
            "evil.example",
            "pi.evil.example",
            "pix",
            "pix.lan",
            "local",
            ".local",
            "pi.lan.x",
            "",
        ] {
            assert!(!is_home_name(bad, "pi"), "{bad}");
            assert!(!is_home_name(bad, ""), "{bad}");
        }
    }

    #[test]
    fn origins() {
        assert_eq!(origin_parts("http://a:1"), Some((80, "a:1")));
        assert_eq!(origin_parts("null"), None);
        assert_eq!(origin_parts("file://"), None);
    }
}
