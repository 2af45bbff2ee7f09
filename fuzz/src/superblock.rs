//! The four copies of the superblock.

use crate::draw::Draw;
use crate::memory;
use bytes::Bytes;
use tenure_core::hash::hash64;
use tenure_core::ids::{Ballot, Boot, ClusterId, Epoch, Incarnation, NodeId, Round, SegmentNo};
use tenure_core::wal::superblock::{
    COPIES, COPY_BYTES, COPY_STRIDE, Durable, Pending, Superblock, format, open,
};
use tenure_core::wal::{ATOM_BYTES, Identity};

const STEPS_MAX: usize = 16;

/// The first byte says whether the others are a history or the bytes of copies.
pub fn superblock(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    if draw.byte().is_multiple_of(2) {
        history(&mut draw);
    } else {
        strange(&mut draw);
    }
}

type File = [Vec<u8>; COPIES];

fn opened(file: &File) -> Result<Pending, tenure_core::wal::superblock::SuperblockError> {
    let copies = [&*file[0], &*file[1], &*file[2], &*file[3]];
    memory::within(COPIES * COPY_BYTES, 4, || open(copies))
}

/// Which copy a write is for.
fn copy_of(offset: u64) -> usize {
    usize::try_from(offset / COPY_STRIDE).expect("there are four copies")
}

fn store(file: &mut File, pending: Pending) -> Durable {
    for write in pending.writes() {
        file[copy_of(write.offset)].copy_from_slice(&write.bytes);
    }
    pending.done()
}

fn ballot(round: u64) -> Ballot {
    Ballot {
        epoch: Epoch::new(1),
        round: Round::new(round),
        node: NodeId::new(1),
    }
}

/// Promises, restarts, and one power cut in the middle of a change; perhaps one copy rots after it.
fn history(draw: &mut Draw<'_>) {
    let identity = Identity {
        cluster: ClusterId([7; 16]),
        node: NodeId::new(1),
        incarnation: Incarnation::new(5),
    };
    let mut file = std::array::from_fn(|_| vec![0; COPY_BYTES]);
    let mut durable = store(&mut file, format(identity, Bytes::from_static(b"three")));
    let mut round = 0;
    for _ in 0..draw.below(STEPS_MAX) {
        durable = if draw.byte() < 64 {
            let opened = opened(&file).expect("four copies agree");
            store(&mut file, opened)
        } else {
            round += 1 + draw.number() % 100;
            store(&mut file, durable.promise(ballot(round), None))
        };
    }
    let before = durable.superblock().clone();
    let change = if draw.byte() < 64 {
        opened(&file).expect("four copies agree")
    } else {
        durable.promise(ballot(round + 1), None)
    };
    cut_off(draw, &mut file, &change);
    let after = change.done().superblock().clone();
    let rot = draw.byte();
    if rot < 128 {
        let at = (usize::from(rot) % COPIES, draw.below(COPY_BYTES));
        file[at.0][at.1] ^= 1 << draw.below(8);
    }
    match opened(&file) {
        Ok(pending) => believed(&mut file, pending, [&before, &after]),
        Err(error) => assert!(rot < 128, "a crash alone is survived: {error}"),
    }
}

/// Stores some of the writes, and some atoms of the next.
fn cut_off(draw: &mut Draw<'_>, file: &mut File, change: &Pending) {
    let done = draw.below(change.writes().len() + 1);
    for write in &change.writes()[..done] {
        file[copy_of(write.offset)].copy_from_slice(&write.bytes);
    }
    let (Some(write), stored) = (change.writes().get(done), draw.byte()) else {
        return;
    };
    let copy = &mut file[copy_of(write.offset)];
    for atom in 0..COPY_BYTES / ATOM_BYTES {
        if stored >> atom & 1 == 1 {
            let bytes = atom * ATOM_BYTES..(atom + 1) * ATOM_BYTES;
            copy[bytes.clone()].copy_from_slice(&write.bytes[bytes]);
        }
    }
}

/// What was opened is one of the two versions around the crash, with a new boot; and it stays.
fn believed(file: &mut File, pending: Pending, versions: [&Superblock; 2]) {
    let durable = store(file, pending);
    let now = durable.superblock();
    let known = versions.into_iter().find(|one| {
        (one.promised, one.boot.next()) == (now.promised, now.boot) && one.config == now.config
    });
    assert!(known.is_some(), "{now:?} comes after none of {versions:?}");
    let again = opened(file).expect("four copies agree").done();
    assert_eq!(again.superblock().promised, now.promised, "it stays");
    assert_eq!(
        again.superblock().boot,
        now.boot.next(),
        "boots are counted"
    );
}

/// Copies with any numbers in them, behind right checksums.
fn strange(draw: &mut Draw<'_>) {
    let mut shared = vec![0; COPY_BYTES];
    shared[8..16].copy_from_slice(b"TNRSUPER");
    shared[24] = 1;
    for at in (32..128).step_by(8) {
        if draw.byte() % 2 == 1 {
            shared[at..at + 8].copy_from_slice(&draw.number().to_le_bytes());
        }
    }
    let file: File = std::array::from_fn(|index| {
        let mut copy = shared.clone();
        copy[16] = u8::try_from(index).expect("there are four");
        for _ in 0..draw.below(4) {
            let at = 8 + draw.below(COPY_BYTES - 8);
            copy[at] = draw.byte();
        }
        let check = hash64(&copy[8..]);
        copy[..8].copy_from_slice(&check.to_le_bytes());
        copy.truncate(COPY_BYTES - draw.below(2) * draw.below(COPY_BYTES));
        copy
    });
    if let Ok(pending) = opened(&file) {
        let now = pending.done();
        assert_ne!(now.superblock().boot, Boot::new(0), "a boot began");
        assert!(now.superblock().first_segment >= SegmentNo::new(0));
    }
}
