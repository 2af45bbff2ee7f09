//! The replicated state: what every server computes from the same log.
//!
//! [`Machine::apply`] is the only way in. Time is the stamp of the entry, and what a command finds
//! past its deadline is dead, reaped or not. The order within one entry is fixed (rules 22 and 42):
//!
//! 1. A leader's start raises the floor under all ttls.
//! 2. Renewals and keep-alives, judged at the stamp of the entry before.
//! 3. The clock moves. What earlier entries had no room for, then what is due: at most
//!    `EXPIRY_BATCH_MAX` keys that come and go; the rest is work for the next entries.
//! 4. The other commands, in their order.
//!
//! A session that holds a lock and asks for it again would wait for itself (`machine/deadlock.rs`), unless
//! it is a retry of the same request, or both times said that the claim is re-entrant (`machine/reenter.rs`), or
//! its client has many threads: then it queues like anybody.

use crate::config::{Membership, Role, Shared};
use crate::entry::{Entry, EntryKind, Start};
use crate::ids::{Fence, NodeId, Seed, SessionId, Slot, TicketId, ZoneId};
use crate::limits;
use crate::time::Stamp;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use answer::{Answer, Event, Refusal};
use bytes::Bytes;
use codec::Header;
use crowd::Crowd;
use index::{Hasher, Index};
use snapshot::Sweeping;
use state::{Grace, Grant, Hold, Line, Lock, Place, Request, Session, Ticket, Work, Zone};
use table::{Ref, Table};
use timers::Timers;
use via::ViaWindow;

pub mod answer;
mod audit;
pub mod codec;
pub mod command;
mod configure;
mod convert;
mod crowd;
mod deadlock;
mod digest;
mod expiry;
mod force;
mod hold;
mod index;
pub mod key;
mod line;
mod list;
mod once;
mod operate;
pub mod parts;
mod reenter;
mod session;
pub mod snapshot;
mod state;
mod table;
mod timers;
mod verdict;
mod via;
mod view;

pub use audit::Violation;
pub use verdict::Verdict;
pub use view::{HolderView, LockView, TicketView, WaiterView};

/// The limits of a machine. All servers of a cluster have the same, or they would disagree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Keys that one entry may take from holders and give to waiters.
    pub expiry_batch: usize,
    /// Keys of the grants and tickets of one zone, together.
    pub locks: usize,
    /// Keys of the tickets of one zone.
    pub tickets: usize,
    /// Sessions of one zone.
    pub sessions: usize,
    /// Remembered answers of one zone.
    pub answers: usize,
    /// Unconfirmed answers of one session.
    pub session_window: u64,
    /// How often a session enters one grant.
    pub entries: u32,
    /// Grants that are taken from one session.
    pub taken: usize,
    /// Edges that a search for a deadlock looks at.
    pub deadlock_visits: usize,
    /// Zones.
    pub zones: usize,
    /// Bytes of entries between two snapshots.
    pub snapshot_bytes: u64,
    /// What an entry counts at least of them.
    pub snapshot_entry_bytes_min: u64,
    /// Bytes of one chunk of a snapshot; at least 1.
    pub snapshot_chunk_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            expiry_batch: limits::EXPIRY_BATCH_MAX,
            locks: limits::LOCKS_MAX,
            tickets: limits::TICKETS_MAX,
            sessions: limits::SESSIONS_MAX,
            answers: limits::DEDUPE_MAX,
            session_window: limits::SESSION_WINDOW,
            entries: limits::ENTRIES_MAX,
            taken: limits::TAKEN_MAX,
            deadlock_visits: limits::DEADLOCK_VISITS_MAX,
            zones: limits::ZONES_MAX,
            snapshot_bytes: limits::SNAPSHOT_BYTES,
            snapshot_entry_bytes_min: limits::SNAPSHOT_ENTRY_BYTES_MIN,
            snapshot_chunk_bytes: limits::SNAPSHOT_CHUNK_BYTES,
        }
    }
}

/// What a machine keeps of what the log says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// Everything.
    #[default]
    Full,
    /// The configuration, agreed time, which commands were seen, and when snapshots are due: what a
    /// server needs that votes and keeps the log for others. It has no locks, gives no answers but about
    /// changes of the configuration, and makes no snapshots. (Pâris 1986, "Voting with witnesses".)
    Witness,
}

impl Form {
    /// Of `node`, where `membership` says who votes. Who has no vote keeps all.
    pub fn of(membership: &Membership, node: NodeId) -> Self {
        match membership.role(node) {
            Some(Role::QuorumOnly) => Self::Witness,
            Some(Role::Voter | Role::Observer) | None => Self::Full,
        }
    }
}

