//! Frames as bytes: through the real codec, and now and then spoiled on their way (N14).

use super::World;
use crate::marks::Mark;
use crate::server::{CLUSTER, first_incarnation, node_id};
use bytes::{Bytes, BytesMut};
use tenure_core::ids::{Boot, Epoch, Incarnation, NodeId};
use tenure_core::replica::message::Message;
use tenure_core::wire::peer::{
    Body, Frame, FrameError, Header, Hello, VERSION, decode, encode_message,
};

/// What a server knows of the other end of a connection.
fn hello(from: usize, to: usize, boot: Boot) -> Hello {
    Hello {
        version: VERSION,
        cluster: CLUSTER,
        node: node_id(from),
        to: node_id(to),
        incarnation: first_incarnation(from),
        boot,
        epoch: Epoch::new(1),
        mark: tenure_core::config::Mark::default(),
    }
}

fn read(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    decode(&mut BytesMut::from(bytes))
}

impl World {
    /// What arrives of `message`; nothing if it was spoiled and so refused.
    pub(super) fn through_the_codec(
        &mut self,
        (from, to): (usize, usize),
        boot: Boot,
        message: Message,
    ) -> Option<Message> {
        let hello = hello(from, to, boot);
        let header = hello.header();
        let bytes = encode_message(&header, &message).to_bytes();
        if self.wire.chance(self.plan.net.spoil_ppm) && self.phase == super::Phase::Safety {
            self.spoil(&hello, &bytes, &message);
            return None;
        }
        if let Ok(Some(frame)) = read(&bytes)
            && hello.check(&frame.header).is_ok()
            && let Body::Message(decoded) = frame.body
            && decoded == message
        {
            return Some(decoded);
        }
        let detail = format!("{message:?}");
        self.judges
            .docket
            .broken("the wire carries what was said", detail);
        Some(message)
    }

    /// Bytes that no server of this cluster sent on this connection: none may be believed.
    fn spoil(&mut self, hello: &Hello, bytes: &Bytes, message: &Message) {
        let (spoiled, what) = if self.wire.chance(500_000) {
            (self.spoiled_bytes(bytes), Mark::Garbage)
        } else {
            let header = self.foreign_header(hello.header());
            let foreign = encode_message(&header, message).to_bytes();
            (foreign.to_vec(), Mark::ForeignFrame)
        };
        self.marks.hit(what);
        // A frame that is not whole yet waits for bytes that will not come.
        let believed = match read(&spoiled) {
            Ok(Some(frame)) => hello.check(&frame.header).is_ok(),
            Ok(None) | Err(_) => false,
        };
        self.judges
            .docket
            .check(!believed, "a spoiled frame is refused", || {
                format!("{what:?} of {message:?}")
            });
    }

    /// Flipped bits, a piece, two in one, a length from nowhere, or no frame at all.
    fn spoiled_bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut spoiled = bytes.to_vec();
        let place = self.wire.index(spoiled.len());
        match self.wire.below(5) {
            0 => spoiled[place] ^= 1 << self.wire.below(8),
            1 => spoiled.truncate(place),
            2 => {
                spoiled.truncate(place);
                spoiled.extend_from_slice(bytes);
            }
            3 => {
                let length = self.wire.log_uniform(1, u64::from(u32::MAX)) as u32;
                let same = spoiled[..4] == length.to_le_bytes();
                spoiled[..4].copy_from_slice(&length.wrapping_add(same.into()).to_le_bytes());
            }
            _ => spoiled
                .iter_mut()
                .for_each(|byte| *byte = self.wire.any() as u8),
        }
        if spoiled.starts_with(bytes) {
            spoiled.clear(); // cut behind nothing: the frame itself would be whole
        }
        spoiled
    }

    /// Another cluster, another epoch, another server, its disk of before, its start of before.
    fn foreign_header(&mut self, mut header: Header) -> Header {
        match self.wire.below(5) {
            0 => header.cluster ^= 1,
            1 => header.epoch = Epoch::new(header.epoch.get() + 1),
            2 => header.from = NodeId::new(header.from.get() + 1),
            3 => header.incarnation = Incarnation::new(header.incarnation.get() + 1),
            _ => header.boot = Boot::new(header.boot.get().wrapping_sub(1)),
        }
        header
    }
}
