//! What happened outside.

use crate::entry::Entry;
use crate::ids::{
    Ballot, Boot, Fence, NodeId, RecordNo, SessionId, Slot, SnapshotId, Tag, TicketId, ZoneId,
};
use crate::machine::Machine;
use crate::machine::command::{Acquire, Client, Configure, Force};
use crate::machine::key::Key;
use crate::machine::parts::Parts;
use crate::query::Listing;
pub use crate::replica::fitness::Space;
use crate::replica::message::Message;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

/// 32 bytes that prove a grant or a session (rule 24).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Token(pub [u8; 32]);

/// What happened outside.
///
/// Not `non_exhaustive`, nor is `Output`: a new one must stop every host from compiling.
#[derive(Debug)]
pub enum Input {
    /// Time passed, and nothing else.
    Tick,
    /// The host has nothing more at hand: what was gathered is proposed and said.
    Flush,
    /// A peer said something.
    Peer {
        /// Who, as the transport proved it.
        from: NodeId,
        /// The start of that server that speaks: words of an earlier start are stale.
        boot: Boot,
        /// What.
        message: Message,
    },
    /// The connection to a peer was made, or broke: a hint, never a proof.
    Link {
        /// Whose.
        peer: NodeId,
        /// Whether it is up.
        up: bool,
    },
    /// Every record up to and including `through` will survive a crash.
    Durable {
        /// The last one.
        through: RecordNo,
    },
    /// The superblock with this promise will survive a crash.
    Promised {
        /// The promise.
        ballot: Ballot,
    },
    /// Decided entries that were asked for by `Output::Load`, from the write-ahead log.
    Loaded {
        /// The slot of the first one.
        first: Slot,
        /// In a row; none if the log does not have the first one.
        entries: Vec<Entry>,
    },
    /// The host looked at the room on its disk: said at the start if it is low, and at each change.
    /// Records for which there is no room are kept by the host, and appended once there is.
    Space {
        /// How it is.
        space: Space,
    },
    /// A chunk of the snapshot under construction was written, or dropped with it: there is room for
    /// another. A node has at most [`crate::limits::SNAPSHOT_CHUNKS_OPEN`] chunks on their way; that
    /// is how a slow disk slows a sweep down, and not the loop.
    ChunkStored {
        /// Of the snapshot of this slot.
        slot: Slot,
        /// Which one.
        index: u32,
    },
    /// The snapshot that `Output::SnapshotDone` ended, and its name, will survive a crash.
    SnapshotDurable {
        /// Which.
        id: SnapshotId,
    },
    /// As `SnapshotDurable`, of one that a peer sent: this is what it holds.
    SnapshotRestored {
        /// Which.
        id: SnapshotId,
        /// What it holds.
        machine: Box<Machine>,
    },
    /// The snapshot that `Output::SnapshotDone` ended came from a peer, and is not what `id` says.
    /// Nothing of it is left.
    SnapshotBad {
        /// Which.
        id: SnapshotId,
    },
    /// The snapshot that `Output::SnapshotDone` ended was not kept: there is no room for it, or
    /// what was written is not what `id` says. The log stays as long as it is.
    SnapshotFailed {
        /// Which.
        id: SnapshotId,
    },
    /// A chunk that was asked for by `Output::LoadChunk`.
    ChunkLoaded {
        /// Of which snapshot.
        id: SnapshotId,
        /// Which one.
        index: u32,
        /// Its payload; none if the snapshot is gone, or can't be read: it is not asked for again.
        bytes: Option<Bytes>,
    },
    /// Another server shall lead: its operator wants it. Who does not lead passes the wish on.
    HandOver {
        /// Who; the fittest if none is named.
        to: Option<NodeId>,
    },
    /// This server is about to stop: it takes no more clients and leads no more, and hands over if it does. `view().role` says
    /// when that is done; without another server that is fit it never is.
    Stop,
    /// A caller wants something.
    Request {
        /// Who, and which of its requests.
        tag: Tag,
        /// What.
        request: Request,
    },
    /// The caller of a request went away: nobody hears an answer any more.
    Gone {
        /// Which request.
        tag: Tag,
    },
}

