//! Real sockets on loopback.

mod mesh;
