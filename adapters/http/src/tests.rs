//! The routes against a real node on a host, with a log in memory.

mod bounds;
mod configuration;
mod convert;
mod documents;
mod face;
mod manual;
mod members;
mod sockets;
mod verify;
mod world;
