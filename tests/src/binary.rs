//! The binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of `tenure`, built from this source in the profile of the test that asks.
///
/// # Panics
///
/// It does not compile.
pub fn tenure() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

fn build() -> PathBuf {
    // target/PROFILE/deps/cluster-0123456789abcdef
    let test = std::env::current_exe().expect("a test knows its file");
    let profile = test.ancestors().nth(2).expect("tests lie in deps");
    let target = profile
        .parent()
        .expect("a profile lies in the target folder");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--locked", "--package", "tenure-cli"])
        .args(["--bin", "tenure", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "the binary does not compile");
    let path = profile.join("tenure");
    assert!(path.exists(), "cargo put the binary elsewhere: {path:?}");
    path
}
