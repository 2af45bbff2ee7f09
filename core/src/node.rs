//! The only door.

pub mod input;
pub mod output;
