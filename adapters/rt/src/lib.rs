//! What runs below.
