//! How the binary ends: part of its interface, like the words it prints.

use std::fmt;

/// Why a command did not do what it was asked for: one line for people, and a code for scripts.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// The exit codes. Usage errors are 2, from the parser.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    /// A bug, or a disk that failed: the server must not go on.
    Stopped = 70,
    /// A port or a data directory is in use, or the system refuses something else.
    System = 71,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
