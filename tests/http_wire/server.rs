//! A listener on a port of its own, over a service that knows every kind of body.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use rill::error::Error;
use rill::http::{
    Body, ByteStream, Bytes, Chunk, Deadlines, Entity, Listener, Request, Response, Service,
    StatusCode,
};
use rill::sys::executor;
use smol::Timer;
use smol::future::Boxed;
use smol::io::AsyncReadExt;

/// A server that stops with its test.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) listener: Arc<Listener>,
    pub(super) service: Arc<Zoo>,
}

impl Server {
    pub(super) fn start() -> Server {
        Server::with(512, Deadlines::default())
    }

    pub(super) fn with(max: usize, deadlines: Deadlines) -> Server {
        static THREAD: Once = Once::new();
        THREAD.call_once(|| {
            std::thread::spawn(|| executor::run(std::future::pending::<()>()));
        });
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Arc::new(Listener::with_deadlines(vec![socket], max, deadlines).unwrap());
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..FILE_LEN).map(byte_at).collect();
        io::Write::write_all(&mut file, &content).unwrap();
        let service = Arc::new(Zoo {
            file: Arc::new(file),
            bytes: Arc::new(Bytes::new(b"{\"a\":[1,2,3]}\n".repeat(20_000))),
            streams: Arc::default(),
            asked: Arc::default(),
        });
        let (serving, zoo) = (listener.clone(), service.clone());
        executor::spawn(async move { serving.serve(zoo).await }).detach();
        Server {
            address,
            listener,
            service,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        smol::block_on(self.listener.close(Duration::ZERO));
    }
}

pub(super) const FILE_LEN: u64 = 3_000_001;

/// The byte of the file at an offset.
pub(super) fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(2_654_435_761) >> 13) as u8
}

/// Answers by path.
pub(super) struct Zoo {
    pub(super) file: Arc<File>,
    pub(super) bytes: Arc<Bytes>,
    /// Streams that are open.
    pub(super) streams: Arc<AtomicUsize>,
    /// Pieces that were asked of them.
    pub(super) asked: Arc<AtomicUsize>,
}

impl Service for Zoo {
    async fn call(&self, request: &mut Request) -> Response {
        match self.answer(request).await {
            Ok(response) => response,
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(&self, error: Error) -> Response {
        let status = StatusCode::try_from(error.kind().status()).unwrap();
        let text = format!("{{\"error\":\"{}\"}}", error.code());
        Response::new(status).body("application/json; charset=utf-8", Body::Text(text.into()))
    }
}

fn text(text: impl Into<Vec<u8>>) -> Response {
    Response::new(StatusCode::Ok).body("text/plain", Body::Text(text.into()))
}

impl Zoo {
    async fn answer(&self, request: &mut Request) -> Result<Response, Error> {
        let stream = |pieces: Vec<Piece>| Box::new(Scripted::new(self, pieces));
        Ok(match request.path() {
            "/file" => {
                let entity = Entity::file(self.file.clone(), "video/mp4").unwrap();
                entity
                    .header("cache-control", "no-cache")
                    .respond(request)
                    .await?
            }
            "/bytes" => {
                Entity::bytes(self.bytes.clone(), "application/json")
                    .respond(request)
                    .await?
            }
            "/echo" => {
                let body = request.read_body(1 << 20).await?;
                text(body)
            }
            "/count" => {
                let mut body = request.body();
                let mut piece = vec![0; 100_000];
                let mut count = 0;
                loop {
                    match body.read(&mut piece).await {
                        Ok(0) => break,
                        Ok(n) => count += n,
                        Err(error) => return Ok(text(format!("{:?} after {count}", error.kind()))),
                    }
                }
                text(count.to_string())
            }
            "/none" => Response::new(StatusCode::NoContent),
            "/empty" => Response::new(StatusCode::Ok),
            "/panic" => panic!("as asked"),
            "/slow" => {
                Timer::after(Duration::from_millis(400)).await;
                text("slow")
            }
            "/header" => {
                let value = request.header("x-test").unwrap_or("none").to_owned();
                text(value)
                    .header("x-back", "a\r\nx-split: b")
                    .header("x-fine", "f\u{fc}r")
            }
            "/chunked" => Response::new(StatusCode::Ok).body(
                "text/plain",
                Body::Stream(
                    stream(vec![Piece::Data(5), Piece::Wait(30), Piece::Data(3)]),
                    None,
                ),
            ),
            "/sized" => Response::new(StatusCode::Ok).body(
                "text/plain",
                Body::Stream(stream(vec![Piece::Data(8)]), Some(8)),
            ),
            "/short" => Response::new(StatusCode::Ok).body(
                "text/plain",
                Body::Stream(stream(vec![Piece::Data(8)]), Some(20)),
            ),
            "/long" => Response::new(StatusCode::Ok).body(
                "text/plain",
                Body::Stream(stream(vec![Piece::Data(8), Piece::Data(8)]), Some(10)),
            ),
            "/broken" => Response::new(StatusCode::Ok).body(
                "text/plain",
                Body::Stream(stream(vec![Piece::Data(8), Piece::Fail]), None),
            ),
            "/failing" => Response::new(StatusCode::Ok).body(
                "text/plain",
                Body::Stream(stream(vec![Piece::Fail]), Some(8)),
            ),
            "/panicking" => Response::new(StatusCode::Ok).body(
                "text/plain",
                Body::Stream(stream(vec![Piece::Data(8), Piece::Panic]), None),
            ),
            "/stalled" => Response::new(StatusCode::Ok).body(
                "text/plain",
                Body::Stream(
                    stream(vec![Piece::Data(8), Piece::Wait(60_000)]),
                    Some(1 << 20),
                ),
            ),
            "/endless" => Response::new(StatusCode::Ok).body(
                "video/mp4",
                Body::Stream(
                    stream(vec![Piece::Data(100_000); 20_000]),
                    Some(2_000_000_000),
                ),
            ),
            other => text(format!(
                "{} {} {} {}",
                request.method(),
                other,
                request.query().unwrap_or("-"),
                request.host().unwrap_or("-")
            )),
        })
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Data(usize),
    Wait(u64),
    Fail,
    Panic,
}

/// A stream that does what it is told, and counts itself.
struct Scripted {
    pieces: std::vec::IntoIter<Piece>,
    open: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    fn new(zoo: &Zoo, pieces: Vec<Piece>) -> Scripted {
        zoo.streams.fetch_add(1, Ordering::SeqCst);
        let (open, asked) = (zoo.streams.clone(), zoo.asked.clone());
        Scripted {
            pieces: pieces.into_iter(),
            open,
            asked,
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ByteStream for Scripted {
    fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut piece = self.pieces.next();
        let after = match piece {
            Some(Piece::Wait(_)) => self.pieces.next(),
            _ => None,
        };
        Box::pin(async move {
            if let Some(Piece::Wait(millis)) = piece {
                Timer::after(Duration::from_millis(millis)).await;
                piece = after;
            }
            match piece {
                Some(Piece::Data(n)) => Ok(Some(Box::new(vec![b'x'; n]) as Chunk)),
                Some(Piece::Fail) => Err(io::Error::other("as asked")),
                Some(Piece::Panic) => panic!("as asked, in a stream"),
                Some(Piece::Wait(_)) | None => Ok(None),
            }
        })
    }
}
