//! How fit a server is to lead.

/// The room on a server's disk, as its host judges it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Space {
    /// Enough to take new work.
    #[default]
    Enough,
    /// What is left is kept for what was promised already: new work is refused before it is
    /// appended, and another server should lead.
    Low,
}
