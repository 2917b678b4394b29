//! Names that mean harm, things that are no files, and files that change while they are sent.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};

use super::{Before, MIB};
use crate::support::client::Client;
use crate::support::daemon::{Setup, eventually};

fn put(folder: &Path, name: &[u8], content: &[u8]) {
    std::fs::write(folder.join(OsStr::from_bytes(name)), content).expect("a file");
}

/// What every link of a page leads to.
fn links(page: &str, attribute: &str) -> Vec<String> {
    let begin = format!("{attribute}=\"");
    page.split(&begin)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(|url| url.replace("&amp;", "&"))
        .collect()
}

#[test]
fn every_name_is_only_a_name() {
    let setup = Setup::new();
    let videos = setup.videos();
    let long = [&[b'n'; 251][..], b".mp4"].concat();
    let long_accents = ["é".repeat(125).as_bytes(), b"x.mp4"].concat();
    let names: Vec<&[u8]> = vec![
        b"line\nbreak.mp4",
        b"carriage\r\nX-Injected: yes.mp4",
        b"tab\tand\x01control\x7f.mp4",
        b"quote\"and'apostrophe.mp4",
        b"<script>alert(1)<script>.mp4",
        b"--><img src=x onerror=alert(1)>.mp4",
        b"percent%2e%2e%2fetc%2fpasswd.mp4",
        b"100%.mp4",
        b"%00.mp4",
        b"question?download=1.mp4",
        b"hash#frag.mp4",
        b"amp&lt;.mp4",
        b"back\\slash.mp4",
        b"semi;colon,comma.mp4",
        b"not \xff\xfe utf-8.mp4",
        b"\xc3.mp4",
        b"\xed\xa0\x80.mp4",
        "right\u{202e}4pm.to left.mp4".as_bytes(),
        "zero\u{200b}width \u{1f600}\u{301}.mp4".as_bytes(),
        b"..mp4",
        b"...mp4",
        b" .mp4",
        b"-rf.mp4",
        b"~.mp4",
        b"$(reboot).mp4",
        b"`id`.mp4",
        b"a;b|c>d.mp4",
        b"{{7*7}}.mp4",
        b"COM1.mp4",
        &long,
        &long_accents,
    ];
    // A name that begins with a dot is hidden, as everywhere.
    let shown: Vec<&[u8]> = (names.iter().copied())
        .filter(|name| !name.starts_with(b"."))
        .collect();
    for name in &names {
        put(&videos, name, name);
        let mut srt = name[..name.len() - 4].to_vec();
        srt.truncate(250);
        srt.extend_from_slice(b".srt");
        put(&videos, &srt, b"1\n0:0:1,0 --> 0:0:2,0\nHi\n");
    }
    let daemon = setup.start();
    let before = Before::of(&daemon);
    let listed = daemon.get("/api/videos").json();
    let listed = listed["videos"].as_array().expect("a list").clone();
    assert_eq!(listed.len(), shown.len());
    let mut found = Vec::new();
    for video in &listed {
        let url = video["url"].as_str().expect("a URL");
        let watch = video["watch"].as_str().expect("a URL");
        for url in [url, watch] {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/%-._~".contains(&byte);
            assert!(url.bytes().all(plain), "{url}");
        }
        // Heads are read by a client that takes an odd line for a fault.
        let bytes = daemon.get(&format!("{url}?download=1"));
        assert_eq!(bytes.status(), 200, "{url}");
        assert_eq!(bytes.header("x-injected"), None, "{url}");
        found.push(bytes.body);
        let page = daemon.get(watch);
        assert_eq!(page.status(), 200, "{watch}");
        let page = page.text();
        assert!(
            !page.contains("<script") && !page.contains("<img"),
            "{page}"
        );
        assert!(links(&page, "src").iter().any(|link| link == url), "{page}");
        for track in links(&page, "src")
            .iter()
            .filter(|link| link.contains(".vtt"))
        {
            let vtt = daemon.get(track);
            assert!(
                vtt.text().starts_with("WEBVTT\n"),
                "{track}: {}",
                vtt.text()
            );
        }
    }
    for name in &shown {
        assert!(
            found.iter().any(|body| body == name),
            "{:?}",
            String::from_utf8_lossy(name)
        );
    }
    let mut page = "/".to_owned();
    loop {
        let text = daemon.get(&page).text();
        assert!(
            !text.contains("<script") && !text.contains("<img"),
            "{text}"
        );
        match links(&text, "href")
            .iter()
            .find(|url| text.contains("Older") && url.contains("page="))
        {
            Some(next) if *next > page => page.clone_from(next),
            _ => break,
        }
    }
    before.and_after(&daemon, 6 * MIB);
}

