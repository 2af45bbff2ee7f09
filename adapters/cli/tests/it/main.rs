//! The binary, as a process on this machine.

mod run;
mod serve;
mod verbs;
