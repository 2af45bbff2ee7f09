//! The network between servers: what it does to one frame, and what it does to whole links.
//!
//! A frame belongs to a connection between two processes. So it never reaches a process that was
//! started after it was sent; but one of a sender that died since may still arrive.

use crate::Nanos;
use crate::marks::{Mark, Marks};
use crate::rand::Rand;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use tenure_core::ids::Boot;
use tenure_core::replica::message::Message;

/// What may happen to frames. Probabilities are parts of a million.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct NetKnobs {
    /// The least time that a frame travels.
    pub delay_min: Nanos,
    /// The mean of what comes on top.
    pub delay_mean: Nanos,
    /// Lost.
    pub drop_ppm: u64,
    /// Delivered twice.
    pub duplicate_ppm: u64,
    /// An old frame of the same connection is delivered again.
    pub replay_ppm: u64,
    /// A frame may overtake the ones before it.
    pub reorder_ppm: u64,
    /// A frame takes a hundred times longer.
    pub heavy_tail_ppm: u64,
    /// Frames go through the real codec of the wire.
    pub codec: bool,
}

/// One frame on its way.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The sender.
    pub from: usize,
    /// The receiver.
    pub to: usize,
    /// The sender's start that sent it.
    pub from_boot: Boot,
    /// The receiver's start that it was sent to.
    pub to_boot: Boot,
    /// What it says.
    pub message: Message,
}

/// One direction between two servers.
#[derive(Clone, Debug, Default)]
struct Link {
    cut: bool,
    clogged_until: Nanos,
    last_arrival: Nanos,
    bytes_max: Option<usize>,
    old: VecDeque<Frame>,
}

/// The frames that one connection remembers for a replay.
const OLD_MAX: usize = 128;

/// All links.
#[derive(Clone, Debug)]
pub struct Net {
    knobs: NetKnobs,
    rand: Rand,
    servers: usize,
    links: Vec<Link>,
}

impl Net {
    /// A whole network of `servers`.
    pub fn new(seed: u64, servers: usize, knobs: NetKnobs) -> Self {
        Self {
            knobs,
            rand: Rand::stream(seed, "net"),
            servers,
            links: vec![Link::default(); servers * servers],
        }
    }

    /// What may happen to frames.
    pub const fn knobs(&self) -> &NetKnobs {
        &self.knobs
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.servers + to]
    }

    /// Whether frames from `from` reach `to`.
    pub fn is_open(&self, from: usize, to: usize) -> bool {
        !self.links[from * self.servers + to].cut
    }

    /// Cuts one direction, or mends it.
    pub fn cut(&mut self, from: usize, to: usize, cut: bool) {
        self.link(from, to).cut = cut;
    }

    /// Frames of one direction wait until then, and come in a burst.
    pub fn clog(&mut self, from: usize, to: usize, until: Nanos) {
        let link = self.link(from, to);
        link.clogged_until = link.clogged_until.max(until);
    }

    /// Frames with more bytes of entries than this vanish: a path with a broken MTU.
    pub fn black_hole(&mut self, from: usize, to: usize, bytes_max: Option<usize>) {
        self.link(from, to).bytes_max = bytes_max;
    }

    /// Everything is whole again, and nothing happens to frames any more but a short delay.
    pub fn heal(&mut self) {
        self.knobs = NetKnobs {
            delay_min: self.knobs.delay_min.min(1_000_000),
            delay_mean: self.knobs.delay_mean.min(500_000),
            codec: self.knobs.codec,
            ..NetKnobs::default()
        };
        // What a clog holds back comes when it comes, and nothing waits behind it any more.
        self.links.fill(Link::default());
    }

    /// Sends `frame`; gives when it arrives, and what else does.
    pub fn send(&mut self, now: Nanos, frame: Frame, marks: &mut Marks) -> Vec<(Nanos, Frame)> {
        self.rand.at(now);
        let (from, to) = (frame.from, frame.to);
        let index = from * self.servers + to;
        let mut arrivals = Vec::new();
        if self.links[index].cut {
            marks.hit(Mark::Partition);
            return arrivals;
        }
        if let Some(bytes_max) = self.links[index].bytes_max
            && entry_bytes(&frame.message) > bytes_max
        {
            marks.hit(Mark::BlackHole);
            return arrivals;
        }
        if self.rand.chance(self.knobs.replay_ppm) && !self.links[index].old.is_empty() {
            let old = self.rand.index(self.links[index].old.len());
            let again = self.links[index].old[old].clone();
            if again.to_boot == frame.to_boot {
                marks.hit(Mark::Replay);
                marks.sometimes(again.from_boot < frame.from_boot, Mark::StaleBoot);
                let at = now + self.delay(marks);
                arrivals.push((at, again));
            }
        }
        if self.knobs.replay_ppm > 0 {
            let old = &mut self.links[index].old;
            if old.len() == OLD_MAX {
                old.pop_front();
            }
            old.push_back(frame.clone());
        }
        if self.rand.chance(self.knobs.drop_ppm) {
            marks.hit(Mark::Drop);
            return arrivals;
        }
        if self.rand.chance(self.knobs.duplicate_ppm) {
            marks.hit(Mark::Duplicate);
            let at = now + self.delay(marks);
            arrivals.push((at, frame.clone()));
        }
        let at = self.arrival(now, index, marks);
        arrivals.push((at, frame));
        arrivals
    }

    fn arrival(&mut self, now: Nanos, index: usize, marks: &mut Marks) -> Nanos {
        let mut at = now + self.delay(marks);
        let clogged_until = self.links[index].clogged_until;
        if clogged_until > now {
            marks.hit(Mark::Clog);
            at = at.max(clogged_until);
        }
        let last = self.links[index].last_arrival;
        if at <= last {
            if self.rand.chance(self.knobs.reorder_ppm) {
                marks.hit(Mark::Reorder);
            } else {
                at = last + 1;
            }
        }
        self.links[index].last_arrival = last.max(at);
        at
    }

    fn delay(&mut self, marks: &mut Marks) -> Nanos {
        let mut delay = self.rand.exponential(self.knobs.delay_mean);
        if self.rand.chance(self.knobs.heavy_tail_ppm) {
            marks.hit(Mark::HeavyTail);
            delay = delay.saturating_mul(100).min(3_000_000_000);
        }
        self.knobs.delay_min + delay
    }
}

/// Bytes of the entries in a message: what makes a frame large.
fn entry_bytes(message: &Message) -> usize {
    match message {
        Message::Accept { entries, .. } | Message::Decided { entries, .. } => {
            entries.iter().map(|entry| entry.bytes().len()).sum()
        }
        Message::Promise { reports, .. } => {
            let bytes = |report: &tenure_core::replica::message::Report| report.entry.bytes().len();
            reports.iter().map(bytes).sum()
        }
        Message::Forward { proposals } => proposals
            .iter()
            .map(|proposal| proposal.command.len())
            .sum(),
        Message::SnapshotChunk { bytes, .. } => bytes.len(),
        Message::Ping { .. }
        | Message::Pong { .. }
        | Message::PreVote { .. }
        | Message::PreVoteReply { .. }
        | Message::Prepare { .. }
        | Message::Accepted { .. }
        | Message::Nack { .. }
        | Message::CatchUp { .. }
        | Message::SnapshotOffer { .. }
        | Message::SnapshotGet { .. }
        | Message::ReadIndex { .. }
        | Message::ReadAt { .. }
        | Message::Refuse { .. } => 0,
    }
}
