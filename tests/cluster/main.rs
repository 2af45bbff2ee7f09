//! Real processes on loopback, files on disk: killed, stopped and restarted, added and taken away
//! under load.

mod cut;
mod dev;
mod drain;
mod durable;
mod faults;
mod found;
mod grow;
mod kill;
mod load;
mod names;
mod oracle;
mod roles;
mod seats;
mod stop;
