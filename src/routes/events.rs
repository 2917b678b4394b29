//! `GET /api/events`: what happens, as server-sent events (WHATWG HTML, section 9.2).
//!
//! | event | data |
//! |---|---|
//! | `snapshot` | everything: to begin with, and after a gap |
//! | `job` | a job whose state changed, or which has come further |
//! | `scan` | how far the scan is |
//! | `video` | a file that came or went |
//!
//! A comment every 15 s keeps what is between us and the browser from taking the silence for an end, and finds out
//! that a browser is gone. Where only the end of the connection ends a body (HTTP/1.0), so it does here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_types::Method;
use serde_json::{Value, json};
use smol::future::{Boxed, or};

use crate::error::{Error, Kind, Result};
use crate::http::{Body, ByteStream, Chunk, Request, Response, StatusCode};
use crate::jobs::events::{Listener, News};
use crate::jobs::queue::Queue;
use crate::jobs::scan::Scanner;
use crate::routes::{App, health, jobs};

/// How often something is said.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After how many milliseconds a browser comes back: soon enough for a restart of the daemon to be hardly seen.
const RETRY: u32 = 3000;

pub(super) fn events(app: &App, request: &Request) -> Result<Response> {
    let response = Response::new(StatusCode::Ok)
        .header("cache-control", "no-store")
        // nginx in front would keep events back until its buffer is full.
        .header("x-accel-buffering", "no");
    if request.method() == Method::Head {
        return Ok(response.header("content-type", TYPE));
    }
    let last = request.header("last-event-id");
    let listener = app.events.listen(last).ok_or_else(|| {
        Error::new(
            Kind::Unavailable,
            "busy",
            "As many listen to events as are served at once; close some pages and try again.",
        )
        .retry_after(Duration::from_secs(30))
    })?;
    let stream = Stream {
        told: false,
        shared: Arc::new(smol::lock::Mutex::new(listener)),
        everything: Everything {
            queue: app.queue.clone(),
            scan: app.scan.clone(),
        },
    };
    Ok(response.body(TYPE, Body::Stream(Box::new(stream), None)))
}

/// The type; it is always UTF-8.
const TYPE: &str = "text/event-stream";

/// What a snapshot is made of.
#[derive(Clone, Debug)]
struct Everything {
    queue: Queue,
    scan: Scanner,
}

impl Everything {
    fn describe(&self) -> Value {
        let scan = self.scan.status();
        json!({
            "jobs": jobs::describe_all(&self.queue, &scan, jobs::TOLD),
            "scan": health::scan(&scan),
        })
    }
}

struct Stream {
    /// Whether the browser was told when to come back.
    told: bool,
    /// Locked by the one piece that is asked for at a time.
    shared: Arc<smol::lock::Mutex<Listener>>,
    everything: Everything,
}

impl ByteStream for Stream {
    fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>> {
        if !self.told {
            self.told = true;
            let text = format!("retry: {RETRY}\n\n");
            return Box::pin(async move { Ok(Some(Box::new(text.into_bytes()) as Chunk)) });
        }
        let (listener, everything) = (self.shared.clone(), self.everything.clone());
        Box::pin(async move {
            let news = async { Some(listener.lock().await.next().await) };
            let silence = async {
                smol::Timer::after(KEEP_ALIVE).await;
                None
            };
            Ok(match or(news, silence).await {
                Some(News::Event(frame)) => Some(Box::new(frame) as Chunk),
                Some(News::Everything(id)) => {
                    let text = format!(
                        "id: {id}\nevent: snapshot\ndata: {}\n\n",
                        everything.describe()
                    );
                    Some(Box::new(text.into_bytes()) as Chunk)
                }
                Some(News::Closed) => None,
                None => Some(Box::new(&b":\n\n"[..]) as Chunk),
            })
        })
    }
}
