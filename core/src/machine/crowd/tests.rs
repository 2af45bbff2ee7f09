use super::*;

/// As the table above says it.
const TABLE: [&str; 6] = ["111111", "111110", "111000", "110100", "110000", "100000"];

const ALL: [Mode; 6] = [
    Mode::Null,
    Mode::ConcurrentRead,
    Mode::ConcurrentWrite,
    Mode::Shared,
    Mode::ProtectedWrite,
    Mode::Exclusive,
];

#[test]
fn modes_meet_as_in_the_table() {
    for (row, a) in TABLE.iter().zip(ALL) {
        for (cell, b) in row.chars().zip(ALL) {
            let meets = compatible(Share::of(a), Share::of(b));
            assert_eq!(meets, cell == '1', "{a:?} {b:?}");
            assert_eq!(meets, compatible(Share::of(b), Share::of(a)));
        }
    }
}

#[test]
fn a_share_is_its_mode() {
    for mode in ALL {
        assert_eq!(Share::of(mode).mode(None), mode);
        assert_eq!(Share::of(mode).permits(), None);
    }
    let all = PERMITS_MAX;
    for n in [1, 2, all] {
        let mode = Mode::Permits { n, capacity: all };
        assert_eq!(Share::of(mode).mode(Some(all)), mode);
        assert_eq!(Share::of(mode).permits(), Some(n));
        assert!(!compatible(Share::of(mode), Share::of(Mode::Null)));
    }
}

#[test]
fn permits_fit_up_to_the_capacity() {
    let permits = |n| Share::of(Mode::Permits { n, capacity: 5 });
    let mut crowd = Crowd::of_permits(5);
    crowd.add(permits(3));
    assert!(crowd.has_room_for(permits(2), None));
    assert!(!crowd.has_room_for(permits(3), None));
    assert!(!crowd.has_room_for(Share::of(Mode::Null), None));
    assert!(!crowd.remove(permits(3)), "it has its capacity still");
    assert!(crowd.has_room_for(permits(5), None));
    assert!(!crowd.has_room_for(permits(6), None));
}