/// What a caller wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// The tenant.
    pub zone: ZoneId,
    /// Who was authenticated; empty if nobody was.
    pub principal: Bytes,
    /// How a retry is known as one. The edge has checked a session's secret (`Ask::Resume`).
    pub client: Client,
    /// What.
    pub ask: Ask,
}

/// What a caller wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// Take a lock, or wait in its line.
    Acquire(Acquire),
    /// Give a grant back.
    Release {
        /// Which, proved.
        proof: Proof,
        /// However often its session has entered it; else one entry.
        all: bool,
    },
    /// Let a leased grant live on.
    Renew {
        /// Which, proved.
        proof: Proof,
        /// The new time to live; the grant's own if none.
        ttl_ms: Option<u64>,
    },
    /// Change how a grant shares its locks.
    Convert(Convert),
    /// Leave the line.
    Cancel {
        /// The place in it.
        ticket: TicketId,
    },
    /// Begin a session.
    OpenSession {
        /// How long it outlives its last keep-alive.
        ttl_ms: u64,
        /// What the client calls itself; may be empty.
        identifier: Bytes,
        /// The client has many threads: while one of them waits, another one may let go of what it waits for,
        /// so no deadlock is looked for. Without it a claim for which the session would wait for itself is
        /// refused.
        threads: bool,
    },
    /// Prove a session on a new connection.
    Resume {
        /// The session.
        session: SessionId,
        /// Its secret.
        secret: Token,
    },
    /// Let a session live on.
    KeepAlive {
        /// The session.
        session: SessionId,
    },
    /// End a session.
    CloseSession {
        /// The session.
        session: SessionId,
    },
    /// Change how many permits a lock has.
    Resize {
        /// Which.
        key: Key,
        /// How many from now on.
        capacity: u32,
    },
    /// Take a grant from its holder, at once.
    Force(Force),
    /// What an operator asks. Served over HTTP alone.
    Admin(Admin),
    /// How is this lock? Linearizable.
    Inspect {
        /// Which.
        key: Key,
    },
    /// Does this grant hold? Linearizable.
    Verify(Verify),
    /// Which locks are there? Linearizable.
    List(Listing),
    /// What does this server know of that? Answered at once, by any server, with or without a quorum:
    /// true at the slot that the answer names, and perhaps not any more.
    Stale(Question),
    /// Who are the servers?
    Servers,
}

/// What can be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// The shared configuration.
    Config,
    /// One lock.
    Inspect {
        /// Which.
        key: Key,
    },
    /// Whether a grant holds.
    Verify(Verify),
    /// Some locks.
    List(Listing),
}

impl Question {
    /// Asked of the cluster, or if `is_stale` of one server alone.
    pub fn ask(self, is_stale: bool) -> Ask {
        if is_stale {
            return Ask::Stale(self);
        }
        match self {
            Self::Config => Ask::Admin(Admin::ReadConfig),
            Self::Inspect { key } => Ask::Inspect { key },
            Self::Verify(verify) => Ask::Verify(verify),
            Self::List(listing) => Ask::List(listing),
        }
    }
}

/// What an operator asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admin {
    /// Change the configuration that all servers share.
    Configure(Configure),
    /// What is that configuration? Linearizable.
    ReadConfig,
    /// Another server shall lead. The answer says who the servers are, and who leads by now; the new
    /// leader follows in a moment, if there is one that is fit.
    HandOver {
        /// Who; the fittest if none is named.
        to: Option<NodeId>,
    },
}

impl Ask {
    /// Gives back one entry of a grant; of one that is not re-entrant, that is all of it.
    pub const fn release(proof: Proof) -> Self {
        Self::Release { proof, all: false }
    }

    /// Whether a server that takes no clients refuses it. Operators are answered all the same.
    pub const fn is_clients(&self) -> bool {
        !matches!(self, Self::Admin(_) | Self::Servers)
    }

