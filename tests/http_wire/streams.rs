//! Bodies that arrive piece by piece, and what happens when either end goes away.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::Client;
use super::server::Server;

/// Waits until no stream is open; how long it took.
fn until_dropped(server: &Server) -> Duration {
    let began = Instant::now();
    while server.service.streams.load(Ordering::SeqCst) > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "the stream stays open"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

#[test]
fn known_and_unknown_lengths() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    for _ in 0..2 {
        let chunked = client.request("GET /chunked", "").answer();
        assert_eq!(chunked.header("transfer-encoding"), Some("chunked"));
        assert_eq!(
            (chunked.header("content-length"), chunked.text()),
            (None, "xxxxxxxx")
        );
        let sized = client.request("GET /sized", "").answer();
        assert_eq!(
            (sized.header("content-length"), sized.text()),
            (Some("8"), "xxxxxxxx")
        );
    }
}

#[test]
fn a_body_that_fails_is_cut_and_never_ended() {
    let server = Server::start();
    for path in ["/broken", "/panicking"] {
        let mut client = Client::new(server.address);
        client.request(&format!("GET {path}"), "").head().unwrap();
        assert_eq!(client.rest(), b"8\r\nxxxxxxxx\r\n", "{path}");
    }
    for path in ["/short", "/long"] {
        let mut client = Client::new(server.address);
        client.request(&format!("GET {path}"), "").head().unwrap();
        assert_eq!(client.rest(), b"xxxxxxxx", "{path}");
    }
    // Nothing was sent yet, so that the failure can still be said.
    let answer = Client::new(server.address)
        .request("GET /failing", "")
        .answer();
    assert_eq!(
        (answer.status, answer.text()),
        (502, "{\"error\":\"source_failed\"}")
    );
    // In HTTP/1.0 the end of the connection is the end of the body, so that it is reset.
    let mut client = Client::new(server.address);
    client.send("GET /broken HTTP/1.0\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    let error = std::io::Read::read_to_end(&mut client.socket, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(
        Client::new(server.address)
            .request("GET /", "")
            .answer()
            .status,
        200
    );
}

#[test]
fn a_closed_reader_ends_its_stream_within_a_second() {
    let server = Server::start();
    // The source has nothing to send: only the socket tells.
    for reset in [false, true] {
        let mut client = Client::new(server.address);
        client.request("GET /stalled", "").head().unwrap();
        if !reset {
            client.take(8);
        } else {
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(client);
        assert!(until_dropped(&server) < Duration::from_secs(1));
    }
    // The source has much to send and the client is slow.
    let mut client = Client::new(server.address);
    client.request("GET /endless", "").head().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(client);
    assert!(until_dropped(&server) < Duration::from_secs(1));
}

#[test]
fn a_client_that_sent_ahead_is_missed_too() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    client
        .request("GET /stalled", "")
        .request("GET /", "")
        .head()
        .unwrap();
    client.take(8);
    drop(client);
    assert!(until_dropped(&server) < Duration::from_secs(2));
}

#[test]
fn a_client_that_sends_no_more_still_gets_its_answer() {
    let server = Server::start();
    for (path, want) in [
        ("/slow", "slow"),
        ("/chunked", "xxxxxxxx"),
        ("/sized", "xxxxxxxx"),
    ] {
        let mut client = Client::new(server.address);
        assert_eq!(
            client
                .request(&format!("GET {path}"), "")
                .finish()
                .answer()
                .text(),
            want
        );
        assert!(client.is_closed());
    }
    let mut client = Client::new(server.address);
    client.request("GET /file", "").finish();
    assert_eq!(client.answer().body.len() as u64, super::server::FILE_LEN);
}

#[test]
fn a_paused_reader_pauses_its_source() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    client.request("GET /endless", "").head().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let asked = server.service.asked.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(server.service.asked.load(Ordering::SeqCst), asked);
    client.take(20_000_000);
    assert!(server.service.asked.load(Ordering::SeqCst) > asked);
}

#[test]
fn a_file_that_shrinks_is_cut() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    let file = server.service.file.clone();
    file.set_len(1 << 30).unwrap();
    let head = client.request("GET /file", "").head().unwrap();
    assert_eq!(head.header("content-length"), Some("1073741824"));
    client.take(1 << 20);
    file.set_len(1 << 20).unwrap();
    assert!(client.rest().len() < 100 << 20);
}
