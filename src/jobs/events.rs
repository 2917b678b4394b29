//! What happens, told to whoever listens: each event is written once, kept for a while, and read by every listener at
//! the pace of its own.
//!
//! A listener has no queue. It remembers the number of the event that it wants next and takes it from the ring that
//! all share, so a thousand slow ones cost no more than a thousand numbers; one that falls behind the ring, or comes
//! back with a number that the ring does not know, is told so, and is given a snapshot of everything instead. What a
//! snapshot holds, and how all of this is sent, is the business of `routes`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use event_listener::Event;
use serde_json::Value;

/// Events that are kept for those who come back: some minutes of a job that tells its progress each second.
const KEPT: usize = 256;

/// Bytes of them at most.
const KEPT_BYTES: usize = 256 * 1024;

/// Listeners at once; each holds a connection.
const LISTENERS: usize = 256;

/// The bus; clones share it.
#[derive(Clone, Debug)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Tells the numbers of this process from those of an earlier one.
    epoch: u64,
    ring: Mutex<Ring>,
    /// Rung after an event is in the ring, when the first listener comes, and at the end.
    news: Event,
    listeners: AtomicUsize,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of the event that is next to come.
    next: u64,
    /// The events before it, the newest last, as they are sent.
    frames: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

/// One who listens.
#[derive(Debug)]
pub struct Listener {
    events: Events,
    /// The event it wants; `None` when it has to be given everything first.
    next: Option<u64>,
}

/// What a listener is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The next event, as it is sent.
    Event(Arc<[u8]>),
    /// It missed some, or begins: it needs all there is, to be sent under this id.
    Everything(String),
    /// The daemon ends.
    Closed,
}

impl Events {
    /// A bus without events.
    pub fn new() -> Events {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Events {
            inner: Arc::new(Inner {
                epoch: since_1970.map_or(0, |since| since.as_micros() as u64),
                ring: Mutex::default(),
                news: Event::new(),
                listeners: AtomicUsize::new(0),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// Tells everyone. `name` is the event's type, a plain word.
    pub fn publish(&self, name: &str, data: &Value) {
        let mut ring = self.inner.ring();
        let frame: Arc<[u8]> = self.frame(ring.next, name, data).into();
        ring.next += 1;
        ring.bytes += frame.len();
        ring.frames.push_back(frame);
        while ring.frames.len() > KEPT || (ring.bytes > KEPT_BYTES && ring.frames.len() > 1) {
            let gone = ring.frames.pop_front();
            ring.bytes -= gone.map_or(0, |frame| frame.len());
        }
        drop(ring);
        self.inner.news.notify(usize::MAX);
    }

    /// An event in the form of the standard (WHATWG HTML, section 9.2.6): JSON has no line ends of its own.
    fn frame(&self, number: u64, name: &str, data: &Value) -> Vec<u8> {
        format!("id: {}\nevent: {name}\ndata: {data}\n\n", self.id(number)).into_bytes()
    }

    fn id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.inner.epoch)
    }

    /// Begins to listen: after the event `last`, or with everything when that is none of ours or too old. `None` when
    /// too many listen.
    pub fn listen(&self, last: Option<&str>) -> Option<Listener> {
        let before = self.inner.listeners.fetch_add(1, Ordering::AcqRel);
        let listener = Listener {
            events: self.clone(),
            next: last.and_then(|last| self.after(last)),
        };
        if before == 0 {
            self.inner.news.notify(usize::MAX);
        }
        (before < LISTENERS).then_some(listener)
    }

    fn after(&self, last: &str) -> Option<u64> {
        let (epoch, number) = last.split_once('-')?;
        let ours = u64::from_str_radix(epoch, 16) == Ok(self.inner.epoch);
        let number = number.parse::<u64>().ok().filter(|_| ours)?;
        let next = number.checked_add(1)?;
        (next <= self.inner.ring().next).then_some(next)
    }

    /// Whether anybody listens.
    pub fn has_listeners(&self) -> bool {
        self.inner.listeners.load(Ordering::Acquire) > 0
    }

    /// Waits until somebody listens.
    pub async fn listened(&self) {
        loop {
            let news = self.inner.news.listen();
            if self.has_listeners() {
                return;
            }
            news.await;
        }
    }

    /// Ends every listener, and those to come.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.news.notify(usize::MAX);
    }
}

impl Default for Events {
    fn default() -> Events {
        Events::new()
    }
}

impl Inner {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A panic while it is held leaves counts that are bounded all the same.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Waits for what comes next. May be dropped while it waits; nothing is lost by that.
    pub async fn next(&mut self) -> News {
        loop {
            let news = self.events.inner.news.listen();
            if self.events.inner.closed.load(Ordering::Acquire) {
                return News::Closed;
            }
            if let Some(given) = self.take() {
                return given;
            }
            news.await;
        }
    }

