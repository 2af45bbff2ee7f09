//! The disk adapter on real files.

mod common;
mod crash;
mod directory;
mod full;
mod images;
mod snapshots;
