//! Snapshots on their way between servers: what stands for entries that no log has any more.
//!
//! ```text
//!  learner                      source                         another source
//!     │ CatchUp 7                  │  slot 7 is truncated          │
//!     ├───────────────────────────>│                               │
//!     │        SnapshotOffer 90-a4 │                               │
//!     │<───────────────────────────┤                               │
//!     │ SnapshotGet 90-a4 0 1 2 3  │                               │
//!     ├───────────────────────────>│                               │
//!     │       SnapshotChunk 0 1    │                               │
//!     │<───────────────────────────┤   (silence)                   │
//!     │ SnapshotGet 90-a4 2 3 4 5  │                               │
//!     ├──────────────────────────────────────────────────────────>│  equal ids are equal bytes
//! ```
//! A server that makes no snapshots of its own asks for one when one is due: `SnapshotWish` takes the
//! place of `CatchUp` then, and what comes is kept for others. Its own log goes on.
//!
//! This room moves bytes: what they say is the node's to check, and nothing of the replica's state
//! changes before they are durable on this server's own disk (`install`).

use super::fitness::Space;
use super::message::Message;
use super::{Effect, Replica, Until};
use crate::config::Membership;
use crate::ids::{NodeId, Slot, SnapshotId};
use crate::limits::{
    SNAPSHOT_CHUNKS_OPEN, SNAPSHOT_WINDOW, SNAPSHOT_WISH_EVERY, SNAPSHOT_WISH_WAIT_MAX,
    TRANSFER_PATIENCE,
};
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use pins::Pins;

mod pins;

/// A durable snapshot of this server.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: SnapshotId,
    chunks: u32,
}

/// A snapshot that a peer has.
#[derive(Clone, Copy, Debug)]
struct Offer {
    from: NodeId,
    id: SnapshotId,
    chunks: u32,
}

/// A snapshot that is being fetched.
#[derive(Clone, Debug)]
struct Incoming {
    id: SnapshotId,
    chunks: u32,
    source: NodeId,
    /// The next chunk that the node has not had.
    next: u32,
    /// The next chunk to ask for.
    asked: u32,
    /// How many of those that it had are written.
    stored: u32,
    /// Chunks that came before their turn.
    held: BTreeMap<u32, Bytes>,
    moved_at: Timestamp,
    /// How often a source was silent since the last chunk.
    silent: usize,
    /// Who said that it has another one.
    denied: BTreeSet<NodeId>,
    /// The newest of those that are older than this one: better than nothing, if nobody has this.
    instead: Option<Offer>,
}

impl Incoming {
    const fn begin(Offer { from, id, chunks }: Offer, now: Timestamp) -> Self {
        Self {
            id,
            chunks,
            source: from,
            next: 0,
            asked: 0,
            stored: 0,
            held: BTreeMap::new(),
            moved_at: now,
            silent: 0,
            denied: BTreeSet::new(),
            instead: None,
        }
    }

    /// Its source has `offer` instead, which is no newer, and of use or not.
    fn deny(&mut self, offer: Offer, is_of_use: bool) {
        self.denied.insert(offer.from);
        let is_better = |best: Offer| best.id.slot < offer.id.slot;
        if is_of_use && self.instead.is_none_or(is_better) {
            self.instead = Some(offer);
        }
    }

    /// Whom to ask next of those that are `there`, of so many `peers`; nobody if all of them have another
    /// one, or were silent too often. For words are lost, and what is here already would be fetched again:
    /// only who has nothing of it yet leaves it for something else after one word in vain to each.
    fn next_source(&self, there: &[NodeId], peers: usize) -> Option<NodeId> {
        let may_have = || there.iter().filter(|peer| !self.denied.contains(peer));
        let silent_max = if self.instead.is_some() && self.next == 0 {
            may_have().count().saturating_sub(1)
        } else {
            2 * peers
        };
        if self.silent > silent_max {
            return None;
        }
        let later = may_have().find(|peer| **peer > self.source);
        later.or_else(|| may_have().next()).copied()
    }

    const fn is_whole(&self) -> bool {
        self.next == self.chunks
    }

    /// The chunks to ask for now: a few at a time, so that a source can serve others too, and no
    /// more than the own disk keeps up with.
    fn wanted(&mut self) -> Vec<u32> {
        let open = u32::try_from(SNAPSHOT_CHUNKS_OPEN).unwrap_or(u32::MAX);
        let window = self.next.saturating_add(SNAPSHOT_WINDOW);
        let end = window.min(self.stored.saturating_add(open));
        let end = end.min(self.chunks);
        let from = self.asked.max(self.next);
        self.asked = self.asked.max(end);
        (from..end)
            .filter(|index| !self.held.contains_key(index))
            .collect()
    }

