//! One connection to a peer: hellos, then frames.

use bytes::{Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tenure_core::founding::Word;
use tenure_core::wire::peer::{self, Body, Encoded, Frame, FrameError, Header, HelloRefusal};
use tenure_rt::clock;
use tenure_rt::line::Hearer;
use tenure_rt::net::Stream;

/// A peer that is silent this long is gone, whatever the network says: it pings many times a second.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long a connection may take to be made.
const DIAL_PATIENCE: Duration = Duration::from_secs(1);
/// How long a connection may take to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The network, or the peer's process.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// Nothing came for too long.
    #[error("the peer is silent")]
    Silent,
    /// What came is no frame, or not one of this peer.
    #[error("the peer sent garbage: {0}")]
    Frame(#[from] FrameError),
    /// A hello where none belongs, or something else where one does.
    #[error("the peer does not keep to the order of hellos and messages")]
    Order,
    /// This server does not let the peer in.
    #[error("refused: {0}")]
    Refused(HelloRefusal),
    /// The peer does not let this server in.
    #[error("it refuses this server: {0}")]
    Unwelcome(HelloRefusal),
    /// This server stops.
    #[error(transparent)]
    Stopped(#[from] tenure_host::Stopped),
}

/// The frame at the front of `buffer`, if all of it is there.
///
/// It gets memory of its own: entries live on in the node's window, and would else keep the whole
/// read buffer that they came in.
fn take_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(len) = peer::frame_bytes(buffer)? else {
        return Ok(None);
    };
    if buffer.len() < len {
        return Ok(None);
    }
    let frame = Bytes::from(buffer.split_to(len).to_vec());
    peer::parse(&frame).map(Some)
}

fn put(encoded: &Encoded, out: &mut BytesMut) {
    for chunk in encoded.chunks() {
        out.extend_from_slice(chunk);
    }
}

/// Adds a message to what will be said.
pub(crate) fn put_message(
    header: &Header,
    message: &tenure_core::replica::message::Message,
    out: &mut BytesMut,
) {
    put(&peer::encode_message(header, message), out);
}

/// Says one of the first words.
pub(crate) async fn say(
    stream: &mut Stream,
    header: &Header,
    body: &Body,
) -> Result<(), LinkError> {
    let mut output = BytesMut::new();
    put(&peer::encode(header, body), &mut output);
    let said = clock::timeout(HELLO_PATIENCE, stream.write_all(&mut output));
    Ok(said.await.ok_or(LinkError::Silent)??)
}

/// Connects to a peer.
pub(crate) async fn dial(address: &str) -> Result<Stream, LinkError> {
    Ok(Stream::dial(address, DIAL_PATIENCE).await?)
}

/// What a connection begins with.
pub(crate) enum First {
    /// The caller has a cluster.
    Hello(peer::Hello),
    /// It would found one; or this is the answer to such a question.
    Founding(Word),
}

/// Hears the first word; what came after it stays in `input`.
pub(crate) async fn hear_first(
    stream: &mut Stream,
    input: &mut BytesMut,
) -> Result<First, LinkError> {
    let frame = async {
        loop {
            if let Some(frame) = take_frame(input)? {
                return Ok(frame);
            }
            if stream.read(input).await? == 0 {
                return Err(LinkError::Closed);
            }
        }
    };
    let frame = clock::timeout(HELLO_PATIENCE, frame);
    match frame.await.ok_or(LinkError::Silent)??.body {
        Body::Hello(hello) => Ok(First::Hello(hello)),
        Body::Founding(word) => Ok(First::Founding(word)),
        Body::Refused(refusal) => Err(LinkError::Unwelcome(refusal)),
        Body::Message(_) => Err(LinkError::Order),
    }
}

/// The frames after the hellos.
pub(crate) struct Frames {
    hearer: Hearer,
    input: BytesMut,
    hello: peer::Hello,
}

impl Frames {
    pub(crate) const fn new(hearer: Hearer, input: BytesMut, hello: peer::Hello) -> Self {
        Self {
            hearer,
            input,
            hello,
        }
    }

    /// The next message.
    pub(crate) async fn next(
        &mut self,
    ) -> Result<tenure_core::replica::message::Message, LinkError> {
        loop {
            if let Some(frame) = take_frame(&mut self.input)? {
                self.hello.check(&frame.header)?;
                return match frame.body {
                    Body::Message(message) => Ok(message),
                    Body::Refused(refusal) => Err(LinkError::Unwelcome(refusal)),
                    Body::Hello(_) | Body::Founding(_) => Err(LinkError::Order),
                };
            }
            let read = clock::timeout(SILENCE_MAX, self.hearer.read(&mut self.input));
            if read.await.ok_or(LinkError::Silent)?? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }
}
