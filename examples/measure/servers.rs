//! The servers that are measured, as processes that end with what holds them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::GIB;

/// Kernel ticks a second, in which `/proc/PID/stat` counts (fixed at 100 on Linux).
const TICKS: f64 = 100.0;

pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx leaves no workers behind on SIGTERM; SIGKILL to its master would orphan them.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Processor seconds of the server and its children so far.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let mut ticks = 0;
        for pid in family(self.child.id())? {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let after = stat.rsplit(") ").next().ok_or("no stat")?;
            let fields: Vec<&str> = after.split(' ').collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
        Ok(ticks as f64 / TICKS)
    }

    /// Resident memory in MiB.
    pub(crate) fn rss(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
        Ok(kib / 1024.0)
    }
}

/// A process and its direct children.
fn family(pid: u32) -> Result<Vec<u32>> {
    let mut pids = vec![pid];
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    pids.extend(
        children
            .split_whitespace()
            .filter_map(|p| p.parse::<u32>().ok()),
    );
    Ok(pids)
}

pub(crate) struct Upstream {
    pub(crate) child: Child,
    pub(crate) endpoint: String,
    pub(crate) ca_file: String,
    pub(crate) token: String,
    pub(crate) file: String,
    pub(crate) many: Vec<String>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Upstream {
    pub(crate) fn start() -> Result<Upstream> {
        let mut child = Command::new(beside("fake-drive")?)
            .args(["--file-size", &GIB.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let said: serde_json::Value = serde_json::from_str(&line)?;
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        let files: Vec<String> = said["files"]
            .as_array()
            .ok_or("no files")?
            .iter()
            .filter_map(|f| f.as_str().or(f["id"].as_str()).map(str::to_owned))
            .collect();
        let upstream = Upstream {
            child,
            endpoint: text("endpoint"),
            ca_file: text("ca_file"),
            token: text("curl_token"),
            file: files.first().cloned().ok_or("the stand-in holds no file")?,
            many: files,
        };
        // Kept beside the rest, for the configuration of rill.
        std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))?;
        CREDENTIALS
            .set(text("credentials_file"))
            .map_err(|_| "started twice")?;
        Ok(upstream)
    }

    pub(crate) fn credentials(&self) -> Result<String> {
        Ok(CREDENTIALS.get().ok_or("not started")?.clone())
    }
}

static CREDENTIALS: std::sync::OnceLock<String> = std::sync::OnceLock::new();

pub(crate) fn start_rill(config: &Path, folder: &Path) -> Result<Server> {
    let log = fs::File::create(folder.join("rill.log"))?;
    let mut child = Command::new(beside("../rill")?)
        .args(["serve", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    let port = line
        .trim()
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .parse();
    let port = port.map_err(|_| {
        format!(
            "rill said {line:?}; see {}",
            folder.join("rill.log").display()
        )
    })?;
    Ok(Server { child, port })
}

/// Seconds from `exec` to `READY=1`.
pub(crate) fn exec_to_ready(config: &Path, folder: &Path) -> Result<f64> {
    let socket = folder.join("notify");
    let _ = fs::remove_file(&socket);
    let notify = UnixDatagram::bind(&socket)?;
    notify.set_read_timeout(Some(Duration::from_secs(20)))?;
    let began = Instant::now();
    let child = Command::new(beside("../rill")?)
        .args(["serve", "--config"])
        .arg(config)
        .env("NOTIFY_SOCKET", &socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _server = Server { child, port: 0 };
    let mut message = [0; 4096];
    loop {
        let n = notify.recv(&mut message)?;
        if String::from_utf8_lossy(&message[..n]).contains("READY=1") {
            return Ok(began.elapsed().as_secs_f64());
        }
    }
}

pub(crate) fn start_nginx(folder: &Path) -> Result<Server> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = folder.join("nginx.conf");
    let dir = folder.display();
    fs::write(
        &config,
        format!(
            "daemon off; worker_processes 2; pid {dir}/nginx.pid; error_log {dir}/nginx.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n\
               access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
               client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
               uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
               types {{ video/mp4 mp4; application/json json; }}\n\
               server {{ listen 127.0.0.1:{port}; root {dir}/static; gzip_static on;\n\
                 location /videos/ {{ alias {dir}/videos/; }}\n\
                 location /ranges/ {{ alias {dir}/videos/; tcp_nopush off; }}
                 location /dav/ {{ alias {dir}/dav/; dav_methods PUT DELETE; client_max_body_size 0; }} }}\n\
             }}\n"
        ),
    )?;
    let nginx = if Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    };
    // As root nginx's workers would run as nobody, who cannot read the temporary folder.
    let user = fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)?;
    let mut command = Command::new(nginx);
    command.arg("-c").arg(&config);
    if user {
        command.args(["-g", "user root;"]);
    }
    let child = command.spawn()?;
    let server = Server { child, port };
    for _ in 0..100 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(server);
        }
        sleep(Duration::from_millis(50));
    }
    Err("nginx does not answer".into())
}

/// A program that was built into the folder of this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    Ok(here.parent().ok_or("no folder")?.join(name))
}
