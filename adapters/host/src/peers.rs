//! What the host needs of the way to the other servers.

use tenure_core::ids::NodeId;
use tenure_core::replica::message::Message;

/// The way to the other servers. Messages may be lost; those that arrive come in their order.
pub trait Peers: Send + 'static {
    /// Takes one message. It may stay here until [`Peers::flush`]; it is dropped where there is no
    /// connection, or too much waits already.
    fn send(&mut self, to: NodeId, message: &Message);

    /// Sends what was taken: one write for each peer.
    fn flush(&mut self);
}
