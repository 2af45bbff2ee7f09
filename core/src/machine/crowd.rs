//! How many may have a lock at once: the six classical modes, and permits.
//!
//! | held, asked | NL | CR | CW | PR | PW | EX |
//! |---|---|---|---|---|---|---|
//! | NL | yes | yes | yes | yes | yes | yes |
//! | CR | yes | yes | yes | yes | yes | |
//! | CW | yes | yes | yes | | | |
//! | PR | yes | yes | | yes | | |
//! | PW | yes | yes | | | | |
//! | EX | yes | | | | | |
//!
//! (VAX/VMS System Services, "Lock management": Snaman and Thiel, The VAX/VMS Distributed Lock Manager,
//! Digital Technical Journal 5, 1987, table 1.)

use super::Machine;
use super::command::Mode;
use super::state::Lock;
use super::table::Ref;
use crate::limits::PERMITS_MAX;

/// The six modes.
const MODES: usize = 6;
/// The number of exclusive.
const EXCLUSIVE: u32 = 5;

/// How one hold or place shares its lock, in four bytes: the number of a mode, or so many permits. The
/// capacity of permits is that of the lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Share(u32);

impl Share {
    pub(super) const EXCLUSIVE: Self = Self(EXCLUSIVE);

    pub(super) const fn of(mode: Mode) -> Self {
        Self(match mode {
            Mode::Null => 0,
            Mode::ConcurrentRead => 1,
            Mode::ConcurrentWrite => 2,
            Mode::Shared => 3,
            Mode::ProtectedWrite => 4,
            Mode::Exclusive => EXCLUSIVE,
            Mode::Permits { n, .. } => n.saturating_add(EXCLUSIVE),
        })
    }

    /// Its mode, where the lock has this capacity.
    pub(super) const fn mode(self, capacity: Option<u32>) -> Mode {
        match self.0 {
            0 => Mode::Null,
            1 => Mode::ConcurrentRead,
            2 => Mode::ConcurrentWrite,
            3 => Mode::Shared,
            4 => Mode::ProtectedWrite,
            EXCLUSIVE => Mode::Exclusive,
            more => Mode::Permits {
                n: more - EXCLUSIVE,
                capacity: match capacity {
                    Some(capacity) => capacity,
                    None => 0,
                },
            },
        }
    }

    /// How many permits; none of a mode.
    pub(super) const fn permits(self) -> Option<u32> {
        match self.0 {
            0..=EXCLUSIVE => None,
            more => Some(more - EXCLUSIVE),
        }
    }

    /// As it stands in snapshots.
    pub(super) const fn raw(self) -> u32 {
        self.0
    }

    pub(super) const fn from_raw(raw: u32) -> Option<Self> {
        if raw > PERMITS_MAX + EXCLUSIVE {
            None
        } else {
            Some(Self(raw))
        }
    }

    fn number(self) -> usize {
        usize::try_from(self.0).unwrap_or(MODES)
    }
}

/// The modes that may be held beside each, a bit for each number.
const BESIDE: [u8; MODES] = [
    0b11_1111, 0b01_1111, 0b00_0111, 0b00_1011, 0b00_0011, 0b00_0001,
];

/// Whether two modes may be held at once. Two permits may, as far as the capacity goes.
pub(super) fn compatible(a: Share, b: Share) -> bool {
    match (BESIDE.get(a.number()), b.permits()) {
        (Some(beside), None) => beside >> b.number() & 1 == 1,
        (None, Some(_)) => true,
        (Some(_), Some(_)) | (None, None) => false,
    }
}

/// Whether who has a lock in one mode has it in the other as well: whatever may be held beside the first may
/// be held beside the second. Permits cover nothing: each claim takes its own.
pub(super) fn covers(held: Share, asked: Share) -> bool {
    match (BESIDE.get(held.number()), BESIDE.get(asked.number())) {
        (Some(held), Some(asked)) => held & !asked == 0,
        (Some(_) | None, Some(_) | None) => false,
    }
}

