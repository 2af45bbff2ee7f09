//! What the log means: the chosen entries in their order, applied to a machine of the judges' own,
//! and everything that follows from its answers.

mod entries;
mod refusals;
mod taken;
mod told;

use super::Docket;
use super::belief::Beliefs;
use super::lateness::Lateness;
use super::locks::Locks;
use super::once::Once;
use super::order::Order;
use super::reads::Reads;
use super::snapshots::Snapshots;
use super::votes::Votes;
use crate::Nanos;
use crate::marks::{Mark, Marks};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::config::{self, Shared};
use tenure_core::entry::{Entry, EntryKind, Start};
use tenure_core::ids::{ChangeId, Fence, Slot, TicketId, ZoneId};
use tenure_core::machine::answer::{Answer, Event, Grant, Loss, Refusal};
use tenure_core::machine::codec;
use tenure_core::machine::command::{Acquire, Client, Command, Life, Mode, Operation, Via};
use tenure_core::machine::parts::{Part, Parts};
use tenure_core::machine::{Limits, Machine};
use tenure_core::time::Stamp;

/// What one entry did.
#[derive(Debug)]
pub struct Applied {
    digest: u64,
    stamp: Stamp,
    mark: config::Mark,
    started: Start,
    events: Vec<Event>,
}

/// Who asked for a claim, until it is decided.
#[derive(Clone, Debug)]
struct Claim {
    command: Command,
    parts: Parts,
}

/// The judges' own reading of the log.
#[derive(Debug)]
pub struct History {
    machine: Machine,
    limits: Limits,
    slots: Vec<Applied>,
    tickets: BTreeMap<TicketId, Claim>,
    released: BTreeMap<(ZoneId, Fence), Nanos>,
    /// Grants that only a connection stands for.
    anonymous: BTreeSet<(ZoneId, Fence)>,
    taken: taken::Taken,
    /// The book of grants.
    pub locks: Locks,
    /// The book of reads.
    pub reads: Reads,
    /// The book of true time.
    pub lateness: Lateness,
    /// The book of snapshots.
    pub snapshots: Snapshots,
    once: Once,
    order: Order,
    first: Option<(Nanos, Stamp)>,
    stamp: Stamp,
    /// The last change of the shared configuration, and all that were asked for.
    configured: ChangeId,
    changes: Vec<refusals::Made>,
}

impl History {
    /// The shared configuration, as far as is chosen.
    pub const fn shared(&self) -> &Shared {
        self.machine.shared()
    }

    /// Of a cluster that begins with `genesis`, whose machines have `limits`.
    pub fn new(genesis: Shared, limits: Limits) -> Self {
        Self {
            machine: Machine::with_limits(limits).in_cluster(genesis),
            limits,
            slots: Vec::new(),
            tickets: BTreeMap::new(),
            released: BTreeMap::new(),
            anonymous: BTreeSet::new(),
            taken: taken::Taken::default(),
            locks: Locks::default(),
            reads: Reads::default(),
            lateness: Lateness::default(),
            snapshots: Snapshots::default(),
            once: Once::default(),
            order: Order::default(),
            first: None,
            stamp: Stamp::ZERO,
            configured: ChangeId::new(0),
            changes: Vec::new(),
        }
    }
}

/// A command of this entry, and what was answered.
struct Case<'a> {
    stamp: Stamp,
    command: &'a Command,
    answer: &'a Answer,
}

impl History {
    /// The last entry that was read.
    pub const fn applied(&self) -> Slot {
        Slot::new(self.slots.len() as u64)
    }

    /// Agreed time at the last entry.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The full digest of the judges' machine.
    pub fn digest_full(&self) -> u64 {
        self.machine.digest_full()
    }

    /// Reads what is chosen and was not read yet.
    pub fn advance(
        &mut self,
        votes: &Votes,
        beliefs: &mut Beliefs,
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        while self.applied() < votes.contiguous() {
            let slot = self.applied().next();
            let Some(chosen) = votes.chosen(slot) else {
                return;
            };
            let entry = chosen.entry.clone();
            self.apply(slot, &entry, beliefs, docket, marks);
        }
    }