    /// Those that are next, in a row.
    fn ready(&mut self) -> Vec<(u32, Bytes)> {
        let mut ready = Vec::new();
        while let Some(bytes) = self.held.remove(&self.next) {
            ready.push((self.next, bytes));
            self.next += 1;
        }
        ready
    }
}

/// A snapshot that others are asked for, though the log is here.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// Of this slot, or of a later one.
    from: Slot,
    /// The next one was due here while that was not there yet.
    due: Slot,
    /// Who is asked next, one at a time.
    ask_at: Timestamp,
    asked: Option<NodeId>,
    /// What came could not be kept: nothing is fetched for it before.
    rests_until: Timestamp,
    /// How long it rests next time: each try costs a whole snapshot.
    rest: Duration,
}

impl Wish {
    const fn new(due: Slot, ask_at: Timestamp) -> Self {
        Self {
            from: due,
            due,
            ask_at,
            asked: None,
            rests_until: Timestamp::ZERO,
            rest: SNAPSHOT_WISH_EVERY,
        }
    }

    fn rest(&mut self, now: Timestamp) {
        self.rest_until(now.plus(self.rest));
        self.rest = (self.rest * 2).min(SNAPSHOT_WISH_WAIT_MAX);
    }

    const fn rest_until(&mut self, until: Timestamp) {
        self.rests_until = until;
        self.ask_at = until;
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Transfer {
    newest: Option<Kept>,
    /// The one before.
    older: Option<Kept>,
    /// What others are in the middle of.
    pins: Pins,
    incoming: Option<Incoming>,
    wish: Option<Wish>,
    /// What came last could not be used: not again at once.
    rests_until: Option<Timestamp>,
}

impl Transfer {
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        let Some(incoming) = &self.incoming else {
            return self.wish.map(|wish| wish.ask_at);
        };
        let waits = incoming.asked > incoming.next;
        waits.then(|| incoming.moved_at.plus(TRANSFER_PATIENCE))
    }

    fn wishes_for(&self, id: SnapshotId, now: Timestamp) -> bool {
        let is_wished = |wish: Wish| id.slot >= wish.from && now >= wish.rests_until;
        self.wish.is_some_and(is_wished)
    }

    fn has(&self, id: SnapshotId) -> bool {
        let mut kept = self.newest.iter().chain(&self.older);
        kept.any(|kept| kept.id == id) || self.pins.holds(id)
    }
}

impl Replica {
    /// This server's disk holds this snapshot for good: peers may have it.
    pub fn on_snapshot_durable(&mut self, id: SnapshotId, chunks: u32) {
        let transfer = &mut self.transfer;
        if transfer
            .newest
            .is_none_or(|newest| newest.id.slot < id.slot)
        {
            transfer.older = transfer.newest.replace(Kept { id, chunks });
            transfer.pins.on_newer();
        }
        if let Some(wish) = transfer.wish.take_if(|wish| id.slot >= wish.from)
            && wish.due > id.slot
        {
            self.want_snapshot(wish.due);
        }
    }

    /// One of `due` or of a later slot is to be fetched, though the log is here. Others need a while to
    /// make theirs; until then, and while nobody has one, one of them is asked now and then.
    pub fn want_snapshot(&mut self, due: Slot) {
        if let Some(wish) = &mut self.transfer.wish {
            wish.due = wish.due.max(due);
            return;
        }
        if self.snapshot().is_none_or(|newest| newest.slot < due) {
            let ask_at = self.now.plus(SNAPSHOT_WISH_EVERY);
            self.transfer.wish = Some(Wish::new(due, ask_at));
        }
    }

    /// The own disk has this snapshot no more: nobody is told of it any more.
    pub fn on_snapshot_lost(&mut self, id: SnapshotId) {
        let transfer = &mut self.transfer;
        let is_other = |kept: &Kept| kept.id != id;
        transfer.pins.lose(id);
        transfer.older = transfer.older.filter(is_other);
        transfer.newest = transfer.newest.filter(is_other);
        if transfer.newest.is_none() {
            transfer.newest = transfer.older.take();
        }
    }

    /// All of a newer snapshot is given to the disk: which ones stay although they will be older than the
    /// two newest, the oldest first. Peers are in the middle of them.
    pub fn pin_snapshots(&mut self) -> Vec<SnapshotId> {
        self.transfer.pins.expire(self.now);
        self.pinned()
    }

    /// Room is worth more than what peers are in the middle of.
    pub(super) fn unpin_snapshots(&mut self) {
        self.transfer.pins.clear();
    }

    /// `peer` gets on from what it fetched here, entry by entry.
    pub(super) fn hold_log(&mut self, peer: NodeId, first: Slot) {
        self.transfer.pins.on_catch_up(peer, first, self.now);
    }

    /// What peers are in the middle of, the oldest first.
    pub fn pinned(&self) -> Vec<SnapshotId> {
        self.transfer.pins.ids()
    }