/// Those who have a lock or are offered it, counted. Of a lock with at most one, an exclusive one, there
/// is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Crowd {
    /// By the number of their modes.
    Modes([u32; MODES]),
    Permits {
        capacity: u32,
        /// Above the capacity only after that shrank, or while one is offered more of what it holds.
        taken: u64,
    },
}

impl Crowd {
    /// Of an exclusive lock, which `taken` says has somebody.
    pub(super) fn beside(taken: bool) -> Self {
        Self::Modes([0, 0, 0, 0, 0, u32::from(taken)])
    }

    pub(super) const fn of_permits(capacity: u32) -> Self {
        Self::Permits { capacity, taken: 0 }
    }

    /// Whether one more could have it, or one of them this share in place of an `old` one.
    pub(super) fn has_room_for(&self, share: Share, old: Option<Share>) -> bool {
        match self {
            Self::Modes(counts) => (0..).zip(counts).all(|(mode, count)| {
                let own = u32::from(old == Some(Share(mode)));
                *count <= own || compatible(Share(mode), share)
            }),
            Self::Permits { capacity, taken } => share.permits().is_some_and(|n| {
                let own = old.and_then(Share::permits).unwrap_or(0);
                let others = taken.saturating_sub(u64::from(own));
                // A lock that shrank has more taken than there is; who wants no more has it still.
                n <= own || others + u64::from(n) <= u64::from(*capacity)
            }),
        }
    }

    fn count(&mut self, share: Share, change: impl Fn(u64) -> Option<u64>) {
        let changed = match (&mut *self, share.permits()) {
            (Self::Modes(counts), None) => counts.get_mut(share.number()).and_then(|count| {
                let changed = change(u64::from(*count))?;
                *count = u32::try_from(changed).ok()?;
                Some(())
            }),
            (Self::Permits { taken, .. }, Some(_)) => change(*taken).map(|changed| {
                *taken = changed;
            }),
            (Self::Modes(_), Some(_)) | (Self::Permits { .. }, None) => None,
        };
        assert!(
            changed.is_some(),
            "a lock is shared in modes or by permits, and each is counted once"
        );
    }

    pub(super) fn add(&mut self, share: Share) {
        let n = u64::from(share.permits().unwrap_or(1));
        self.count(share, |count| count.checked_add(n));
    }

    /// True if nobody is left whom only a crowd can say.
    fn remove(&mut self, share: Share) -> bool {
        let n = u64::from(share.permits().unwrap_or(1));
        self.count(share, |count| count.checked_sub(n));
        match self {
            Self::Modes([shared @ .., _]) => shared.iter().all(|count| *count == 0),
            Self::Permits { .. } => false,
        }
    }
}

/// What those want who convert and wait before one lock, and what they keep meanwhile. Two of them who each
/// wait for what the other keeps wait for ever: whether that comes to be is read off these numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Conversions {
    /// How many want each mode.
    targets: [u32; MODES],
    /// Permits that they hold.
    held: u64,
}

impl Conversions {
    pub(super) fn add(&mut self, old: Share, new: Share) {
        self.count(old, new, |count, n| count.checked_add(n));
    }

    pub(super) fn remove(&mut self, old: Share, new: Share) {
        self.count(old, new, |count, n| count.checked_sub(n));
    }

    fn count(&mut self, old: Share, new: Share, change: impl Fn(u64, u64) -> Option<u64>) {
        let counted = match old.permits() {
            Some(n) => change(self.held, n.into()).map(|held| self.held = held),
            None => self.targets.get_mut(new.number()).and_then(|count| {
                let changed = change(u64::from(*count), 1)?;
                *count = u32::try_from(changed).ok()?;
                Some(())
            }),
        };
        assert!(counted.is_some(), "who converts is counted once");
    }

    /// Whether one of them waits for who holds the lock in this mode.
    pub(super) fn waits_for(&self, held: Share) -> bool {
        let mut targets = (0..).zip(&self.targets);
        targets.any(|(mode, count)| *count > 0 && !compatible(Share(mode), held))
    }

