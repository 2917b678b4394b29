//! The one thread that starts programs, hears what they complain of, and sees them end.
//!
//! A thread of its own because a program dies with the thread that started it, and the threads of a pool come
//! and go. It sleeps in `poll` on a bell for new orders and, for each program, on its stderr and its pidfd: nothing is
//! looked at twice, and an idle daemon is not woken.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::sys::process::{self, Priority};

/// What is kept of stderr, its end, in bytes.
pub(super) const STDERR_TAIL: usize = 8 * 1024;

/// Bytes of stderr that are read of one program before the others have their turn.
const TURN: usize = 64 * 1024;

/// How often a program without a pidfd (kernels before 5.3) is asked whether it has ended.
const ASK: Duration = Duration::from_millis(50);

/// What the supervisor and the owner of a program both know of it.
#[derive(Debug)]
pub(super) struct Shared {
    pid: Pid,
    /// Written by the supervisor. While `exit` is `None` the program has not been waited for, so its number is
    /// its own; signals are sent only then, under this lock.
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    exit: Option<ExitStatus>,
    stderr: Vec<u8>,
}

impl Shared {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, when it has.
    pub(super) fn exit(&self) -> Option<ExitStatus> {
        self.state().exit
    }

    /// The end of what it complained of so far.
    pub(super) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.state().stderr).into_owned()
    }

    /// Signals the whole group, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        let state = self.state();
        if state.exit.is_none() {
            // A group that is gone needs no signal.
            let _ = process::signal_group(self.pid, signal);
        }
    }

    /// Waits until it has ended, or `deadline`.
    pub(super) fn wait(&self, deadline: Instant) -> Option<ExitStatus> {
        let mut state = self.state();
        loop {
            if state.exit.is_some() {
                return state.exit;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = match self.ended.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// A program that was started.
pub(super) struct Started {
    pub(super) shared: Arc<Shared>,
    pub(super) stdout: Option<ChildStdout>,
    /// Closed when the program has ended.
    pub(super) ended: smol::channel::Receiver<()>,
}

struct Order {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Started>>,
}

struct Supervisor {
    orders: mpsc::Sender<Order>,
    bell: Arc<OwnedFd>,
}

/// Made at the first start of a program, and never ended.
static SUPERVISOR: Mutex<Option<Supervisor>> = Mutex::new(None);

/// Starts `command`; waits for the fork, some milliseconds.
pub(super) fn start(mut command: Command, priority: Priority) -> io::Result<Started> {
    process::prepare(&mut command, priority);
    let (reply, answer) = mpsc::sync_channel(1);
    {
        let mut supervisor = SUPERVISOR.lock().unwrap_or_else(PoisonError::into_inner);
        let supervisor = match &mut *supervisor {
            Some(running) => running,
            none => none.insert(Supervisor::new()?),
        };
        let order = Order { command, reply };
        supervisor.orders.send(order).map_err(|_| gone())?;
        rustix::io::write(&*supervisor.bell, &1_u64.to_ne_bytes())?;
    }
    answer.recv().map_err(|_| gone())?
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts programs has ended")
}

impl Supervisor {
    fn new() -> io::Result<Supervisor> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, receiver) = mpsc::channel();
        let heard = bell.clone();
        std::thread::Builder::new()
            .name("rill-children".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || run(&heard, &receiver))?;
        Ok(Supervisor { orders, bell })
    }
}

fn run(bell: &OwnedFd, orders: &mpsc::Receiver<Order>) {
    let mut children: Vec<Watched> = Vec::new();
    loop {
        if let Err(error) = wait(bell, &children) {
            log::error!("waiting for programs failed: {error}");
            std::thread::sleep(ASK);
        }
        let mut rung = [0; 8];
        // Nonblocking; nothing there is as good as something.
        let _ = rustix::io::read(bell, &mut rung);
        while let Ok(mut order) = orders.try_recv() {
            let started = Watched::start(&mut order.command);
            let reply = started.map(|(watched, started)| {
                children.push(watched);
                started
            });
            // Whoever ordered waits for this.
            let _ = order.reply.send(reply);
        }
        children.retain_mut(|child| !child.attend());
    }
}

/// Sleeps until there is an order, or a program complains or ends.
fn wait(bell: &OwnedFd, children: &[Watched]) -> io::Result<()> {
    let mut fds = vec![PollFd::new(bell, PollFlags::IN)];
    for child in children {
        fds.extend(child.stderr.iter().map(|s| PollFd::new(s, PollFlags::IN)));
        fds.extend(child.pidfd.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
    }
    let asks = children.iter().any(|child| child.pidfd.is_none());
    let timeout = Timespec::try_from(ASK).ok().filter(|_| asks);
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A running program.
struct Watched {
    inner: Child,
    stderr: Option<ChildStderr>,
    pidfd: Option<OwnedFd>,
    shared: Arc<Shared>,
    /// Dropped with this, which tells whoever waits.
    _ended: smol::channel::Sender<()>,
}

impl Watched {
    fn start(command: &mut Command) -> io::Result<(Watched, Started)> {
        let mut inner = command.spawn()?;
        let pid = i32::try_from(inner.id()).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Err(io::Error::other("the kernel gave a process no number"));
        };
        let stdout = inner.stdout.take();
        let stderr = inner.stderr.take();
        if let Some(stderr) = &stderr {
            rustix::io::ioctl_fionbio(stderr, true)?;
        }
        let (sender, ended) = smol::channel::bounded(1);
        let shared = Arc::new(Shared {
            pid,
            state: Mutex::new(State {
                exit: None,
                stderr: Vec::new(),
            }),
            ended: Condvar::new(),
        });
        let watched = Watched {
            inner,
            stderr,
            pidfd: pidfd_open(pid, PidfdFlags::empty()).ok(),
            shared: shared.clone(),
            _ended: sender,
        };
        let started = Started {
            shared,
            stdout,
            ended,
        };
        Ok((watched, started))
    }

    /// Hears it, and says whether it has ended.
    fn attend(&mut self) -> bool {
        self.hear();
        // Looked at without waiting for it: until then its number, and so its group's, cannot be another's.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.shared.pid), look) {
            Ok(None) | Err(rustix::io::Errno::INTR) => return false,
            Ok(Some(_)) => {}
            Err(error) => log::error!("a program cannot be waited for: {error}"),
        }
        self.hear();
        let mut state = self.shared.state();
        // What it started ends with it.
        let _ = process::signal_group(self.shared.pid, Signal::KILL);
        let exit = self.inner.wait().unwrap_or_else(|error| {
            log::error!("a program cannot be waited for: {error}");
            // Says "failed", which is what not knowing comes to.
            ExitStatus::from_raw(1 << 8)
        });
        state.exit = Some(exit);
        drop(state);
        self.shared.ended.notify_all();
        true
    }

    /// Reads what is there of its stderr.
    fn hear(&mut self) {
        let mut buffer = [0; 4096];
        let mut heard = 0;
        while let Some(stderr) = &mut self.stderr {
            match stderr.read(&mut buffer) {
                Ok(0) => self.stderr = None,
                Ok(n) => {
                    heard += n;
                    let mut state = self.shared.state();
                    state.stderr.extend_from_slice(&buffer[..n]);
                    let excess = state.stderr.len().saturating_sub(STDERR_TAIL);
                    state.stderr.drain(..excess);
                    if heard >= TURN {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.stderr = None,
            }
        }
    }
}
