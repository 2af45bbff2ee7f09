//! The machine against the model, step by step, over histories that proptest makes up.

use super::model::Model;
use super::*;
use crate::limits::{CIRCLE_SHOWN_MAX, DEADLOCK_VISITS_MAX};
use crate::machine::view::Stored;
use crate::rng::Rng;
use alloc::vec;
use proptest::prelude::*;

mod convert;

/// One choice: what to do, with some numbers to choose its details from.
pub(super) type Choice = (u8, u8, u8, u8);

pub(super) fn limits() -> impl Strategy<Value = Limits> {
    let tiny = (
        1..4usize,
        2..6usize,
        1..4usize,
        1..4usize,
        1..4usize,
        1..4u64,
        1..3usize,
        1..3u32,
        0..3usize,
    );
    let tiny = tiny.prop_map(
        |(expiry_batch, locks, tickets, sessions, answers, window, zones, entries, taken)| Limits {
            expiry_batch,
            locks,
            tickets,
            sessions,
            answers,
            session_window: window,
            entries,
            taken,
            deadlock_visits: DEADLOCK_VISITS_MAX,
            zones,
            snapshot_bytes: 600,
            snapshot_entry_bytes_min: 100,
            snapshot_chunk_bytes: 64,
        },
    );
    let few_at_once = (1..4usize).prop_map(|expiry_batch| Limits {
        expiry_batch,
        ..Limits::default()
    });
    prop_oneof![Just(Limits::default()), few_at_once, tiny]
}

pub(super) fn entries() -> impl Strategy<Value = Vec<(u8, Vec<Choice>)>> {
    prop::collection::vec(
        (any::<u8>(), prop::collection::vec(any::<Choice>(), 0..5)),
        1..60,
    )
}

/// Both, and what their history has named so far.
pub(super) struct Pair {
    pub(super) machine: Machine,
    model: Model,
    ms: u64,
    seq: u64,
    sessions: Vec<SessionId>,
    grants: Vec<(ZoneId, Key, Fence)>,
    /// What was granted under each fence.
    held: Vec<(Fence, Parts)>,
    tickets: Vec<TicketId>,
    sent: Vec<Command>,
    /// The last entry, and what it did.
    pub(super) entry: Option<Entry>,
    pub(super) events: Vec<Event>,
}

const STEPS_MS: [u64; 10] = [0, 1, 250, 499, 500, 1000, 3000, 5000, 10_001, 61_000];

/// `c` is mostly used by permits, the others mostly in modes.
fn mode(name: char, bits: u8) -> Mode {
    let permits = Mode::Permits {
        n: 1 + u32::from(bits % 3),
        capacity: if bits % 16 == 8 { 4 } else { 3 },
    };
    match (name, bits % 16) {
        ('c', 0..15) | (_, 15) => permits,
        (_, 0..=2) => Exclusive,
        (_, 3..=5) => Shared,
        (_, 6 | 7) => Mode::Null,
        (_, 8 | 9) => Mode::ConcurrentRead,
        (_, 10 | 11) => Mode::ConcurrentWrite,
        _ => Mode::ProtectedWrite,
    }
}

/// One to three keys, each in a mode of its own.
fn parts(a: u8, c: u8) -> Parts {
    let names = [
        "a", "b", "c", "a", "b", "ab", "bc", "ac", "abc", "cb", "ba", "c",
    ][a as usize % 12];
    let part = |(at, name): (usize, char)| Part {
        key: path(name.encode_utf8(&mut [0; 4])),
        mode: mode(name, c.rotate_right(3 * at as u32) ^ c >> 6),
    };
    Parts::new(names.chars().enumerate().map(part).collect()).unwrap()
}

/// Only what is valid is re-entrant.
fn sound(mut operation: Operation) -> Operation {
    if let Operation::Acquire(acquire) = &mut operation {
        let mut modes = acquire.parts.iter().map(|part| part.mode);
        let by_permits = modes.any(|mode| matches!(mode, Mode::Permits { .. }));
        acquire.reentrant &= acquire.life == Life::Session && !by_permits;
    }
    operation
}

fn pick<T: Clone>(from: &[T], at: u8) -> Option<T> {
    // Counted from the end, where what still lives is.
    let at = at as usize % from.len().clamp(1, 8);
    from.iter().rev().nth(at).cloned()
}

/// The model says that there is a circle, and not which.
fn without_circle(mut event: Event) -> Event {
    if let Event::Answered { answer, .. } = &mut event
        && let Answer::Refused(Refusal::Deadlock { by }) = answer
    {
        assert!(!by.is_empty() && by.len() <= CIRCLE_SHOWN_MAX, "it is told");
        by.clear();
    }
    event
}

