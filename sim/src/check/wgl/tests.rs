use super::*;
use tenure_core::machine::key::Key;

fn call(client: usize, span: (Nanos, Nanos), told: Told) -> Call {
    Call {
        client,
        key: Key::from_path("the/lock").expect("a key"),
        called: span.0,
        returned: (span.1 > 0).then_some(span.1),
        told,
    }
}

fn granted(fence: u64) -> Told {
    Told::Granted {
        fence: Fence::new(fence),
        mode: Mode::Exclusive,
        kept: true,
    }
}

fn leased(fence: u64) -> Told {
    Told::Granted {
        fence: Fence::new(fence),
        mode: Mode::Exclusive,
        kept: false,
    }
}

fn released(fence: u64) -> Told {
    Told::Released {
        fence: Fence::new(fence),
        already: false,
    }
}

fn read(fences: &[u64]) -> Told {
    Told::Read {
        fences: fences.iter().map(|fence| Fence::new(*fence)).collect(),
    }
}

fn is_wrong(calls: &[Call]) -> bool {
    matches!(check(calls), Verdict::Not(_))
}

#[test]
fn overlapping_calls_find_their_order() {
    let calls = [
        call(1, (0, 10), granted(1)),
        call(2, (2, 40), granted(2)),
        call(1, (20, 39), released(1)),
        call(3, (21, 22), read(&[1])),
        call(3, (23, 30), read(&[2])),
    ];
    assert_eq!(check(&calls), Verdict::Linearizable);
    assert_eq!(check(&[]), Verdict::Linearizable);
}

#[test]
fn two_holders_at_once_are_found() {
    let calls = [
        call(1, (0, 10), granted(1)),
        call(2, (20, 30), granted(2)),
        call(1, (40, 50), released(1)),
    ];
    assert!(is_wrong(&calls));
}

#[test]
fn a_release_that_nobody_answered_may_have_happened_or_not() {
    let mut calls = vec![
        call(1, (0, 10), granted(1)),
        call(1, (20, 0), released(1)),
        call(3, (21, 25), read(&[1])),
    ];
    assert_eq!(check(&calls), Verdict::Linearizable);
    calls.push(call(2, (26, 30), granted(2)));
    assert_eq!(check(&calls), Verdict::Linearizable);
    calls.push(call(3, (40, 50), read(&[1])));
    assert!(is_wrong(&calls), "it had happened");
}

#[test]
fn a_stale_read_is_found() {
    let calls = [
        call(1, (0, 10), granted(1)),
        call(1, (20, 30), released(1)),
        call(2, (40, 50), read(&[1])),
    ];
    assert!(is_wrong(&calls));
    let calls = [call(1, (0, 10), granted(1)), call(2, (40, 50), read(&[]))];
    assert!(is_wrong(&calls), "a lock without an end of its own is gone");
}

#[test]
fn fences_that_go_back_are_found() {
    let calls = [call(1, (0, 10), leased(7)), call(2, (20, 30), leased(6))];
    assert!(is_wrong(&calls));
    let calls = [call(1, (0, 25), leased(7)), call(2, (20, 30), leased(6))];
    assert_eq!(check(&calls), Verdict::Linearizable);
}
