//! The replicated state: what every server computes from the same log.

pub mod answer;
pub mod command;
pub mod key;
