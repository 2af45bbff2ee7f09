use super::*;
use alloc::collections::BTreeSet;
use alloc::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u32),
    Change(prop::sample::Index, u32),
    Remove(prop::sample::Index),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (0..6u8, any::<prop::sample::Index>(), any::<u32>()).prop_map(|(kind, at, n)| match kind {
            0..=2 => Step::Insert(n),
            3 => Step::Change(at, n),
            4 => Step::Remove(at),
            _ => Step::Sweep,
        });
    prop::collection::vec(step, 0..400)
}

/// What a sweep handed out: the slots and their records.
type Swept = Vec<(usize, u32)>;

/// A table, and what should be in it.
#[derive(Default)]
struct Both {
    table: Table<u32>,
    live: Vec<(Ref<u32>, u32)>,
    groups: usize,
    swept: Swept,
}

impl Both {
    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Insert(record) => self.insert(*record),
                Step::Change(at, record) if !self.live.is_empty() => {
                    let at = at.index(self.live.len());
                    self.live[at].1 = *record;
                    *self.table.at_mut(self.live[at].0) = *record;
                }
                Step::Remove(at) if !self.live.is_empty() => {
                    let (at, record) = self.live.swap_remove(at.index(self.live.len()));
                    assert_eq!(self.table.remove(at), record);
                    assert_eq!(self.table.peek(at), None);
                }
                Step::Sweep => {
                    self.sweep();
                }
                Step::Change(..) | Step::Remove(_) => {}
            }
        }
    }

    fn insert(&mut self, record: u32) {
        let used: BTreeSet<usize> = self.live.iter().map(|(at, _)| at.slot()).collect();
        let lowest = (0..).find(|slot| !used.contains(slot));
        assert_eq!(Some(self.table.vacant().slot()), lowest);
        let at = self.table.insert(record);
        assert_eq!(Some(at.slot()), lowest);
        self.live.push((at, record));
    }

    fn sweep(&mut self) -> bool {
        let mut records = vec![];
        let Some(used) = self.table.sweep(|record| records.push(*record)) else {
            return false;
        };
        let slots = (0..GROUP).filter(|slot| used >> slot & 1 == 1);
        let slots = slots.map(|slot| self.groups * GROUP + slot);
        self.swept.extend(slots.zip(records));
        self.groups += 1;
        true
    }
}

fn image(table: &Table<u32>) -> Swept {
    table
        .iter()
        .map(|(at, record)| (at.slot(), *record))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// While the table goes on changing, a sweep in pieces gives exactly what was there when it
    /// began, slot for slot: nothing twice, nothing lost, nothing new.
    #[test]
    fn a_sweep_gives_the_image_at_its_beginning(before in steps(), during in steps()) {
        let mut both = Both::default();
        both.run(&before);
        let image_before = image(&both.table);
        both.groups = 0;
        both.swept.clear();
        let groups = both.table.open();
        prop_assert_eq!(groups, image_before.last().map_or(0, |(slot, _)| slot / GROUP + 1));
        both.run(&during);
        while both.sweep() {}
        prop_assert_eq!(both.groups, groups);
        prop_assert_eq!(&both.swept, &image_before);
        let mut expected: Swept = both.live.iter().map(|(at, n)| (at.slot(), *n)).collect();
        expected.sort_unstable();
        prop_assert_eq!(both.table.len(), expected.len());
        prop_assert_eq!(image(&both.table), expected);
    }
}

#[test]
fn the_lowest_free_slot_is_found_among_very_many() {
    let mut table = Table::default();
    let all: Vec<Ref<u32>> = (0..300_000).map(|record| table.insert(record)).collect();
    assert!(all.iter().enumerate().all(|(slot, at)| at.slot() == slot));
    for slot in [299_999, 262_144, 4096, 4095, 64, 63] {
        table.remove(all[slot]);
        assert_eq!(table.vacant().slot(), slot);
    }
    let taken = (0..7).map(|record| table.insert(record).slot());
    let taken: Vec<usize> = taken.collect();
    assert_eq!(taken, [63, 64, 4095, 4096, 262_144, 299_999, 300_000]);
}

#[test]
fn a_sweep_ends_where_the_last_record_stands() {
    let mut table = Table::default();
    let all: Vec<Ref<u32>> = (0..200).map(|record| table.insert(record)).collect();
    all[70..]
        .iter()
        .for_each(|at| assert!(table.remove(*at) >= 70));
    assert_eq!(table.open(), 2);
}

#[test]
fn a_name_takes_four_bytes_also_when_there_may_be_none() {
    assert_eq!(size_of::<Option<Ref<u64>>>(), 4);
}

#[test]
fn pages_stay_where_they_are() {
    let mut table = Table::default();
    let first = table.insert(1u64);
    let place = core::ptr::from_ref(table.at(first));
    for record in 0..10_000 {
        table.insert(record);
    }
    assert!(core::ptr::eq(place, table.at(first)));
}
