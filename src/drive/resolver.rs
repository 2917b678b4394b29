//! Names to addresses, remembered.
//!
//! ureq resolves before it looks into its pool, so that every range of a stream would cost a lookup,
//! and a router whose DNS hiccups would stop a film whose connection stands. An answer
//! is believed for a minute; when a lookup fails, the last answer serves for an hour.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

const FRESH: Duration = Duration::from_secs(60);
const USABLE: Duration = Duration::from_secs(3600);
/// Google's API, the token endpoint, a redirect's target: a handful.
const NAMES: usize = 16;

/// A resolver in front of the system's.
#[derive(Debug, Default)]
pub(super) struct Remembering {
    system: DefaultResolver,
    known: Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>,
}

impl Remembering {
    fn known(&self) -> MutexGuard<'_, HashMap<String, (Instant, Vec<SocketAddr>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, name: &str, age: Duration) -> Option<ResolvedSocketAddrs> {
        let known = self.known();
        let (since, addresses) = known.get(name)?;
        if since.elapsed() > age {
            return None;
        }
        let mut result = self.empty();
        addresses.iter().for_each(|address| result.push(*address));
        Some(result)
    }
}

impl Resolver for Remembering {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let name = match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) => DefaultResolver::host_and_port(scheme, authority),
            _ => None,
        };
        let Some(name) = name else {
            return self.system.resolve(uri, config, timeout);
        };
        if let Some(addresses) = self.recall(&name, FRESH) {
            return Ok(addresses);
        }
        match self.system.resolve(uri, config, timeout) {
            Ok(addresses) => {
                let mut known = self.known();
                if known.len() >= NAMES {
                    known.clear();
                }
                known.insert(name, (Instant::now(), addresses.to_vec()));
                Ok(addresses)
            }
            Err(error) => self.recall(&name, USABLE).ok_or(error),
        }
    }
}
