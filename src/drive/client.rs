//! One HTTP exchange with Google, on the thread that calls it.
//!
//! The only file that speaks to ureq's agent. It sends, follows redirects without taking the token to another
//! host, and turns what went wrong into a [`Fault`]; it retries nothing and judges nothing.
//!
//! A proxy is used when the environment names one (`HTTPS_PROXY` and its kin, less `NO_PROXY`), as
//! curl does, and never for an endpoint on loopback. SOCKS proxies are not supported.

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, HeaderName, Uri, header};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector};
use ureq::{Agent, BodyReader, Proxy};

use super::abort::{self, Stage};
use super::connector::{Arrived, Tcp};
use super::moment;
use super::reply::{Fault, Refusal, Status};
use super::resolver::Remembering;
use super::spare::Spares;
use super::tls;
use super::tuning::Tuning;

/// Redirects followed for one request.
const HOPS: u32 = 5;
/// Bytes read of an error answer.
const ERROR_BODY: u64 = 64 * 1024;
/// Bytes of one answer's head; also the unit in which TLS hands out bodies, of which a record has 16 KiB.
const INPUT: usize = 20 * 1024;
/// Bytes of a request's head; the longest line is an access token of 2 KiB.
const OUTPUT: usize = 8 * 1024;
/// Idle connections kept. With ureq's default of 3 nearly every second seek opens a new one.
const IDLE_CONNECTIONS: usize = 64;

const RESOURCE_KEYS: HeaderName = HeaderName::from_static("x-goog-drive-resource-keys");

/// A request to Drive.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// Full URL; it never holds a secret.
    pub(super) url: String,
    /// Bytes asked for.
    pub(super) range: Option<Range<u64>>,
    /// Length of the whole file as its metadata say.
    pub(super) size: u64,
    /// `ID/KEY` for files shared by link.
    pub(super) resource_key: Option<String>,
}

/// An answer of 2xx with its body unread.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: BodyReader<'static>,
}

impl Reply {
    /// A header's text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads the whole body, up to `most` bytes.
    pub(super) fn read(self, most: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let mut body = self.body;
        // To the end, since only then the connection goes back to the pool.
        body.by_ref()
            .take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Fault::Broken(format!("the answer broke off: {error}")))?;
        if bytes.len() as u64 > most {
            return Err(Fault::Nonsense(format!(
                "an answer of more than {most} bytes"
            )));
        }
        Ok(bytes)
    }
}

/// The agent and its connections.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    spares: Spares,
    idle: Arc<AtomicUsize>,
}