    /// Permits that the others keep beside one who holds so many.
    pub(super) const fn kept_beside(&self, own: u64) -> u64 {
        self.held.saturating_sub(own)
    }
}

impl Machine {
    /// The capacity of a lock that is shared by permits.
    pub(super) fn capacity(&self, lock: &Lock) -> Option<u32> {
        match self.crowds.at(lock.crowd?) {
            Crowd::Permits { capacity, .. } => Some(*capacity),
            Crowd::Modes(_) => None,
        }
    }

    /// How a hold or place of this lock shares it.
    pub(super) fn mode_of(&self, lock: &Lock, share: Share) -> Mode {
        share.mode(self.capacity(lock))
    }

    /// Whether one who is first in line could have the lock, if one of its holders in place of an `old` share.
    pub(super) fn fits(&self, lock: &Lock, share: Share, old: Option<Share>) -> bool {
        match lock.crowd {
            Some(crowd) => self.crowds.at(crowd).has_room_for(share, old),
            None => {
                let is_its_own = old.is_some() || !self.is_taken(lock);
                is_its_own || compatible(Share::EXCLUSIVE, share)
            }
        }
    }

    /// Whether somebody has the lock, or is offered it: what is offered is reserved.
    pub(super) fn is_taken(&self, lock: &Lock) -> bool {
        let line = lock.line.map(|line| self.lines.at(line));
        // Who converts is a holder.
        let first = line.and_then(|line| line.waiting.first);
        let offered = first.is_some_and(|at| self.tickets.at(self.places.at(at).ticket).offered);
        lock.holders.is_some() || offered
    }

    /// Whether somebody has the lock or waits for it: what says how it is shared.
    pub(super) fn is_used(&self, lock: &Lock) -> bool {
        let waits = lock
            .line
            .is_some_and(|line| self.lines.at(line).count() > 0);
        lock.holders.is_some() || waits
    }

    /// One more has the lock or is offered it. Before that one is among the holders or in the line's
    /// offered part.
    pub(super) fn take(&mut self, lock_at: Ref<Lock>, share: Share) {
        let lock = self.locks.at(lock_at);
        let at = match lock.crowd {
            Some(at) => at,
            None if share == Share::EXCLUSIVE => return,
            None => {
                let at = self.crowds.insert(Crowd::beside(self.is_taken(lock)));
                self.locks.at_mut(lock_at).crowd = Some(at);
                at
            }
        };
        self.crowds.at_mut(at).add(share);
    }

    /// One less.
    pub(super) fn give(&mut self, lock_at: Ref<Lock>, share: Share) {
        let Some(at) = self.locks.at(lock_at).crowd else {
            return;
        };
        if self.crowds.at_mut(at).remove(share) {
            self.crowds.remove(at);
            self.locks.at_mut(lock_at).crowd = None;
        }
    }

    /// A holder has another share from now on.
    pub(super) fn reshare(&mut self, lock_at: Ref<Lock>, old: Share, new: Share) {
        if self.locks.at(lock_at).crowd.is_none() {
            let at = self.crowds.insert(Crowd::beside(true));
            self.locks.at_mut(lock_at).crowd = Some(at);
        }
        self.take(lock_at, new);
        self.give(lock_at, old);
    }

    /// From now on the lock, which nobody uses, has this capacity.
    pub(super) fn set_capacity(&mut self, lock_at: Ref<Lock>, capacity: u32) {
        assert!(
            self.locks.at(lock_at).crowd.is_none(),
            "who comes first says how a lock is shared"
        );
        let at = self.crowds.insert(Crowd::of_permits(capacity));
        self.locks.at_mut(lock_at).crowd = Some(at);
    }

    /// A lock that nobody uses has no capacity.
    pub(super) fn drop_capacity(&mut self, lock_at: Ref<Lock>) {
        let lock = self.locks.at(lock_at);
        if let Some(at) = lock.crowd.filter(|_| !self.is_used(lock)) {
            self.crowds.remove(at);
            self.locks.at_mut(lock_at).crowd = None;
        }
    }
}

#[cfg(test)]
mod tests;
