//! One connection opened ahead of need.
//!
//! A viewer who seeks leaves the connection of the stream behind, unread; without another that is ready, the seek
//! pays for TCP and TLS before its own round trip. ureq's pool can only be filled by requests, and a request
//! counts against Google's quota. So this link, the last of the connector's chain, keeps one connection that
//! stands, TLS included, and hands it out as new. It repeats what an earlier connection to the same place was made
//! with; when that is the right moment is the business of `service`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, Resolver};
use ureq::unversioned::transport::time::Instant as Moment;
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, Transport};

type Chain = dyn Connector<(), Out = Box<dyn Transport>>;
type RunConnector =
    dyn Fn(&ConnectionDetails<'_>) -> Result<Box<dyn Transport>, ureq::Error> + Send + Sync;
type RegisterShutdown = dyn Fn(std::sync::Weak<dyn ureq::unversioned::transport::ShutdownHandle>) -> Result<(), ureq::Error>
    + Send
    + Sync;

/// A connector that can open a connection before it is asked for. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Spares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    chain: Box<Chain>,
    /// The place that a spare is kept for.
    place: Option<Uri>,
    /// How long one is worth keeping.
    age: Duration,
    /// Longest time to open one.
    limit: Duration,
    /// Held for a few instructions, never while a connection is made.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: Option<(Instant, Box<dyn Transport>)>,
    recipe: Option<Recipe>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("ready", &self.ready.is_some())
            .finish_non_exhaustive()
    }
}

/// What the last connection to the place was made with.
#[derive(Clone)]
struct Recipe {
    uri: Uri,
    addresses: Vec<SocketAddr>,
    current_time: Arc<dyn Fn() -> Moment + Send + Sync>,
    run_connector: Arc<RunConnector>,
    register_shutdown: Arc<RegisterShutdown>,
}

impl Spares {
    /// `endpoint` is the place that a spare is kept for.
    pub(super) fn new(
        chain: impl Connector<(), Out = Box<dyn Transport>>,
        endpoint: &str,
        age: Duration,
        limit: Duration,
    ) -> Spares {
        Spares(Arc::new(Inner {
            chain: Box::new(chain),
            place: endpoint.parse().ok(),
            age,
            limit,
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one is ready.
    pub(super) fn is_ready(&self) -> bool {
        let state = self.state();
        let ready = state.ready.as_ref();
        ready.is_some_and(|(since, _)| since.elapsed() < self.0.age)
    }

    /// Opens one, on this thread; nothing when none was opened to the place before.
    ///
    /// # Errors
    /// What stands in the way; the next request meets it too, and says it better.
    pub(super) fn open(&self, config: &Config) -> Result<(), ureq::Error> {
        let recipe = self.state().recipe.clone();
        let Some(recipe) = recipe else { return Ok(()) };
        let resolver = DefaultResolver::default();
        let mut addrs = resolver.empty();
        recipe
            .addresses
            .iter()
            .for_each(|address| addrs.push(*address));
        let details = ConnectionDetails {
            uri: &recipe.uri,
            addrs,
            config,
            request_level: false,
            resolver: &resolver,
            now: (recipe.current_time)(),
            timeout: NextTimeout {
                after: self.0.limit.into(),
                reason: ureq::Timeout::Connect,
                per_read: None,
                per_write: None,
            },
            current_time: recipe.current_time.clone(),
            run_connector: recipe.run_connector.clone(),
            register_shutdown: recipe.register_shutdown.clone(),
        };
        if let Some(transport) = self.0.chain.connect(&details, None)? {
            self.state().ready = Some((Instant::now(), transport));
        }
        Ok(())
    }

    fn is_the_place(&self, uri: &Uri) -> bool {
        self.0.place.as_ref().is_some_and(|place| {
            place.scheme() == uri.scheme() && place.authority() == uri.authority()
        })
    }
}

impl Connector<()> for Spares {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Box<dyn Transport>>, ureq::Error> {
        if !self.is_the_place(details.uri) {
            return self.0.chain.connect(details, chained);
        }
        // One that was closed meanwhile fails like a stale one of the pool, and the request is sent again.
        let ready = self.state().ready.take();
        if let Some((_, transport)) = ready.filter(|(since, _)| since.elapsed() < self.0.age) {
            return Ok(Some(transport));
        }
        let made = self.0.chain.connect(details, chained)?;
        self.state().recipe = Some(Recipe {
            uri: details.uri.clone(),
            addresses: details.addrs.to_vec(),
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        });
        Ok(made)
    }
}
