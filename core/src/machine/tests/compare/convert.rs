//! Conversions, as histories draw them.

use super::*;
use crate::machine::view::HolderView;

fn parts_of(name: &str, mode: Mode) -> Parts {
    Parts::one(path(name), mode)
}

impl Pair {
    /// What one of the holders of a lock was granted, or what anybody was.
    fn held(&self, a: u8, b: u8) -> Option<(Fence, Parts)> {
        let name = path(["a", "b", "c", "c"][a as usize % 4]);
        let now = self.machine.stamp();
        let view = self.machine.lock_view(ZoneId::new(0), &name, now);
        let fences: Vec<Fence> = view.holders.iter().map(|holder| holder.fence).collect();
        let Some(fence) = pick(&fences, b).filter(|_| a < 200) else {
            return pick(&self.held, a);
        };
        let mut all = self.held.iter().rev();
        all.find(|(other, _)| *other == fence).cloned()
    }

    /// Of the keys that the grant was made of, most times, in other modes.
    pub(super) fn conversion(&self, a: u8, b: u8, c: u8) -> Operation {
        let (fence, held) = self
            .held(a, c)
            .unwrap_or_else(|| (Fence::new(5), parts(a, c)));
        let take = 1 + usize::from(b >> 5) % held.count();
        let part = |(at, part): (usize, &Part)| {
            let bits = c.rotate_right(3 * at as u32);
            let mode = match part.mode {
                Mode::Permits { capacity, .. } if b % 16 > 1 => Mode::Permits {
                    n: 1 + u32::from(bits) % capacity,
                    capacity,
                },
                _ if b.is_multiple_of(16) => mode('c', bits % 15),
                _ if c % 4 == 3 => Exclusive,
                _ => mode('a', bits % 15),
            };
            Part {
                key: part.key.clone(),
                mode,
            }
        };
        let named = held.iter().enumerate().map(part).take(take);
        let parts = if b % 32 == 9 {
            parts(a, c)
        } else {
            Parts::new(named.collect()).unwrap()
        };
        Operation::Convert(Convert {
            fence,
            parts,
            wait_ms: [0, 600, 20_000, 70_000][(b >> 3) as usize % 4],
        })
    }

    /// One of three permits, two for one, or one permit less for all: so that some wait for each other.
    pub(super) fn of_few_permits(&self, b: u8, c: u8) -> Operation {
        let now = self.machine.stamp();
        let view = self.machine.lock_view(ZoneId::new(0), &path("c"), now);
        let holder = view.holders.get(b as usize % view.holders.len().max(1));
        let permits = |n, capacity| parts_of("c", Mode::Permits { n, capacity });
        match (c % 8, holder) {
            (3..=6, Some(HolderView { fence, mode, .. })) => Operation::Convert(Convert {
                fence: *fence,
                parts: match mode {
                    Mode::Permits { capacity, .. } => permits(2.min(*capacity), *capacity),
                    _ => permits(2, 3),
                },
                wait_ms: 20_000,
            }),
            (7, _) => Operation::Resize {
                key: path("c"),
                capacity: 2,
            },
            _ => Operation::Acquire(Acquire {
                parts: permits(1, 3),
                life: Life::Lease { ttl_ms: 60_000 },
                wait_ms: 0,
                holder: Bytes::new(),
                reentrant: false,
            }),
        }
    }
}
