//! Starts the binary and reads what it prints.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary with these words.
pub(crate) fn tenure(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
    command.args(words).env_remove("TENURE_LOG");
    command
}

/// What the binary printed and how it ended.
pub(crate) fn output(words: &[&str]) -> Output {
    tenure(words).output().expect("the binary runs")
}

/// It failed with this code, and said why in one line that holds all of `parts`.
pub(crate) fn assert_fails(output: &Output, code: i32, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(error.lines().count(), 1, "one line: {error}");
    for part in parts {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

/// A port such that it and the 30 above are free, or were a moment ago.
pub(crate) fn free_ports() -> u16 {
    // The tests of one process take different ones, and so do most processes.
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % 1000).expect("it is below 1000");
    let step = || TAKEN.fetch_add(1, Ordering::Relaxed);
    let mut bases = (0..1000).map(|_| 20_000 + (offset + 7 * step()) % 1000 * 35);
    let is_free = |base: &u16| {
        let ports = (0..30).map(|above| base + above);
        ports
            .clone()
            .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    bases.find(is_free).expect("some ports are free")
}

/// A process that is killed at the end of its test.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(words: &[&str]) -> Self {
        let mut child = tenure(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let (tell, lines) = channel();
        let stdout = child.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line that holds `part`.
    pub(crate) fn line_with(&mut self, part: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                let mut errors = String::new();
                if matches!(self.child.try_wait(), Ok(Some(_)))
                    && let Some(stderr) = &mut self.child.stderr
                {
                    stderr.read_to_string(&mut errors).expect("it is text");
                }
                panic!("no line with {part:?} after {seen:?}; errors: {errors}");
            };
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
    }

    /// Asks it to stop, and says whether it ended well.
    pub(crate) fn stop(mut self) -> bool {
        signal("-TERM", self.child.id());
        self.child.wait().expect("it is a child").success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, if the test ended well.
        if self.child.kill().is_ok() {
            self.child.wait().expect("it is a child");
        }
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.expect("kill is there").success(), "{pid} is there");
}
