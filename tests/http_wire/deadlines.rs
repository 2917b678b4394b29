//! Clients that are slow, silent or stuck, with deadlines short enough to wait for.

use std::time::{Duration, Instant};

use rill::http::Deadlines;

use super::client::Client;
use super::server::Server;

fn short() -> Deadlines {
    let quick = Duration::from_millis(200);
    Deadlines {
        head: quick,
        body: quick,
        linger: quick,
        ..Deadlines::default()
    }
}

#[test]
fn a_slow_head_is_answered_408() {
    let server = Server::with(512, short());
    let mut client = Client::new(server.address);
    client.request("GET /", "").answer();
    let began = Instant::now();
    let answer = client.send("GET / HTTP/1.1\r\nHost: h\r\n").answer();
    assert_eq!(
        (answer.status, answer.text()),
        (408, "{\"error\":\"request_timeout\"}")
    );
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(
        began.elapsed() < Duration::from_secs(1) && began.elapsed() > Duration::from_millis(190)
    );
    // A byte now and then does not buy more time.
    let mut client = Client::new(server.address);
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nX: ");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(50));
        let _ = std::io::Write::write(&mut client.socket, b"a");
    }
    assert_eq!(client.answer().status, 408);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let idle = Duration::from_millis(200);
    let server = Server::with(
        512,
        Deadlines {
            idle,
            ..Deadlines::default()
        },
    );
    let mut client = Client::new(server.address);
    assert!(client.is_closed());
    let mut client = Client::new(server.address);
    client.request("GET /", "").answer();
    assert!(client.is_closed());
    // An answer that is being made is not idle.
    let mut client = Client::new(server.address);
    assert_eq!(client.request("GET /slow", "").answer().text(), "slow");
}

#[test]
fn a_slow_body_is_answered_408() {
    let server = Server::with(512, short());
    let mut client = Client::new(server.address);
    client
        .request("POST /echo", "Content-Length: 5\r\n")
        .send("he");
    assert_eq!(client.answer().status, 408);
    // Every byte begins the wait anew.
    let mut client = Client::new(server.address);
    client.request("POST /echo", "Content-Length: 5\r\n");
    for byte in b"hello" {
        std::thread::sleep(Duration::from_millis(100));
        client.send([*byte]);
    }
    assert_eq!(client.answer().text(), "hello");
}

#[test]
fn a_reader_that_takes_nothing_is_cut() {
    let write = Duration::from_millis(300);
    let server = Server::with(
        512,
        Deadlines {
            write,
            ..Deadlines::default()
        },
    );
    let mut client = Client::new(server.address);
    client.request("GET /endless", "").head().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(client.rest().len() < 100 << 20);
    assert_eq!(server.listener.stats().open, 0);
}