    fn apply(
        &mut self,
        slot: Slot,
        entry: &Entry,
        beliefs: &mut Beliefs,
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        let before = self.stamp;
        let mut events = Vec::new();
        self.machine.apply(slot, entry, &mut events);
        if self.machine.snapshot_due().is_some() {
            self.snapshots.on_due(&mut self.machine);
        }
        self.stamp = self.machine.stamp();
        docket.check(self.stamp >= before, "agreed time never goes back", || {
            format!("{before:?} then {:?} at slot {slot}", self.stamp)
        });
        if entry.kind() == EntryKind::Stop {
            self.configured = ChangeId::new(slot.get());
        }
        if entry.kind() == EntryKind::LeaderStart {
            self.locks.on_leader(before, self.stamp);
            self.lateness.on_leader();
        }
        let commands = decode(entry, docket);
        let mut spent = 0;
        for event in &events {
            spent += self.room_of(event);
            self.on_event(slot, event, &commands, beliefs, docket, marks);
        }
        let room = self.limits.expiry_batch.saturating_sub(spent);
        self.locks.on_applied(self.stamp, room, docket);
        self.lateness.on_applied(docket);
        for (zone, key) in self.locks.take_touched() {
            self.reads.on_touched(slot, zone, &key, &self.locks);
        }
        self.slots.push(Applied {
            digest: self.machine.digest(),
            stamp: self.stamp,
            mark: self.machine.shared().mark(),
            started: self.machine.started(),
            events,
        });
    }

    /// What an event took of what an entry may do, in keys.
    fn room_of(&self, event: &Event) -> usize {
        match event {
            Event::Offered { ticket } | Event::Ended { ticket, .. } => self.order.keys_of(*ticket),
            // What an operator takes is no part of what an entry may do by itself.
            Event::Lost {
                loss: Loss::Forced(_),
                ..
            } => 0,
            Event::Lost { keys, .. } => keys.len(),
            Event::SessionExpired { .. } => 1,
            Event::Answered { .. } => 0,
        }
    }

    fn on_event(
        &mut self,
        slot: Slot,
        event: &Event,
        commands: &BTreeMap<Via, Command>,
        beliefs: &mut Beliefs,
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        let stamp = self.stamp;
        match event {
            Event::Answered { via, answer } => {
                let Some(command) = commands.get(via) else {
                    docket.broken(
                        "an answer belongs to a command of its entry",
                        format!("{via:?}"),
                    );
                    return;
                };
                let case = Case {
                    stamp,
                    command,
                    answer,
                };
                self.on_answered(&case, beliefs, docket, marks);
            }
            Event::Offered { .. } => {}
            Event::Ended { ticket, answer } => {
                self.on_ended(*ticket, answer, beliefs, docket, marks);
            }
            Event::Lost {
                zone,
                keys,
                fence,
                loss: Loss::Forced(_),
                ..
            } => {
                beliefs.on_taken(*zone, *fence, slot);
                self.on_taken(*zone, keys, *fence, docket);
            }
            Event::Lost { zone, fence, .. } => {
                self.locks.on_lost(*zone, *fence, stamp, docket);
                self.lateness.on_ended((*zone, *fence));
                marks.hit(Mark::LeaseExpired);
                docket.check(
                    !beliefs.believes(docket.now, *zone, *fence),
                    "nothing ends while its holder believes",
                    || format!("fence {fence} was lost at slot {slot}"),
                );
            }
            Event::SessionExpired { session } => {
                self.locks.on_session_expired(*session, stamp, docket);
                marks.hit(Mark::SessionExpired);
            }
        }
    }

    fn write_down(&mut self, case: &Case<'_>, docket: &mut Docket) {
        let (command, answer, stamp) = (case.command, case.answer, case.stamp);
        self.once.on_answer(command, answer, stamp, docket);
        self.locks.on_answer(command.zone, answer, stamp, docket);
        if let Answer::Released {
            fence,
            already,
            entered,
        } = *answer
        {
            let all = matches!(command.operation, Operation::Release { all: true, .. });
            let place = (command.zone, fence);
            self.locks
                .on_released(place, (already, entered), all, docket);
            self.lateness.on_ended(place);
        } else if let Answer::Renewed { fence, ttl_ms } = answer {
            let place = (command.zone, *fence);
            self.lateness.on_promised(place, *ttl_ms, docket);
        }
    }

