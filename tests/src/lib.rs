//! What the black-box tests share: the binary, its processes on loopback, and two clients that
//! speak the protocols plainly, one request at a time, with blocking sockets.

pub mod balancer;
pub mod binary;
pub mod files;
pub mod http;
pub mod loopback;
pub mod members;
pub mod native;
pub mod network;
pub mod process;
pub mod small_disk;
