//! What answers while the configuration is wrong and systemd holds the sockets: 503 and the sentence, on every
//! route but that of the style sheet, until the file is mended.
//!
//! Exiting instead would have systemd start the daemon for every connection, fail five times, and give the
//! sockets up; a person in front of the television would see a refused connection and no reason.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::http::{Listener, Method, Request, Response, Service};
use crate::routes::{self, Route};
use crate::sys::notify::Message;
use crate::sys::signals::{Signal, Signals};
use crate::sys::{executor, notify};

use super::watchdog;

/// Connections at once; the answers are short.
const MAX_CONNECTIONS: usize = 64;

/// Connections at once to the watchdog's door, where nobody else knocks.
const AT_THE_DOOR: usize = 4;

/// Answers everything with one sentence.
struct Sorry {
    sentence: String,
}

impl Sorry {
    fn error(&self) -> Error {
        Error::new(Kind::Misconfigured, "misconfigured", self.sentence.clone())
    }
}

impl Service for Sorry {
    async fn call(&self, request: &mut Request) -> Response {
        let reads = matches!(request.method(), Method::Get | Method::Head);
        // Without it the sentence would stand on a white page, in letters that nobody reads from three metres.
        if reads && Route::decode(request.path()) == Route::Style {
            return routes::style(request)
                .await
                .unwrap_or_else(|error| routes::error_response(Some(request), &error));
        }
        routes::error_response(Some(request), &self.error())
    }

    fn refuse(&self, error: Error) -> Response {
        routes::error_response(None, &error)
    }
}

/// Answers with `error` until SIGHUP finds the configuration mended (then it is returned) or a signal ends
/// the daemon (then nothing is).
///
/// # Errors
/// The inherited sockets cannot be served.
pub(super) async fn serve(
    mut error: Error,
    inherited: &[TcpListener],
    load: &dyn Fn() -> Result<Config>,
    signals: &mut Signals,
) -> Result<Option<Config>> {
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| Listener::new(vec![socket], AT_THE_DOOR))
        .map_err(|error| log::warn!("the watchdog asks nobody: {error}"))
        .ok();
    let door_address = door.as_ref().and_then(|door| door.addresses().pop());
    let _open = door.map(|door| {
        let sentence = error.chain();
        executor::spawn(async move { door.serve(Arc::new(Sorry { sentence })).await })
    });
    loop {
        log::error!("{}", error.chain());
        let sentence = error.chain();
        let clones = inherited
            .iter()
            .map(TcpListener::try_clone)
            .collect::<std::io::Result<Vec<_>>>();
        let listener = clones
            .and_then(|sockets| Listener::new(sockets, MAX_CONNECTIONS))
            .map_err(|error| {
                Error::internal("the inherited sockets cannot be served").because(error)
            })?;
        let listener = Arc::new(listener);
        let serving = executor::spawn({
            let listener = Arc::clone(&listener);
            let service = Arc::new(Sorry {
                sentence: sentence.clone(),
            });
            async move { listener.serve(service).await }
        });
        notify::send(vec![Message::Ready, notify::status(&sentence)]).await;
        let watchdog = watchdog::start(door_address);

        let signal = signals.next().await;
        let loaded = match signal {
            Signal::Reload => {
                notify::send(vec![Message::Reloading]).await;
                load().map(Some)
            }
            Signal::Stop => {
                notify::send(vec![Message::Stopping]).await;
                Ok(None)
            }
        };
        drop(watchdog);
        listener.close(Duration::from_secs(1)).await;
        drop(serving);
        match loaded {
            Ok(config) => return Ok(config),
            Err(again) => error = again,
        }
    }
}
