//! What playing costs upstream: requests, connections, bytes and round trips. Google counts them, and the viewer waits
//! for them.

use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::drive::{Action, FakeDrive, File, Kind, pattern_mismatch};

const MIB: u64 = 1 << 20;
const ID: &str = "pattern-file-0001";
const TARGET: &str = "/drive/files/pattern-file-0001";

fn with_file(size: u64) -> (FakeDrive, Daemon) {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, size));
    let daemon = Daemon::with_drive(&fake);
    (fake, daemon)
}

/// Requests so far that are not for tokens.
fn asked(fake: &FakeDrive) -> Vec<Kind> {
    let kinds = fake.requests().into_iter().map(|request| request.kind);
    kinds.filter(|kind| *kind != Kind::Token).collect()
}

#[test]
fn a_first_play_costs_two_requests_and_a_seek_one() {
    let (fake, daemon) = with_file(MIB);
    let response = daemon.get_range(TARGET, "bytes=0-65535");
    assert_eq!(
        (response.status(), pattern_mismatch(0, &response.body)),
        (206, None)
    );
    assert_eq!(asked(&fake), [Kind::Metadata, Kind::Media]);
    assert_eq!(fake.requests_of(Kind::Token).len(), 1);
    for first in [500_000, 100, 900_000] {
        fake.forget_requests();
        let range = format!("bytes={first}-{}", first + 999);
        let response = daemon.get_range(TARGET, &range);
        assert_eq!(
            (response.status(), pattern_mismatch(first, &response.body)),
            (206, None)
        );
        assert!(fake.requests().len() <= 1, "{:?}", fake.requests());
        assert!(asked(&fake).iter().all(|kind| *kind == Kind::Media));
    }
}

#[test]
fn a_shortcut_costs_one_request_more() {
    let (fake, daemon) = with_file(MIB);
    fake.add(File::shortcut_to(
        "shortcut-0001",
        "Short.mp4",
        ID,
        "video/mp4",
    ));
    let response = daemon.get_range("/drive/files/shortcut-0001", "bytes=10-19");
    assert_eq!(
        (response.status(), pattern_mismatch(10, &response.body)),
        (206, None)
    );
    assert!(asked(&fake).len() <= 3, "{:?}", asked(&fake));
    // The second time it is known where the shortcut leads.
    fake.forget_requests();
    assert_eq!(
        daemon
            .get_range("/drive/files/shortcut-0001", "bytes=100000-100009")
            .status(),
        206
    );
    assert!(fake.requests().len() <= 1, "{:?}", fake.requests());
}

#[test]
fn concurrent_openers_ask_for_metadata_and_token_once() {
    let (fake, daemon) = with_file(64 * MIB);
    fake.on(Kind::Token)
        .does(Action::Latency(Duration::from_millis(200)));
    fake.on(Kind::Metadata)
        .does(Action::Latency(Duration::from_millis(200)));
    std::thread::scope(|scope| {
        for i in 0..16_u64 {
            let daemon = &daemon;
            scope.spawn(move || {
                let first = i * 1_000_000;
                let response = daemon.get_range(TARGET, &format!("bytes={first}-{}", first + 99));
                assert_eq!(
                    (response.status(), pattern_mismatch(first, &response.body)),
                    (206, None)
                );
            });
        }
    });
    assert_eq!(fake.requests_of(Kind::Token).len(), 1);
    assert_eq!(fake.requests_of(Kind::Metadata).len(), 1);
    assert!(fake.media_requests().len() <= 16);
}

#[test]
fn head_and_conditionals_cost_no_download() {
    let (fake, daemon) = with_file(MIB);
    let head = daemon.client().request("HEAD", TARGET, &[]);
    assert_eq!((head.status(), head.head.length()), (200, Some(MIB)));
    let tag = head.header("etag").expect("an entity tag").to_owned();
    assert!(tag.starts_with('"'), "{tag} is strong");
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    assert!(head.header("last-modified").is_some());
    let same = daemon
        .client()
        .request("GET", TARGET, &[("If-None-Match", &tag)]);
    assert_eq!((same.status(), same.body.len()), (304, 0));
    let beyond = daemon.get_range(TARGET, "bytes=1048576-");
    assert_eq!(
        (beyond.status(), beyond.header("content-range")),
        (416, Some("bytes */1048576"))
    );
    assert_eq!(asked(&fake), [Kind::Metadata]);
}