    fn take(&mut self) -> Option<News> {
        let ring = self.events.inner.ring();
        let oldest = ring.next - ring.frames.len() as u64;
        match self.next {
            Some(wanted) if wanted >= oldest => {
                let frame = ring.frames.get((wanted - oldest) as usize)?.clone();
                self.next = Some(wanted + 1);
                Some(News::Event(frame))
            }
            _ => {
                // What happens while everything is gathered comes once more as an event, which changes nothing.
                let next = ring.next;
                drop(ring);
                self.next = Some(next);
                let id = match next.checked_sub(1) {
                    Some(last) => self.events.id(last),
                    None => format!("{:x}-", self.events.inner.epoch),
                };
                Some(News::Everything(id))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.events.inner.listeners.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use smol::block_on;

    fn number(news: &News) -> Option<u64> {
        let News::Event(frame) = news else {
            return None;
        };
        let text = std::str::from_utf8(frame).unwrap();
        let data = text.split("data: ").nth(1).unwrap().trim();
        serde_json::from_str::<Value>(data).unwrap()["n"].as_u64()
    }

    fn id(news: &News) -> String {
        match news {
            News::Everything(id) => id.clone(),
            News::Event(frame) => {
                let text = std::str::from_utf8(frame).unwrap();
                text.lines().next().unwrap()["id: ".len()..].to_owned()
            }
            News::Closed => panic!("closed"),
        }
    }

    #[test]
    fn everything_then_events_and_back_after_a_break() {
        let events = Events::new();
        assert!(!events.has_listeners());
        let mut listener = events.listen(None).unwrap();
        assert!(matches!(block_on(listener.next()), News::Everything(_)));
        for n in 0..3 {
            events.publish("job", &json!({ "n": n, "text": "a\nb" }));
        }
        let first = block_on(listener.next());
        assert_eq!(number(&first), Some(0));
        let News::Event(frame) = &first else { panic!() };
        let text = std::str::from_utf8(frame).unwrap();
        assert!(
            text.ends_with("\n\n") && text.lines().count() == 4,
            "{text:?}"
        );
        assert_eq!(number(&block_on(listener.next())), Some(1));
        drop(listener);
        assert!(!events.has_listeners());

        let mut again = events.listen(Some(&id(&first))).unwrap();
        assert_eq!(number(&block_on(again.next())), Some(1));
        assert_eq!(number(&block_on(again.next())), Some(2));
        // The newest is known already: nothing is told twice, and nothing is missing.
        let newest = format!("{:x}-2", events.inner.epoch);
        let mut up_to_date = events.listen(Some(&newest)).unwrap();
        events.publish("job", &json!({ "n": 3 }));
        assert_eq!(number(&block_on(up_to_date.next())), Some(3));
        for strange in [
            "",
            "-",
            "0-1",
            "x-2",
            &format!("{:x}-99", events.inner.epoch),
        ] {
            let mut listener = events.listen(Some(strange)).unwrap();
            assert!(
                matches!(block_on(listener.next()), News::Everything(_)),
                "{strange:?}"
            );
        }
    }

    #[test]
    fn who_falls_behind_is_given_everything_and_memory_stays_bounded() {
        let events = Events::new();
        let mut slow = events.listen(None).unwrap();
        block_on(slow.next());
        for n in 0..10 * KEPT {
            events.publish("job", &json!({ "n": n, "fill": "x".repeat(4000) }));
        }
        let ring = events.inner.ring();
        assert!(ring.frames.len() <= KEPT && ring.bytes <= KEPT_BYTES + 8000);
        drop(ring);
        let everything = block_on(slow.next());
        assert!(matches!(everything, News::Everything(_)));
        events.publish("job", &json!({ "n": 7 }));
        assert_eq!(number(&block_on(slow.next())), Some(7));
        // Its id says where it stands.
        let mut again = events.listen(Some(&id(&everything))).unwrap();
        assert_eq!(number(&block_on(again.next())), Some(7));
    }

    #[test]
    fn listeners_are_woken_bounded_and_ended() {
        let events = Events::new();
        let mut all: Vec<Listener> = (0..LISTENERS).filter_map(|_| events.listen(None)).collect();
        assert_eq!(all.len(), LISTENERS);
        assert!(events.listen(None).is_none());
        all.pop();
        let mut listener = events.listen(None).unwrap();
        block_on(listener.next());
        let waiting =
            std::thread::spawn(move || (block_on(listener.next()), block_on(listener.next())));
        events.publish("video", &json!({ "n": 1 }));
        std::thread::sleep(std::time::Duration::from_millis(20));
        events.close();
        let (first, second) = waiting.join().unwrap();
        assert_eq!((number(&first), second), (Some(1), News::Closed));
    }
}
