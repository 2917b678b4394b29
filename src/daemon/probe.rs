//! Asking ourselves over HTTP, as a client would.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// Where a socket bound to `address` is reached from this machine. The kernel routes an address that one of the
/// machine's cards has over loopback, so only the unspecified ones need another name. One that no card has (any more)
/// is not reached at all.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => return address,
    };
    SocketAddr::new(ip, address.port())
}

/// Sends one request and reads the answer: its status, and head and body as text.
///
/// # Errors
/// Nobody answers within `patience`, or not in HTTP.
pub(super) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    patience: Duration,
) -> io::Result<(u16, String)> {
    let exchange = async {
        let to = reachable(address);
        let mut stream = match TcpStream::connect(to).await {
            // `[::]` on a machine whose loopback has no IPv6 is still reached over IPv4.
            Err(_) if to.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST) => {
                TcpStream::connect((Ipv4Addr::LOCALHOST, to.port())).await?
            }
            connected => connected?,
        };
        // The literal alone: a scope (`%2`) is no part of a Host header.
        let host = SocketAddr::new(to.ip(), to.port());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rill\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))?;
        Ok((status, text))
    };
    let late = async {
        smol::Timer::after(patience).await;
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {patience:?}"),
        ))
    };
    or(exchange, late).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (bound, reached) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.5:80", "192.0.2.5:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
        ] {
            let bound = bound.parse().expect("an address");
            assert_eq!(reachable(bound), reached.parse().expect("an address"));
        }
    }

    #[test]
    fn answers_and_silence() {
        use std::io::{Read, Write};

        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = server.local_addr().expect("bound");
        let answering = std::thread::spawn(move || {
            for answer in ["HTTP/1.1 503 busy\r\n\r\n", "SSH-2.0\r\n"] {
                let (mut client, _) = server.accept().expect("a client");
                let mut head = [0; 512];
                let n = client.read(&mut head).expect("a request");
                assert!(head[..n].starts_with(b"OPTIONS /x HTTP/1.1\r\nHost: 127.0.0.1:"));
                client.write_all(answer.as_bytes()).expect("answered");
            }
            server
        });
        let ask = || smol::block_on(ask(address, "OPTIONS", "/x", Duration::from_millis(500)));
        assert_eq!(ask().expect("an answer").0, 503);
        assert_eq!(
            ask().expect_err("no HTTP").kind(),
            io::ErrorKind::InvalidData
        );
        let _server = answering.join().expect("answered");
        assert_eq!(ask().expect_err("silence").kind(), io::ErrorKind::TimedOut);
    }
}
