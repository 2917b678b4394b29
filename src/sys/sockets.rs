//! Listening sockets: those that systemd hands over (sd_listen_fds(3)), and those we bind.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// The first descriptor of those handed over, by sd_listen_fds(3).
const FIRST: RawFd = 3;

/// More than this many descriptors are a slip in the environment, not sockets.
const MAX_INHERITED: RawFd = 64;

/// Connections that the kernel holds until they are accepted; it lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// The listening TCP sockets this process was started with, each at most once: a second call finds
/// none. What is no such socket is closed and logged.
pub fn inherited() -> Vec<TcpListener> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let count = announced(
        std::env::var("LISTEN_PID").ok().as_deref(),
        std::env::var("LISTEN_FDS").ok().as_deref(),
        std::process::id(),
    );
    if count == 0 || TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let mut sockets = Vec::new();
    for fd in FIRST..FIRST + count {
        match take(fd) {
            Ok(socket) => sockets.push(socket),
            Err(why) => log::warn!(
                "the inherited descriptor {fd} is not used: {why}; give the .socket unit ListenStream= with a TCP port or address"
            ),
        }
    }
    sockets
}

/// How many descriptors are meant for process `own`.
fn announced(pid: Option<&str>, fds: Option<&str>, own: u32) -> RawFd {
    let for_us = pid.and_then(|pid| pid.parse::<u32>().ok()) == Some(own);
    match fds.and_then(|fds| fds.parse::<RawFd>().ok()) {
        Some(count) if for_us => count.clamp(0, MAX_INHERITED),
        _ => 0,
    }
}

fn take(fd: RawFd) -> Result<TcpListener, String> {
    let owned = own(fd).map_err(|error| format!("it is not open ({error})"))?;
    match usable(owned.as_fd()) {
        Ok(()) => {
            let socket = TcpListener::from(owned);
            socket
                .set_nonblocking(false)
                .map_err(|error| error.to_string())?;
            Ok(socket)
        }
        Err(why) => Err(why),
    }
}

