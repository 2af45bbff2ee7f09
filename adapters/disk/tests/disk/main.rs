//! The disk adapter on real files.

mod common;
mod crash;
mod directory;
mod failing;
mod full;
mod images;
mod snapshots;
