//! Filled in with recovery.
