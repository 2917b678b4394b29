//! Bytes on the wire that are no sound requests, and sound ones in quantities that nobody needs.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Before, MIB, Random, exchange, statuses};
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Setup, eventually};

/// Bytes that tell where they are.
fn film(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 % 251) as u8).collect()
}

fn house() -> Daemon {
    Setup::new().video("a.mp4", &film(300_000)).start()
}

#[test]
fn a_second_request_cannot_be_smuggled_in_a_first() {
    let daemon = house();
    let before = Before::of(&daemon);
    let smuggled = "GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for fields in [
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Content-Length: 0\r\nContent-Length: 60",
        "Content-Length: 60\r\nContent-Length: 60",
        "Content-Length: 0, 60",
        "Content-Length: +0",
        "Content-Length: 0x0",
        "Content-Length: 0 0",
        "Content-Length: ",
        "Content-Length: 18446744073709551616",
        "Content-Length : 0",
        "Content-Length\t: 0",
        "Content-Length:\u{b}0",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:\r\n chunked",
        "X: a\rContent-Length: 0",
        "X: a\nContent-Length: 0",
        "X: a\0\r\nContent-Length: 0",
        "X: a\r\n folded",
        "\tX: a",
        " Content-Length: 0",
        "Host: other",
        ": empty",
        "no colon",
        "X y: z",
        "Content-Length: 0\r\n\rX: a",
    ] {
        let first = format!("POST /api/progress HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n");
        for body in ["", "0\r\n\r\n"] {
            let answer = exchange(
                daemon.address,
                format!("{first}{body}{smuggled}").as_bytes(),
            );
            let all = statuses(&answer);
            assert!(
                matches!(all[..], [400 | 501]),
                "{fields:?} {body:?}: {all:?} {}",
                String::from_utf8_lossy(&answer)
            );
        }
    }
    // What ends a chunked body ends it alike for everyone on the way.
    for body in [
        "0\r\nX: a\r\n\r\n",
        "0;a=b\r\n\r\n",
        "000000000000000000000000\r\n\r\n",
        "0\n\n",
        "0\r\n\n",
        "0 \r\n\r\n",
        "0x0\r\n\r\n",
        "-0\r\n\r\n",
        "fffffffffffffffff\r\n\r\n",
        "\r\n\r\n",
        "1\r\naa\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
    ] {
        let text = format!(
            "POST /api/progress HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}{smuggled}"
        );
        let answer = exchange(daemon.address, text.as_bytes());
        let all = statuses(&answer);
        // A body that is well formed is followed by its own next request; after any other the connection ends.
        let sound = ["0\r\nX: a\r\n\r\n", "0;a=b\r\n\r\n"].contains(&body)
            || body.starts_with("000000000000");
        match all[..] {
            [400] => {}
            [400 | 413, 200] if sound => {}
            _ => panic!("{body:?}: {all:?} {}", String::from_utf8_lossy(&answer)),
        }
    }
    before.and_after(&daemon, 6 * MIB);
}

