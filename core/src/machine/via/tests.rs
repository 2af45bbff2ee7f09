use super::*;
use crate::ids::NodeId;
use alloc::collections::BTreeSet;
use proptest::prelude::*;

fn via(boot: u64, seq: u64) -> Via {
    Via {
        node: NodeId::new(1),
        boot: Boot::new(boot),
        seq,
    }
}

#[test]
fn a_command_is_new_once() {
    let mut window = ViaWindow::default();
    assert!(window.take(via(1, 5)));
    assert!(!window.take(via(1, 5)));
    assert!(window.take(via(1, 4)), "an older one that was not seen");
    assert!(window.take(via(1, 5 + WINDOW)));
    assert!(!window.take(via(1, 5)), "too old to be told from a retry");
    assert!(window.take(via(1, 6)), "the oldest that is still known");
}

#[test]
fn a_new_start_of_the_server_ends_the_old_one() {
    let mut window = ViaWindow::default();
    assert!(window.take(via(1, 5)));
    assert!(window.take(via(2, 5)));
    assert!(!window.take(via(1, 6)), "nobody waits for it any more");
    assert!(!window.take(via(2, 5)));
}

proptest! {
    #[test]
    fn it_knows_what_a_set_knows(seqs in prop::collection::vec(0..200_000u64, 0..400)) {
        let mut window = ViaWindow::default();
        let (mut seen, mut highest) = (BTreeSet::new(), 0);
        for seq in seqs {
            highest = highest.max(seq);
            let new = highest - seq < WINDOW && seen.insert(seq);
            prop_assert_eq!(window.take(via(1, seq)), new);
        }
    }
}
