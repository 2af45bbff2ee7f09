//! Addresses that nobody else on this machine uses.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

static NEXT: AtomicU8 = AtomicU8::new(1);

/// An address in 127.0.0.0/8 of this process alone: ports on it are free, and stay free while a
/// server that had one is down.
///
/// # Panics
///
/// There is no loopback.
pub fn own_address() -> IpAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    loop {
        let last = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = IpAddr::V4(Ipv4Addr::new(127, high | 0x80, low, last));
        // Another process may have had this number before, and left something behind.
        if TcpListener::bind((address, 7600)).is_ok() {
            return address;
        }
        assert!(last < 250, "no address of this process is free");
    }
}
