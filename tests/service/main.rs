//! One suite for the three implementations of `LockService`: what one of them promises, all do.

mod cases;
mod filing;
mod worlds;

use worlds::{Cluster, Simulated};

/// Each case as a test, against each implementation.
macro_rules! conformance {
    ($($room:ident::$case:ident,)*) => {
        mod in_memory {
            $(#[test]
            fn $case() {
                super::Simulated::run(|world| super::$room::$case(world));
            })*
        }

        mod native {
            $(#[test]
            fn $case() {
                super::Cluster::run_native(|world| super::$room::$case(world));
            })*
        }

        mod http {
            $(#[test]
            fn $case() {
                super::Cluster::run_http(|world| super::$room::$case(world));
            })*
        }
    };
}

conformance! {
    cases::a_free_lock_is_granted_and_seen,
    cases::the_second_is_refused_and_told_who_holds_it,
    cases::readers_share_and_a_writer_does_not,
    cases::those_who_wait_are_served_in_order,
    cases::a_wait_ends_and_tells_who_held_it_to_the_end,
    cases::who_gives_up_leaves_the_line,
    cases::a_lock_is_given_back_once,
    cases::what_was_never_held_is_not_released,
    cases::a_wrong_token_changes_nothing,
    cases::a_renewal_counts_from_now,
    cases::what_is_not_renewed_expires,
    cases::fences_rise,
    cases::a_watch_sees_each_change,
    cases::a_third_party_verifies,
    cases::pairs_are_locked_like_paths,
    cases::what_is_out_of_bounds_is_no_request,
    filing::a_file_opens_with_a_valid_lock_only,
    filing::who_comes_later_learns_who_has_it_and_how_many_are_before,
    filing::a_late_writer_is_refused_by_its_older_fence,
}
