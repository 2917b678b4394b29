//! What the network does to a stream, and what the viewer must not see of it.
//!
//! Each test breaks one thing upstream and looks at the bytes that a client gets: they are the file's,
//! or the connection is cut short. Nothing in between.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Response};
use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::drive::{Action, FakeDrive, File, Kind, Refusal, pattern_mismatch};

const MIB: u64 = 1 << 20;
const ID: &str = "pattern-file-0001";
const TARGET: &str = "/drive/files/pattern-file-0001";

/// A daemon over a fake with one patterned file of `size` bytes.
fn with_file(size: u64) -> (FakeDrive, Daemon) {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, size));
    let daemon = Daemon::with_drive(&fake);
    (fake, daemon)
}

/// The answer is the pattern from `offset` on, `size` bytes of it, and came whole.
#[track_caller]
fn assert_pattern(response: &Response, offset: u64, size: u64) {
    assert!(
        matches!(response.status(), 200 | 206),
        "{} {}",
        response.status(),
        String::from_utf8_lossy(&response.body[..response.body.len().min(500)])
    );
    assert_eq!((response.body.len() as u64, response.whole), (size, true));
    assert_eq!(pattern_mismatch(offset, &response.body), None);
}

/// Upstream reads that ended before their range did.
fn broken_off(fake: &FakeDrive) -> usize {
    let asked = |range: &str| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some(last.parse::<u64>().ok()? + 1 - first.parse::<u64>().ok()?)
    };
    let requests = fake.media_requests();
    let short = requests.iter().filter(|request| {
        let asked = request.range.as_deref().and_then(asked);
        request.status == 206 && asked.is_some_and(|asked| request.sent < asked)
    });
    short.count()
}

#[test]
fn twenty_cuts_and_five_expiries_leave_no_trace() {
    let (fake, daemon) = with_file(64 * MIB);
    for i in 0..26 {
        fake.on(Kind::Media)
            .once()
            .does(Action::Cut(40_000 + i * 31_337));
    }
    for i in 0..5 {
        fake.on(Kind::Media)
            .skip(3 + 2 * i)
            .once()
            .does(Action::ExpireTokens);
    }
    let response = daemon.get(TARGET);
    assert_pattern(&response, 0, 64 * MIB);
    let expired = fake
        .media_requests()
        .iter()
        .filter(|request| request.status == 401)
        .count();
    assert!(
        broken_off(&fake) >= 20,
        "{} cuts happened",
        broken_off(&fake)
    );
    assert_eq!(expired, 5, "expiries happened");
    assert!(
        fake.requests_of(Kind::Token).len() <= 6,
        "a token for each expiry and one to begin"
    );
    let resumed = daemon.health()["streams"]["resumed"].as_u64();
    assert!(
        resumed >= Some(20),
        "health counts {resumed:?} resumed reads"
    );
}

#[test]
fn a_reset_is_resumed() {
    let (fake, daemon) = with_file(8 * MIB);
    fake.on(Kind::Media).times(3).does(Action::Reset(100_000));
    assert_pattern(&daemon.get(TARGET), 0, 8 * MIB);
}

#[test]
fn a_stall_is_resumed_after_ten_seconds() {
    let (fake, daemon) = with_file(4 * MIB);
    fake.on(Kind::Media).once().does(Action::Stall(300_000));
    let begun = Instant::now();
    assert_pattern(&daemon.get(TARGET), 0, 4 * MIB);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(9),
        "{took:?}: a pause shorter than 10 s is no stall"
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(fake.wait_until(Duration::from_secs(2), |fake| fake.open_transfers() == 0));
}

#[test]
fn a_slow_upstream_is_not_a_stalled_one() {
    let (fake, daemon) = with_file(MIB);
    fake.on(Kind::Media).does(Action::Bandwidth(MIB / 4));
    assert_pattern(&daemon.get(TARGET), 0, MIB);
    assert_eq!(broken_off(&fake), 0);
}

#[test]
fn a_connection_closed_while_idle_is_replaced() {
    let (fake, daemon) = with_file(MIB);
    assert_pattern(&daemon.get_range(TARGET, "bytes=0-999"), 0, 1000);
    for i in 1..4 {
        fake.close_idle_connections();
        let range = format!("bytes={}-{}", i * 1000, i * 1000 + 999);
        assert_pattern(&daemon.get_range(TARGET, &range), i * 1000, 1000);
    }
}

#[test]
fn the_network_goes_away_for_a_while() {
    let (fake, daemon) = with_file(16 * MIB);
    fake.on(Kind::Media).does(Action::Bandwidth(8 * MIB));
    let mut client = daemon.client();
    client.ask("GET", TARGET, &[]);
    let head = client.head();
    let mut body = client.take(2 * MIB).expect("the beginning");
    fake.refuse_connections();
    std::thread::sleep(Duration::from_millis(700));
    fake.accept_connections();
    let (rest, whole) = {
        let mut rest = Vec::new();
        let whole = client.read_into(&mut rest, 14 * MIB).is_ok();
        (rest, whole)
    };
    body.extend(rest);
    assert_pattern(&Response { head, body, whole }, 0, 16 * MIB);
}

