//! Who asks: curl, wrk, and a connection that is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::bench::GIB;
use crate::table::check;

pub(crate) fn curl(args: &[&str]) -> Result<f64> {
    let out = Command::new("curl")
        .args(["-sS", "--fail", "-o", "/dev/null"])
        .args(args)
        .output()?;
    check(out.status.success(), &String::from_utf8_lossy(&out.stderr))?;
    Ok(String::from_utf8(out.stdout)?.trim().parse()?)
}

/// Body of a small GET, by curl.
pub(crate) fn get(port: u16, path: &str, headers: &[&str]) -> Result<Vec<u8>> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail"]);
    for header in headers {
        command.args(["-H", header]);
    }
    let out = command
        .arg(format!("http://127.0.0.1:{port}{path}"))
        .output()?;
    check(out.status.success(), &String::from_utf8_lossy(&out.stderr))?;
    Ok(out.stdout)
}

/// What wrk printed.
pub(crate) struct Wrk {
    pub(crate) rate: f64,
    pub(crate) bytes: f64,
    pub(crate) seconds: f64,
}

impl Wrk {
    pub(crate) fn parse(text: &str) -> Result<Wrk> {
        check(!text.contains("Non-2xx"), text)?;
        let after = |mark: &str| -> Result<&str> {
            let at = text.find(mark).ok_or_else(|| format!("wrk said: {text}"))?;
            Ok(text[at + mark.len()..]
                .split_whitespace()
                .next()
                .unwrap_or_default())
        };
        let rate = after("Requests/sec:")?.parse()?;
        // "  123 requests in 4.00s, 9.75GB read"
        let summary = text
            .lines()
            .find(|l| l.contains(" requests in "))
            .ok_or("no summary")?;
        let (_, rest) = summary.split_once(" requests in ").ok_or("no summary")?;
        let (time, rest) = rest.split_once(", ").ok_or("no summary")?;
        let seconds = time.trim_end_matches('s').parse()?;
        let size = rest.split_whitespace().next().ok_or("no size")?;
        let bytes = match size {
            s if s.ends_with("GB") => s.trim_end_matches("GB").parse::<f64>()? * GIB as f64,
            s if s.ends_with("MB") => s.trim_end_matches("MB").parse::<f64>()? * 1048576.0,
            s => return Err(format!("wrk read only {s}").into()),
        };
        Ok(Wrk {
            rate,
            bytes,
            seconds,
        })
    }
}

/// One connection that is kept.
pub(crate) struct Keeping {
    pub(crate) socket: BufReader<TcpStream>,
    /// Of the last answer.
    pub(crate) tag: String,
}

impl Keeping {
    pub(crate) fn connect(port: u16) -> Result<Keeping> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        Ok(Keeping {
            socket: BufReader::with_capacity(1 << 16, socket),
            tag: String::new(),
        })
    }

    pub(crate) fn get(&mut self, target: &str, headers: &str) -> Result<Vec<u8>> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        self.socket.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut status) = (0, String::new());
        loop {
            let mut line = String::new();
            self.socket.read_line(&mut line)?;
            if status.is_empty() {
                status = line.clone();
            }
            let lower = line.to_ascii_lowercase();
            if let Some(text) = lower.strip_prefix("content-length:") {
                length = text.trim().parse()?;
            }
            if let Some(text) = lower.strip_prefix("etag:") {
                self.tag = text.trim().to_owned();
            }
            if line == "\r\n" {
                break;
            }
            check(!line.is_empty(), "the connection ended")?;
        }
        check(status.contains(" 200 "), &format!("{target}: {status}"))?;
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body)?;
        Ok(body)
    }
}

/// The 99th percentile of the seconds that each of these takes, one after the other on one connection, asked for with
/// `headers`, each of which ends its line.
pub(crate) fn percentile_99(
    port: u16,
    targets: impl Iterator<Item = String>,
    headers: &str,
) -> Result<f64> {
    let mut client = Keeping::connect(port)?;
    let mut times = Vec::new();
    for target in targets {
        let began = Instant::now();
        client.get(&target, headers)?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() * 99 / 100])
}
