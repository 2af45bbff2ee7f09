//! Decided entries that are no longer in memory: asked for by an output, one piece at a time.

use super::Node;
use super::output::{Halt, Output};
use crate::entry::Entry;
use crate::ids::{NodeId, Slot};
use crate::replica::Effect;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// For whom a piece is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reader {
    /// This server, which applies its own log after a restart.
    Own,
    /// A follower that catches up.
    Peer(NodeId),
}

#[derive(Debug, Default)]
pub(super) struct Loads {
    current: Option<Reader>,
    from: Slot,
    /// At most one for each reader.
    next: VecDeque<(Reader, Slot)>,
    /// Every slot up to here can be asked for.
    decided: Slot,
}

impl Loads {
    pub(super) fn for_peer(&mut self, peer: NodeId, from: Slot, out: &mut Vec<Output>) {
        self.add(Reader::Peer(peer), from, out);
    }

    pub(super) fn for_own(&mut self, from: Slot, out: &mut Vec<Output>) {
        self.add(Reader::Own, from, out);
    }

    pub(super) fn decided(&mut self, decided: Slot) {
        self.decided = decided;
    }

    /// A reader that asks again wants the later piece only.
    fn add(&mut self, reader: Reader, from: Slot, out: &mut Vec<Output>) {
        if self.current == Some(reader) {
            return;
        }
        self.next.retain(|(waiting, _)| *waiting != reader);
        self.next.push_back((reader, from));
        self.start(out);
    }

    fn start(&mut self, out: &mut Vec<Output>) {
        if self.current.is_none()
            && let Some((reader, from)) = self.next.pop_front()
        {
            self.current = Some(reader);
            self.from = from;
            out.push(Output::Load {
                from,
                upto: self.decided,
            });
        }
    }

    fn finish(&mut self, first: Slot) -> Option<Reader> {
        let reader = self.current.take()?;
        assert!(first == self.from, "the log answers what it was asked");
        Some(reader)
    }
}

impl Node {
    pub(super) fn loaded(
        &mut self,
        first: Slot,
        entries: Vec<Entry>,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        let reader = self.loads.finish(first);
        match reader {
            Some(Reader::Peer(peer)) => {
                let decided = self.replica.decided().get().saturating_sub(first.get());
                let keep = usize::try_from(decided)
                    .unwrap_or(usize::MAX)
                    .saturating_add(1);
                let entries: Vec<Entry> = entries.into_iter().take(keep).collect();
                if !entries.is_empty() {
                    self.replica.give_decided(peer, first, entries, effects);
                }
            }
            Some(Reader::Own) => {
                if entries.is_empty() {
                    return self.halt(Halt::Unreadable { slot: first }, out);
                }
                let mut slot = first;
                for entry in entries {
                    if slot == self.machine.applied().next() && slot <= self.replica.decided() {
                        self.apply(slot, &entry, effects, out);
                    }
                    slot = slot.next();
                }
            }
            None => {}
        }
        self.loads.start(out);
    }
}
