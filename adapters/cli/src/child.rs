//! The command that runs under a lock, and how it is ended before anybody else may begin (rule 39).
//!
//! It gets a process group of its own, so that what it starts ends with it. This process is the
//! reaper of whatever the command leaves behind, so a child of its own that left the group is found
//! too. And should this process be killed, the kernel kills the command.
//!
//! What none of this stops: a child that left the group while this process was killed, and a whole
//! machine that stands still and wakes up late. Against those there is the fence.

use rustix::process::{
    Pid, Signal, kill_process, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal,
};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use tenure_rt::sync::oneshot;

/// The word by which this binary asks itself to become the command: see [`become_command`].
pub(crate) const BECOME: &str = "__become";

/// How long what was killed may take to die. Only a process that hangs in the kernel takes longer.
const KILL_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked for.
const KILL_INTERVAL: Duration = Duration::from_millis(1);

/// A running command.
pub(crate) struct Child {
    group: Pid,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
}

impl Child {
    /// Starts `command` in a process group of its own.
    ///
    /// Must be called on the main thread: the kernel kills the command when the *thread* that
    /// started it ends.
    pub(crate) fn start(command: &[OsString], environment: &[(&str, String)]) -> io::Result<Self> {
        set_child_subreaper(Some(rustix::process::getpid()))?;
        let parent = std::process::id().to_string();
        let mut child = Command::new("/proc/self/exe")
            .arg(BECOME)
            .arg(parent)
            .args(command)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| io::Error::other("the child has no number"))?;
        give_terminal(group);
        let (tell, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("child-wait".to_owned())
            .spawn(move || {
                if tell.send(child.wait()).is_err() {
                    tracing::debug!("nobody waits for the command any more");
                }
            })?;
        Ok(Self { group, ended })
    }

    /// Waits until the command ends.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let gone = || {
            Err(io::Error::other(
                "the thread that waits for the child is gone",
            ))
        };
        (&mut self.ended).await.unwrap_or_else(|_| gone())
    }

    /// Asks the command and all that it started to end.
    pub(crate) fn terminate(&self) {
        signal_group(self.group, Signal::TERM);
    }

    /// Ends the command and all that it started, now.
    pub(crate) fn kill(&self) {
        signal_group(self.group, Signal::KILL);
        kill_orphans();
    }
}

/// What a shell would say the command ended with.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| signal + 128);
    let code = status.code().or_else(signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Turns this process into `command`, after it asked the kernel to be killed when `parent` is. A
/// process of its own does this, because between fork and exec only a few calls are safe.
pub(crate) fn become_command(parent: &OsStr, command: &[OsString]) -> io::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // The parent may have been killed before the call above.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if now.as_deref().map(OsStr::new) != Some(parent) {
        return io::Error::other("the process that holds the lock is gone");
    }
    let Some((program, arguments)) = command.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    Command::new(program).args(arguments).exec()
}

/// The terminal's keys (Ctrl-C) go to the command, as they would without us.
fn give_terminal(group: Pid) {
    let input = io::stdin();
    if rustix::termios::isatty(&input)
        && let Err(error) = rustix::termios::tcsetpgrp(&input, group)
    {
        tracing::debug!(%error, "the command does not get the terminal");
    }
}

fn signal_group(group: Pid, signal: Signal) {
    if let Err(error) = kill_process_group(group, signal) {
        tracing::debug!(%error, "the process group is gone already");
    }
}

/// Kills what the command left outside its group, and waits until it is gone. A process becomes this
/// one's child when its own parent has died, which takes a while on a busy machine; each that is killed
/// may leave children of its own, which come here too.
fn kill_orphans() {
    let me = std::process::id();
    let began = Instant::now();
    loop {
        let children = children_of(me);
        if children.is_empty() {
            return;
        }
        for child in children {
            if let Err(error) = kill_process(child, Signal::KILL) {
                tracing::debug!(%error, "an orphan is gone already");
            }
        }
        if began.elapsed() >= KILL_PATIENCE {
            return tracing::error!("what the command started does not die");
        }
        std::thread::sleep(KILL_INTERVAL);
    }
}

/// The living children of a process: those that ended and wait for their parent don't count.
fn children_of(parent: u32) -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .filter_map(Result::ok)
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers: Vec<i32> = lists
        .flat_map(|list| {
            let numbers = list.split_whitespace().map(str::parse);
            numbers.filter_map(Result::ok).collect::<Vec<_>>()
        })
        .collect();
    let alive = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        !state.is_empty() && !state.starts_with('Z')
    };
    numbers
        .into_iter()
        .filter(alive)
        .filter_map(Pid::from_raw)
        .collect()
}
