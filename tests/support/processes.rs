//! What a daemon has started, and whether all of it has ended.

use std::fs;
use std::time::Duration;

use super::daemon::{Daemon, eventually};

/// A process, as `/proc` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its group's.
    pub group: i32,
    /// `R`, `S`, `T`, `Z` ...
    pub state: char,
    /// What it is called.
    pub name: String,
}

/// All processes that can be seen.
pub fn all() -> Vec<Process> {
    let numbers = fs::read_dir("/proc").expect("procfs is mounted");
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter_map(read).collect()
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        state: fields.first()?.chars().next()?,
        name: name.to_owned(),
    })
}

/// The programs that a daemon has started itself, ended ones that it has not waited for among them.
pub fn children(daemon: &Daemon) -> Vec<Process> {
    let pid = i32::try_from(daemon.pid()).expect("a process number");
    let mut found = all();
    found.retain(|process| process.parent == pid);
    found
}

/// The living processes of a group.
pub fn group(group: i32) -> Vec<Process> {
    let mut found = all();
    found.retain(|process| process.group == group && process.state != 'Z');
    found
}

/// Asserts that within `patience` a daemon has no child left, and `groups` no process.
pub fn assert_none_left(daemon: &Daemon, groups: &[i32], patience: Duration) {
    let left = || {
        let mut left = children(daemon);
        for leader in groups {
            left.extend(group(*leader));
        }
        left
    };
    assert!(
        eventually(patience, || left().is_empty()),
        "still there after {patience:?}: {:?}",
        left()
    );
}