#[test]
fn what_is_no_file_is_not_opened() {
    let setup = Setup::new().video("film.mp4", b"film");
    let videos = setup.videos();
    let at = |name: &str| videos.join(name);
    symlink("loop-b.mp4", at("loop-a.mp4")).unwrap();
    symlink("loop-a.mp4", at("loop-b.mp4")).unwrap();
    symlink("self.mp4", at("self.mp4")).unwrap();
    symlink(".", at("here")).unwrap();
    symlink("..", at("up")).unwrap();
    symlink("/dev/zero", at("zero.mp4")).unwrap();
    symlink("/dev/stdin", at("stdin.mp4")).unwrap();
    symlink("/proc/self/mem", at("mem.mp4")).unwrap();
    symlink("/proc/self/fd/0", at("fd.mp4")).unwrap();
    symlink("gone.mp4", at("dangling.mp4")).unwrap();
    std::fs::create_dir(at("folder.mp4")).unwrap();
    let _socket = UnixListener::bind(at("socket.mp4")).unwrap();
    rustix::fs::mknodat(CWD, at("pipe.mp4"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    rustix::fs::mknodat(CWD, at("pipe.srt"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    // Only root makes devices.
    let device = rustix::fs::makedev(1, 5);
    let _ = rustix::fs::mknodat(
        CWD,
        at("device.mp4"),
        FileType::CharacterDevice,
        Mode::RWXU,
        device,
    );
    let daemon = setup.start();
    let before = Before::of(&daemon);
    let listed = daemon.get("/api/videos").json();
    let names: Vec<&str> = (listed["videos"].as_array().into_iter().flatten())
        .filter_map(|video| video["name"].as_str())
        .collect();
    assert_eq!(names, ["film.mp4"]);
    for name in [
        "loop-a.mp4",
        "self.mp4",
        "zero.mp4",
        "stdin.mp4",
        "mem.mp4",
        "fd.mp4",
        "dangling.mp4",
        "socket.mp4",
        "pipe.mp4",
        "pipe.vtt",
        "device.mp4",
        "up/rill.toml",
        "film.mp4/x",
        "here/here/here/gone.mp4",
    ] {
        for target in [format!("/videos/{name}"), format!("/video/{name}")] {
            assert_eq!(daemon.get(&target).status(), 404, "{target}");
        }
    }
    // A folder is its listing, whatever it is called, and nothing to watch.
    assert_eq!(daemon.get("/videos/folder.mp4").status(), 301);
    assert_eq!(daemon.get("/video/folder.mp4").status(), 404);
    // A link to a folder inside leads to what lies there.
    assert_eq!(daemon.get("/videos/here/here/film.mp4").body, b"film");
    before.and_after(&daemon, 6 * MIB);
}

#[test]
fn files_that_shrink_vanish_or_grow_while_they_are_sent() {
    let setup = Setup::new();
    let videos = setup.videos();
    let size = 40 * MIB;
    for name in ["shrinks.mp4", "vanishes.mp4", "grows.mp4", "replaced.mp4"] {
        put(&videos, name.as_bytes(), &vec![7; size as usize]);
    }
    let daemon = setup.start();
    let before = Before::of(&daemon);
    let begin = |name: &str| {
        let mut client = Client::connect_small(daemon.address);
        client.ask("GET", &format!("/videos/{name}"), &[]);
        let head = client.head();
        assert_eq!((head.status, head.length()), (200, Some(size)));
        let body = client.take(MIB).expect("its beginning");
        client.widen();
        (client, body)
    };
    // Less than was promised: cut, and never filled up.
    let (mut client, mut body) = begin("shrinks.mp4");
    let file = std::fs::File::options()
        .write(true)
        .open(videos.join("shrinks.mp4"));
    file.and_then(|file| file.set_len(2 * MIB))
        .expect("it shrinks");
    assert!(client.read_into(&mut body, size - MIB).is_err());
    assert!((body.len() as u64) < size);
    assert!(body.iter().all(|&byte| byte == 7));
    // Gone from its folder, but open: sent to its end, and 404 for the next.
    let (mut client, mut body) = begin("vanishes.mp4");
    std::fs::remove_file(videos.join("vanishes.mp4")).expect("it vanishes");
    assert!(client.read_into(&mut body, size - MIB).is_ok());
    assert_eq!(daemon.get("/videos/vanishes.mp4").status(), 404);
    assert_eq!(client.get("/videos/vanishes.mp4").status(), 404);
    // More than was promised: as much as was.
    let (mut client, mut body) = begin("grows.mp4");
    let file = std::fs::File::options()
        .append(true)
        .open(videos.join("grows.mp4"));
    file.and_then(|mut file| std::io::Write::write_all(&mut file, &[9; 100_000]))
        .expect("it grows");
    assert!(client.read_into(&mut body, size - MIB).is_ok());
    assert!(body.iter().all(|&byte| byte == 7));
    let tail = client.get_range("/videos/grows.mp4", "bytes=-1");
    assert_eq!((tail.status(), &*tail.body), (206, &[9][..]));
    // Another under the same name: the one that was begun goes on, and a part of the other has another tag.
    let (mut client, mut body) = begin("replaced.mp4");
    let tag = daemon.get_range("/videos/replaced.mp4", "bytes=0-0");
    let tag = tag.header("etag").expect("a tag").to_owned();
    put(&videos, b"new", &vec![8; size as usize]);
    std::fs::rename(videos.join("new"), videos.join("replaced.mp4")).expect("it is replaced");
    assert!(client.read_into(&mut body, size - MIB).is_ok());
    assert!(body.iter().all(|&byte| byte == 7));
    let resumed = client.request(
        "GET",
        "/videos/replaced.mp4",
        &[("Range", "bytes=100-"), ("If-Range", &tag)],
    );
    assert_eq!(resumed.status(), 200, "not a mixture of two");
    drop(client);
    // The folder itself goes away, and comes back.
    std::fs::rename(&videos, videos.with_extension("gone")).expect("it goes");
    // A file that was opened a moment ago stays open for a second.
    assert!(eventually(Duration::from_secs(20), || {
        daemon.get("/videos/grows.mp4").status() == 404
    }));
    assert!(eventually(Duration::from_secs(20), || {
        daemon.get("/api/videos").json()["problem"].is_string()
    }));
    std::fs::rename(videos.with_extension("gone"), &videos).expect("it comes back");
    assert!(eventually(Duration::from_secs(30), || {
        daemon.get("/api/videos").json()["problem"].is_null()
    }));
    before.and_after(&daemon, 8 * MIB);
}
