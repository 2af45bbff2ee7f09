//! The network between servers: what it does to one frame, and what it does to whole links.
//!
//! A frame belongs to a connection between two processes. So it never reaches a process that was
//! started after it was sent; but one of a sender that died since may still arrive.

mod link;

use crate::Nanos;
use crate::marks::{Mark, Marks};
use crate::rand::Rand;
use link::Link;
pub use link::Loss;
use serde::{Deserialize, Serialize};
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
    /// A ping or its answer is lost: what is small and has no queue of its own.
    pub beat_drop_ppm: u64,
    /// An accept or a prepare reaches only as many as a quorum needs.
    pub thin_ppm: u64,
    /// Frames on their way on one link; more are dropped by their sender. Any number if zero.
    pub under_way_max: usize,
    /// One way is up to so many times as long as another.
    pub asymmetry: u64,
    /// A chunk of a snapshot has another byte at its end than was sent, and nobody on the way knows.
    pub corrupt_ppm: u64,
    /// Some ways carry so many bytes a second, or up to fifty times as many; any number if zero.
    #[serde(default)]
    pub bytes_per_s: u64,
    /// Frames go through the real codec of the wire.
    pub codec: bool,
    /// Of those, one arrives spoiled.
    pub spoil_ppm: u64,
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
    /// The receiver's start that it was sent to, as the world counts them: a disk that was lost counts its
    /// own anew.
    pub to_start: u64,
    /// What it says.
    pub message: Message,
    /// It was delivered before, or lost.
    pub is_old: bool,
}

impl Frame {
    /// The same, once more.
    const fn again(mut self) -> Self {
        self.is_old = true;
        self
    }
}

/// What a frame has beside its entries.
const HEAD_BYTES: usize = 100;
/// Bytes that wait for a link at most, as in `adapters/tcp`; more are dropped by their sender.
const WAITING_BYTES_MAX: u64 = 8 << 20;

