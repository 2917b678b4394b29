//! Resident memory: idle, and with fifty viewers of Drive who paused.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use crate::Result;
use crate::bench::Bench;
use crate::servers::start_rill;
use crate::table::{alone, check};

impl Bench {
    pub(crate) fn memory(&self) -> Result<()> {
        let config = self.folder.0.join("empty.toml");
        let empty = self.folder.0.join("empty");
        fs::create_dir_all(empty.join("videos"))?;
        let text = fs::read_to_string(self.folder.0.join("rill.toml"))?;
        fs::write(
            &config,
            text.replace(
                &*self.folder.0.join("videos").to_string_lossy(),
                &empty.join("videos").to_string_lossy(),
            ),
        )?;
        let rill = start_rill(&config, &empty)?;
        sleep(Duration::from_secs(3));
        let idle = rill.rss()?;
        alone("memory, idle", "MiB", idle, "<= 10");

        let mut clients = Vec::new();
        for id in self.drive.many.iter().cycle().take(50) {
            let mut socket = TcpStream::connect(("127.0.0.1", rill.port))?;
            write!(
                socket,
                "GET /drive/files/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )?;
            // A paused viewer: the first bytes are taken, then nothing.
            let mut some = [0; 4096];
            socket.read_exact(&mut some)?;
            check(
                some.starts_with(b"HTTP/1.1 200"),
                "a stream of the fifty was refused",
            )?;
            clients.push(socket);
        }
        sleep(Duration::from_secs(3));
        alone(
            "memory, 50 Drive streams above idle",
            "MiB",
            rill.rss()? - idle,
            "<= 64",
        );
        Ok(())
    }
}