    /// The newest durable snapshot of this server.
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.transfer.newest.map(|kept| kept.id)
    }

    /// Whether what is missing here is on its way as a snapshot. One that is kept for others only is no
    /// reason not to ask for entries.
    pub(super) fn awaits_snapshot(&self) -> bool {
        let incoming = self.transfer.incoming.as_ref();
        incoming.is_some_and(|incoming| incoming.id.slot > self.log.decided())
    }

    /// `peer` asked for slots from `first` on, which this server can't give one by one.
    pub fn offer_snapshot(&self, peer: NodeId, first: Slot, out: &mut Vec<Effect>) {
        if let Some(Kept { id, chunks }) = self.transfer.newest
            && id.slot >= first
        {
            self.say(peer, Message::SnapshotOffer { id, chunks }, out);
        }
    }

    /// Sends a chunk that `peer` asked for, or says what there is instead.
    pub fn give_chunk(
        &self,
        peer: NodeId,
        (id, index): (SnapshotId, u32),
        bytes: Option<Bytes>,
        out: &mut Vec<Effect>,
    ) {
        match bytes {
            Some(bytes) => self.say(peer, Message::SnapshotChunk { id, index, bytes }, out),
            None => self.offer_snapshot(peer, Slot::new(0), out),
        }
    }

    pub(super) fn on_snapshot_get(
        &mut self,
        from: NodeId,
        id: SnapshotId,
        index: u32,
        out: &mut Vec<Effect>,
    ) {
        if self.transfer.has(id) {
            if self.space() == Space::Enough {
                self.transfer.pins.on_get(from, id, self.now);
            }
            let peer = from;
            out.push(Effect::LoadChunk { peer, id, index });
        } else {
            self.offer_snapshot(from, Slot::new(0), out);
        }
    }

    pub(super) fn on_snapshot_offer(
        &mut self,
        from: NodeId,
        id: SnapshotId,
        chunks: u32,
        out: &mut Vec<Effect>,
    ) {
        self.catchup.learn(from, id.slot);
        let offer = Offer { from, id, chunks };
        let is_of_use = self.is_of_use(offer);
        if let Some(incoming) = &mut self.transfer.incoming {
            // Only the source's own word changes anything: it no longer has what is fetched.
            if incoming.is_whole() || incoming.source != from || incoming.id == id {
                return;
            }
            if id.slot <= incoming.id.slot || !is_of_use {
                incoming.deny(offer, is_of_use);
                return self.try_another_source(out);
            }
        }
        if is_of_use {
            self.fetch(offer, out);
        }
    }

    fn is_of_use(&self, Offer { id, chunks, .. }: Offer) -> bool {
        let rests = self.transfer.rests_until.is_some_and(|at| self.now < at);
        let is_wanted = id.slot > self.log.decided() || self.transfer.wishes_for(id, self.now);
        is_wanted && chunks > 0 && !rests
    }

    /// Begins to fetch, and leaves what was being fetched.
    fn fetch(&mut self, offer: Offer, out: &mut Vec<Effect>) {
        if self.leads() {
            // What is below this leader's base can be had as a snapshot only, and a leader never
            // installs one: others are further.
            self.follow(out);
        }
        self.abandon(out);
        self.transfer.incoming = Some(Incoming::begin(offer, self.now));
        self.ask_chunks(out);
    }

    /// Bytes of an equal id are equal, whoever sends them.
    pub(super) fn on_snapshot_chunk(
        &mut self,
        from: NodeId,
        id: SnapshotId,
        index: u32,
        bytes: Bytes,
        out: &mut Vec<Effect>,
    ) {
        let now = self.now;
        let Some(incoming) = &mut self.transfer.incoming else {
            return;
        };
        if incoming.id != id || index < incoming.next || index >= incoming.asked {
            return;
        }
        incoming.held.insert(index, bytes);
        let (chunks, ready) = (incoming.chunks, incoming.ready());
        if !ready.is_empty() {
            incoming.moved_at = now;
            incoming.silent = 0;
        }
        for (index, bytes) in ready {
            out.push(Effect::Receive {
                from,
                id,
                index,
                chunks,
                bytes,
            });
        }
        self.ask_chunks(out);
    }

    /// The own disk has so many chunks of a snapshot that is fetched.
    pub fn on_chunk_stored(&mut self, id: SnapshotId, stored: u32, out: &mut Vec<Effect>) {
        let now = self.now;
        if let Some(incoming) = &mut self.transfer.incoming
            && incoming.id == id
        {
            incoming.stored = incoming.stored.max(stored);
            if incoming.asked <= incoming.next {
                incoming.moved_at = now; // nobody but the own disk was waited for
            }
            self.ask_chunks(out);
        }
    }

