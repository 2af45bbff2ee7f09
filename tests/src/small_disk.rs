//! Small disks in memory, which are soon full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small disk at a folder, gone with the test.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

/// Says that small disks can't be had here, so that the tests that need one are left out.
const NONE_TO_BE_HAD: &str = "TENURE_NO_MOUNT";
/// Says that this process is in a namespace of its own already.
const INSIDE: &str = "TENURE_INSIDE_NAMESPACE";

/// Runs `body`, which mounts small disks. Who may not mount does so in a namespace of its own, where
/// the test with this name runs again.
///
/// # Panics
///
/// The test fails there, or there are no such namespaces, and nobody said that small disks can't be had.
pub fn with_small_disks(name: &str, body: impl FnOnce()) {
    if std::env::var_os(NONE_TO_BE_HAD).is_some() {
        return println!("{NONE_TO_BE_HAD} is set: {name} is not tested");
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    if SmallDisk::try_mount(folder.path(), "1m").is_some() {
        return body();
    }
    let inside = std::env::var_os(INSIDE).is_some();
    assert!(!inside, "nothing can be mounted, not even in a namespace");
    let test = std::env::current_exe().expect("a process knows its program");
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(test)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "yes")
        .output();
    let ran = ran.expect("`unshare` is installed");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "a small disk is needed: nothing can be mounted, and in a namespace of its own the test did \
         not pass. Where small disks can't be had at all, set {NONE_TO_BE_HAD}.\n{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

impl SmallDisk {
    /// Mounts one of so many bytes ("12m") at a folder, which is made.
    ///
    /// # Panics
    ///
    /// It can't be mounted: see [`with_small_disks`].
    pub fn mount(at: &Path, size: &str) -> Self {
        Self::try_mount(at, size).expect("a small disk can be mounted")
    }

    fn try_mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder can be made");
        let size = format!("size={size}");
        let words = ["mount", "-t", "tmpfs", "-o", &size, "tmpfs"];
        run(&words, at).then(|| Self(at.to_owned()))
    }

    /// Gives it another size.
    ///
    /// # Panics
    ///
    /// It can't.
    pub fn resize(&self, size: &str) {
        let words = format!("remount,size={size}");
        assert!(run(&["mount", "-o", &words], &self.0), "it has {size}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server that has it open may be ending just now.
        run(&["umount", "-l"], &self.0);
    }
}

fn run(words: &[&str], at: &Path) -> bool {
    let output = Command::new(words[0]).args(&words[1..]).arg(at).output();
    output.is_ok_and(|output| output.status.success())
}