#[allow(unsafe_code)]
fn own(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: The number is only asked about, by a call that answers EBADF when nothing is open there.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl_setfd(borrowed, fcntl_getfd(borrowed)? | FdFlags::CLOEXEC)?;
    // SAFETY: It is open, LISTEN_PID says that it was opened for this process, and `inherited` hands each
    // number out once: nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn usable(fd: BorrowedFd<'_>) -> Result<(), String> {
    let kind = sockopt::socket_type(fd).map_err(|error| match error {
        Errno::NOTSOCK => "it is no socket".to_owned(),
        error => error.to_string(),
    })?;
    let family = sockopt::socket_domain(fd).map_err(|error| error.to_string())?;
    if kind != SocketType::STREAM {
        return Err("it is no stream socket".to_owned());
    }
    if family != AddressFamily::INET && family != AddressFamily::INET6 {
        return Err("it is no TCP socket (Unix sockets are not served)".to_owned());
    }
    match sockopt::socket_acceptconn(fd) {
        Ok(true) => Ok(()),
        Ok(false) => Err("it does not listen (Accept=yes is not served)".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Binds what of `address` the sockets that are `there` leave open, if anything. `[::]` means every address: beside
/// a socket for all of IPv4 it is bound for IPv6, and the other way round.
///
/// # Errors
/// As [`bind`].
pub fn bind_beside(there: &[TcpListener], address: SocketAddr) -> io::Result<Option<TcpListener>> {
    let covered = |address| there.iter().any(|socket| covers(socket, address));
    if covered(address) {
        return Ok(None);
    }
    let every_v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
    let every = address.is_ipv6() && address.ip().is_unspecified();
    let has_v6 = there
        .iter()
        .any(|s| s.local_addr().is_ok_and(|own| own == address));
    match (covered(every_v4), has_v6) {
        (true, true) if every => Ok(None),
        (true, false) if every => match bind_exactly(address, false, true) {
            // A machine without IPv6 has no more addresses than those.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => Ok(None),
            bound => Ok(Some(bound?)),
        },
        (false, true) if every => bind(every_v4).map(Some),
        _ => bind(address).map(Some),
    }
}

/// Which of the sockets that are `there` keeps an address that means every one from being bound: one of the same port
/// for a single address.
pub fn in_the_way(there: &[TcpListener], address: SocketAddr) -> Option<SocketAddr> {
    let mut own = there.iter().filter_map(|socket| socket.local_addr().ok());
    own.find(|own| {
        let every = address.ip().is_unspecified() && !own.ip().is_unspecified();
        let family = address.is_ipv6() || own.ip().to_canonical().is_ipv4();
        every && family && own.port() == address.port()
    })
}

/// Whether a connection to `address` already reaches `socket`.
fn covers(socket: &TcpListener, address: SocketAddr) -> bool {
    let Ok(own) = socket.local_addr() else {
        return false;
    };
    if own.port() != address.port() || address.port() == 0 {
        return false;
    }
    match (own.ip(), address.ip()) {
        (IpAddr::V6(ip), wanted) if ip.is_unspecified() => match wanted.to_canonical() {
            IpAddr::V6(ip) if !ip.is_unspecified() => true,
            _ => !sockopt::ipv6_v6only(socket).unwrap_or(true),
        },
        (IpAddr::V4(ip), IpAddr::V4(_)) if ip.is_unspecified() => true,
        (own, wanted) => own.to_canonical() == wanted.to_canonical(),
    }
}

/// Binds and listens. `[::]` serves IPv4 too, and is `0.0.0.0` on a machine without IPv6. An address that
/// the machine does not have yet (its cable is out, DHCP is slow) is bound all the same.
///
/// # Errors
/// The port is taken or not ours to take, or there is no such family of addresses.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let unspecified_v6 = address.is_ipv6() && address.ip().is_unspecified();
    match bind_exactly(address, false, false) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if unspecified_v6 => {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            Ok(bind_exactly(v4, false, false)?)
        }
        Err(Errno::ADDRNOTAVAIL) => {
            let socket = bind_exactly(address, true, false)?;
            log::warn!(
                "no network card has the address {} yet; connections arrive once one has",
                address.ip()
            );
            Ok(socket)
        }
        bound => Ok(bound?),
    }
}

fn bind_exactly(
    address: SocketAddr,
    absent: bool,
    v6only: bool,
) -> rustix::io::Result<TcpListener> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A restart must not wait for the last connections' TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, v6only)?;
    }
    match (absent, address) {
        (true, SocketAddr::V6(_)) => sockopt::set_ipv6_freebind(&socket, true)?,
        (true, SocketAddr::V4(_)) => sockopt::set_ip_freebind(&socket, true)?,
        (false, _) => {}
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_meant_for_another_process() {
        assert_eq!(announced(Some("7"), Some("2"), 7), 2);
        for (pid, fds) in [
            (None, Some("2")),
            (Some("8"), Some("2")),
            (Some("7"), None),
            (Some("7"), Some("-1")),
            (Some("x"), Some("1")),
            (Some("7"), Some("")),
        ] {
            assert_eq!(announced(pid, fds, 7), 0, "{pid:?} {fds:?}");
        }
        assert_eq!(announced(Some("7"), Some("2000000000"), 7), MAX_INHERITED);
    }

    #[test]
    fn only_listening_tcp_sockets_are_usable() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
        assert_eq!(usable(tcp.as_fd()), Ok(()));
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let (unix, _peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let client =
            std::net::TcpStream::connect(tcp.local_addr().expect("bound")).expect("connected");
        let file = std::fs::File::open("/dev/null").expect("a device");
        for (fd, why) in [
            (udp.as_fd(), "no stream"),
            (unix.as_fd(), "Unix"),
            (client.as_fd(), "listen"),
            (file.as_fd(), "no socket"),
        ] {
            assert!(usable(fd).expect_err(why).contains(why));
        }
    }

    #[test]
    fn dual_stack_and_cover() {
        let Ok(any) = bind("[::]:0".parse().expect("an address")) else {
            return;
        };
        let port = any.local_addr().expect("bound").port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        for host in ["[::]", "[::1]", "0.0.0.0", "127.0.0.1", "192.0.2.1"] {
            assert_eq!(
                covers(&any, format!("{host}:{port}").parse().expect("an address")),
                any.local_addr().is_ok_and(|a| a.is_ipv6()) || !host.starts_with('['),
                "{host}"
            );
        }
        assert!(!covers(&any, "[::]:0".parse().expect("an address")));
        let v4 = bind("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let port = v4.local_addr().expect("bound").port();
        assert!(covers(
            &v4,
            format!("127.0.0.1:{port}").parse().expect("an address")
        ));
        assert!(!covers(
            &v4,
            format!("0.0.0.0:{port}").parse().expect("an address")
        ));
        assert_eq!(
            bind(v4.local_addr().expect("bound"))
                .expect_err("taken")
                .kind(),
            io::ErrorKind::AddrInUse
        );
    }

    #[test]
    fn every_address_beside_a_socket_for_one_family() {
        let parse = |text: String| text.parse::<SocketAddr>().expect("an address");
        let any = |port| parse(format!("[::]:{port}"));
        let reached = |host: &str, port| std::net::TcpStream::connect((host, port)).is_ok();
        if bind_exactly(any(0), false, true).is_err() {
            // Where there is no IPv6, IPv4 is all.
            let v4 = bind(parse("0.0.0.0:0".to_owned())).expect("a socket");
            let port = v4.local_addr().expect("bound").port();
            assert!(bind_beside(&[v4], any(port)).expect("no fault").is_none());
            return;
        }
        for (inherited, other) in [("0.0.0.0:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let inherited = bind_exactly(parse(inherited.to_owned()), false, true).expect("bound");
            let port = inherited.local_addr().expect("bound").port();
            assert!(!reached(other, port));
            let mut there = vec![inherited];
            let rest = bind_beside(&there, any(port)).expect("the rest is free");
            there.extend(rest);
            assert_eq!(there.len(), 2);
            assert!(reached(other, port));
            for address in [any(port), parse(format!("0.0.0.0:{port}"))] {
                assert!(bind_beside(&there, address).expect("no fault").is_none());
                assert_eq!(in_the_way(&there, address), None);
            }
        }
    }

    #[test]
    fn a_socket_for_one_address_is_in_the_way_of_every_one() {
        for (one, hosts) in [
            (
                "127.0.0.1:0",
                [("[::]", true), ("0.0.0.0", true), ("[::1]", false)],
            ),
            (
                "[::1]:0",
                [("[::]", true), ("0.0.0.0", false), ("[::1]", false)],
            ),
        ] {
            let Ok(one) = TcpListener::bind(one) else {
                continue;
            };
            let own = one.local_addr().expect("bound");
            let there = [one];
            for (host, way) in hosts {
                let address = format!("{host}:{}", own.port());
                let address = address.parse().expect("an address");
                assert_eq!(in_the_way(&there, address), way.then_some(own), "{host}");
            }
        }
    }

    #[test]
    fn an_address_that_is_not_here_yet() {
        assert!(bind("192.0.2.77:0".parse().expect("an address")).is_ok());
    }
}
