//! Which sockets to serve: those that were inherited, then the configured addresses they do not cover.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use smol::Timer;

use super::watchdog;
use crate::error::{Error, Kind, Result};
use crate::sys::notify::{self, Message};
use crate::sys::sockets;

/// How often a port that somebody else has is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// How long a start without any address lasts where systemd follows it with another, which may hand over a socket.
const NOWHERE: Duration = Duration::from_secs(60);

/// As [`sockets()`]; but where systemd would only start the daemon again every second, it stays, says why to whoever
/// asks for its status, and tries again until there is a socket.
///
/// # Errors
/// As [`sockets()`], where systemd does not listen; else only that no address is configured.
pub(super) async fn sockets_at_last(
    listen: &[String],
    inherited: Vec<TcpListener>,
) -> Result<Vec<TcpListener>> {
    let error = match sockets(listen, inherited).await {
        Err(error) if notify::wanted() => error,
        gathered => return gathered,
    };
    let sentence = error.chain();
    log::error!("{sentence}");
    notify::send(vec![Message::Ready, notify::status(&sentence)]).await;
    let _fed = watchdog::start(None);
    if listen.is_empty() {
        Timer::after(NOWHERE).await;
        return Err(error);
    }
    log::info!(
        "what is configured is tried again every {} s",
        AGAIN.as_secs()
    );
    loop {
        Timer::after(AGAIN).await;
        let (sockets, errors) = gather(listen, Vec::new()).await;
        if !sockets.is_empty() {
            warn(errors);
            return Ok(sockets);
        }
    }
}

/// Gathers the sockets. An address that cannot be bound is fatal only when nothing else is there to
/// serve on: a box that answers on one of two addresses can still be mended through it.
///
/// # Errors
/// `listen`: nothing can be served on, with the first address's reason and remedy.
async fn sockets(listen: &[String], inherited: Vec<TcpListener>) -> Result<Vec<TcpListener>> {
    let (sockets, mut errors) = gather(listen, inherited).await;
    let fatal = if !sockets.is_empty() {
        None
    } else if errors.is_empty() {
        Some(Error::new(
            Kind::Unavailable,
            "listen",
            "http.listen is empty and systemd handed over no socket; name an address, such as \"[::]:8080\", or start rill.socket",
        ))
    } else {
        // The one for what a person wrote first.
        Some(errors.remove(0))
    };
    warn(errors);
    fatal.map_or(Ok(sockets), Err)
}

fn warn(errors: Vec<Error>) {
    for error in errors {
        log::warn!("{}", error.chain());
    }
}

/// The sockets that are to be had, and why the others are not.
async fn gather(listen: &[String], inherited: Vec<TcpListener>) -> (Vec<TcpListener>, Vec<Error>) {
    let mut sockets = inherited;
    let mut errors = Vec::new();
    for text in listen {
        match resolve(text).await {
            Ok(address) => match sockets::bind_beside(&sockets, address) {
                Ok(Some(socket)) => sockets.push(socket),
                Ok(None) => {
                    log::debug!("{text} is served by a socket that is already there");
                }
                Err(error) => errors.push(match sockets::in_the_way(&sockets, address) {
                    Some(own) if error.kind() == io::ErrorKind::AddrInUse => {
                        crossed(text, own, error)
                    }
                    _ => refused(text, address.port(), error),
                }),
            },
            Err(error) => errors.push(error),
        }
    }
    (sockets, errors)
}

/// Why an address cannot be bound beside a socket of our own.
fn crossed(text: &str, own: SocketAddr, error: io::Error) -> Error {
    let sentence = format!(
        "{text} cannot be listened on beside {own}, where rill listens already; leave one of them out of http.listen and rill.socket"
    );
    Error::new(Kind::Unavailable, "listen", sentence).because(error)
}

/// The address that `HOST:PORT` means, which for a name may take the network.
pub(super) async fn resolve(text: &str) -> Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found = smol::net::resolve(text).await;
    let why = match found {
        Ok(addresses) => match addresses.first() {
            Some(address) => return Ok(*address),
            None => io::Error::from(io::ErrorKind::NotFound),
        },
        Err(error) => error,
    };
    let sentence = format!(
        "the name in the listening address {text} is not known here; write an IP address, or [::] for every one, in http.listen"
    );
    Err(Error::new(Kind::Unavailable, "listen", sentence).because(why))
}

/// Why an address cannot be bound, and what to do.
pub(super) fn refused(text: &str, port: u16, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program listens there (`ss -ltnp sport = :{port}` names it): stop it, or choose another port in http.listen or PORT"
        ),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 belong to root: enable rill-http.socket for port 80, or choose a port from 1024 up in http.listen".to_owned()
        }
        _ => "choose another address in http.listen".to_owned(),
    };
    Error::new(
        Kind::Unavailable,
        "listen",
        format!("{text} cannot be listened on; {remedy}"),
    )
    .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_first_and_what_they_cover_skipped() {
        smol::block_on(async {
            let inherited = TcpListener::bind("127.0.0.1:0").expect("a socket");
            let address = inherited.local_addr().expect("bound");
            let listen = [address.to_string(), "127.0.0.1:0".to_owned()];
            let sockets = sockets(&listen, vec![inherited]).await.expect("sockets");
            assert_eq!(sockets.len(), 2);
            assert_eq!(sockets[0].local_addr().expect("bound"), address);
        });
    }

    #[test]
    fn a_taken_port_is_fatal_only_alone() {
        smol::block_on(async {
            let taken = TcpListener::bind("127.0.0.1:0").expect("a socket");
            let address = taken.local_addr().expect("bound").to_string();
            let error = sockets(std::slice::from_ref(&address), Vec::new())
                .await
                .expect_err("taken");
            assert!(error.sentence().contains(&address) && error.sentence().contains("ss -ltnp"));
            let two = sockets(&[address, "127.0.0.1:0".to_owned()], Vec::new())
                .await
                .expect("one of two");
            assert_eq!(two.len(), 1);
            assert_eq!(
                sockets(&[], Vec::new()).await.expect_err("none").code(),
                "listen"
            );
        });
    }
}
