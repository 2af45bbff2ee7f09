//! What processes have used, as the kernel counts it.

use std::fs;
use std::io;
use std::time::Duration;

/// Of all servers together, but for memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Time on processors.
    pub(super) cpu: Duration,
    /// Bytes that were sent to the disk.
    pub(super) disk_bytes: u64,
    /// Groups that were synced.
    pub(super) syncs: u64,
    /// Memory of the largest server that is not a file's: the mapped log is not counted.
    pub(super) rss_bytes: u64,
}

impl Usage {
    /// Of the process with this number; `syncs` is what it says itself.
    pub(super) fn of(pid: u32, syncs: u64) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
        Ok(Self {
            cpu: cpu(pid)?,
            disk_bytes: number(&io, "write_bytes:"),
            syncs,
            rss_bytes: number(&status, "RssAnon:") * 1024,
        })
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            disk_bytes: self.disk_bytes + other.disk_bytes,
            syncs: self.syncs + other.syncs,
            rss_bytes: self.rss_bytes.max(other.rss_bytes),
        }
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            disk_bytes: self.disk_bytes.saturating_sub(before.disk_bytes),
            syncs: self.syncs.saturating_sub(before.syncs),
            rss_bytes: self.rss_bytes,
        }
    }
}

/// Of all threads. `stat` counts in hundredths of a second, which is too coarse for a short run.
fn cpu(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let first = text.split(' ').next().and_then(|word| word.parse().ok());
        nanos += first.unwrap_or(0_u64);
    }
    Ok(Duration::from_nanos(nanos))
}

/// The number behind `name`.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
