//! What a program is given between `fork` and `exec`, and signals to all it started.
//!
//! A program dies with the thread that started it (`PR_SET_PDEATHSIG` follows the thread, not the process), so
//! whoever starts one does it from a thread that stays; see `ffmpeg::supervisor`, the only caller.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal};

/// How much of the machine a program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for it.
    Live,
    /// Nobody does: nice 10, and the disk only when nobody else wants it.
    Background,
}

/// How nice a program in the background is.
const NICE: i32 = 10;

/// What `/proc/self/oom_score_adj` becomes: short of memory, the kernel ends the program and not the daemon.
const OOM_SCORE: &[u8] = b"500";

/// What of the machine's memory one program may take for data, in percent. A control group's bound does as much for all
/// together, but most Pis boot without them; there a program that wanted everything would leave the kernel to throw out
/// the code of all others page by page, the daemon's too, for most of a minute before it ended anything.
const MEMORY_PERCENT: u64 = 75;

/// How large the stacks of a program's threads are. The C library's 8 MiB count as data, though hardly touched: of a
/// dozen threads they would take a seventh of what a machine with 1 GB grants.
const STACK: u64 = 2 * 1024 * 1024;

/// Lets `command` start in a process group of its own, die with the calling thread, and run at `priority`.
#[allow(unsafe_code)]
pub fn prepare(command: &mut Command, priority: Priority) {
    let parent = rustix::process::getpid();
    let memory = memory_for_one();
    command.process_group(0);
    // SAFETY: between fork and exec `enter` only makes system calls; it allocates nothing, takes no lock and
    // touches no memory that another thread may have been changing.
    unsafe {
        command.pre_exec(move || enter(parent, priority, memory));
    }
}

/// The bytes of data that one program may have: a part of what this machine has.
// Of 32 bits on armv7.
#[allow(clippy::useless_conversion)]
pub fn memory_for_one() -> u64 {
    let machine = rustix::system::sysinfo();
    let total = u64::from(machine.totalram).saturating_mul(u64::from(machine.mem_unit));
    total / 100 * MEMORY_PERCENT
}

fn enter(parent: Pid, priority: Priority, memory: u64) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It ended between the fork and the line above: nobody is left who would send the signal.
    if rustix::process::getppid() != Some(parent) {
        return Err(rustix::io::Errno::SRCH.into());
    }
    // What follows is a favour to others; a sandbox that forbids it (systemd's @resources) forbids no playing.
    if let Ok(score) = rustix::fs::open(
        c"/proc/self/oom_score_adj",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        let _ = rustix::io::write(&score, OOM_SCORE);
    }
    bound(Resource::Data, memory);
    bound(Resource::Stack, STACK);
    if priority == Priority::Background {
        let _ = rustix::process::setpriority_process(None, NICE);
        idle_disk();
    }
    Ok(())
}

/// Lowers a limit of the calling process, where it is not lower already.
fn bound(resource: Resource, most: u64) {
    let Rlimit { current, maximum } = rustix::process::getrlimit(resource);
    let lower = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let _ = rustix::process::setrlimit(
        resource,
        Rlimit {
            current: lower(current),
            maximum,
        },
    );
}

/// Puts the calling process into the idle class of the disk's queue (ioprio_set(2)), where the kernel's numbers
/// are known; elsewhere the disk's queue follows the nice value.
#[allow(unsafe_code)]
fn idle_disk() {
    use std::ffi::{c_int, c_long};
    const IOPRIO_SET: Option<c_long> = if cfg!(target_arch = "x86_64") {
        Some(251)
    } else if cfg!(target_arch = "aarch64") {
        Some(30)
    } else if cfg!(target_arch = "arm") {
        Some(314)
    } else {
        None
    };
    const WHO_PROCESS: c_int = 1;
    const CLASS_IDLE: c_int = 3 << 13;
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    if let Some(number) = IOPRIO_SET {
        // SAFETY: the call reads three integers and no memory of ours; 0 means the calling process.
        unsafe { syscall(number, WHO_PROCESS, 0 as c_int, CLASS_IDLE) };
    }
}

/// Sends a signal to every process of the group that `leader` leads.
///
/// # Errors
/// There is no such process any more.
pub fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    rustix::process::kill_process_group(leader, signal).map_err(Into::into)
}
