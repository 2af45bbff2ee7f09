//! A process that never outlives its test.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A running process whose output is read as it comes. Killed when dropped, also by a panic.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: Arc<Said>,
    is_over: Option<ExitStatus>,
}

#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Lines>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    open: usize,
}

impl Process {
    /// Starts `command` without input.
    ///
    /// # Panics
    ///
    /// It can't be started.
    pub fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = Arc::<Said>::default();
        said.listen(child.stdout.take().expect("it is piped"));
        said.listen(child.stderr.take().expect("it is piped"));
        Self {
            child,
            said,
            is_over: None,
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// It is over.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.id(), signal).expect("it runs");
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.is_over.is_none() {
            self.signal(Signal::KILL);
            self.is_over = Some(self.child.wait().expect("it is a child"));
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// It does not come within `patience`.
    pub fn end(&mut self, patience: Duration) -> ExitStatus {
        // Both outputs end with the process, if it left no children behind.
        self.said.wait(patience, "it to end", |lines| {
            (lines.open == 0).then_some(())
        });
        let status = self.child.wait().expect("it is a child");
        self.is_over = Some(status);
        status
    }

    /// Whether it ended.
    pub fn is_over(&mut self) -> bool {
        if self.is_over.is_none() {
            self.is_over = self.child.try_wait().expect("it is a child");
        }
        self.is_over.is_some()
    }

    /// Everything it said so far, on both outputs.
    pub fn output(&self) -> String {
        self.said.lock().lines.join("\n")
    }

    /// Waits for a line that `find` makes something of.
    ///
    /// # Panics
    ///
    /// None comes within `patience`.
    pub fn line<T>(&self, patience: Duration, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.said.wait(patience, what, |lines| {
            lines.lines.iter().find_map(|line| find(line))
        })
    }

    /// As [`Process::line`], but only among what comes after the first `skip` lines.
    pub fn line_after<T>(
        &self,
        skip: usize,
        patience: Duration,
        what: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.said.wait(patience, what, |lines| {
            lines.lines.iter().skip(skip).find_map(|line| find(line))
        })
    }

    /// How many lines it said so far.
    pub fn lines(&self) -> usize {
        self.said.lock().lines.len()
    }
}

/// Sends a signal to any process of this user.
///
/// # Errors
///
/// There is no such process.
pub fn signal_process(id: u32, signal: Signal) -> rustix::io::Result<()> {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a process has a number above zero"), signal)
}

/// Whether a process runs; one that ended and is not waited for does not.
pub fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_over.is_none() && !self.is_over() {
            // SIGKILL ends a stopped process too.
            if signal_process(self.id(), Signal::KILL).is_ok() {
                drop(self.child.wait());
            }
        }
    }
}

impl Said {
    fn listen(self: &Arc<Self>, from: impl Read + Send + 'static) {
        let said = Arc::clone(self);
        said.lock().open += 1;
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                said.lock().lines.push(line);
                said.news.notify_all();
            }
            said.lock().open -= 1;
            said.news.notify_all();
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T>(&self, patience: Duration, what: &str, find: impl Fn(&Lines) -> Option<T>) -> T {
        let until = Instant::now() + patience;
        let mut lines = self.lock();
        loop {
            if let Some(found) = find(&lines) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            let over = lines.open == 0;
            assert!(
                !left.is_zero() && !over,
                "waited for {what}; it said:\n{}",
                lines.lines.join("\n")
            );
            let waited = self.news.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