#[test]
fn five_attempts_without_a_byte_end_the_connection_short() {
    let (fake, daemon) = with_file(32 * MIB);
    // The first range passes; after it nothing does.
    fake.on(Kind::Media).skip(1).does(Action::Cut(0));
    let response = daemon.get(TARGET);
    assert!(!response.whole, "a part never passes for the whole");
    assert!(!response.body.is_empty() && (response.body.len() as u64) < 32 * MIB);
    assert_eq!(response.head.length(), Some(32 * MIB));
    assert_eq!(pattern_mismatch(0, &response.body), None, "never padded");
    let tries = fake.media_requests().len();
    assert!((5..=8).contains(&tries), "{tries} tries");
}

#[test]
fn wrong_bodies_are_errors_and_never_passed_on() {
    let wrong = [
        Action::IgnoreRange,
        Action::ShiftContentRange(1),
        Action::ShiftBody(1),
        Action::Shorter(1),
        Action::Longer(1),
    ];
    for action in wrong {
        let (fake, daemon) = with_file(32 * MIB);
        // From the start, away from both ends of the file.
        let rule = fake.on(Kind::Media).does(action.clone());
        let response = daemon.get_range(TARGET, "bytes=1000000-1999999");
        assert_eq!(response.status(), 502, "{action:?}");
        assert_eq!(response.code(), "drive_failed", "{action:?}");
        fake.end(rule);
        // In the course of a stream that began well.
        fake.forget_requests();
        fake.on(Kind::Media).skip(1).does(action.clone());
        let response = daemon.get(TARGET);
        assert_eq!(response.status(), 200, "{action:?}");
        assert!(!response.whole, "{action:?}: cut short");
        assert_eq!(
            pattern_mismatch(0, &response.body),
            None,
            "{action:?}: right as far as it goes"
        );
    }
}

#[test]
fn a_wrong_body_once_is_asked_for_again() {
    let (fake, daemon) = with_file(8 * MIB);
    fake.on(Kind::Media)
        .skip(1)
        .once()
        .does(Action::IgnoreRange);
    let response = daemon.get(TARGET);
    // Either it is mended or the connection is cut; never a wrong byte.
    assert_eq!(pattern_mismatch(0, &response.body), None);
    assert!(response.whole || (response.body.len() as u64) < 8 * MIB);
}

#[test]
fn a_head_cut_once_is_retried_and_always_is_502() {
    let (fake, daemon) = with_file(MIB);
    fake.on(Kind::Media).times(2).does(Action::CutHead);
    assert_pattern(&daemon.get_range(TARGET, "bytes=5-9"), 5, 5);
    fake.on(Kind::Media).does(Action::CutHead);
    let response = daemon.get_range(TARGET, "bytes=5-9");
    assert_eq!(
        (response.status(), &*response.code()),
        (502, "drive_failed")
    );
}

#[test]
fn passing_refusals_are_waited_out() {
    let (fake, daemon) = with_file(MIB);
    let passing = [
        Refusal::new(500, "internalError"),
        Refusal::new(503, "backendError"),
        Refusal::html(502),
        Refusal::html(504),
        Refusal::new(429, "rateLimitExceeded"),
        Refusal::new(403, "rateLimitExceeded"),
        Refusal::new(403, "userRateLimitExceeded"),
    ];
    for (i, refusal) in passing.into_iter().enumerate() {
        fake.on(Kind::Media)
            .times(2)
            .does(Action::Refuse(refusal.clone()));
        let first = i as u64 * 100;
        let response = daemon.get_range(TARGET, &format!("bytes={first}-{}", first + 99));
        assert_pattern(&response, first, 100);
        assert_eq!(fake.rules_left(), 0, "{refusal:?} was met");
    }
}

#[test]
fn retry_after_is_obeyed() {
    let (fake, daemon) = with_file(MIB);
    let refusal = Refusal::new(429, "rateLimitExceeded").retry_after("2");
    fake.on(Kind::Media).once().does(Action::Refuse(refusal));
    let begun = Instant::now();
    assert_pattern(&daemon.get_range(TARGET, "bytes=0-9"), 0, 10);
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let requests = fake.media_requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(2));
}

#[test]
fn metadata_and_tokens_are_retried_too() {
    let (fake, daemon) = with_file(MIB);
    fake.on(Kind::Token).once().refuses(503, "backendError");
    fake.on(Kind::Metadata)
        .once()
        .does(Action::Refuse(Refusal::html(502)));
    fake.on(Kind::Metadata).skip(1).once().does(Action::Hangup);
    assert_pattern(&daemon.get_range(TARGET, "bytes=0-9"), 0, 10);
}