    fn on_answered(
        &mut self,
        case: &Case<'_>,
        beliefs: &mut Beliefs,
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        let command = case.command;
        if self.once.is_retold(command, case.answer, docket) {
            return;
        }
        self.write_down(case, docket);
        match (case.answer, &command.operation) {
            (Answer::Granted(grant), _) if grant.replayed => {
                marks.hit(Mark::GrantReplayed);
                let stands = self.locks.live(grant.zone, grant.fence);
                let stands = stands.is_some_and(|live| live.entered == grant.entered);
                docket.check(stands, "a replayed grant still stands", || {
                    format!("fence {}", grant.fence)
                });
            }
            (Answer::Granted(grant), Operation::Acquire(_)) if self.is_known(grant) => {
                marks.hit(Mark::Reentered);
                self.on_entered(command, grant, docket);
            }
            (Answer::Granted(grant), Operation::Acquire(acquire)) => {
                self.order
                    .on_granted_at_once(command.zone, &acquire.parts, docket);
                marks.sometimes(grant.parts.count() > 1, Mark::ClaimOfMany);
                note_modes(&grant.parts, marks);
                self.note_anonymous(command, grant);
                self.on_granted(grant, true, beliefs, docket);
            }
            (Answer::Queued { ticket, .. }, Operation::Acquire(acquire)) => {
                self.on_queued(command, acquire, *ticket, docket);
            }
            (Answer::Resized { capacity }, Operation::Resize { key, .. }) => {
                marks.hit(Mark::Resized);
                self.locks.on_resized(command.zone, key, *capacity);
            }
            (Answer::Forced { fence, .. }, Operation::Force(force)) => {
                marks.hit(Mark::Forced);
                self.on_forced(command.zone, force, *fence, docket);
            }
            (Answer::Cancelled { ticket }, _) => {
                self.order.on_ended(command.zone, *ticket);
            }
            (Answer::Released { fence, entered, .. }, Operation::Release { .. }) => {
                marks.sometimes(*entered > 0, Mark::LeftOnce);
                self.is_proved(case, *fence, beliefs, docket);
            }
            (Answer::Refused(refusal @ Refusal::Quota { .. }), _) => {
                self.on_refused(command, refusal, docket, marks);
            }
            (_, Operation::Configure(configure)) => {
                self.on_configured(configure, case, docket, marks);
            }
            (Answer::Refused(refusal), _) => self.on_refused(command, refusal, docket, marks),
            (
                Answer::Granted(_)
                | Answer::Queued { .. }
                | Answer::Offered { .. }
                | Answer::Released { .. }
                | Answer::Renewed { .. }
                | Answer::SessionOpened { .. }
                | Answer::KeptAlive { .. }
                | Answer::Converted { .. }
                | Answer::Resized { .. }
                | Answer::Forced { .. }
                | Answer::Configured { .. }
                | Answer::SessionClosed { .. },
                _,
            ) => {}
        }
    }

    /// What stood was given back: by who has the proof, or by its server, which nobody heard.
    fn is_proved(&self, case: &Case<'_>, fence: Fence, beliefs: &Beliefs, docket: &mut Docket) {
        if matches!(case.answer, Answer::Released { already: true, .. }) {
            return;
        }
        let place = (case.command.zone, fence);
        // Its server gives back what nobody was told of.
        let unheard = self.anonymous.contains(&place)
            && !beliefs.believes(docket.now, case.command.zone, fence);
        let proved = self.released.contains_key(&place);
        docket.check(proved || unheard, "only who has the proof releases", || {
            format!("fence {fence} was released, and its holder never asked")
        });
    }

    fn on_queued(
        &mut self,
        command: &Command,
        acquire: &Acquire,
        ticket: TicketId,
        docket: &mut Docket,
    ) {
        let (zone, parts) = (command.zone, &acquire.parts);
        self.order.on_queued(zone, ticket, parts, docket);
        if self.tickets.contains_key(&ticket) {
            return;
        }
        self.locks.on_queued(zone, parts);
        self.waits_for_another(command, acquire, docket);
        let claim = Claim {
            command: command.clone(),
            parts: parts.clone(),
        };
        self.tickets.insert(ticket, claim);
    }

