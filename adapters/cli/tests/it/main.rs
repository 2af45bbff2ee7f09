//! The binary, as a process on this machine.

mod http;
mod run;
mod serve;
mod verbs;
