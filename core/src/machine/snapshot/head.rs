//! What is not in a table, as bytes. It is small, and written whole when the sweep begins.

use super::form::{Fault, Read, Reader, Writer};
use crate::config::Shared;
use crate::entry::Start;
use crate::ids::{Ballot, Boot, Epoch, Fence, NodeId, Round, Slot, ZoneId};
use crate::limits::CONFIG_BYTES_MAX;
use crate::machine::state::{Grace, Work, Zone};
use crate::machine::via::ViaWindow;
use crate::machine::{Machine, SLOT_MAX};
use crate::time::Stamp;

/// The version of the content, its first two bytes. A change of anything here is a new one, and the
/// old one still reads.
pub(super) const VERSION: u16 = 4;
/// The oldest that still reads. What came since: 4, what operators took.
const VERSION_MIN: u16 = 3;
/// Words of a via window, in groups of this many with a mask before them.
const MASKED: usize = 64;

pub(super) fn put_all(to: &mut Writer<'_>, machine: &Machine) {
    to.u16(VERSION);
    to.u64(machine.applied.get());
    to.stamp(machine.stamp);
    to.u64(machine.digest);
    to.u64(machine.unreadable);
    to.u64(machine.log_bytes);
    to.u64(machine.fence_floor.get());
    put_start(to, machine.started);
    put_grace(to, &machine.grace);
    put_shared(to, &machine.shared);
    to.count(machine.zones.len());
    for (id, zone) in &machine.zones {
        to.u32(id.get());
        to.u64(zone.fence.get());
    }
    to.count(machine.vias.len());
    for (node, window) in &machine.vias {
        to.u64(node.get());
        put_via(to, window);
    }
    to.count(machine.work.len());
    machine.work.iter().for_each(|work| put_work(to, *work));
}

fn put_start(to: &mut Writer<'_>, start: Start) {
    to.u64(start.ballot.epoch.get());
    to.u64(start.ballot.round.get());
    to.u64(start.ballot.node.get());
    to.u64(start.slot.get());
}

fn take_start(from: &mut Reader<'_>) -> Read<Start> {
    let ballot = Ballot {
        epoch: Epoch::new(from.u64()?),
        round: Round::new(from.u64()?),
        node: NodeId::new(from.u64()?),
    };
    let slot = Slot::new(from.u64()?);
    Ok(Start { ballot, slot })
}

fn put_grace(to: &mut Writer<'_>, grace: &Grace) {
    to.stamp(grace.from);
    to.stamp(grace.until);
    to.bool(grace.given.is_some());
    to.stamp(grace.given.unwrap_or_default());
}

/// The numbers, which come first.
pub(super) fn take_numbers(from: &mut Reader<'_>, machine: &mut Machine) -> Read<()> {
    let found = from.u16()?;
    if !(VERSION_MIN..=VERSION).contains(&found) {
        return Err(Fault::Version { found });
    }
    from.version = found;
    machine.applied = Slot::new(from.u64()?);
    if machine.applied > SLOT_MAX {
        return from.bad(8, "a slot below 2^51", machine.applied.get());
    }
    machine.stamp = from.stamp()?;
    machine.digest = from.u64()?;
    machine.unreadable = from.counter()?;
    machine.log_bytes = from.counter()?;
    machine.fence_floor = Fence::new(from.counter()?);
    machine.started = take_start(from)?;
    if machine.started.slot > machine.applied {
        return from.bad(8, "a slot that was applied", machine.started.slot.get());
    }
    machine.grace = take_grace(from)?;
    machine.shared = take_shared(from)?;
    Ok(())
}

/// A machine of nobody, as one is for trying out, has none.
fn put_shared(to: &mut Writer<'_>, shared: &Shared) {
    if shared.members().is_empty() {
        to.long_string(&[]);
    } else {
        to.long_string(&shared.encode());
    }
}

fn take_shared(from: &mut Reader<'_>) -> Read<Shared> {
    let bytes = from.long_string(CONFIG_BYTES_MAX)?;
    if bytes.is_empty() {
        return Ok(Shared::default());
    }
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    match Shared::parse(bytes) {
        Ok(shared) => Ok(shared),
        Err(_) => from.bad(bytes.len(), "a shared configuration", len),
    }
}

fn take_grace(from: &mut Reader<'_>) -> Read<Grace> {
    let (from_stamp, until) = (from.stamp()?, from.stamp()?);
    let is_given = from.bool()?;
    let given = from.stamp()?;
    if !is_given && given != Stamp::ZERO {
        return from.bad(8, "zero, for no grace was given", given.as_nanos());
    }
    Ok(Grace {
        from: from_stamp,
        until,
        given: is_given.then_some(given),
    })
}

/// One zone. They come in the order of their numbers.
pub(super) fn take_zone(from: &mut Reader<'_>, machine: &mut Machine) -> Read<()> {
    let id = ZoneId::new(from.u32()?);
    if machine
        .zones
        .last_key_value()
        .is_some_and(|(last, _)| *last >= id)
    {
        return from.bad(4, "a zone after the one before", id.get().into());
    }
    let zone = Zone {
        fence: Fence::new(from.counter()?),
        ..Zone::default()
    };
    machine.zones.insert(id, zone);
    Ok(())
}

/// A word of the window that is zero is only a bit in its mask.
fn put_via(to: &mut Writer<'_>, window: &ViaWindow) {
    to.u64(window.boot.get());
    to.u64(window.highest);
    for words in window.seen.chunks(MASKED) {
        let marks = (0..).zip(words).filter(|(_, word)| **word != 0);
        to.u64(marks.fold(0, |mask, (bit, _)| mask | 1 << bit));
        let marked = words.iter().filter(|word| **word != 0);
        marked.for_each(|word| to.u64(*word));
    }
}

/// One server's window. They come in the order of their servers.
pub(super) fn take_via(from: &mut Reader<'_>, machine: &mut Machine) -> Read<()> {
    let node = NodeId::new(from.u64()?);
    if machine
        .vias
        .last_key_value()
        .is_some_and(|(last, _)| *last >= node)
    {
        return from.bad(8, "a server after the one before", node.get());
    }
    let mut window = ViaWindow {
        boot: Boot::new(from.u64()?),
        highest: from.u64()?,
        ..ViaWindow::default()
    };
    for words in window.seen.chunks_mut(MASKED) {
        let mask = from.u64()?;
        for (bit, word) in (0..).zip(words) {
            if mask >> bit & 1 == 1 {
                *word = from.u64()?;
                if *word == 0 {
                    return from.bad(8, "a word that is not zero", 0);
                }
            }
        }
    }
    machine.vias.insert(node, window);
    Ok(())
}

fn put_work(to: &mut Writer<'_>, work: Work) {
    match work {
        Work::Line(line) => {
            to.u8(1);
            to.name(line);
        }
        Work::Session(session) => {
            to.u8(2);
            to.name(session);
        }
    }
}

/// One thing to do. They come in the order in which they are done.
pub(super) fn take_work(from: &mut Reader<'_>, machine: &mut Machine) -> Read<()> {
    let work = match from.u8()? {
        1 => Work::Line(from.name()?),
        2 => Work::Session(from.name()?),
        other => return from.bad(1, "a kind of work, 1 or 2", other.into()),
    };
    machine.work.push_back(work);
    Ok(())
}
