//! Rules about the code itself that neither rustc nor clippy checks.

mod arrows;
mod deps;
mod merges;
mod rooms;
mod selects;
mod shared_lints;
mod sizes;
mod source;
mod unsafety;
