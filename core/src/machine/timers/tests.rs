use super::super::table::Table;
use super::*;
use alloc::collections::BTreeSet;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Against an ordered set, which says the same in the plain way.
    #[test]
    fn the_first_is_the_least(steps in prop::collection::vec((0..4u8, 0..30usize, 0..50u32), 0..200)) {
        let mut table: Table<(u32, usize)> = Table::default();
        let refs: Vec<_> = (0..30).map(|id| table.insert((0, id))).collect();
        let mut timers = Timers::default();
        let mut model = BTreeSet::new();
        for (kind, which, deadline) in steps {
            let at = refs[which];
            model.remove(table.at(at));
            if kind == 0 {
                timers.clear(at, |at| *table.at(at));
            } else {
                table.at_mut(at).0 = deadline;
                model.insert((deadline, which));
                timers.set(at, |at| *table.at(at));
            }
            prop_assert!(timers.is_sound(|at| *table.at(at)));
            prop_assert_eq!(timers.len(), model.len());
            prop_assert_eq!(timers.first().map(|at| *table.at(at)), model.first().copied());
        }
    }
}