/// The locks, their lines, the sessions, and what was answered.
#[derive(Debug, Default)]
pub struct Machine {
    form: Form,
    limits: Limits,
    hasher: Hasher,
    applied: Slot,
    stamp: Stamp,
    digest: u64,
    /// Commands of which not even the header could be read.
    unreadable: u64,
    grace: Grace,
    fence_floor: Fence,
    /// The latest leader that began.
    started: Start,
    shared: Shared,
    zones: BTreeMap<ZoneId, Zone>,
    vias: BTreeMap<NodeId, ViaWindow>,
    work: VecDeque<Work>,
    /// Keys that this entry may still take and give.
    budget: usize,
    /// Bytes of the entries since the last snapshot was due.
    log_bytes: u64,
    /// The last entry made a snapshot due.
    snapshot_due: bool,
    sweeping: Option<Sweeping>,

    locks: Table<Lock>,
    lock_index: Index<Lock>,
    crowds: Table<Crowd>,
    grants: Table<Grant>,
    /// By fence.
    grant_index: Index<Grant>,
    holds: Table<Hold>,
    /// Of re-entrant grants, by session and lock.
    entry_index: Index<Hold>,
    lease_timers: Timers<Grant>,
    lines: Table<Line>,
    tickets: Table<Ticket>,
    places: Table<Place>,
    ticket_index: Index<Ticket>,
    /// By the grant that they convert.
    conversion_index: Index<Ticket>,
    ticket_timers: Timers<Ticket>,
    sessions: Table<Session>,
    session_index: Index<Session>,
    identifier_index: Index<Session>,
    session_timers: Timers<Session>,
    requests: Table<Request>,
    request_index: Index<Request>,
    request_timers: Timers<Request>,

    /// Memory that is used again by every entry.
    later: Vec<(Origin, Header)>,
    scratch: Vec<u8>,
    /// Locks whose holders or lines changed, until [`Machine::wake`] has looked at them.
    woken: VecDeque<Ref<Lock>>,
}

/// Where in the log a command stands: names what it makes.
#[derive(Clone, Copy, Debug)]
struct Origin {
    slot: Slot,
    number: u32,
}

/// A guess of how much log there is for each name that an index gets. One that is too low costs room in
/// tables that are not touched; one that is too high, that they grow once or twice.
const BYTES_A_NAME: u64 = 64;

const PLACE_BITS: u32 = 12;
/// Slots beyond this have no place; none gets so far.
const SLOT_MAX: Slot = Slot::new(u64::MAX >> (PLACE_BITS + 1));
const _: () = assert!(limits::ENTRY_COMMANDS_MAX <= 1 << PLACE_BITS);

impl Origin {
    /// The first of the slot after this one: above all that were made so far.
    const fn after(slot: Slot) -> Self {
        Self {
            slot: slot.next(),
            number: 0,
        }
    }

    const fn ticket(self) -> TicketId {
        // Widening; `From` is not const.
        TicketId::new(self.packed())
    }

    const fn session(self) -> SessionId {
        #[expect(clippy::as_conversions, reason = "u64 to u128 loses nothing")]
        SessionId::new(self.packed() as u128)
    }

    const fn packed(self) -> u64 {
        #[expect(clippy::as_conversions, reason = "u32 to u64 loses nothing")]
        let number = self.number as u64;
        self.slot.get() << PLACE_BITS | number
    }
}

impl Machine {
    /// Before the first entry of a cluster.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Self::new`], with a seed that nobody can guess: those who choose keys can't choose
    /// collisions then. What the machine does is the same under every seed.
    pub fn seeded(seed: Seed) -> Self {
        Self::configured(Limits::default(), seed)
    }

    /// The same in a cluster that begins with `genesis`. Without one, it is a cluster of nobody.
    #[must_use]
    pub fn in_cluster(self, genesis: Shared) -> Self {
        assert!(
            self.applied == Slot::new(0),
            "a cluster begins before its first entry"
        );
        Self {
            shared: genesis,
            ..self
        }
    }

    /// The same, as a machine that keeps what `form` says, from its first entry on.
    #[must_use]
    pub fn in_form(self, form: Form) -> Self {
        assert!(
            self.applied == Slot::new(0),
            "what was not kept from the beginning is not there later"
        );
        Self { form, ..self }
    }

    /// What it keeps.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// The configuration that all servers share, at [`Self::applied`].
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// With other limits than those of `limits.rs`, for tests.
    pub fn with_limits(limits: Limits) -> Self {
        Self::configured(limits, Seed::default())
    }

    /// As [`Self::seeded`], with other limits than those of `limits.rs`.
    pub fn configured(limits: Limits, seed: Seed) -> Self {
        Self {
            limits,
            hasher: Hasher::new(seed),
            ..Self::default()
        }
    }

