//! One direction between two servers.

use super::Frame;
use crate::Nanos;
use crate::marks::{Mark, Marks};
use crate::scenario::SECOND;
use std::collections::VecDeque;
use tenure_core::replica::message::Message;

/// The frames that one connection remembers for a replay.
const OLD_MAX: usize = 128;

/// What a link loses of all that it is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// Prepares.
    Prepares,
    /// Accepts.
    Accepts,
}

/// One direction between two servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) cut: bool,
    /// It is up and down in turns of this length, until then.
    flaps: Option<(Nanos, Nanos)>,
    /// It stalls from the first to the second moment.
    clogged: Option<(Nanos, Nanos)>,
    /// Its receiver takes one frame in so much time, until then.
    slow: Option<(Nanos, Nanos)>,
    /// Frames take so many hundredths of what they take elsewhere.
    pub(super) slowness: u64,
    pub(super) bytes_max: Option<usize>,
    /// Bytes a second that it carries, one frame after another; any number if zero.
    pub(super) bytes_per_s: u64,
    /// When the last frame that it was given has left.
    free_at: Nanos,
    pub(super) loss: Option<Loss>,
    pub(super) last_arrival: Nanos,
    /// When the frames arrive that are on their way.
    under_way: VecDeque<Nanos>,
    old: VecDeque<Frame>,
}

impl Link {
    pub(super) fn clog(&mut self, from: Nanos, until: Nanos) {
        self.clogged = Some((from, until));
    }

    pub(super) fn flap(&mut self, turn: Nanos, until: Nanos) {
        self.flaps = Some((turn.max(1), until));
    }

    pub(super) fn read_slowly(&mut self, gap: Nanos, until: Nanos) {
        self.slow = Some((gap, until));
    }

    /// Whether a frame that is sent now goes nowhere.
    pub(super) fn is_down(&self, now: Nanos, marks: &mut Marks) -> bool {
        if self.cut {
            marks.hit(Mark::Partition);
            return true;
        }
        let flapped = self
            .flaps
            .is_some_and(|(turn, until)| now < until && now / turn % 2 == 1);
        marks.sometimes(flapped, Mark::Flap);
        flapped
    }

    /// Whether it loses what says this.
    pub(super) const fn loses(&self, message: &Message) -> bool {
        match self.loss {
            Some(Loss::Prepares) => matches!(message, Message::Prepare { .. }),
            Some(Loss::Accepts) => matches!(message, Message::Accept { .. }),
            None => false,
        }
    }

    /// Whether the sender's queue has no room for one more.
    pub(super) fn is_full(&mut self, now: Nanos, frames_max: usize) -> bool {
        while self.under_way.front().is_some_and(|at| *at <= now) {
            self.under_way.pop_front();
        }
        self.under_way.len() >= frames_max
    }

    /// When a frame of so many bytes has left that the link is given now: behind those before it.
    pub(super) fn carry(&mut self, now: Nanos, bytes: usize, marks: &mut Marks) -> Nanos {
        if self.bytes_per_s == 0 {
            return now;
        }
        marks.sometimes(self.free_at > now, Mark::Narrow);
        let takes = (bytes as u64).saturating_mul(SECOND) / self.bytes_per_s;
        self.free_at = self.free_at.max(now) + takes;
        self.free_at
    }

    /// Whether so many bytes wait for it already that its sender takes no more.
    pub(super) fn is_stuffed(&self, now: Nanos, bytes_max: u64) -> bool {
        let waits = self.free_at.saturating_sub(now);
        u128::from(waits) * u128::from(self.bytes_per_s)
            > u128::from(bytes_max) * u128::from(SECOND)
    }

    /// When a frame comes that would come at `at` on a link that is whole.
    pub(super) fn held_back(&mut self, now: Nanos, at: Nanos, marks: &mut Marks) -> Nanos {
        let mut at = at;
        if let Some((from, until)) = self.clogged
            && (from..until).contains(&now)
        {
            marks.hit(Mark::Clog);
            at = at.max(until);
        }
        if let Some((gap, until)) = self.slow
            && now < until
            && at < self.last_arrival + gap
        {
            marks.hit(Mark::SlowReader);
            at = self.last_arrival + gap;
        }
        at
    }

    pub(super) fn arrives(&mut self, at: Nanos) {
        self.last_arrival = self.last_arrival.max(at);
        let place = self.under_way.partition_point(|other| *other <= at);
        self.under_way.insert(place, at);
    }

    /// Keeps a frame for a replay.
    pub(super) fn remember(&mut self, frame: Frame) {
        if self.old.len() == OLD_MAX {
            self.old.pop_front();
        }
        self.old.push_back(frame);
    }

    pub(super) fn old(&self, draw: usize) -> Option<&Frame> {
        self.old.get(draw.checked_rem(self.old.len())?)
    }
}
