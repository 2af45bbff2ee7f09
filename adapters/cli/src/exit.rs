//! How the binary ends: part of its interface, like the words it prints.

use std::fmt;

/// Why a command did not do what it was asked for: one line for people, and a code for scripts.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// The exit codes; a command's own status passes through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    /// The service said no.
    Refused = 1,
    /// The words make no sense; the parser's own errors have this code too.
    Usage = 2,
    /// A bug, or a disk that failed: the server must not go on.
    Stopped = 70,
    /// A port or a data directory is in use, or the system refuses something else.
    System = 71,
    /// The lock was not acquired.
    NotAcquired = 73,
    /// The lock was lost, or may have been.
    Lost = 74,
    /// No server answers, or none can.
    NoService = 75,
    /// The cluster does not have this server as a member: it was removed, or not let in.
    NotAMember = 77,
    /// The configuration is wrong.
    Config = 78,
    /// The wait ended before the lock was free.
    WaitTimeout = 124,
    /// The command to run is there, and can't be run.
    NotExecutable = 126,
    /// The command to run is not there.
    NotFound = 127,
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