#[test]
fn storms_of_random_bytes() {
    let daemon = house();
    let before = Before::of(&daemon);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let sound = format!(
        "GET /videos/a.mp4 HTTP/1.1\r\nHost: {}\r\nRange: bytes=5-9\r\nIf-Range: \"x\"\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
        daemon.address
    );
    for round in 0..600 {
        let bytes = match round % 4 {
            // Anything.
            0 => {
                let len = random.below(4096) + 1;
                random.bytes(len)
            }
            // Anything after a beginning that promises more.
            1 => {
                let len = random.below(2048);
                let begins = [
                    "GET /",
                    "POST /api/progress HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
                    "HEAD / HTTP/1.1\r\n",
                    "PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n",
                ];
                let mut bytes = begins[random.below(begins.len())].as_bytes().to_vec();
                bytes.extend(random.bytes(len));
                bytes
            }
            // A sound request with some bytes changed.
            2 => {
                let mut bytes = sound.clone().into_bytes();
                for _ in 0..random.below(4) + 1 {
                    let at = random.below(bytes.len());
                    bytes[at] = (random.next() >> 24) as u8;
                }
                bytes
            }
            // A sound request with a piece missing, or twice.
            _ => {
                let bytes = sound.as_bytes();
                let (a, b) = (random.below(bytes.len()), random.below(bytes.len()));
                let (a, b) = (a.min(b), a.max(b));
                [&bytes[..b], &bytes[a..]].concat()
            }
        };
        let answer = exchange(daemon.address, &bytes);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 "),
            "{bytes:?} got {:?}",
            String::from_utf8_lossy(&answer)
        );
        // Nothing is left without an answer but what is nothing.
        if answer.is_empty() {
            let blank = bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            assert!(blank, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
    before.and_after(&daemon, 6 * MIB);
}

#[test]
fn heads_without_end() {
    let daemon = house();
    let before = Before::of(&daemon);
    let flood = |begin: &str, piece: &str, bytes: usize| {
        let mut text = begin.to_owned();
        text.push_str(&piece.repeat(bytes / piece.len()));
        let answer = exchange(daemon.address, text.as_bytes());
        // What was never read resets the connection; an answer that was lost with it is no fault of ours.
        let all = statuses(&answer);
        assert!(
            matches!(all[..], [] | [400 | 414 | 431]),
            "{begin:?} {piece:?}: {all:?}"
        );
        assert!(daemon.rss() < before.rss + 8 * MIB, "{begin:?} {piece:?}");
        all
    };
    let host = "Host: localhost\r\n";
    let get = format!("GET / HTTP/1.1\r\n{host}");
    let large = 32 << 20;
    flood("GET /", "a", large);
    flood("", "A", large);
    flood(&format!("{get}X: "), "a", large);
    flood(&get, "X: a\r\n", large);
    flood(&get, "A:\r\n", 8 << 20);
    flood(&format!("{get}Cookie: "), "a=b; ", large);
    flood("\r\n", "\r\n", 1 << 20);
    // Small enough to be read to its end, so that the answer arrives.
    assert_eq!(flood(&format!("GET /{}", "a".repeat(9000)), "a", 1), [414]);
    assert_eq!(flood(&format!("{get}X: "), "a", 10_000), [431]);
    let many = format!("{get}{}\r\n", "A: b\r\n".repeat(200));
    assert_eq!(statuses(&exchange(daemon.address, many.as_bytes())), [431]);
    before.and_after(&daemon, 6 * MIB);
}

#[test]
fn bodies_without_end() {
    let daemon = house();
    let before = Before::of(&daemon);
    let chunked = "POST /api/progress HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sized = "POST /api/progress HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ";
    let large = 32 << 20;
    for (begin, piece, bytes) in [
        // Extensions of a chunk, without a line end and with ever more chunks.
        ("1;", "a", large),
        ("1;a=\"", "b", large),
        ("", "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n", large),
        // Sizes in as many digits as one likes.
        ("", "0", large),
        ("", "1\r\na\r\n", 8 << 20),
        // Trailers.
        ("0\r\n", "X: a\r\n", large),
        ("0\r\nX: ", "a", large),
        ("0\r\nContent-Length: 5\r\n", "Host: x\r\n", 1 << 20),
        // Far more than is taken.
        ("2000000\r\n", "{", large),
    ] {
        let text = format!("{chunked}{begin}{}", piece.repeat(bytes / piece.len()));
        let answer = exchange(daemon.address, text.as_bytes());
        let all = statuses(&answer);
        assert!(
            matches!(all[..], [] | [400 | 413 | 415]),
            "{begin:?} {piece:?}: {all:?}"
        );
        assert!(daemon.rss() < before.rss + 16 * MIB, "{begin:?} {piece:?}");
    }
    for length in ["99999999999", "18446744073709551615"] {
        let text = format!("{sized}{length}\r\n\r\n{}", "x".repeat(8 << 20));
        let all = statuses(&exchange(daemon.address, text.as_bytes()));
        assert!(matches!(all[..], [] | [400 | 413]), "{length}: {all:?}");
    }
    // An upload that ends in its midst.
    let text = format!("{sized}1000\r\n\r\n{{");
    assert_eq!(statuses(&exchange(daemon.address, text.as_bytes())), [400]);
    before.and_after(&daemon, 8 * MIB);
}

#[test]
fn ranges_that_are_none_or_too_many() {
    let daemon = house();
    let before = Before::of(&daemon);
    let whole = film(300_000);
    let many = format!("bytes={}", "0-0,".repeat(1500));
    let overlapping = format!("bytes={}", "0-,".repeat(1500));
    let spread = (0..900)
        .map(|at| format!("{}-{}", at * 2, at * 2))
        .collect::<Vec<_>>();
    let spread = format!("bytes={}", spread.join(","));
    for range in [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5",
        "bytes=5-4",
        "bytes=-0",
        "bytes=--5",
        "bytes=0x0-0x5",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=1-2,",
        "bytes=,",
        "bytes=,,,1-2",
        "bytes= 1-2",
        "bytes=1 - 2",
        "BYTES=1-2",
        "bytes=0-18446744073709551615",
        "bytes=18446744073709551615-",
        "bytes=18446744073709551616-",
        "bytes=-18446744073709551616",
        "bytes=99999999999999999999999999999999-",
        "items=0-1",
        "bytes=\u{e9}-1",
        "bytes=1-2;q=1",
        "bytes=1-2\tx",
        "bytes:1-2",
        "bytes 1-2/3",
        &many,
        &overlapping,
        &spread,
    ] {
        let begun = Instant::now();
        let mut client = daemon.client();
        let response = client.request("GET", "/videos/a.mp4", &[("Range", range)]);
        let shown = &range[..range.len().min(60)];
        assert!(response.whole, "{shown}");
        match response.status() {
            200 => assert!(response.body == whole, "{shown}"),
            // Never much more than the file itself, whatever is asked of it.
            206 => assert!(response.body.len() < 2 * whole.len(), "{shown}"),
            416 => assert_eq!(
                response.header("content-range"),
                Some("bytes */300000"),
                "{shown}"
            ),
            status => panic!("{shown}: {status}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{shown}");
        // The connection goes on.
        assert_eq!(client.get("/robots.txt").status(), 200, "{shown}");
    }
    before.and_after(&daemon, 6 * MIB);
}

#[test]
fn methods_targets_and_headers_of_every_kind() {
    let daemon = house();
    let before = Before::of(&daemon);
    let host = daemon.address.to_string();
    let status = |text: &str| {
        let answer = exchange(daemon.address, text.as_bytes());
        match statuses(&answer)[..] {
            [status] => status,
            ref other => panic!("{text:?}: {other:?} {}", String::from_utf8_lossy(&answer)),
        }
    };
    for (method, want) in [
        ("get", 501),
        ("GETT", 501),
        ("BREW", 501),
        ("PROPFIND", 501),
        ("TRACE", 501),
        ("CONNECT", 501),
        ("M-SEARCH", 501),
        ("DELETE", 405),
        ("PATCH", 405),
        ("G\u{e9}T", 400),
        ("G(T", 400),
        ("", 400),
    ] {
        let text = format!("{method} /robots.txt HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let got = status(&text);
        assert!(
            got == want || (want == 400 && got == 501),
            "{method:?}: {got}"
        );
    }
    for (target, want) in [
        (format!("http://{host}/robots.txt"), 200),
        (format!("HTTP://{host}/robots.txt"), 200),
        (format!("http://{host}"), 200),
        (format!("http://{host}?x"), 200),
        // The name that it is asked by counts, and not the header beside it.
        ("http://evil.example/robots.txt".to_owned(), 421),
        ("http://evil.example@localhost/robots.txt".to_owned(), 400),
        ("https://localhost/robots.txt".to_owned(), 200),
        ("ftp://localhost/robots.txt".to_owned(), 400),
        ("http:///robots.txt".to_owned(), 400),
        ("http://".to_owned(), 400),
        ("//localhost/robots.txt".to_owned(), 404),
        ("robots.txt".to_owned(), 400),
        ("*".to_owned(), 400),
        ("/robots.txt#x".to_owned(), 400),
        ("/\u{e9}".to_owned(), 400),
        ("/a\tb".to_owned(), 400),
        ("/%".to_owned(), 400),
        ("/%00".to_owned(), 400),
        ("/../robots.txt".to_owned(), 404),
        ("/\\..\\robots.txt".to_owned(), 404),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let got = status(&text);
        let alike = matches!((want, got), (400, 404) | (404, 400));
        assert!(got == want || alike, "{target:?}: {got}, not {want}");
    }
    for (field, want) in [
        ("X: \u{e9}\u{1f600}", 200),
        ("X-\u{e9}: a", 400),
        ("X: a\0b", 400),
        ("X: \u{1}", 400),
        ("X: \u{7f}", 400),
        ("Cookie: \u{e9}=\u{1f600}; ;;==", 200),
        ("Accept-Encoding: \u{e9};q=9, gzip;q=banana, *;;", 200),
        ("Accept-Language: \u{e9}-\u{1f600};q=x,,,", 200),
        ("If-None-Match: \"\u{e9}\", W/, \"", 200),
        ("If-Modified-Since: Fri, 31 Feb 99999 25:61:61 GMT", 200),
        ("Range: bytes=\u{e9}", 200),
        ("Authorization: Bearer \u{e9}", 200),
        ("Connection: close, \u{e9}", 200),
        ("Connection: keep-alive, close, keep-alive", 200),
        ("Upgrade: h2c\r\nHTTP2-Settings: AAA", 200),
        ("Expect: 100-continue", 200),
        ("Origin: \u{e9}", 200),
        ("Sec-Fetch-Site: \u{e9}", 200),
        ("X-Forwarded-For: \u{e9}", 200),
    ] {
        let text = format!("GET /robots.txt HTTP/1.1\r\nHost: {host}\r\n{field}\r\n\r\n");
        let got = status(&text);
        assert!(
            got == want || (want == 200 && matches!(got, 400 | 403)),
            "{field:?}: {got}"
        );
    }
    for name in [
        "\u{e9}",
        "a b",
        "a,b",
        "a/b",
        "a@b",
        "[::1",
        "[::1]:x",
        "localhost:99999",
        "localhost:",
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
    ] {
        let got = status(&format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        let empty_port = name == "localhost:" && got == 200;
        assert!(matches!(got, 400 | 421) || empty_port, "{name:?}: {got}");
    }
    before.and_after(&daemon, 6 * MIB);
}

#[test]
fn a_thousand_requests_in_one_breath() {
    let daemon = house();
    let before = Before::of(&daemon);
    let whole = film(300_000);
    let mut text = String::new();
    for at in 0..1000 {
        text.push_str(&format!(
            "GET /videos/a.mp4 HTTP/1.1\r\nHost: localhost\r\nRange: bytes={}-{}\r\n\r\n",
            at * 13,
            at * 13 + 99
        ));
    }
    let mut client = daemon.client();
    let mut sending = TcpStream::connect(daemon.address).expect("the daemon accepts");
    std::thread::scope(|scope| {
        // One that reads its answers, and one that never does.
        scope.spawn(|| {
            let _ = sending.set_write_timeout(Some(Duration::from_secs(1)));
            for _ in 0..50 {
                if std::io::Write::write_all(&mut sending, text.as_bytes()).is_err() {
                    break;
                }
            }
        });
        client.send(&text).expect("the daemon reads");
        for at in 0..1000 {
            let response = client.response("GET");
            assert_eq!(response.status(), 206);
            assert!(
                response.body == whole[at * 13..at * 13 + 100],
                "answer {at} is in its place"
            );
        }
    });
    assert!(daemon.rss() < before.rss + 8 * MIB);
    drop((client, sending));
    before.and_after(&daemon, 6 * MIB);
}

#[test]
fn sockets_that_are_half_closed_or_torn_off() {
    let daemon = Setup::new()
        .video("a.mp4", &film(300_000))
        .video("large.mp4", &film(24 << 20))
        .start();
    let before = Before::of(&daemon);
    for _ in 0..20 {
        let text = "GET /videos/large.mp4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = exchange(daemon.address, text.as_bytes());
        assert!(
            answer.len() > 24 << 20,
            "a client that sends no more is still sent all"
        );
    }
    // Torn off before, within and after the head, and in the midst of an answer.
    for round in 0..400 {
        let mut client = Client::connect(daemon.address);
        match round % 4 {
            0 => {}
            1 => client.send("GET /vid").expect("the daemon reads"),
            2 => client.ask("GET", "/videos/large.mp4", &[]),
            _ => {
                client.ask("GET", "/videos/large.mp4", &[]);
                assert_eq!(client.head().status, 200);
                let _ = client.take(100_000);
            }
        }
        client.abort();
    }
    // Closed with much unread on either side.
    for _ in 0..50 {
        let mut client = Client::connect(daemon.address);
        for _ in 0..20 {
            client.ask("GET", "/videos/a.mp4", &[]);
        }
        drop(client);
    }
    before.and_after(&daemon, 8 * MIB);
}

#[test]
fn five_hundred_slow_clients_do_not_stop_a_video() {
    let daemon = Setup::new().video("large.mp4", &film(64 << 20)).start();
    let before = Before::of(&daemon);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let begins = [
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
            "G",
            "POST /api/progress HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
            "POST /api/progress HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1",
        ];
        let (over, address) = (&over, daemon.address);
        scope.spawn(move || {
            let mut slow: Vec<TcpStream> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                while slow.len() < 500 {
                    let Ok(mut socket) = TcpStream::connect(address) else {
                        break;
                    };
                    let _ = socket.set_nonblocking(true);
                    let begin = begins[slow.len() % begins.len()];
                    let _ = std::io::Write::write(&mut socket, begin.as_bytes());
                    slow.push(socket);
                }
                std::thread::sleep(Duration::from_millis(200));
                // A byte now and then; whoever is cut comes again.
                slow.retain_mut(|socket| {
                    use std::io::{ErrorKind, Read};
                    let mut scratch = [0; 512];
                    let alive = match socket.read(&mut scratch) {
                        Ok(n) => n > 0,
                        Err(error) => error.kind() == ErrorKind::WouldBlock,
                    };
                    alive && std::io::Write::write(socket, b"1").is_ok()
                });
            }
        });
        // A film that plays for 15 seconds: a piece is there when it is due.
        let mut video = daemon.client();
        video.ask("GET", "/videos/large.mp4", &[]);
        assert_eq!(video.head().status, 200);
        let begun = Instant::now();
        let mut slowest = Duration::ZERO;
        for _ in 0..60 {
            let asked = Instant::now();
            video.take(MIB).expect("the film goes on");
            slowest = slowest.max(asked.elapsed());
            std::thread::sleep(Duration::from_millis(250));
        }
        assert!(begun.elapsed() > Duration::from_secs(14));
        assert!(slowest < Duration::from_secs(3), "{slowest:?}");
        // And somebody new comes in.
        let served = || {
            let mut client = Client::connect(daemon.address);
            client.ask("GET", "/videos/large.mp4", &[("Range", "bytes=0-9")]);
            client.try_head().is_ok_and(|head| head.status == 206)
        };
        assert!(eventually(Duration::from_secs(20), served));
        over.store(true, Ordering::Relaxed);
    });
    before.and_after(&daemon, 16 * MIB);
}