    /// So many bytes of log are about to be applied to it, from the first entry on: the indexes of what most
    /// commands name have their size at once, instead of finding the place of each name again with each
    /// growth.
    pub fn expect(&mut self, log_bytes: u64) {
        // More than one that becomes a snapshot is a log that could not become one.
        let log_bytes = log_bytes.min(2 * limits::SNAPSHOT_BYTES);
        let names = usize::try_from(log_bytes / BYTES_A_NAME).unwrap_or(usize::MAX);
        let names = names.min(self.limits.locks);
        self.lock_index.expect(names);
        self.grant_index.expect(names);
        self.request_index.expect(names);
    }

    /// The last slot that was applied.
    pub const fn applied(&self) -> Slot {
        self.applied
    }

    /// Agreed time at that slot.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// A hash of everything that was applied and answered: equal on all servers at equal slots. Zero of
    /// a witness, which knows no answers.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// The latest leader whose start was applied.
    pub const fn started(&self) -> Start {
        self.started
    }

    /// How many commands could not be read at all. They change nothing.
    pub const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Applies the entry of the slot after [`Self::applied`]. `events` gets what it did.
    ///
    /// A later leader may propose an older entry again, with an older stamp: agreed time then stands
    /// still for that entry, it never goes back.
    pub fn apply(&mut self, slot: Slot, entry: &Entry, events: &mut Vec<Event>) {
        assert!(
            slot == self.applied.next(),
            "slots are applied once, in order"
        );
        let earlier_events = events.len();
        let clock = self.stamp.max(entry.stamp());
        let mut later = core::mem::take(&mut self.later);
        match entry.kind() {
            EntryKind::Noop => {}
            EntryKind::LeaderStart => self.leader_started(slot, entry, clock),
            EntryKind::Batch => self.renewals_first(slot, entry, clock, &mut later, events),
            EntryKind::Stop => self.turn_epoch(slot, entry, clock),
        }
        self.stamp = clock;
        self.budget = self.limits.expiry_batch;
        self.work_off(events);
        self.expire(events);
        for (origin, header) in later.drain(..) {
            let via = header.via;
            let answer = match header.decode() {
                Ok(command) => self.execute(origin, &command, events),
                Err(error) => Answer::Refused(Refusal::Invalid { what: error.what() }),
            };
            events.push(Event::Answered { via, answer });
        }
        self.later = later;
        self.applied = slot;
        self.count_bytes(entry);
        self.roll(entry, events.get(earlier_events..).unwrap_or_default());
    }

    /// When an entry is due at the latest, in agreed time: at once if there is work left over.
    pub fn next_deadline(&self) -> Option<Stamp> {
        if !self.work.is_empty() {
            return Some(self.stamp);
        }
        self.first_due().map(|(due, _)| due.max(self.stamp))
    }

    fn turn_epoch(&mut self, slot: Slot, entry: &Entry, clock: Stamp) {
        let next = entry.next_membership();
        assert!(
            next.is_some(),
            "a stop-sign names the voters of the next epoch"
        );
        if let Some(next) = next {
            self.shared = self.shared.turn(slot, clock, &next);
        }
    }

    fn leader_started(&mut self, slot: Slot, entry: &Entry, clock: Stamp) {
        self.started = self.started.max(entry.start_at(slot).unwrap_or_default());
        self.shared.forget_leaving();
        self.grace.leader_started(self.stamp, clock);
        for note in entry.commands().skip(1) {
            match codec::decode_start(note) {
                Ok(floor) if self.fence_floor == Fence::default() => self.fence_floor = floor,
                Ok(_) => {}
                Err(_) => self.unreadable += 1,
            }
        }
    }

    /// Renewals and keep-alives are applied at once, and the others kept for later. A pause of the
    /// leader thus ends no ttl whose renewal waits in the same entry (rule 22).
    fn renewals_first(
        &mut self,
        slot: Slot,
        entry: &Entry,
        clock: Stamp,
        later: &mut Vec<(Origin, Header)>,
        events: &mut Vec<Event>,
    ) {
        for (number, command) in (0..).zip(entry.commands()) {
            let command: Bytes = entry.bytes().slice_ref(command);
            let Ok(header) = codec::decode_header(&command) else {
                self.unreadable += 1;
                continue;
            };
            let via = header.via;
            if !self.vias.entry(via.node).or_default().take(via) {
                continue;
            }
            if self.form == Form::Witness && !header.is_configure() {
                continue;
            }
            if !header.is_renewal() {
                later.push((Origin { slot, number }, header));
                continue;
            }
            let answer = match header.decode() {
                Ok(command) => self.renew(&command, clock),
                Err(error) => Answer::Refused(Refusal::Invalid { what: error.what() }),
            };
            events.push(Event::Answered { via, answer });
        }
    }
}

#[cfg(test)]
mod tests;
