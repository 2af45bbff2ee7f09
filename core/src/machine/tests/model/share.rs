//! How a lock is shared, said simply.

use super::*;

/// The table of the classical modes, row by row.
pub(super) fn meets(a: Mode, b: Mode) -> bool {
    use Mode::{ConcurrentRead, ConcurrentWrite, Null, ProtectedWrite};
    match a {
        Null => true,
        ConcurrentRead => b != Exclusive,
        ConcurrentWrite => [Null, ConcurrentRead, ConcurrentWrite].contains(&b),
        Shared => [Null, ConcurrentRead, Shared].contains(&b),
        ProtectedWrite => [Null, ConcurrentRead].contains(&b),
        Exclusive => b == Null,
        Mode::Permits { .. } => panic!("permits are counted"),
    }
}

impl Model {
    /// The modes in which a lock is held or offered.
    pub(super) fn taken(&self, zone: ZoneId, key: &Key) -> Vec<Mode> {
        let holders = self.holders(zone, key);
        let line = self.line(zone, key);
        let held = holders.iter().map(|h| &h.parts);
        let offered = line.iter().filter(|w| w.offered).map(|w| &w.parts);
        held.chain(offered)
            .map(|parts| parts.of(key).unwrap().mode)
            .collect()
    }

    pub(super) fn fits(&self, zone: ZoneId, key: &Key, mode: Mode) -> bool {
        let taken = self.taken(zone, key);
        let Mode::Permits { n, .. } = mode else {
            return taken.iter().all(|other| meets(mode, *other));
        };
        let all = taken.iter().map(|other| match other {
            Mode::Permits { n, .. } => *n,
            _ => panic!("modes and permits are not mixed"),
        });
        n + all.sum::<u32>() <= self.capacity(zone, key).unwrap()
    }

    pub(super) fn is_used(&self, zone: ZoneId, key: &Key) -> bool {
        !self.holders(zone, key).is_empty() || !self.line(zone, key).is_empty()
    }

    /// The capacity of a lock that is in use by permits.
    pub(super) fn capacity(&self, zone: ZoneId, key: &Key) -> Option<u32> {
        let known = self.capacities.get(&(zone, key.clone())).copied();
        known.filter(|_| self.is_used(zone, key))
    }

    /// With the capacity that the lock has now.
    pub(super) fn now(&self, zone: ZoneId, key: &Key, mode: Mode) -> Mode {
        match mode {
            Mode::Permits { n, .. } => Mode::Permits {
                n,
                capacity: self.capacity(zone, key).unwrap(),
            },
            other => other,
        }
    }

    pub(super) fn parts_now(&self, zone: ZoneId, parts: &Parts) -> Parts {
        let part = |part: &Part| Part {
            mode: self.now(zone, &part.key, part.mode),
            ..part.clone()
        };
        Parts::new(parts.iter().map(part).collect()).unwrap()
    }
}
