//! Bytes between machines: pure functions over byte slices, canonical, bounded, without sockets.
//!
//! - [`peer`]: what servers say to each other, in checked frames.
//! - [`client`]: the stream of commands between a client and a server.
//! - [`token`]: a grant's proof as one word.
//! - [`codes`]: every refusal and failure by number and name, for all protocols alike.
//!
//! `docs/WIRE.md` has the pictures; `tests/vectors` has golden bytes of every frame and command.

pub mod client;
pub mod codes;
pub mod peer;
pub mod token;