#[test]
fn a_redirect_never_carries_the_token_to_another_host() {
    let (fake, daemon) = with_file(MIB);
    let elsewhere = FakeDrive::start();
    elsewhere.serve_anyone(true);
    elsewhere.add(File::pattern(ID, MIB));
    fake.on(Kind::Media)
        .does(Action::Redirect(elsewhere.other_endpoint()));
    let response = daemon.get_range(TARGET, "bytes=7-1006");
    let seen = elsewhere.requests();
    assert!(
        seen.iter().all(|request| !request.authorized),
        "the token stayed at home"
    );
    // Following is what Google's own clients do; a refusal would be safe, too, but would not play.
    assert_pattern(&response, 7, 1000);
    assert!(!seen.is_empty());
}

#[test]
fn a_closed_reader_ends_the_upstream_read_within_a_second() {
    let (fake, daemon) = with_file(1 << 40);
    fake.on(Kind::Media).does(Action::Bandwidth(4 * MIB));
    for abort in [false, true] {
        let mut client = daemon.client();
        client.ask("GET", TARGET, &[]);
        client.head();
        client.take(MIB).expect("the beginning");
        // Between two ranges there is none for a moment.
        assert!(fake.wait_until(Duration::from_secs(5), |fake| fake.open_transfers() >= 1));
        let left = Instant::now();
        if abort {
            client.abort()
        } else {
            drop(client)
        }
        assert!(fake.wait_until(Duration::from_secs(5), |fake| fake.open_transfers() == 0));
        let took = left.elapsed();
        assert!(
            took < Duration::from_secs(1),
            "{took:?} until upstream ended"
        );
    }
    let health = daemon.health();
    assert_eq!(health["streams"]["open"], 0, "{health}");
    assert_eq!(health["streams"]["buffered_bytes"], 0, "{health}");
}

#[test]
fn a_reader_that_leaves_a_stalled_stream_ends_it_too() {
    let (fake, daemon) = with_file(64 * MIB);
    fake.on(Kind::Media).does(Action::Stall(200_000));
    let mut client = daemon.client();
    client.ask("GET", TARGET, &[]);
    client.head();
    client.take(100_000).expect("the beginning");
    std::thread::sleep(Duration::from_millis(300));
    drop(client);
    assert!(fake.wait_until(Duration::from_secs(1), |fake| fake.open_transfers() == 0));
}

#[test]
fn a_reader_that_leaves_before_the_first_byte_ends_it_too() {
    let (fake, daemon) = with_file(64 * MIB);
    fake.on(Kind::Media).does(Action::Stall(0));
    let mut client = daemon.client();
    client.ask("GET", TARGET, &[]);
    assert!(fake.wait_until(Duration::from_secs(5), |fake| fake.open_transfers() == 1));
    drop(client);
    assert!(fake.wait_until(Duration::from_secs(1), |fake| fake.open_transfers() == 0));
}

/// Waits until nothing more comes from upstream; how much has.
fn settled(fake: &FakeDrive) -> u64 {
    let mut sent = fake.bytes_sent();
    let settled = eventually(Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut sent, fake.bytes_sent());
        before == sent
    });
    assert!(
        settled,
        "upstream goes on reading for a reader that takes nothing"
    );
    sent
}

#[test]
fn a_reader_that_pauses_for_two_minutes_pauses_the_upstream_and_plays_on() {
    let fake = FakeDrive::start();
    fake.set_send_buffer(64 * 1024);
    fake.add(File::pattern(ID, 64 * MIB));
    let daemon = Daemon::with_drive(&fake);
    assert_pattern(&daemon.get_range(TARGET, "bytes=0-99"), 0, 100);
    let (rss, before) = (daemon.rss(), fake.bytes_sent());
    let mut client = Client::connect_small(daemon.address);
    client.ask("GET", TARGET, &[]);
    let head = client.head();
    let mut body = client.take(3 * MIB).expect("the beginning");
    let sent = settled(&fake) - before;
    // 1 MiB of the daemon's own, and what three kernels' sockets hold on the way.
    assert!(
        sent <= 3 * MIB + MIB + 8 * MIB,
        "{sent} bytes were read for 3 MiB taken"
    );
    let buffered = daemon.health()["streams"]["buffered_bytes"].as_u64();
    assert!(buffered <= Some(MIB), "{buffered:?} bytes are buffered");
    // Two minutes: longer than the ten seconds after which an upstream counts as stalled, and than connections are kept
    // idle. The pause is the reader's.
    let paused = Instant::now();
    while paused.elapsed() < Duration::from_secs(125) {
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(fake.bytes_sent() - before, sent, "nothing moved meanwhile");
        let grown = daemon.rss().saturating_sub(rss);
        assert!(grown <= 6 * MIB, "resident memory grew by {grown}");
    }
    let health = daemon.health();
    assert_eq!(health["streams"]["open"], 1, "{health}");
    // Google closes what is idle for minutes; the viewer who comes back must not notice.
    fake.close_connections();
    client.widen();
    let whole = client.read_into(&mut body, 61 * MIB).is_ok();
    assert_pattern(&Response { head, body, whole }, 0, 64 * MIB);
}