#[test]
fn upstream_reads_are_ranged_and_never_gzipped() {
    let (fake, daemon) = with_file(4 * MIB);
    assert_eq!(daemon.get(TARGET).body.len() as u64, 4 * MIB);
    for request in fake.media_requests() {
        assert!(request.range.is_some(), "{request:?}");
        assert_eq!(
            request.accept_encoding.as_deref(),
            Some("identity"),
            "{request:?}"
        );
        assert!(
            request.query.contains("supportsAllDrives=true"),
            "{request:?}"
        );
        assert!(!request.query.contains("acknowledgeAbuse"), "{request:?}");
    }
}

#[test]
fn an_abandoned_start_is_cheap() {
    let (fake, daemon) = with_file(1 << 30);
    // What the fake's kernel holds was never asked for by rill's.
    fake.set_send_buffer(64 * 1024);
    // A television asks for everything, takes the head and leaves, again and again.
    for _ in 0..5 {
        let mut client = daemon.client();
        client.ask("GET", TARGET, &[("Range", "bytes=0-")]);
        assert_eq!(client.head().status, 206);
        client.take(20_000).expect("the beginning");
        client.abort();
        assert!(fake.wait_until(Duration::from_secs(1), |fake| fake.open_transfers() == 0));
    }
    let sent = fake.bytes_sent();
    assert!(
        sent <= 5 * 4 * MIB,
        "{sent} bytes were read for 100 kB taken"
    );
}

#[test]
fn a_whole_file_takes_few_requests() {
    let (fake, daemon) = with_file(128 * MIB);
    let response = daemon.get(TARGET);
    assert!(response.whole);
    assert_eq!(pattern_mismatch(0, &response.body), None);
    let requests = fake.media_requests();
    assert!(
        requests.len() <= 16,
        "{} downloads for 128 MiB",
        requests.len()
    );
    assert_eq!(fake.bytes_sent(), 128 * MIB, "no byte is fetched twice");
    let first = requests[0]
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=0-"));
    let first: u64 = first
        .and_then(|last| last.parse().ok())
        .expect("the first range has an end");
    assert!(
        first < 4 * MIB,
        "the first request is small enough to start at once"
    );
}

#[test]
fn seeks_reuse_connections() {
    let (fake, daemon) = with_file(256 * MIB);
    for i in 0..40_u64 {
        let first = (i * 7_654_321) % (255 * MIB);
        let response = daemon.get_range(TARGET, &format!("bytes={first}-{}", first + 65_535));
        assert_eq!(
            (response.status(), pattern_mismatch(first, &response.body)),
            (206, None)
        );
    }
    assert!(
        fake.connections() <= 4,
        "{} connections for 42 requests",
        fake.connections()
    );
}

#[test]
fn a_spare_connection_costs_no_request() {
    let (fake, daemon) = with_file(1 << 30);
    fake.on(Kind::Media).does(Action::Bandwidth(64 * 1024));
    let mut playing = daemon.client();
    playing.ask("GET", TARGET, &[("Range", "bytes=0-")]);
    playing.head();
    playing.take(10_000).expect("the beginning");
    let spare = || fake.connections() == 2;
    assert!(
        fake.wait_until(Duration::from_secs(5), |_| spare()),
        "{} connections",
        fake.connections()
    );
    assert_eq!(asked(&fake), [Kind::Metadata, Kind::Media]);
    // The seek takes the spare: the next connection is only the next spare.
    playing.abort();
    let response = daemon.get_range(TARGET, "bytes=900000000-900000999");
    assert_eq!(response.body.len(), 1000);
    let media = fake.requests_of(Kind::Media);
    assert_eq!(media.last().map(|request| request.connection), Some(2));
}

#[test]
fn a_seek_costs_one_round_trip() {
    let (fake, daemon) = with_file(1 << 30);
    assert_eq!(daemon.get_range(TARGET, "bytes=0-99").status(), 206);
    let latency = Duration::from_millis(300);
    fake.on(Kind::Any).does(Action::Latency(latency));
    // A stream is open and abandoned for the seek, as a player does.
    let mut playing = daemon.client();
    playing.ask("GET", TARGET, &[("Range", "bytes=0-")]);
    playing.head();
    playing.take(100_000).expect("the beginning");
    playing.abort();
    let begun = Instant::now();
    let response = daemon.get_range(TARGET, "bytes=900000000-900000999");
    let took = begun.elapsed();
    assert_eq!((response.status(), response.body.len()), (206, 1000));
    assert!(
        took < latency * 2,
        "{took:?} for a seek with an upstream of {latency:?}"
    );
}

#[test]
fn nothing_is_asked_of_google_without_a_viewer() {
    let (fake, daemon) = with_file(MIB);
    for _ in 0..5 {
        assert_eq!(daemon.get("/api/health").status(), 200);
        assert_eq!(daemon.get("/").status(), 200);
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(asked(&fake).is_empty(), "{:?}", fake.requests());
}
