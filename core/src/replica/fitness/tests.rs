use super::*;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u32) -> Timestamp {
    Timestamp::ZERO.plus(MS * ms)
}

fn fit(disk_ms: u32) -> Fitness {
    Fitness {
        hears_quorum: true,
        disk_us: disk_ms * 1000,
        ..Fitness::default()
    }
}

#[test]
fn a_disk_is_slow_only_beside_a_much_faster_one() {
    assert!(fit(100).is_slow_beside(fit(1)));
    assert!(!fit(100).is_slow_beside(fit(50)), "both are slow");
    assert!(!fit(20).is_slow_beside(fit(1)), "nobody would notice");
    assert!(!fit(1).is_slow_beside(fit(100)));
}

#[test]
fn who_is_low_on_space_or_stops_or_hears_too_few_is_not_fit() {
    assert!(fit(1).is_fit());
    let low = Fitness {
        space: Space::Low,
        ..fit(1)
    };
    let stops = Fitness {
        stops: true,
        ..fit(1)
    };
    assert!(!low.is_fit() && !stops.is_fit() && !Fitness::default().is_fit());
}

#[test]
fn one_slow_sync_is_no_slow_disk_but_many_are() {
    let mut pace = DiskPace::default();
    for (record, start) in (1..).zip((0..).step_by(200)).take(20) {
        pace.appended(RecordNo::new(record), at(start));
        pace.durable(RecordNo::new(record), at(start + 100));
        if record == 1 {
            assert!(pace.takes(at(start + 100)) < MS * 20);
        }
    }
    assert!(pace.takes(at(10_000)) > MS * 80);
}

#[test]
fn a_disk_that_hangs_counts_by_how_long_it_does() {
    let mut pace = DiskPace::default();
    pace.appended(RecordNo::new(1), at(0));
    pace.appended(RecordNo::new(2), at(900));
    assert!(!pace.hangs(at(200)));
    assert!(pace.hangs(at(1000)));
    assert_eq!(pace.takes(at(1000)), MS * 1000);
    pace.durable(RecordNo::new(2), at(1001));
    assert!(!pace.hangs(at(2000)));
}