    /// Whether it asks for more than what was granted before. A server that is short of room, or of
    /// company, refuses that and goes on with what was begun: its renewals and its end.
    pub const fn is_new_work(&self) -> bool {
        match self {
            Self::Acquire(_) | Self::Convert(_) | Self::OpenSession { .. } => true,
            // The operator may want to take this server out.
            Self::Admin(_)
            | Self::Release { .. }
            | Self::Renew { .. }
            | Self::Cancel { .. }
            | Self::Resume { .. }
            | Self::KeepAlive { .. }
            | Self::CloseSession { .. }
            | Self::Resize { .. }
            | Self::Force(_)
            | Self::Inspect { .. }
            | Self::Verify(_)
            | Self::List(_)
            | Self::Stale(_)
            | Self::Servers => false,
        }
    }

    /// Whether it is answered at once, whatever becomes of the log here.
    pub const fn is_answered_here(&self) -> bool {
        match self {
            Self::Resume { .. }
            | Self::Stale(_)
            | Self::Servers
            | Self::Admin(Admin::HandOver { .. }) => true,
            Self::Acquire(_)
            | Self::Release { .. }
            | Self::Renew { .. }
            | Self::Convert(_)
            | Self::Cancel { .. }
            | Self::OpenSession { .. }
            | Self::KeepAlive { .. }
            | Self::CloseSession { .. }
            | Self::Resize { .. }
            | Self::Force(_)
            | Self::Inspect { .. }
            | Self::Verify(_)
            | Self::List(_)
            | Self::Admin(Admin::Configure(_) | Admin::ReadConfig) => false,
        }
    }

    /// Whether it is answered without a new entry in the log.
    pub const fn is_read(&self) -> bool {
        match self {
            Self::Resume { .. }
            | Self::Admin(Admin::ReadConfig | Admin::HandOver { .. })
            | Self::Inspect { .. }
            | Self::Verify(_)
            | Self::List(_)
            | Self::Stale(_)
            | Self::Servers => true,
            Self::Acquire(_)
            | Self::Release { .. }
            | Self::Renew { .. }
            | Self::Convert(_)
            | Self::Cancel { .. }
            | Self::OpenSession { .. }
            | Self::KeepAlive { .. }
            | Self::CloseSession { .. }
            | Self::Resize { .. }
            | Self::Force(_)
            | Self::Admin(Admin::Configure(_)) => false,
        }
    }
}

/// How a grant is to share its locks, and the proof that the caller has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Convert {
    /// Keys of the grant, the first of them all among them, and how each is to be shared. Those that are not named
    /// stay as they are.
    pub parts: Parts,
    /// The grant.
    pub fence: Fence,
    /// The session it was granted to, if any.
    pub session: Option<SessionId>,
    /// Its token.
    pub token: Token,
    /// How long to wait for more, in milliseconds of agreed time; 0 is "now or not at all".
    pub wait_ms: u64,
}

impl Convert {
    /// What proves the grant: the token is of the first of its keys.
    pub fn proof(&self) -> Proof {
        Proof {
            key: self.parts.first().key.clone(),
            fence: self.fence,
            session: self.session,
            token: self.token,
        }
    }
}

/// A grant, and the proof that the caller has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The lock.
    pub key: Key,
    /// The grant.
    pub fence: Fence,
    /// The session it was granted to, if any.
    pub session: Option<SessionId>,
    /// What the grant's answer said.
    pub token: Token,
}

/// A grant as a third party names it, to ask whether it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verify {
    /// The lock: any of the claim's keys.
    pub key: Key,
    /// The grant.
    pub fence: Fence,
    /// What its holder says proves that it is his; without one, only the grant is looked at.
    pub token: Option<Token>,
    /// The session it was granted to, if any: tells the token of a grant that has ended from a wrong one.
    pub session: Option<SessionId>,
}

impl Verify {
    /// By the fence alone.
    pub const fn fence(key: Key, fence: Fence) -> Self {
        Self {
            key,
            fence,
            token: None,
            session: None,
        }
    }
}

impl From<Proof> for Verify {
    fn from(proof: Proof) -> Self {
        Self {
            key: proof.key,
            fence: proof.fence,
            token: Some(proof.token),
            session: proof.session,
        }
    }
}
