//! Snapshots of the lock machine.

use crate::draw::Draw;
use crate::memory;
use bytes::Bytes;
use std::time::Duration;
use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::{
    Boot, Fence, NodeId, RequestId, RequestSeq, Seed, SessionId, Slot, SnapshotId, TicketId, ZoneId,
};
use tenure_core::machine::answer::{Answer, Event};
use tenure_core::machine::codec;
use tenure_core::machine::command::{Acquire, Client, Command, Life, Mode, Operation, Via};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::{Part, Parts};
use tenure_core::machine::snapshot::{Restore, RestoreError, Slice, hash_of};
use tenure_core::machine::{Form, Limits, Machine};
use tenure_core::time::Stamp;

const STEPS_MAX: usize = 60;
/// Bytes of the chunks that any content is cut into.
const PIECE_BYTES: usize = 100;
/// Bytes of memory for one of a snapshot: a record alone in its group of 64 slots takes them all.
const TIMES: u64 = 256;

/// The first byte says whether the others are a history or the content of a snapshot.
pub fn snapshot(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    if draw.byte().is_multiple_of(2) {
        history(&mut draw);
    } else {
        content(draw.rest());
    }
}

/// Any content, under a name that fits it: it is refused, or it is what a machine would write, and
/// that machine goes on.
fn content(bytes: &[u8]) {
    let slot = bytes.get(2..).and_then(<[u8]>::first_chunk);
    let id = SnapshotId {
        slot: Slot::new(slot.map_or(0, |slot| u64::from_le_bytes(*slot))),
        hash: hash_of(bytes.chunks(PIECE_BYTES)),
    };
    let witness = restored_in(Form::Witness, id, bytes, PIECE_BYTES);
    let full = restored(id, bytes, PIECE_BYTES);
    if let Ok(full) = &full {
        let witness = witness
            .as_ref()
            .expect("it reads a part of what is believed");
        assert_eq!(witness.shared(), full.shared());
        assert_eq!(witness.stamp(), full.stamp());
    }
    if let Ok(mut witness) = witness {
        goes_on(&mut witness);
    }
    if let Ok(mut full) = full {
        let again = written(&mut full).1;
        // What an earlier version wrote is written again in this one's form.
        let is_of_now = bytes.get(..2) == again.get(..2);
        assert!(!is_of_now || again == bytes, "one state has one form");
        goes_on(&mut full);
    }
}

fn goes_on(machine: &mut Machine) {
    assert_eq!(machine.audit(), Ok(()), "what is believed is sound");
    for hours in [0, 1, 30] {
        let stamp = machine.stamp().plus(Duration::from_secs(3600 * hours));
        let entry = Entry::new(EntryKind::Batch, stamp, &[]);
        machine.apply(machine.applied().next(), &entry, &mut Vec::new());
        assert_eq!(machine.audit(), Ok(()), "it goes on");
    }
}

/// A snapshot is written while a drawn history goes on, then read back, as it is and with a byte
/// changed.
fn history(draw: &mut Draw<'_>) {
    let chunk_bytes = 1 + draw.below(300);
    let limits = Limits {
        snapshot_chunk_bytes: chunk_bytes,
        ..Limits::default()
    };
    let mut log = Log {
        machine: Machine::configured(limits, Seed::new(0)),
        ..Log::default()
    };
    for _ in 0..draw.below(STEPS_MAX) {
        log.step(draw);
    }
    let full = log.machine.digest_full();
    log.machine.open_snapshot();
    let (mut bytes, mut id) = (Vec::new(), None);
    while id.is_none() {
        match log.machine.snapshot_slice(1 + draw.below(64)) {
            Some(Slice::Chunk { bytes: chunk, .. }) => bytes.extend_from_slice(&chunk),
            Some(Slice::Done { id: done, .. }) => id = Some(done),
            Some(Slice::More) => log.step(draw),
            None => panic!("a snapshot is open until it is done"),
        }
    }
    let id = id.expect("the loop ended");
    let machine = restored(id, &bytes, chunk_bytes).expect("what was written is read");
    assert_eq!(machine.digest_full(), full, "it is what it was");
    let at = draw.below(bytes.len().min(1 << 16));
    let change = draw.byte();
    bytes[at] ^= change;
    let again = restored(id, &bytes, chunk_bytes);
    assert_eq!(again.is_ok(), change == 0, "a name is that of its bytes");
    content(&bytes);
}

fn restored(id: SnapshotId, bytes: &[u8], piece: usize) -> Result<Machine, RestoreError> {
    restored_in(Form::Full, id, bytes, piece)
}

fn restored_in(
    form: Form,
    id: SnapshotId,
    bytes: &[u8],
    piece: usize,
) -> Result<Machine, RestoreError> {
    let restore = Restore::new(id, Limits::default(), Seed::new(3));
    let mut restore = restore.in_form(form);
    memory::within(bytes.len(), TIMES, || {
        bytes
            .chunks(piece)
            .try_for_each(|chunk| restore.chunk(chunk))?;
        restore.finish()
    })
}

