//! Getting what was proposed to the followers, and counting what they acknowledge.

use super::Leading;
use crate::entry::Entry;
use crate::ids::{Ballot, NodeId, Slot};
use crate::replica::fitness::Space;
use crate::replica::log::Log;
use crate::replica::message::Message;
use crate::replica::{Effect, Replica, Role, Until};
use crate::time::Timestamp;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Accepts on their way to one follower. A follower that answers none of them gets no more.
const IN_FLIGHT_MAX: usize = 16;
/// Before the leader has started: what it proposes again may be long and its links slow, and its pings wait
/// behind that. One part of a promise came in time, so one accept does.
const IN_FLIGHT_AT_FIRST: usize = 1;
/// A follower that answers pings and acknowledges nothing for this long lost an accept.
const STALLED: Duration = Duration::from_millis(120);

/// How far a follower is, as the leader knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The next slot to send.
    next: Slot,
    /// Accepted and durable there, under this ballot.
    pub(super) acked: Slot,
    /// What an earlier start of it had acknowledged; its next word must not say less (rule 7).
    acked_before: Slot,
    /// It said less: its disk lost what it had acknowledged, so nothing it says counts.
    pub(super) reverted: bool,
    commit_told: Slot,
    /// The last slots of the accepts that it has not answered.
    in_flight: VecDeque<Slot>,
    /// When it last made progress, or was first sent something it lacks.
    moved_at: Timestamp,
}

impl Leading {
    /// How many slots `peer` has not acknowledged; nothing of one that does not count.
    pub(in crate::replica) fn lag(&self, peer: NodeId) -> Option<u64> {
        let progress = self.progress.get(&peer)?;
        let last = self.next.before().get();
        (!progress.reverted).then(|| last.saturating_sub(progress.acked.get()))
    }

    fn peer_restarted(&mut self, peer: NodeId) {
        if let Some(progress) = self.progress.get_mut(&peer) {
            progress.acked_before = progress.acked_before.max(progress.acked);
            progress.acked = Slot::new(0);
            progress.in_flight.clear();
            self.clock.forget(peer);
            self.clocks.forget(peer);
        }
    }

    /// Sends to a follower again, from `want` on, or from what it lacks for sure if that is higher:
    /// within one boot a smaller word is an older one (rule 7).
    fn resend(&mut self, to: NodeId, want: Slot) {
        if let Some(progress) = self.progress.get_mut(&to) {
            let lowest = progress.acked.max(self.base).next();
            progress.next = want.max(lowest).min(self.next);
            progress.in_flight.clear();
            progress.commit_told = Slot::new(0);
        }
    }
}

impl Replica {
    pub(in crate::replica) fn on_accepted(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        upto: Slot,
        out: &mut Vec<Effect>,
    ) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let Some(progress) = leading.progress.get_mut(&from) else {
            return;
        };
        if leading.ballot != ballot || upto >= leading.next {
            return; // the word is about another ballot, whose slots may hold other values
        }
        if progress.reverts(upto) {
            return out.push(Effect::Reverted {
                peer: from,
                acked: progress.acked_before,
                upto,
            });
        }
        if upto > progress.acked {
            progress.acked = upto;
            progress.moved_at = self.now;
        }
        progress.next = progress.next.max(progress.acked.next());
        while progress.in_flight.front().is_some_and(|slot| *slot <= upto) {
            progress.in_flight.pop_front();
        }
    }

    pub(in crate::replica) fn flush_replication(&mut self, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let (ballot, base, commit, next) =
            (leading.ballot, leading.base, leading.commit, leading.next);
        let in_flight_max = if leading.has_started() {
            IN_FLIGHT_MAX
        } else {
            IN_FLIGHT_AT_FIRST
        };
        for (peer, progress) in &mut leading.progress {
            while progress.next < next && progress.in_flight.len() < in_flight_max {
                let first = progress.next;
                let entries = gather(&self.log, first, next, self.bounds.batch_bytes);
                let Some(count) = u64::try_from(entries.len()).ok().filter(|count| *count > 0)
                else {
                    break; // too old for the window: the follower catches up from the log
                };
                progress.next = Slot::new(first.get() + count);
                progress.in_flight.push_back(progress.next.before());
                progress.commit_told = commit;
                let message = Message::Accept {
                    ballot,
                    base,
                    first,
                    entries,
                    commit,
                };
                out.push(Effect::Send {
                    to: *peer,
                    message,
                    until: Until::Now,
                });
            }
            if progress.commit_told < commit {
                progress.commit_told = commit;
                let first = progress.next;
                let message = Message::Accept {
                    ballot,
                    base,
                    first,
                    entries: Vec::new(),
                    commit,
                };
                out.push(Effect::Send {
                    to: *peer,
                    message,
                    until: Until::Now,
                });
            }
        }
    }

    /// A follower lacks slots from `want` on.
    pub(in crate::replica) fn rewind(&mut self, from: NodeId, want: Slot, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let Some(progress) = leading.progress.get_mut(&from) else {
            return;
        };
        if progress.reverts(want.before()) {
            let (acked, upto) = (progress.acked_before, want.before());
            return out.push(Effect::Reverted {
                peer: from,
                acked,
                upto,
            });
        }
        leading.resend(from, want);
    }

    /// Accepts or their answers were lost if a follower answers pings and makes no progress.
    pub(in crate::replica) fn resend_if_stalled(&mut self, from: NodeId) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let Some(progress) = leading.progress.get_mut(&from) else {
            return;
        };
        if progress.acked.next() >= leading.next {
            progress.moved_at = self.now;
        } else if self.now.since(progress.moved_at) >= STALLED {
            progress.moved_at = self.now;
            let peer = self.peers.get(&from);
            if peer.is_some_and(|peer| peer.fitness.space == Space::Full) {
                return; // it would take nothing
            }
            // A guess of this server, and no word of the follower's: what that has is not known,
            // least of all after it restarted.
            leading.resend(from, Slot::new(0));
        }
    }

    /// A peer started anew: what it acknowledged before must still be there, and half a promise of
    /// before is none.
    pub(in crate::replica) fn peer_restarted(&mut self, peer: NodeId) {
        match &mut self.role {
            Role::Leading(leading) => leading.peer_restarted(peer),
            Role::Preparing(preparing) => preparing.forget(peer),
            Role::Following | Role::Polling(_) => {}
        }
    }
}

impl Progress {
    pub(super) fn from(next: Slot) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// Rule 7: a later start that has less than an earlier one acknowledged lost it.
    fn reverts(&mut self, upto: Slot) -> bool {
        if upto < self.acked_before {
            self.reverted = true;
            return true;
        }
        self.acked_before = Slot::new(0);
        self.reverted
    }
}

/// Entries in a row from `first`, as many as one message takes.
fn gather(log: &Log, first: Slot, next: Slot, bytes_max: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut slot, mut bytes) = (first, 0);
    while slot < next
        && let Some(entry) = log.entry(slot)
    {
        bytes += entry.bytes().len();
        if bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push(entry.clone());
        slot = slot.next();
    }
    entries
}
