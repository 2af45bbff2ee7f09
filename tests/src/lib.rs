//! What the tests share: nothing yet.
