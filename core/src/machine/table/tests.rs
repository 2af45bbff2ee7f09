use super::*;
use alloc::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u32),
    Change(prop::sample::Index, u32),
    Remove(prop::sample::Index),
    Sweep(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (0..4u8, any::<prop::sample::Index>(), any::<u32>()).prop_map(|(kind, at, n)| match kind {
            0 => Step::Insert(n),
            1 => Step::Change(at, n),
            2 => Step::Remove(at),
            _ => Step::Sweep(n as usize % 7),
        });
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// While the table goes on changing, a sweep in pieces gives exactly what was there when it
    /// began: nothing twice, nothing lost, nothing new.
    #[test]
    fn a_sweep_gives_the_image_at_its_beginning(before in steps(), during in steps()) {
        let mut table = Table::default();
        let mut live = vec![];
        run(&mut table, &mut live, &before, &mut |_| ());
        let image: Vec<u32> = table.iter().map(|(_, record)| *record).collect();
        table.open();
        let mut swept = vec![];
        let mut done = run(&mut table, &mut live, &during, &mut |record| swept.push(record));
        while !done {
            done = table.sweep(3, |record| swept.push(*record));
        }
        prop_assert_eq!(swept, image);
        let mut left: Vec<u32> = table.iter().map(|(_, record)| *record).collect();
        let mut expected: Vec<u32> = live.iter().map(|(_, record)| *record).collect();
        left.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(table.len(), expected.len());
        prop_assert_eq!(left, expected);
    }
}

fn run(
    table: &mut Table<u32>,
    live: &mut Vec<(Ref<u32>, u32)>,
    steps: &[Step],
    give: &mut dyn FnMut(u32),
) -> bool {
    let mut done = false;
    for step in steps {
        match step {
            Step::Insert(record) => {
                let vacant = table.vacant();
                let at = table.insert(*record);
                assert_eq!(at, vacant);
                live.push((at, *record));
            }
            Step::Change(at, record) if !live.is_empty() => {
                let at = at.index(live.len());
                live[at].1 = *record;
                *table.at_mut(live[at].0) = *record;
            }
            Step::Remove(at) if !live.is_empty() => {
                let (at, record) = live.swap_remove(at.index(live.len()));
                assert_eq!(table.remove(at), record);
                assert_eq!(table.peek(at), None);
            }
            Step::Sweep(slots) if !done => done = table.sweep(*slots, |record| give(*record)),
            _ => {}
        }
    }
    done
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