    pub(super) fn tick_transfer(&mut self, out: &mut Vec<Effect>) {
        let Some(incoming) = &self.transfer.incoming else {
            return self.tick_wish(out);
        };
        let id = incoming.id;
        if id.slot <= self.log.decided() && !self.transfer.wishes_for(id, self.now) {
            return self.abandon(out); // the log came faster
        }
        if self.transfer.wake_at().is_some_and(|at| at <= self.now) {
            if let Some(incoming) = &mut self.transfer.incoming {
                incoming.silent += 1;
            }
            self.try_another_source(out);
        }
    }

    fn tick_wish(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        let Some(wish) = &mut self.transfer.wish else {
            return;
        };
        if now < wish.ask_at {
            return;
        }
        let later = self.config.peers().find(|peer| Some(*peer) > wish.asked);
        wish.asked = later.or_else(|| self.config.peers().next());
        wish.ask_at = now.plus(SNAPSHOT_WISH_EVERY);
        let Wish { from, asked, .. } = *wish;
        if let Some(peer) = asked {
            self.say(peer, Message::SnapshotWish { from }, out);
        }
    }

    /// Goes on where the last source stopped. When all that are there were asked in vain, nobody has it any
    /// more, and an older one must do, with the log behind it.
    fn try_another_source(&mut self, out: &mut Vec<Effect>) {
        let (now, there, peers) = (self.now, self.there(), self.peers.len());
        let Some(incoming) = &mut self.transfer.incoming else {
            return;
        };
        if let Some(source) = incoming.next_source(&there, peers) {
            incoming.source = source;
            incoming.moved_at = now;
            incoming.asked = incoming.next;
            return self.ask_chunks(out);
        }
        let instead = incoming.instead;
        match instead.filter(|offer| self.is_of_use(*offer)) {
            Some(offer) => self.fetch(offer, out),
            None => self.abandon(out),
        }
    }

    /// The peers that are heard; all of them if none is.
    fn there(&self) -> Vec<NodeId> {
        let hears = |node: &NodeId| self.peers.get(node).is_some_and(|peer| self.hears(peer));
        let there: Vec<NodeId> = self.config.peers().filter(hears).collect();
        if there.is_empty() {
            return self.config.peers().collect();
        }
        there
    }

    fn ask_chunks(&mut self, out: &mut Vec<Effect>) {
        let Some(incoming) = &mut self.transfer.incoming else {
            return;
        };
        let (id, source) = (incoming.id, incoming.source);
        for index in incoming.wanted() {
            self.say(source, Message::SnapshotGet { id, index }, out);
        }
    }

    fn abandon(&mut self, out: &mut Vec<Effect>) {
        if let Some(incoming) = self.transfer.incoming.take() {
            out.push(Effect::Abandon { id: incoming.id });
        }
    }

    /// This server has no hands for it now: it is fetched anew, and not at once.
    pub fn postpone_snapshot(&mut self, id: SnapshotId) {
        let incoming = &mut self.transfer.incoming;
        if incoming.take_if(|incoming| incoming.id == id).is_some() {
            self.transfer.rests_until = Some(self.now.plus(TRANSFER_PATIENCE));
        }
    }

    /// What was received is not what its id says, or could not be stored. Who lacks the entries asks again
    /// soon, for it can do nothing else; who only wishes for it waits twice as long each time.
    pub fn reject_snapshot(&mut self, id: SnapshotId) {
        self.postpone_snapshot(id);
        let now = self.now;
        if let Some(wish) = &mut self.transfer.wish
            && id.slot >= wish.from
        {
            wish.rest(now);
        }
    }

    /// There may be room now for what was wished for and could not be stored.
    pub const fn retry_wish(&mut self) {
        if let Some(wish) = &mut self.transfer.wish {
            wish.rest_until(self.now);
        }
    }

    /// Every slot up to the snapshot's is decided: it is durable on this server's own disk, and its
    /// node goes on from it. False if the log has come as far by itself.
    /// Its `membership` is what it says of who votes.
    pub fn install(
        &mut self,
        id: SnapshotId,
        membership: Membership,
        out: &mut Vec<Effect>,
    ) -> bool {
        let incoming = self.transfer.incoming.take();
        assert!(
            self.transfer.has(id),
            "only a durable snapshot of this server's own disk is installed"
        );
        if id.slot <= self.log.decided() {
            return false;
        }
        if self.leads() {
            self.follow(out);
        }
        self.log.jump(id.slot);
        self.end_epoch(membership);
        self.look_for_stop();
        self.say_caught_up(out);
        if let Some(incoming) = incoming {
            let from = self.log.decided().next();
            self.say(incoming.source, Message::CatchUp { from }, out);
        }
        true
    }

    fn say(&self, to: NodeId, message: Message, out: &mut Vec<Effect>) {
        out.push(Effect::Send {
            to,
            message,
            until: Until::Now,
        });
    }
}

#[cfg(test)]
mod tests;
