//! The replicated state: what every server computes from the same log.

pub mod answer;
pub mod codec;
pub mod command;
pub mod key;
