//! What clients saw, and whether a lock service may have shown them that. All on the one monotonic
//! clock of this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tenure_core::machine::command::Mode;

/// One grant, as its holder saw it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) fence: u64,
    pub(crate) mode: Mode,
    /// When the grant was received.
    pub(crate) from: Instant,
    /// When the release was sent, or the last moment at which the holder believed in it.
    pub(crate) to: Instant,
    pub(crate) entered: Option<Entered>,
    /// Who, for messages.
    pub(crate) who: String,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fence,
            mode,
            from,
            to,
            entered,
            who,
        } = self;
        write!(
            f,
            "{who}: {mode:?}, fence {fence}, {from:?} to {to:?}, {entered:?}"
        )
    }
}

/// Where in the log a claim came to its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Entered {
    /// It was granted at this slot, without a wait.
    Granted { slot: u64 },
    /// It got this ticket at this slot.
    Queued { slot: u64, ticket: u64 },
}

impl Entered {
    /// Whether `self` came before `other`, where that can be known.
    fn is_before(self, other: Self) -> bool {
        match (self, other) {
            (Self::Queued { ticket, .. }, Self::Queued { ticket: other, .. }) => ticket < other,
            (Self::Granted { slot } | Self::Queued { slot, .. }, Self::Granted { slot: other }) => {
                slot < other
            }
            (Self::Granted { slot }, Self::Queued { slot: other, .. }) => slot < other,
        }
    }
}

/// A store that takes writes with a fence, one for each key, and refuses those that come too late.
#[derive(Debug, Default)]
struct Register {
    highest: u64,
}

/// What all clients saw.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    keys: Mutex<BTreeMap<String, Key>>,
    wrong: Mutex<Vec<String>>,
    tally: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Debug, Default)]
struct Key {
    register: Register,
    held: Vec<Held>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Oracle {
    /// Notes something that must never happen.
    pub(crate) fn wrong(&self, what: String) {
        eprintln!("WRONG: {what}");
        lock(&self.wrong).push(what);
    }

    /// Counts something that should happen sometimes.
    pub(crate) fn count(&self, what: &'static str) {
        *lock(&self.tally).entry(what).or_default() += 1;
    }

    /// How often it was counted.
    pub(crate) fn counted(&self, what: &str) -> u64 {
        lock(&self.tally).get(what).copied().unwrap_or(0)
    }

    pub(crate) fn tally(&self) -> String {
        format!("{:?}", lock(&self.tally))
    }

    /// Writes to the key's store; false if a higher fence has written.
    pub(crate) fn write(&self, key: &str, fence: u64) -> bool {
        let mut keys = lock(&self.keys);
        let register = &mut keys.entry(key.to_owned()).or_default().register;
        let is_taken = fence >= register.highest;
        register.highest = register.highest.max(fence);
        is_taken
    }

    /// The highest fence that wrote to the key's store.
    pub(crate) fn highest(&self, key: &str) -> u64 {
        lock(&self.keys)
            .get(key)
            .map_or(0, |key| key.register.highest)
    }

    /// Notes a grant that is over.
    pub(crate) fn held(&self, key: &str, held: Held) {
        lock(&self.keys)
            .entry(key.to_owned())
            .or_default()
            .held
            .push(held);
    }

    /// Everything that is wrong, once no client runs any more.
    pub(crate) fn verdict(&self) -> Vec<String> {
        let mut wrong = lock(&self.wrong).clone();
        for (name, key) in &mut *lock(&self.keys) {
            key.held.sort_by_key(|held| held.fence);
            wrong.extend(judge(&key.held).map(|what| format!("{name}: {what}")));
        }
        wrong
    }
}

/// What is wrong with these grants of one key, in the order of their fences.
fn judge(held: &[Held]) -> impl Iterator<Item = String> + '_ {
    let excludes = |a: &Held, b: &Held| a.mode == Mode::Exclusive || b.mode == Mode::Exclusive;
    // The latest end of all before, and of the exclusive ones before.
    let mut latest: Option<&Held> = None;
    let mut latest_exclusive: Option<&Held> = None;
    held.iter().enumerate().filter_map(move |(index, now)| {
        let before = match now.mode {
            Mode::Exclusive => latest,
            Mode::Shared => latest_exclusive,
            mode => unreachable!("{mode:?} is not drawn"),
        };
        let later = |old: Option<&'_ Held>| old.is_none_or(|old| old.to < now.to);
        if later(latest) {
            latest = Some(now);
        }
        if now.mode == Mode::Exclusive && later(latest_exclusive) {
            latest_exclusive = Some(now);
        }
        if index > 0 && held[index - 1].fence == now.fence {
            return Some(format!("one fence, two grants: {now}"));
        }
        if let Some(before) = before.filter(|before| before.to > now.from) {
            return Some(format!("held by two, or fences fell:\n  {before}\n  {now}"));
        }
        // A few neighbours are enough: whoever was overtaken is granted soon after.
        let overtaken = held[index + 1..].iter().take(400).find(|after| {
            let came = after.entered.zip(now.entered);
            excludes(now, after) && came.is_some_and(|(after, now)| after.is_before(now))
        });
        overtaken.map(|after| format!("out of order: {after}\n  came before\n  {now}"))
    })
}