/// Draws of a frame to replay, whatever a link remembers.
const OLD_DRAWS: usize = 1 << 20;

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
        let mut rand = Rand::stream(seed, "net");
        let mut links = vec![Link::default(); servers * servers];
        for link in &mut links {
            link.slowness = 100 * rand.log_uniform(1, knobs.asymmetry.max(1));
        }
        let mut rates = Rand::stream(seed, "rates");
        for link in &mut links {
            let rate = knobs.bytes_per_s.saturating_mul(rates.log_uniform(1, 50));
            link.bytes_per_s = if rates.chance(700_000) { rate } else { 0 };
        }
        Self {
            knobs,
            rand,
            servers,
            links,
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

    /// Frames of one direction that are sent between these moments come in a burst at its end.
    pub fn clog(&mut self, (from, to): (usize, usize), begin: Nanos, until: Nanos) {
        self.link(from, to).clog(begin, until);
    }

    /// One direction is up and down in turns.
    pub fn flap(&mut self, (from, to): (usize, usize), turn: Nanos, until: Nanos) {
        self.link(from, to).flap(turn, until);
    }

    /// One end takes a frame in so much time.
    pub fn read_slowly(&mut self, (from, to): (usize, usize), gap: Nanos, until: Nanos) {
        self.link(from, to).read_slowly(gap, until);
    }

    /// Frames with more bytes of entries than this vanish: a path with a broken MTU.
    pub fn black_hole(&mut self, from: usize, to: usize, bytes_max: Option<usize>) {
        self.link(from, to).bytes_max = bytes_max;
    }

    /// Frames of one direction that say this vanish.
    pub fn lose(&mut self, from: usize, to: usize, loss: Option<Loss>) {
        self.link(from, to).loss = loss;
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
        if self.links[index].is_down(now, marks) {
            return arrivals;
        }
        if let Some(bytes_max) = self.links[index].bytes_max
            && entry_bytes(&frame.message) > bytes_max
        {
            marks.hit(Mark::BlackHole);
            return arrivals;
        }
        if self.links[index].loses(&frame.message) {
            return arrivals;
        }
        if self.rand.chance(self.knobs.replay_ppm)
            && let Some(again) = self.links[index].old(self.rand.index(OLD_DRAWS)).cloned()
            && again.to_start == frame.to_start
        {
            marks.hit(Mark::Replay);
            marks.sometimes(again.from_boot < frame.from_boot, Mark::StaleBoot);
            let at = now + self.delay(index, marks);
            arrivals.push((at, again.again()));
        }
        if self.knobs.replay_ppm > 0 {
            self.links[index].remember(frame.clone());
        }
        if self.is_lost(now, index, &frame, marks) {
            return arrivals;
        }
        if self.rand.chance(self.knobs.duplicate_ppm) {
            marks.hit(Mark::Duplicate);
            let at = now + self.delay(index, marks);
            arrivals.push((at, frame.clone()));
        }
        let bytes = HEAD_BYTES + entry_bytes(&frame.message);
        let at = self.arrival(now, index, bytes, marks);
        let frame = self.corrupted(frame, marks);
        arrivals.push((at, frame));
        arrivals
    }

    /// A byte of a chunk is another one when it arrives.
    fn corrupted(&mut self, mut frame: Frame, marks: &mut Marks) -> Frame {
        if let Message::SnapshotChunk { bytes, .. } = &mut frame.message
            && self.rand.chance(self.knobs.corrupt_ppm)
        {
            marks.hit(Mark::ChunkCorrupted);
            let mut changed = bytes.to_vec();
            let at = self.rand.index(changed.len());
            changed[at] ^= 1 << self.rand.below(8);
            *bytes = changed.into();
        }
        frame
    }

    fn is_lost(&mut self, now: Nanos, index: usize, frame: &Frame, marks: &mut Marks) -> bool {
        let knobs = &self.knobs;
        let is_beat = matches!(frame.message, Message::Ping { .. } | Message::Pong { .. });
        let frames_max = knobs.under_way_max;
        let cause = if self.rand.chance(knobs.drop_ppm) {
            Mark::Drop
        } else if is_beat && self.rand.chance(knobs.beat_drop_ppm) {
            Mark::BeatDrop
        } else if self.is_thinned(now, frame) {
            Mark::Thinned
        } else if frames_max > 0 && self.links[index].is_full(now, frames_max)
            || self.links[index].is_stuffed(now, WAITING_BYTES_MAX)
        {
            Mark::Overflow
        } else {
            return false;
        };
        marks.hit(cause);
        true
    }

    /// Whether `frame` is for one more than a quorum needs. Who that is changes from one moment to
    /// the next, and is the same for all frames of a moment.
    fn is_thinned(&self, now: Nanos, frame: &Frame) -> bool {
        let thins = matches!(
            frame.message,
            Message::Accept { .. } | Message::Prepare { .. }
        );
        if !thins || self.knobs.thin_ppm == 0 {
            return false;
        }
        let mut rand = self.rand.clone();
        let mut draws = rand.at(now).clone();
        let needed = self.servers / 2;
        let place =
            (frame.to + self.servers - frame.from + draws.index(self.servers)) % self.servers;
        draws.chance(self.knobs.thin_ppm) && place >= needed
    }

    fn arrival(&mut self, now: Nanos, index: usize, bytes: usize, marks: &mut Marks) -> Nanos {
        let left = self.links[index].carry(now, bytes, marks);
        let at = left + self.delay(index, marks);
        let link = &mut self.links[index];
        let mut at = link.held_back(now, at, marks);
        if at <= link.last_arrival {
            if self.rand.chance(self.knobs.reorder_ppm) {
                marks.hit(Mark::Reorder);
            } else {
                at = link.last_arrival + 1;
            }
        }
        link.arrives(at);
        at
    }

    fn delay(&mut self, index: usize, marks: &mut Marks) -> Nanos {
        let mut delay = self.rand.exponential(self.knobs.delay_mean);
        let slowness = self.links[index].slowness;
        if slowness > 100 {
            marks.hit(Mark::Asymmetry);
            delay = delay.saturating_mul(slowness) / 100;
        }
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
        | Message::SnapshotWish { .. }
        | Message::ReadIndex { .. }
        | Message::ReadAt { .. }
        | Message::HandOver { .. }
        | Message::TakeOver { .. }
        | Message::Outranked { .. }
        | Message::Refuse { .. } => 0,
    }
}