    fn on_ended(
        &mut self,
        ticket: TicketId,
        answer: &Answer,
        beliefs: &mut Beliefs,
        docket: &mut Docket,
        marks: &mut Marks,
    ) {
        let claim = self.tickets.remove(&ticket);
        let zone = claim
            .as_ref()
            .map_or(ZoneId::default(), |claim| claim.command.zone);
        docket.check(claim.is_some(), "a ticket ends once", || {
            format!("ticket {ticket}")
        });
        match answer {
            Answer::Granted(grant) if self.is_known(grant) => {
                marks.hit(Mark::ReenteredFromLine);
                self.order.on_granted(grant.zone, ticket, docket);
                if let Some(claim) = &claim {
                    self.on_entered(&claim.command, grant, docket);
                }
            }
            Answer::Granted(grant) => {
                marks.hit(Mark::GrantedAfterWait);
                self.order.on_granted(grant.zone, ticket, docket);
                marks.sometimes(grant.parts.count() > 1, Mark::ClaimOfManyWaited);
                note_modes(&grant.parts, marks);
                let mut is_offered = false;
                if let Some(claim) = claim {
                    is_offered = !matches!(claim.command.client, Client::Session { .. });
                    self.note_anonymous(&claim.command, grant);
                    docket.check(
                        is_asked_for(&claim.parts, &grant.parts),
                        "a grant is what was asked for",
                        || format!("ticket {ticket} of {:?}", claim.command),
                    );
                }
                self.on_granted(grant, !is_offered, beliefs, docket);
            }
            Answer::Refused(refusal) => {
                marks.sometimes(*refusal == Refusal::Cancelled, Mark::OfferLapsed);
                marks.sometimes(
                    matches!(refusal, Refusal::WaitTimeout { .. }),
                    Mark::WaitTimeout,
                );
                // Whoever asks again is told the same from memory.
                if let Some(claim) = &claim {
                    self.once.is_refused_first(&claim.command);
                    self.note_entries(&claim.command, refusal, docket, marks);
                }
                let is_beyond = matches!(refusal, Refusal::HasCapacity { .. });
                marks.sometimes(is_beyond, Mark::BeyondCapacity);
                self.order.on_ended(zone, ticket);
            }
            Answer::Queued { .. }
            | Answer::Offered { .. }
            | Answer::Released { .. }
            | Answer::Renewed { .. }
            | Answer::Cancelled { .. }
            | Answer::SessionOpened { .. }
            | Answer::KeptAlive { .. }
            | Answer::Converted { .. }
            | Answer::Resized { .. }
            | Answer::Forced { .. }
            | Answer::Configured { .. }
            | Answer::SessionClosed { .. } => self.order.on_ended(zone, ticket),
        }
    }

    fn note_anonymous(&mut self, command: &Command, grant: &Grant) {
        if command.client == Client::None {
            self.anonymous.insert((grant.zone, grant.fence));
        }
    }

    fn on_granted(&mut self, grant: &Grant, at_once: bool, beliefs: &Beliefs, docket: &mut Docket) {
        self.locks.on_grant(grant, self.stamp, at_once, docket);
        if let Life::Lease { ttl_ms } = grant.life {
            let place = (grant.zone, grant.fence);
            self.lateness.on_promised(place, ttl_ms, docket);
        }
        beliefs.on_granted(docket.now, grant, docket);
    }

    /// A holder, who has the proof, asks to give its grant back.
    pub fn on_release_asked(&mut self, now: Nanos, zone: ZoneId, fence: Fence) {
        self.released.entry((zone, fence)).or_insert(now);
    }
}

/// Whether a claim got what it waited for. The capacity of permits may be another one by then.
fn is_asked_for(asked: &Parts, granted: &Parts) -> bool {
    let same = |(asked, granted): (&Part, &Part)| match (asked.mode, granted.mode) {
        (Mode::Permits { n, .. }, Mode::Permits { n: got, .. }) => n == got,
        (asked, granted) => asked == granted,
    };
    let keys = |parts: &Parts| {
        parts
            .iter()
            .map(|part| part.key.clone())
            .collect::<Vec<_>>()
    };
    keys(asked) == keys(granted) && asked.iter().zip(granted.iter()).all(same)
}

fn note_modes(parts: &Parts, marks: &mut Marks) {
    for part in parts.iter() {
        match part.mode {
            Mode::Exclusive | Mode::Shared => {}
            Mode::Permits { .. } => marks.hit(Mark::PermitsGranted),
            Mode::Null | Mode::ConcurrentRead | Mode::ConcurrentWrite | Mode::ProtectedWrite => {
                marks.hit(Mark::ClassicalMode);
            }
        }
    }
}

fn decode(entry: &Entry, docket: &mut Docket) -> BTreeMap<Via, Command> {
    let mut commands = BTreeMap::new();
    if entry.kind() != EntryKind::Batch {
        return commands;
    }
    for bytes in entry.commands() {
        match codec::decode(&Bytes::copy_from_slice(bytes)) {
            Ok(command) => {
                commands.insert(command.via, command);
            }
            Err(error) => docket.broken("the log holds commands", format!("{error:?}")),
        }
    }
    commands
}