/// Whether a URL may be sent a token or a key: https, or http on this very machine (a test's server).
pub(super) fn may_carry_secrets(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    match uri.scheme_str() {
        Some("https") => uri.host().is_some(),
        Some("http") => is_loopback(&uri),
        _ => false,
    }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// The environment's proxy for an endpoint.
fn proxy(endpoint: &str) -> Option<Proxy> {
    if endpoint.parse::<Uri>().is_ok_and(|uri| is_loopback(&uri)) {
        return None;
    }
    let proxy = Proxy::try_from_env()?;
    if proxy
        .uri()
        .scheme_str()
        .is_some_and(|scheme| scheme.starts_with("socks"))
    {
        log::warn!(
            "the environment names a SOCKS proxy, which rill does not use; Drive is asked directly"
        );
        return None;
    }
    Some(proxy)
}

impl Client {
    /// Loads the roots and makes an agent; opens no connection.
    ///
    /// # Errors
    /// `drive_unreachable` when there are no roots to trust.
    pub(super) fn new(
        endpoint: &str,
        ca_file: Option<&Path>,
        tuning: &Tuning,
    ) -> Result<Client, Refusal> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls::config(ca_file)?)
            .proxy(proxy(endpoint))
            .user_agent(concat!("rill/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            // Redirects are followed here, where it is known who may see the token.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(16 * 1024)
            .input_buffer_size(INPUT)
            .output_buffer_size(OUTPUT)
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .max_idle_age(tuning.idle)
            .timeout_resolve(Some(tuning.resolve))
            .timeout_connect(Some(tuning.connect))
            .timeout_send_request(Some(tuning.stall))
            .timeout_send_body(Some(tuning.stall))
            .timeout_recv_response(Some(tuning.stall))
            .timeout_per_read(Some(tuning.stall))
            .build();
        let idle = Arc::new(AtomicUsize::new(0));
        let chain =
            ().chain(ConnectProxyConnector::default())
                .chain(Tcp::new(tuning.receive_buffer, tuning.stall, idle.clone()))
                .chain(RustlsConnector::default())
                .chain(Arrived);
        let spares = Spares::new(chain, endpoint, tuning.idle, tuning.connect);
        Ok(Client {
            agent: Agent::with_parts(config, spares.clone(), Remembering::default()),
            spares,
            idle,
        })
    }

    /// Whether a request could be sent at once, without opening a connection.
    pub(super) fn is_ready(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0 || self.spares.is_ready()
    }

    /// Opens a connection for the next request to come. Blocks; sends nothing that counts.
    pub(super) fn get_ready(&self) {
        if let Err(error) = self.spares.open(self.agent.config()) {
            log::debug!("no spare connection: {error}");
        }
    }

    /// Sends a GET with a bearer token.
    ///
    /// # Errors
    /// Everything that is not an answer of 2xx.
    pub(super) fn get(&self, ask: &Ask, token: &str) -> Result<Reply, Fault> {
        let mut url: Uri = ask
            .url
            .parse()
            .map_err(|_| Fault::Nonsense("not a URL".to_owned()))?;
        let origin = (url.scheme().cloned(), url.authority().cloned());
        for _ in 0..=HOPS {
            let mut request = self.agent.get(url.clone());
            if let Some(range) = &ask.range {
                let last = range.end.saturating_sub(1);
                request = request.header(header::RANGE, format!("bytes={}-{last}", range.start));
            }
            if (url.scheme().cloned(), url.authority().cloned()) == origin {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
                if let Some(key) = &ask.resource_key {
                    request = request.header(RESOURCE_KEYS, key);
                }
            }
            let reply = finish(request.call())?;
            match reply.status {
                200..=299 => return Ok(reply),
                301 | 302 | 303 | 307 | 308 => url = target(&url, reply)?,
                _ => return Err(error(reply)),
            }
        }
        Err(Fault::Nonsense(format!("more than {HOPS} redirects")))
    }

    /// Sends a form; redirects are refused, since a form here holds a secret.
    ///
    /// # Errors
    /// Everything that is not an answer of 2xx.
    pub(super) fn post_form(&self, url: &str, form: &str) -> Result<Reply, Fault> {
        let request = self
            .agent
            .post(url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let reply = finish(request.send(form))?;
        match reply.status {
            200..=299 => Ok(reply),
            _ => Err(error(reply)),
        }
    }
}

fn finish(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Reply, Fault> {
    match result {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            Ok(Reply {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: body.into_reader(),
            })
        }
        Err(error) => Err(fault(&error, abort::stage())),
    }
}

/// Where a redirect leads; from https never to http.
fn target(from: &Uri, reply: Reply) -> Result<Uri, Fault> {
    let place = reply
        .header(header::LOCATION)
        .unwrap_or_default()
        .to_owned();
    drain(reply);
    let next: Uri = if place.starts_with('/') && !place.starts_with("//") {
        let (scheme, authority) = (from.scheme_str(), from.authority());
        let (Some(scheme), Some(authority)) = (scheme, authority) else {
            return Err(Fault::Nonsense("a redirect from nowhere".to_owned()));
        };
        format!("{scheme}://{authority}{place}").parse()
    } else {
        place.parse()
    }
    .map_err(|_| Fault::Nonsense("a redirect to what is no URL".to_owned()))?;
    let downgrade = from.scheme_str() == Some("https") && next.scheme_str() != Some("https");
    if downgrade || next.host().is_none() {
        return Err(Fault::Nonsense("a redirect away from https".to_owned()));
    }
    Ok(next)
}

/// Reads a short rest so that the connection can be used again.
fn drain(reply: Reply) {
    let _ = io::copy(&mut reply.body.take(ERROR_BODY), &mut io::sink());
}

/// Reads an error answer.
fn error(reply: Reply) -> Fault {
    let retry_after = reply
        .header(header::RETRY_AFTER)
        .and_then(|text| delay(text, SystemTime::now()));
    let date = reply.header(header::DATE).and_then(moment::parse_http);
    let code = reply.status;
    let mut body = Vec::new();
    let mut rest = reply.body;
    // Half an explanation is better than none; the status stands in any case.
    let _ = rest.by_ref().take(ERROR_BODY).read_to_end(&mut body);
    let status = Status {
        retry_after,
        date,
        ..Status::read(code, &body)
    };
    log::debug!("drive answered {} {}", status.code, status.reason);
    Fault::Status(status)
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds or a date.
fn delay(text: &str, now: SystemTime) -> Option<Duration> {
    match text.trim().parse::<u32>() {
        Ok(seconds) => Some(Duration::from_secs(seconds.into())),
        Err(_) => Some(
            moment::parse_http(text)?
                .duration_since(now)
                .unwrap_or_default(),
        ),
    }
}

/// What an error of ureq means, given how far the exchange came.
pub(super) fn fault(error: &ureq::Error, stage: Stage) -> Fault {
    use ureq::{Error, Timeout};
    let words = error.to_string();
    match (error, stage) {
        (
            Error::HostNotFound
            | Error::ConnectionFailed
            | Error::ConnectProxyFailed(_)
            | Error::InvalidProxyUrl
            | Error::Tls(_)
            | Error::TlsRequired
            | Error::Pem(_)
            | Error::Rustls(_)
            | Error::Timeout(Timeout::Resolve | Timeout::Connect),
            _,
        ) => Fault::Unreachable(words),
        // A name that does not resolve is an `Io` error of a kind without a name; nothing was connected.
        (_, Stage::Connecting) => Fault::Unreachable(words),
        (Error::Io(error), Stage::Pooled) if is_resolving(error) => Fault::Unreachable(words),
        (Error::Io(_), Stage::Pooled) => Fault::Stale(words),
        (Error::Io(_) | Error::Timeout(_), _) => Fault::Broken(words),
        _ => Fault::Nonsense(words),
    }
}

/// The standard library's error of a failed lookup has no kind and no number.
fn is_resolving(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.to_string().contains("lookup address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_https_or_this_machine() {
        for (url, may) in [
            ("https://oauth2.googleapis.com/token", true),
            ("http://127.0.0.1:8080/token", true),
            ("http://[::1]:1/", true),
            ("http://localhost/token", true),
            ("http://localhost.example.com/", false),
            ("http://oauth2.googleapis.com/token", false),
            ("ftp://127.0.0.1/", false),
            ("/token", false),
            ("", false),
        ] {
            assert_eq!(may_carry_secrets(url), may, "{url}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(delay("7", now), Some(Duration::from_secs(7)));
        assert_eq!(
            delay("Thu, 01 Jan 1970 00:01:00 GMT", now),
            Some(Duration::from_secs(60))
        );
        assert_eq!(delay("soon", now), None);
    }

    #[test]
    fn errors_are_told_apart_by_how_far_they_came() {
        let reset = || ureq::Error::Io(io::ErrorKind::ConnectionReset.into());
        assert!(matches!(fault(&reset(), Stage::Pooled), Fault::Stale(_)));
        assert!(matches!(
            fault(&reset(), Stage::Connecting),
            Fault::Unreachable(_)
        ));
        assert!(matches!(fault(&reset(), Stage::Fresh), Fault::Broken(_)));
        let lookup =
            io::Error::other("failed to lookup address information: Name or service not known");
        assert!(matches!(
            fault(&ureq::Error::Io(lookup), Stage::Pooled),
            Fault::Unreachable(_)
        ));
        let stall = ureq::Error::Timeout(ureq::Timeout::PerRead);
        assert!(matches!(fault(&stall, Stage::Pooled), Fault::Broken(_)));
    }
}