#[test]
fn a_hundred_paused_readers_keep_to_the_budget() {
    let budget = 16 * MIB;
    let fake = FakeDrive::start();
    fake.set_send_buffer(16 * 1024);
    fake.add(File::pattern(ID, 1 << 40));
    let daemon = Setup::new()
        .drive(&fake)
        .set("limits", "buffers", "\"16MiB\"")
        .start();
    assert_pattern(&daemon.get_range(TARGET, "bytes=0-99"), 0, 100);
    let rss = daemon.rss();
    let mut playing = Vec::new();
    let mut refused = 0;
    for i in 0..100_u64 {
        let mut client = Client::connect_small(daemon.address);
        let range = format!("bytes={}-", i * 1_000_003);
        client.ask("GET", TARGET, &[("Range", &range)]);
        let head = client.head();
        if head.status == 206 {
            playing.push((client, i * 1_000_003));
        } else {
            assert_eq!(head.status, 503);
            let delay = head.header("retry-after").map(str::to_owned);
            let (body, _) = client.body_of(&head, "GET");
            let response = Response {
                head,
                body,
                whole: true,
            };
            assert_eq!(response.code(), "busy");
            assert!(
                delay.is_some_and(|delay| delay.parse::<u64>().is_ok()),
                "it says when"
            );
            refused += 1;
        }
        let buffered = daemon.health()["streams"]["buffered_bytes"].as_u64();
        assert!(buffered <= Some(budget), "{buffered:?} bytes are buffered");
    }
    // Streams shrink to 256 KiB each before one is refused.
    assert!(playing.len() >= 60, "{} of 100 play", playing.len());
    let health = daemon.health();
    assert_eq!(
        health["streams"]["refused"].as_u64(),
        Some(refused),
        "{health}"
    );
    settled(&fake);
    let buffered = daemon.health()["streams"]["buffered_bytes"].as_u64();
    assert!(buffered <= Some(budget), "{buffered:?} bytes are buffered");
    let grown = daemon.rss().saturating_sub(rss);
    assert!(
        grown <= budget + 32 * MIB,
        "resident memory grew by {grown}"
    );
    // Each plays on from where it stood.
    for (client, offset) in &mut playing {
        client.widen();
        let piece = client.take(600_000).expect("it plays on");
        assert_eq!(pattern_mismatch(*offset, &piece), None);
    }
    drop(playing);
    let empty = || daemon.health()["streams"]["buffered_bytes"] == 0;
    assert!(
        eventually(Duration::from_secs(3), empty),
        "{}",
        daemon.health()
    );
    assert!(fake.wait_until(Duration::from_secs(2), |fake| fake.open_transfers() == 0));
    assert_pattern(&daemon.get_range(TARGET, "bytes=5-9"), 5, 5);
}

#[test]
fn fifty_streams_stay_within_64_mib() {
    let (fake, daemon) = with_file(1 << 40);
    fake.on(Kind::Media).does(Action::Bandwidth(MIB));
    assert_pattern(&daemon.get_range(TARGET, "bytes=0-99"), 0, 100);
    let rss = daemon.rss();
    let mut clients: Vec<Client> = (0..50)
        .map(|_| {
            let mut client = daemon.client();
            client.ask("GET", TARGET, &[]);
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.head().status, 200);
    }
    for round in 0..3 {
        for client in &mut clients {
            let piece = client.take(300_000).expect("every stream flows");
            assert_eq!(pattern_mismatch(round * 300_000, &piece), None);
        }
    }
    let grown = daemon.rss().saturating_sub(rss);
    assert!(
        grown <= 64 * MIB,
        "resident memory grew by {grown} with 50 streams"
    );
}

#[test]
fn a_file_that_changes_under_a_stream_is_not_mixed() {
    let (fake, daemon) = with_file(48 * MIB);
    let mut client = daemon.client();
    client.ask("GET", TARGET, &[]);
    client.head();
    let mut body = client.take(MIB).expect("the beginning");
    // Shorter now: what is left of the old length cannot be had.
    fake.add(File::pattern(ID, 2 * MIB));
    fake.close_connections();
    let whole = client.read_into(&mut body, 47 * MIB).is_ok();
    assert!(!whole, "a file that is gone is not made up");
    assert_eq!(pattern_mismatch(0, &body), None);
}
