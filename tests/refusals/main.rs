//! Bad input and a bad world: each a clear message, and no state changed.

mod bytes;
mod common;
mod disk;
mod join;
mod past;
mod start;
mod words;
