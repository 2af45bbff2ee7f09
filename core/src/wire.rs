//! Bytes between machines: pure functions over byte slices, canonical, bounded, without sockets.
//!
//! - [`peer`]: what servers say to each other, in checked frames.
//!
//! `docs/WIRE.md` has the pictures; `tests/vectors` has golden bytes of every frame and command.

pub mod peer;
