//! Three real processes on loopback, files on disk: killed, stopped and restarted under load.

mod dev;
mod durable;
mod faults;
mod kill;
mod load;
mod oracle;
mod seats;
