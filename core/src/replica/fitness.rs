//! How fit a server is to lead: what it says of itself in each pong, and how it compares.

use super::{Peer, Replica};
use crate::ids::{NodeId, RecordNo};
use crate::time::Timestamp;
use core::time::Duration;

/// A disk that did not make a record durable for this long hangs.
const HANGS: Duration = Duration::from_millis(250);
/// A disk is slow beside another one if it takes so many times as long, and [`SLOW_BY`] more.
const SLOW_TIMES: u32 = 8;
/// What a client would notice.
const SLOW_BY: Duration = Duration::from_millis(25);
/// Each sample moves the mean of a disk's times by one part in so many.
const MEAN_OVER: u32 = 8;

/// The room on a server's disk, as its host judges it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Space {
    /// Enough to take new work.
    #[default]
    Enough,
    /// What is left is kept for what was promised already: new work is refused before it is
    /// appended, and another server should lead.
    Low,
    /// Nothing is left: a record waits for room. This server still promises and answers pings, but
    /// it accepts and learns nothing, and does not lead, until there is room again.
    Full,
}

/// How fit a server is to lead, as it says in each pong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fitness {
    /// A majority answers it, itself among it.
    pub hears_quorum: bool,
    /// The room on its disk.
    pub space: Space,
    /// It is about to stop.
    pub stops: bool,
    /// What its disk takes of late to make a record durable, in microseconds.
    pub disk_us: u32,
}

impl Fitness {
    /// Whether it can lead well, as far as it knows.
    pub(super) fn is_fit(self) -> bool {
        self.hears_quorum && self.space == Space::Enough && !self.stops
    }

    pub(super) fn is_slow_beside(self, other: Self) -> bool {
        let (mine, theirs) = (self.disk(), other.disk());
        mine > theirs * SLOW_TIMES && mine > theirs + SLOW_BY
    }

    fn disk(self) -> Duration {
        Duration::from_micros(self.disk_us.into())
    }
}

/// How long the own disk takes, measured at one record at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct DiskPace {
    probe: Option<(RecordNo, Timestamp)>,
    mean: Duration,
}

impl DiskPace {
    pub(super) fn appended(&mut self, record: RecordNo, now: Timestamp) {
        self.probe.get_or_insert((record, now));
    }

    pub(super) fn durable(&mut self, through: RecordNo, now: Timestamp) {
        if let Some((record, at)) = self.probe
            && record <= through
        {
            self.probe = None;
            let taken = now.since(at);
            self.mean = self.mean * (MEAN_OVER - 1) / MEAN_OVER + taken / MEAN_OVER;
        }
    }

    /// Whether a record waits for the disk so long that nobody knows whether it ever answers.
    pub(super) fn hangs(&self, now: Timestamp) -> bool {
        self.waits(now) >= HANGS
    }

    fn waits(&self, now: Timestamp) -> Duration {
        self.probe.map_or(Duration::ZERO, |(_, at)| now.since(at))
    }

    fn takes(&self, now: Timestamp) -> Duration {
        if self.hangs(now) {
            self.mean.max(self.waits(now))
        } else {
            self.mean
        }
    }
}

impl Replica {
    /// The host looked at the room on its disk.
    pub fn on_space(&mut self, space: Space) {
        self.space = space;
        if space != Space::Enough {
            self.unpin_snapshots();
        }
    }

    /// The room on the own disk, as its host said last.
    pub const fn space(&self) -> Space {
        self.space
    }

    /// Whether the own disk takes no more records: what is appended all the same waits.
    pub(super) fn is_full(&self) -> bool {
        self.space == Space::Full
    }

    /// What this server says of itself.
    pub(super) fn fitness(&self) -> Fitness {
        let disk_us = self.disk.takes(self.now).as_micros();
        Fitness {
            hears_quorum: self.hears_quorum(),
            space: self.space,
            stops: self.stops,
            disk_us: u32::try_from(disk_us).unwrap_or(u32::MAX),
        }
    }

    /// The peers that would lead well.
    pub(super) fn fit_peers(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        self.peers
            .iter()
            .map(|(node, peer)| (*node, peer))
            .filter(|(node, _)| self.config.may_lead(*node))
            .filter(|(_, peer)| self.hears(peer) && peer.fitness.is_fit())
    }
}

#[cfg(test)]
mod tests;