impl Pair {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            machine: Machine::with_limits(limits),
            model: Model::new(limits),
            ms: 0,
            seq: 0,
            sessions: vec![],
            grants: vec![],
            held: vec![],
            tickets: vec![],
            sent: vec![],
            entry: None,
            events: vec![],
        }
    }

    fn client(&self, (which, number): (u8, u8)) -> Client {
        match which % 3 {
            0 => Client::None,
            1 => key(u128::from(number % 12)),
            _ => match pick(&self.sessions, number) {
                None => Client::None,
                Some(id) => {
                    let seq = 1 + u64::from(number >> 3) % 12;
                    numbered(
                        id,
                        seq,
                        if number & 4 == 0 {
                            0
                        } else {
                            seq.saturating_sub(4)
                        },
                    )
                }
            },
        }
    }

    fn operation(&self, (kind, a, b, c): Choice, client: Client) -> Operation {
        let name = ["a", "b", "c"][a as usize % 3];
        let ttl_ms = [500, 1000, 5000][b as usize % 3];
        let session = pick(&self.sessions, b).unwrap_or_default();
        let ticket = pick(&self.tickets, a).unwrap_or_default();
        let (grant_key, fence) = pick(&self.grants, a)
            .map_or((path(name), Fence::new(5)), |(_, key, fence)| (key, fence));
        match kind % 21 {
            0..=6 => Operation::Acquire(Acquire {
                parts: parts(a, c),
                reentrant: b >> 6 != 0,
                life: match (c >> 1) % 4 {
                    0 => Life::Static,
                    1 if matches!(client, Client::Session { .. }) => Life::Session,
                    2 if matches!(client, Client::Session { .. }) => Life::Session,
                    _ => Life::Lease { ttl_ms },
                },
                wait_ms: [0, 600, 3000, 70_000][(c >> 3) as usize % 4],
                holder: Bytes::from_static([b"".as_slice(), b"h"][(c >> 5) as usize % 2]),
            }),
            7 | 8 => Operation::Release {
                key: grant_key,
                fence,
                all: c % 4 == 3,
            },
            9 | 10 => Operation::Renew {
                key: grant_key,
                fence,
                ttl_ms: (c & 1 == 0).then_some(ttl_ms),
            },
            11 => Operation::Cancel { ticket },
            12 => Operation::Confirm { ticket },
            13 => Operation::OpenSession {
                ttl_ms: [ttl_ms, 100_000][c as usize % 2],
                identifier: Bytes::from_static([b"".as_slice(), b"i", b"j"][c as usize % 3]),
                threads: c >> 6 == 3,
            },
            14 => Operation::KeepAlive { session },
            15 => Operation::CloseSession { session },
            16 => Operation::Force(Force {
                key: grant_key,
                fence,
                cause: cause(),
            }),
            18..=20 => self.conversion(a, b, c),
            _ => Operation::Resize {
                key: path(["c", "c", "a"][a as usize % 3]),
                capacity: 1 + u32::from(b % 5),
            },
        }
    }

    fn command(&mut self, choice: Choice) -> Command {
        let (kind, a, b, c) = choice;
        if kind >= 250
            && let Some(command) = pick(&self.sent, c)
        {
            return command; // forwarded twice
        }
        if kind >= 215
            && let Some(mut command) = pick(&self.sent, c)
        {
            self.seq += 1; // asked again by the client
            command.via.seq = self.seq;
            return command;
        }
        if (150..215).contains(&kind)
            && let Some(command) = self.again(a, c)
        {
            return command;
        }
        let few = (120..150).contains(&kind);
        let few = few.then(|| self.of_few_permits(b, c));
        let client = self.client((kind >> 4, b ^ c.rotate_left(3)));
        let client = few.as_ref().map_or(client, |_| Client::None);
        self.seq += 1;
        let command = Command {
            zone: ZoneId::new(u32::from(a >> 6 == 3 && few.is_none())),
            principal: Bytes::from_static(b"ann"),
            client,
            via: Via {
                node: NodeId::new(1),
                boot: Boot::new(1),
                seq: self.seq,
            },
            operation: few.unwrap_or_else(|| sound(self.operation(choice, client))),
        };
        self.sent.push(command.clone());
        command
    }

    /// A re-entrant claim of the newest session: what it claimed so last, once more, for the same, for less, or
    /// for something else. Or a release of one of the newest grants.
    fn again(&mut self, a: u8, c: u8) -> Option<Command> {
        let session = *self.sessions.last()?;
        let by_it = |command: &&Command| {
            matches!(command.client, Client::Session { id, .. } if id == session)
                && matches!(&command.operation, Operation::Acquire(acquire) if acquire.reentrant)
        };
        let last = self.sent.iter().rev().find(by_it);
        let mut parts = match last.map(|command| &command.operation) {
            Some(Operation::Acquire(acquire)) if !a.is_multiple_of(8) => acquire.parts.clone(),
            _ => parts(a.rotate_left(3), c),
        };
        let numbers = self.sent.iter().filter_map(|command| match command.client {
            Client::Session { id, seq, .. } if id == session => Some(seq.get()),
            _ => None,
        });
        let seq = numbers.max().unwrap_or_default() + 1;
        if a % 8 == 1 {
            parts = Parts::one(parts.first().key.clone(), Mode::Null);
        }
        let acquire = Acquire {
            parts,
            life: Life::Session,
            wait_ms: u64::from(c % 4) * 20_000,
            holder: Bytes::new(),
            reentrant: true,
        };
        self.seq += 1;
        let command = Command {
            zone: ZoneId::new(0),
            principal: Bytes::from_static(b"ann"),
            client: numbered(session, seq, seq.saturating_sub(4)),
            via: Via {
                node: NodeId::new(1),
                boot: Boot::new(1),
                seq: self.seq,
            },
            operation: match pick(&self.grants, c >> 6) {
                Some((_, key, fence)) if c % 16 > 9 => Operation::Release {
                    key,
                    fence,
                    all: false,
                },
                _ => sound(Operation::Acquire(acquire)),
            },
        };
        self.sent.push(command.clone());
        Some(command)
    }

    /// One entry for both; everything that can be compared is.
    pub(super) fn step(&mut self, time: u8, choices: &[Choice]) -> Result<(), TestCaseError> {
        self.ms += STEPS_MS[time as usize % STEPS_MS.len()];
        // Now and then an older entry, proposed again by a later leader.
        let back = if time >= 240 { 700 } else { 0 };
        let stamp = Stamp::ZERO.plus(Duration::from_millis(self.ms.saturating_sub(back)));
        let slot = self.machine.applied().next();
        let mut events = vec![];
        let expected = if time % 32 == 31 || slot == Slot::new(1) {
            let floor = Fence::new(u64::from(time) << 20);
            let entry = Entry::leader_start(Ballot::ZERO, stamp, &codec::encode_start(floor));
            self.machine.apply(slot, &entry, &mut events);
            self.entry = Some(entry);
            self.model.start(stamp, floor)
        } else {
            let commands: Vec<Command> =
                choices.iter().map(|choice| self.command(*choice)).collect();
            let encoded: Vec<Bytes> = commands.iter().map(codec::encode).collect();
            let entry = Entry::new(EntryKind::Batch, stamp, &encoded);
            self.machine.apply(slot, &entry, &mut events);
            self.entry = Some(entry);
            self.model.batch(slot, stamp, &commands)
        };
        let plain: Vec<Event> = events.iter().cloned().map(without_circle).collect();
        prop_assert_eq!(&plain, &expected);
        self.learn(&events);
        self.events = events;
        self.compare()
    }

    fn learn(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Answered { answer, .. } | Event::Ended { answer, .. } => match answer {
                    Answer::Granted(grant) if !grant.replayed => {
                        // Any of its keys names a claim.
                        let mut keys = grant.parts.iter().map(|part| part.key.clone());
                        let at = grant.fence.get() as usize;
                        let key = keys.nth(at % grant.parts.count()).unwrap();
                        self.grants.push((grant.zone, key, grant.fence));
                        self.held.push((grant.fence, grant.parts.clone()));
                    }
                    Answer::Queued { ticket, .. } => self.tickets.push(*ticket),
                    Answer::SessionOpened { session, .. } => self.sessions.push(*session),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.machine.audit(), Ok(()));
        prop_assert_eq!(self.machine.stamp(), self.model.now);
        prop_assert_eq!(self.machine.next_deadline(), self.model.next_deadline());
        let now = self.machine.stamp();
        for zone in [ZoneId::new(0), ZoneId::new(1)] {
            let mut used = vec![];
            for name in ["a", "b", "c"] {
                let expected = self.model.inspect(zone, &path(name));
                let view = self.machine.lock_view(zone, &path(name), now);
                prop_assert_eq!(&view, &expected);
                if !view.holders.is_empty() || !view.waiters.is_empty() {
                    used.push(view.key);
                }
            }
            let stored = self.machine.stored(zone).filter(Stored::is_in_use);
            let mut keys: Vec<Key> = stored.map(|lock| Key::copied(lock.key())).collect();
            keys.sort();
            prop_assert_eq!(keys, used);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_machine_does_what_the_model_does(limits in limits(), entries in entries()) {
        let mut pair = Pair::new(limits);
        for (time, choices) in entries {
            pair.step(time, &choices)?;
        }
    }
}

/// The word that `Debug` begins with, and that of a refusal within.
fn name_of(answer: &Answer) -> std::string::String {
    let text = match answer {
        Answer::Refused(refusal) => std::format!("{refusal:?}"),
        Answer::Granted(grant) if grant.replayed => "Replayed".into(),
        Answer::Granted(grant) if grant.entered > 1 => "Reentered".into(),
        Answer::Released { entered: 1.., .. } => "ReleasedOnce".into(),
        Answer::KeptAlive { taken, .. } if !taken.is_empty() => "KeptAliveLess".into(),
        other => std::format!("{other:?}"),
    };
    text.split([' ', '(', '{'])
        .next()
        .unwrap_or_default()
        .into()
}

fn tiny() -> Limits {
    Limits {
        expiry_batch: 2,
        locks: 5,
        tickets: 2,
        sessions: 2,
        answers: 2,
        session_window: 2,
        entries: 2,
        taken: 1,
        zones: 1,
        ..Limits::default()
    }
}

const REACHED: [&str; 49] = [
    "Cancelled",
    "Converted",
    "Converting",
    "Deadlock",
    "Ended Cancelled",
    "Ended Granted",
    "Ended HasCapacity",
    "Ended NotCovered",
    "Ended NotHeld",
    "Ended Reentered",
    "Ended SessionGone",
    "Ended UpgradeDeadlock",
    "Ended WaitTimeout",
    "Entered",
    "FenceChanged",
    "Forced",
    "Forgotten",
    "Granted",
    "HasCapacity",
    "Held",
    "IdentifierInUse",
    "Invalid",
    "KeptAlive",
    "KeptAliveLess",
    "Lost",
    "LostForced",
    "NoPermits",
    "NoSuchTicket",
    "NotCovered",
    "NotHeld",
    "NotLeased",
    "Offered",
    "Offered event",
    "Queued",
    "Quota",
    "Reentered",
    "Released",
    "ReleasedOnce",
    "Renewed",
    "Replayed",
    "RequestIdReused",
    "Resized",
    "SessionBusy",
    "SessionClosed",
    "SessionExpired",
    "SessionGone",
    "SessionOpened",
    "UpgradeDeadlock",
    "WaitTimeout",
];

/// What the histories never reach, the comparison does not test.
#[test]
fn the_histories_reach_every_answer_and_every_event() {
    let mut rng = Rng::new(Seed::new(3));
    let mut seen = std::collections::BTreeSet::new();
    for history in 0..2000 {
        if seen.len() == REACHED.len() {
            break;
        }
        let limits = if history % 2 == 0 {
            Limits::default()
        } else {
            tiny()
        };
        let mut pair = Pair::new(limits);
        for _ in 0..60 {
            let mut byte = || rng.next() as u8;
            let choices = [
                (byte(), byte(), byte(), byte()),
                (byte(), byte(), byte(), byte()),
            ];
            let time = byte();
            pair.step(time, &choices).unwrap();
            for event in core::mem::take(&mut pair.events) {
                let name = match &event {
                    Event::Answered { answer, .. } => name_of(answer),
                    Event::Ended { answer, .. } => std::format!("Ended {}", name_of(answer)),
                    other => name_of_event(other),
                };
                seen.insert(name);
            }
        }
    }
    assert_eq!(
        seen.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        REACHED
    );
}

fn name_of_event(event: &Event) -> std::string::String {
    match event {
        Event::Offered { .. } => "Offered event".into(),
        Event::Lost {
            loss: Loss::Forced(_),
            ..
        } => "LostForced".into(),
        Event::Lost { .. } => "Lost".into(),
        _ => "SessionExpired".into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever reached the log is answered or counted, the same on every server, and breaks nothing.
    #[test]
    fn no_bytes_in_the_log_break_the_machine(
        entries in entries(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 60),
    ) {
        let mut pair = Pair::new(Limits::default());
        let mut twin = Machine::seeded(Seed::new(9));
        for ((time, choices), (at, byte)) in entries.into_iter().zip(hits) {
            pair.ms += STEPS_MS[time as usize % STEPS_MS.len()];
            let mut encoded = vec![];
            for choice in choices {
                let mut bytes = codec::encode(&pair.command(choice)).to_vec();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                encoded.push(Bytes::from(bytes));
            }
            let kind = if time % 16 == 0 { EntryKind::LeaderStart } else { EntryKind::Batch };
            let stamp = Stamp::ZERO.plus(Duration::from_millis(pair.ms));
            let entry = Entry::new(kind, stamp, &encoded);
            let slot = pair.machine.applied().next();
            let (mut events, mut twins) = (vec![], vec![]);
            pair.machine.apply(slot, &entry, &mut events);
            twin.apply(slot, &entry, &mut twins);
            prop_assert_eq!(&events, &twins);
            prop_assert_eq!(pair.machine.digest_full(), twin.digest_full());
            prop_assert_eq!(pair.machine.audit(), Ok(()));
            pair.learn(&events);
        }
    }
}
