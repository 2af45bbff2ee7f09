//! Who is let in. Each process has the real doorman, which knows the data directories of those that were
//! let in before from a file beside the log (decision 0088); so a directory that was lost is noticed.

use super::{Process, Server, node_id};
use crate::disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::config::Config;
use tenure_core::ids::{Boot, Incarnation, NodeId};
use tenure_core::wire::peer::{Doorman, Hello, HelloRefusal};

/// The data directory that a server has until it loses it.
pub const fn first_incarnation(index: usize) -> Incarnation {
    Incarnation::new(index as u64 + 77)
}

/// How a server comes back whose data directory is empty (P7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// Its file lists the members, so it asks them to found the cluster with it.
    Asks,
    /// Somebody made it a data directory under its old number by hand.
    Formatted,
}

/// What a server has of its own data directory and of the others', whether it runs or not.
#[derive(Clone, Debug)]
pub struct Doors {
    /// Its own.
    pub incarnation: Incarnation,
    /// It lost the one that it had.
    pub lost: Option<Lost>,
    /// The file of those that were let in.
    known: BTreeMap<NodeId, Incarnation>,
}

impl Doors {
    /// Of a server whose cluster so many others founded with it.
    pub fn new(index: usize, founders: usize) -> Self {
        let others = (0..founders).filter(|other| *other != index && index < founders);
        let known = others.map(|other| (node_id(other), first_incarnation(other)));
        Self {
            incarnation: first_incarnation(index),
            lost: None,
            known: known.collect(),
        }
    }

    /// A process starts with what the file says.
    pub fn open(&self, config: &Config, boot: Boot) -> Guests {
        let mut doorman = Doorman::new(config.clone(), self.incarnation, boot);
        for (node, incarnation) in &self.known {
            doorman.remember(*node, *incarnation, Boot::new(0));
        }
        Guests {
            doorman,
            config: config.clone(),
            met: BTreeMap::new(),
            unwelcome_at: BTreeSet::new(),
        }
    }
}

/// Whom a process has let in, and who has not let it in.
#[derive(Debug)]
pub struct Guests {
    /// The real one.
    pub doorman: Doorman,
    config: Config,
    /// Which start of whom.
    met: BTreeMap<usize, u64>,
    unwelcome_at: BTreeSet<NodeId>,
}

impl Guests {
    /// Whether this start of `peer` was let in, and let this process in.
    pub fn have(&self, peer: usize, start: u64) -> bool {
        self.met.get(&peer) == Some(&start)
    }

    /// It was.
    pub fn meet(&mut self, peer: usize, start: u64) {
        self.met.insert(peer, start);
        self.unwelcome_at.remove(&node_id(peer));
    }

    /// The configuration changed: who is no member any more is hung up on.
    pub fn update(&mut self, config: Config) {
        let last = config.shared().node_last();
        let stays = |peer: usize| {
            let node = node_id(peer);
            node > last || config.peers().any(|known| known == node)
        };
        self.met.retain(|peer, _| stays(*peer));
        self.doorman.update(config.clone());
        self.config = config;
    }

    /// Whether it hears, if `would_refuse` are those that refuse it, that it can never serve.
    pub fn would_be_hopeless(&self, would_refuse: impl Fn(NodeId) -> bool) -> bool {
        let seats = self.config.membership().seats();
        let refusing = seats.iter().filter(|seat| would_refuse(seat.node)).count();
        seats.len() - refusing < self.config.quorum()
    }

    /// `peer` refuses this process for good. Whether so many do that it can never serve.
    pub fn is_hopeless(&mut self, peer: NodeId) -> bool {
        self.unwelcome_at.insert(peer);
        let refusing = self.unwelcome_at.iter();
        let refusing = refusing.filter(|node| self.config.votes(**node)).count();
        let votes = self.config.membership().seats().len();
        votes - refusing < self.config.quorum()
    }
}

impl Server {
    /// Lets a peer in, whose data directory is written down first; or says why not.
    pub fn admit(&mut self, hello: &Hello) -> Result<(), HelloRefusal> {
        let super::Life::Up(process) = &mut self.life else {
            return Ok(());
        };
        let doorman = &mut process.guests.doorman;
        doorman.admit(hello)?;
        self.door.known = doorman.incarnations();
        Ok(())
    }

    /// Its data directory is lost, with all that was in it. Its power is off.
    pub fn wipe(&mut self, how: Lost) {
        self.disk = Disk::default();
        self.door = Doors {
            incarnation: Incarnation::new(self.door.incarnation.get() + 1_000),
            lost: Some(how),
            known: BTreeMap::new(),
        };
        self.kept = None;
    }

    /// Whether it is a part of the cluster for good, as far as is known.
    pub const fn is_whole(&self) -> bool {
        !self.is_lost() && !self.is_gone && !self.is_outside
    }

    /// Whether it lost its data directory.
    pub const fn is_lost(&self) -> bool {
        self.door.lost.is_some()
    }
}

impl Process {
    /// Its first word to `peer`.
    pub fn hello(&self, peer: usize) -> Hello {
        self.guests.doorman.hello(node_id(peer))
    }
}