#[cfg(test)]
mod tests {
    use super::{Entered, Held, Oracle};
    use std::time::{Duration, Instant};
    use tenure_core::machine::command::Mode;

    struct Story {
        zero: Instant,
        oracle: Oracle,
    }

    impl Story {
        fn new() -> Self {
            Self {
                zero: Instant::now(),
                oracle: Oracle::default(),
            }
        }

        fn held(self, fence: u64, mode: Mode, (from, to): (u64, u64), entered: Entered) -> Self {
            let at = |ms| self.zero + Duration::from_millis(ms);
            let held = Held {
                fence,
                mode,
                from: at(from),
                to: at(to),
                entered: Some(entered),
                who: String::new(),
            };
            self.oracle.held("key", held);
            self
        }

        fn wrong(&self) -> String {
            self.oracle.verdict().join("\n")
        }
    }

    const fn at(slot: u64) -> Entered {
        Entered::Granted { slot }
    }

    const fn queued(slot: u64) -> Entered {
        let ticket = slot << 12;
        Entered::Queued { slot, ticket }
    }

    #[test]
    fn what_a_lock_service_may_show_is_not_wrong() {
        let story = Story::new()
            .held(1, Mode::Exclusive, (0, 10), at(1))
            .held(2, Mode::Shared, (10, 40), queued(2))
            .held(3, Mode::Shared, (20, 30), at(5))
            .held(9, Mode::Exclusive, (41, 50), queued(7));
        assert_eq!(story.wrong(), "");
    }

    #[test]
    fn two_holders_at_a_time_are_wrong() {
        let two = Story::new().held(1, Mode::Exclusive, (0, 10), at(1)).held(
            2,
            Mode::Exclusive,
            (9, 12),
            at(2),
        );
        assert!(two.wrong().contains("held by two"));
        let mixed = Story::new()
            .held(1, Mode::Shared, (0, 10), at(1))
            .held(2, Mode::Shared, (1, 2), at(2))
            .held(3, Mode::Exclusive, (9, 12), at(3));
        assert!(mixed.wrong().contains("held by two"));
        let shared_last = Story::new().held(1, Mode::Exclusive, (0, 10), at(1)).held(
            2,
            Mode::Shared,
            (9, 12),
            at(2),
        );
        assert!(shared_last.wrong().contains("held by two"));
    }

    #[test]
    fn fences_that_fall_or_repeat_are_wrong() {
        let falls = Story::new().held(2, Mode::Exclusive, (0, 10), at(1)).held(
            1,
            Mode::Exclusive,
            (20, 30),
            at(2),
        );
        assert!(falls.wrong().contains("fences fell"));
        let repeats = Story::new().held(1, Mode::Exclusive, (0, 10), at(1)).held(
            1,
            Mode::Exclusive,
            (20, 30),
            at(2),
        );
        assert!(repeats.wrong().contains("one fence"));
    }

    #[test]
    fn overtaking_is_wrong() {
        let tickets = Story::new()
            .held(1, Mode::Exclusive, (0, 10), queued(5))
            .held(2, Mode::Exclusive, (20, 30), queued(4));
        assert!(tickets.wrong().contains("out of order"));
        let newcomer = Story::new().held(1, Mode::Exclusive, (0, 10), at(5)).held(
            2,
            Mode::Exclusive,
            (20, 30),
            queued(4),
        );
        assert!(newcomer.wrong().contains("out of order"));
    }

    #[test]
    fn a_store_refuses_late_writes() {
        let oracle = Oracle::default();
        assert!(oracle.write("key", 1) && oracle.write("key", 3) && oracle.write("key", 3));
        assert!(!oracle.write("key", 2));
        assert_eq!(oracle.highest("key"), 3);
    }
}