fn written(machine: &mut Machine) -> (SnapshotId, Vec<u8>) {
    machine.open_snapshot();
    let mut bytes = Vec::new();
    loop {
        match machine.snapshot_slice(usize::MAX) {
            Some(Slice::Chunk { bytes: chunk, .. }) => bytes.extend_from_slice(&chunk),
            Some(Slice::Done { id, .. }) => return (id, bytes),
            Some(Slice::More) => {}
            None => panic!("a snapshot is open until it is done"),
        }
    }
}

/// A machine with a log of its own, and what the log has named so far.
#[derive(Debug, Default)]
struct Log {
    machine: Machine,
    ms: u64,
    seq: u64,
    fences: Vec<Fence>,
    sessions: Vec<SessionId>,
    tickets: Vec<TicketId>,
}

impl Log {
    /// One entry with one drawn command.
    fn step(&mut self, draw: &mut Draw<'_>) {
        self.ms += [0, 0, 1, 400, 1000, 6000, 61_000][draw.below(7)];
        let stamp = Stamp::ZERO.plus(Duration::from_millis(self.ms));
        self.seq += 1;
        let client = match draw.below(3) {
            0 => Client::None,
            1 => Client::Key(RequestId::new(u128::from(draw.byte() % 8))),
            _ => self.numbered(draw),
        };
        let command = Command {
            zone: ZoneId::new(u32::from(draw.byte() == 1)),
            principal: Bytes::from_static(b"ann"),
            client,
            via: Via {
                node: NodeId::new(1 + u64::from(draw.byte() % 3)),
                boot: Boot::new(1),
                seq: self.seq,
            },
            operation: self.operation(draw, client),
        };
        let entry = Entry::new(EntryKind::Batch, stamp, &[codec::encode(&command)]);
        let mut events = Vec::new();
        self.machine
            .apply(self.machine.applied().next(), &entry, &mut events);
        events.iter().for_each(|event| self.learn(event));
    }

    fn numbered(&self, draw: &mut Draw<'_>) -> Client {
        let seq = u64::from(draw.byte() % 12);
        let Some(id) = pick(&self.sessions, draw) else {
            return Client::None;
        };
        Client::Session {
            id,
            seq: RequestSeq::new(1 + seq),
            done_through: RequestSeq::new(seq.saturating_sub(6)),
        }
    }

    fn operation(&self, draw: &mut Draw<'_>, client: Client) -> Operation {
        let key = Key::from_path(["a", "b", "c"][draw.below(3)]).expect("it is a path");
        let ttl_ms = [500, 1000, 60_000][draw.below(3)];
        match draw.below(11) {
            0..=4 => Operation::Acquire(Acquire {
                parts: parts(key, draw),
                life: match (draw.below(3), client) {
                    (0, _) => Life::Static,
                    (1, Client::Session { .. }) => Life::Session,
                    _ => Life::Lease { ttl_ms },
                },
                wait_ms: [0, 600, 70_000][draw.below(3)],
                holder: Bytes::from_static([b"".as_slice(), b"h"][draw.below(2)]),
                reentrant: false,
            }),
            5 => Operation::Release {
                key,
                fence: pick(&self.fences, draw).unwrap_or_default(),
                all: draw.below(4) == 0,
            },
            6 => Operation::Confirm {
                ticket: pick(&self.tickets, draw).unwrap_or_default(),
            },
            7 => Operation::Cancel {
                ticket: pick(&self.tickets, draw).unwrap_or_default(),
            },
            8 => Operation::OpenSession {
                ttl_ms,
                identifier: Bytes::from_static([b"".as_slice(), b"i", b"j"][draw.below(3)]),
                threads: false,
            },
            9 => Operation::Resize {
                key,
                capacity: [1, 3, 4][draw.below(3)],
            },
            _ => Operation::CloseSession {
                session: pick(&self.sessions, draw).unwrap_or_default(),
            },
        }
    }

    fn learn(&mut self, event: &Event) {
        let (Event::Answered { answer, .. } | Event::Ended { answer, .. }) = event else {
            return;
        };
        match answer {
            Answer::Granted(grant) => self.fences.push(grant.fence),
            Answer::Queued { ticket, .. } => self.tickets.push(*ticket),
            Answer::SessionOpened { session, .. } => self.sessions.push(*session),
            _ => {}
        }
    }
}

const MODES: [Mode; 8] = [
    Mode::Exclusive,
    Mode::Shared,
    Mode::Shared,
    Mode::Null,
    Mode::ConcurrentRead,
    Mode::ConcurrentWrite,
    Mode::ProtectedWrite,
    Mode::Permits { n: 2, capacity: 3 },
];

/// A claim of `key`, and of more in one of four.
fn parts(key: Key, draw: &mut Draw<'_>) -> Parts {
    let mut mode = || MODES[draw.below(MODES.len())];
    let mut parts = vec![Part { key, mode: mode() }];
    let (all, more) = (mode(), mode());
    if (all, more) == (Mode::Shared, Mode::Shared) {
        for name in ["b", "d"] {
            let key = Key::from_path(name).expect("it is a path");
            if parts[0].key != key {
                parts.push(Part { key, mode: all });
            }
        }
    }
    Parts::new(parts).expect("they are few, each once")
}

/// One of the last ones.
fn pick<T: Copy>(from: &[T], draw: &mut Draw<'_>) -> Option<T> {
    let back = draw.below(from.len().clamp(1, 8));
    from.iter().rev().nth(back).copied()
}
