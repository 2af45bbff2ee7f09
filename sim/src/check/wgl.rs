//! Whether the calls of a run can be put in one order (K23): that of true time where one call ended
//! before another began, and one that a lock, told in sequence, would give the same answers to.
//!
//! The search is that of Wing and Gong (Testing and Verifying Concurrent Objects, 1993) with Lowe's
//! memory of what was tried (Testing for Linearizability, 2017). It knows nothing of slots, and so
//! checks the judges that do.

use super::calls::{Call, Told};
use super::locks::compatible;
use crate::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::ids::Fence;
use tenure_core::machine::command::Mode;

/// Placements that one lock's search may try.
const TRIES_MAX: usize = 20_000;
/// Calls of one lock that are looked at: its first ones. The search is worst of all for long
/// histories, and the judges who know the log look at every call.
const CALLS_MAX: usize = 250;

/// What a search found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none; the calls of that lock that could not be placed.
    Not(String),
    /// Too many were tried.
    Unknown,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Holder {
    mode: Mode,
    kept: bool,
}

/// A lock, told in sequence.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Lock {
    last: Fence,
    /// Those that stand. Time may have ended one that is not kept, unseen.
    holders: BTreeMap<Fence, Holder>,
}

impl Lock {
    /// The lock after a call; none if the call can't have had this answer.
    fn after(&self, told: &Told) -> Option<Self> {
        let mut next = self.clone();
        match told {
            Told::Granted { fence, mode, kept } => {
                let meets = |holder: &Holder| !compatible(holder.mode, *mode);
                let stands = |holder: &Holder| holder.kept && meets(holder);
                if *fence <= self.last || self.holders.values().any(stands) {
                    return None;
                }
                next.holders.retain(|_, holder| !meets(holder));
                let (mode, kept) = (*mode, *kept);
                next.holders.insert(*fence, Holder { mode, kept });
                next.last = *fence;
            }
            Told::Released { fence, already } => {
                if next.holders.remove(fence).is_none() && !already {
                    return None;
                }
            }
            Told::Read { fences } => {
                let all_hold = fences.iter().all(|fence| self.holders.contains_key(fence));
                let mut kept = self.holders.iter().filter(|(_, holder)| holder.kept);
                if !all_hold || !kept.all(|(fence, _)| fences.contains(fence)) {
                    return None;
                }
            }
        }
        Some(next)
    }
}

/// Checks each lock by itself: a history is linearizable if that of each object is (Herlihy and
/// Wing, 1990, theorem 1).
pub fn check(calls: &[Call]) -> Verdict {
    let mut by_key: BTreeMap<_, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        by_key.entry(&call.key).or_default().push(call);
    }
    let mut all_known = true;
    for calls in by_key.into_values() {
        match check_lock(calls) {
            Verdict::Linearizable => {}
            Verdict::Not(why) => return Verdict::Not(why),
            Verdict::Unknown => all_known = false,
        }
    }
    if all_known {
        Verdict::Linearizable
    } else {
        Verdict::Unknown
    }
}

/// Answers speak only of grants that somebody was told of: what else a read saw was granted to
/// somebody who never heard of it.
fn without_unheard(mut calls: Vec<Call>) -> Vec<Call> {
    let heard: BTreeSet<Fence> = calls
        .iter()
        .filter_map(|call| match call.told {
            Told::Granted { fence, .. } => Some(fence),
            Told::Released { .. } | Told::Read { .. } => None,
        })
        .collect();
    for call in &mut calls {
        if let Told::Read { fences } = &mut call.told {
            fences.retain(|fence| heard.contains(fence));
        }
    }
    calls
}

/// The beginning of a long history: what had ended by some moment, and releases that had begun.
fn beginning(mut calls: Vec<Call>) -> Vec<Call> {
    calls.sort_by_key(|call| (call.called, end(call)));
    let Some(until) = calls.get(CALLS_MAX).map(|call| call.called) else {
        return calls;
    };
    calls.retain_mut(|call| {
        let is_open = end(call) > until;
        if is_open {
            call.returned = None;
        }
        let is_release = matches!(call.told, Told::Released { .. });
        !is_open || is_release && call.called <= until
    });
    calls
}

fn end(call: &Call) -> Nanos {
    call.returned.unwrap_or(Nanos::MAX)
}

/// One choice of the search: the call that was placed, and what was before.
struct Placed {
    call: usize,
    lock: Lock,
}

fn check_lock(calls: Vec<&Call>) -> Verdict {
    let calls = without_unheard(beginning(calls.into_iter().cloned().collect()));
    let mut placed = vec![false; calls.len()];
    let mut lock = Lock::default();
    let mut path: Vec<Placed> = Vec::new();
    let mut tried: BTreeSet<(Vec<u64>, Lock)> = BTreeSet::new();
    let mut from = 0;
    let mut furthest = 0;
    for _ in 0..TRIES_MAX {
        let choice = candidates(&calls, &placed)
            .into_iter()
            .filter(|call| *call >= from)
            .find_map(|call| {
                let next = lock.after(&calls[call].told)?;
                placed[call] = true;
                let is_new = tried.insert((bits(&placed), next.clone()));
                placed[call] = false;
                is_new.then_some((call, next))
            });
        if let Some((call, next)) = choice {
            let lock_before = std::mem::replace(&mut lock, next);
            placed[call] = true;
            path.push(Placed {
                call,
                lock: lock_before,
            });
            furthest = furthest.max(path.len());
            from = 0;
            if path.len() == calls.len() {
                return Verdict::Linearizable;
            }
        } else if let Some(last) = path.pop() {
            placed[last.call] = false;
            lock = last.lock;
            from = last.call + 1;
        } else if calls.is_empty() {
            return Verdict::Linearizable;
        } else {
            let stuck = calls.get(furthest).or(calls.last());
            return Verdict::Not(format!(
                "{furthest} of {} calls can be placed, then about {stuck:?}",
                calls.len()
            ));
        }
    }
    Verdict::Unknown
}

/// Those that may come next: nothing that is not placed ended before they began.
fn candidates(calls: &[Call], placed: &[bool]) -> Vec<usize> {
    let open = || (0..calls.len()).filter(|call| !placed[*call]);
    // Calls are sorted by their beginnings, so none beyond the first end can end sooner.
    let mut first_end = Nanos::MAX;
    let mut all = Vec::new();
    for call in open() {
        if calls[call].called > first_end {
            break;
        }
        first_end = first_end.min(end(&calls[call]));
        all.push(call);
    }
    all
}

fn bits(placed: &[bool]) -> Vec<u64> {
    let word = |part: &[bool]| {
        let bits = part.iter().zip(0..);
        bits.fold(0, |word, (placed, bit)| word | u64::from(*placed) << bit)
    };
    placed.chunks(64).map(word).collect()
}

#[cfg(test)]
mod tests;
