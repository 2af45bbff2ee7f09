//! How a host ends: because it was asked to, or because it must not go on.

use super::{HALTING, Rig, caller, request, start, start_halting, test};
use crate::{Conn, HostError, SyncMode};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tenure_core::ids::{ChangeId, Epoch, NodeId, Slot};
use tenure_core::node::output::Halt;
use tenure_rt::{clock, spawn};

/// One whose disk has a request when it is asked to stop.
async fn stops() -> (Rig, Conn) {
    let rig = start(SyncMode::Thread, true);
    let conn = caller(&rig).await;
    conn.request(1, request()).expect("there is room");
    rig.events.wait_for("append 1", 1).await;
    rig.door.stop().await;
    (rig, conn)
}

/// Who was promised an answer by being heard gets it, if it comes soon.
#[test]
fn a_server_that_stops_owes_no_answers() {
    test(async {
        let (rig, _conn) = stops().await;
        // Once it heard that, it takes this too.
        let told = rig.door.link(NodeId::new(2), true).await;
        told.expect("it still runs");
        rig.events.wait_for("promised", 1).await;
        assert!(!rig.end.is_finished(), "the disk has not answered yet");
        rig.let_sync.send(Ok(())).expect("the disk lives");
        assert!(matches!(rig.end.await, Ok(Ok(()))));
        assert_eq!(rig.events.count("reply 1"), 1);
    });
}

/// But not for ever.
#[test]
fn a_server_that_stops_waits_a_second_at_most() {
    test(async {
        let (rig, _conn) = stops().await;
        let begun = clock::now();
        // The thread that syncs is waited for at the very end.
        let let_sync = rig.let_sync.clone();
        drop(spawn(async move {
            clock::sleep(Duration::from_secs(5)).await;
            drop(let_sync);
        }));
        drop(rig.let_sync);
        assert!(matches!(rig.end.await, Ok(Ok(()))));
        let waited = clock::now().since(begun);
        assert!(waited >= Duration::from_millis(900), "{waited:?}");
        assert!(waited < Duration::from_secs(4), "{waited:?}");
        assert_eq!(rig.events.count("reply 1"), 0);
    });
}

#[test]
fn a_failed_sync_stops_the_server() {
    test(async {
        let rig = start(SyncMode::Thread, true);
        let conn = caller(&rig).await;
        conn.request(1, request()).expect("there is room");
        let broken = io::Error::other("the disk is gone");
        rig.let_sync.send(Err(broken)).expect("the disk lives");
        let end = rig.end.await.expect("the task lives");
        let message = end.expect_err("it must not go on").to_string();
        assert!(message.contains("the log can't be synced"), "{message}");
        assert!(message.contains("the disk is gone"), "{message}");
        assert_eq!(rig.events.count("reply 1"), 0, "nobody heard of it");
        assert!(conn.request(2, request()).is_err());
    });
}

#[test]
fn a_halt_that_could_break_a_promise_lets_nothing_out() {
    test(async {
        let slot = Slot::new(3);
        let rig = start_halting(SyncMode::Inline, false, Some(Halt::Unreadable { slot }));
        let conn = caller(&rig).await;
        conn.request(HALTING, request()).expect("there is room");
        let end = rig.end.await.expect("the task lives");
        assert!(matches!(end, Err(HostError::Halt(Halt::Unreadable { .. }))));
        assert_eq!(rig.events.count("to caller"), 0);
    });
}

/// One whose last group is on its way to the disk when it gets another role.
async fn changes_role(reason: Halt) -> Rig {
    let rig = start_halting(SyncMode::Thread, true, Some(reason));
    let conn = caller(&rig).await;
    conn.request(1, request()).expect("there is room");
    rig.events.wait_for("append 1", 1).await;
    conn.request(HALTING, request()).expect("there is room");
    rig.events.wait_for("to caller", 1).await;
    rig
}

/// What it said in the step that ended it is said; and its disk is quiet before anybody opens that
/// again.
#[test]
fn a_server_of_another_role_answers_and_waits_for_its_disk() {
    test(async {
        let epoch = Epoch::new(2);
        let change = ChangeId::new(7);
        for reason in [Halt::Role { epoch }, Halt::Removed { change }] {
            let rig = changes_role(reason).await;
            assert_eq!(rig.events.count(&format!("reply {HALTING}")), 1);
            // It still hears, and does not go.
            let told = rig.door.link(NodeId::new(2), true).await;
            told.expect("it still runs");
            rig.events.wait_for("promised", 1).await;
            assert!(!rig.end.is_finished(), "the disk has not answered yet");
            // The group, its trailing seal, and whatever a slow machine splits them into.
            for _ in 0..8 {
                rig.let_sync.send(Ok(())).expect("the disk lives");
            }
            let end = rig.end.await.expect("the task lives");
            assert!(matches!(end, Err(HostError::Halt(_))), "{end:?}");
            assert!(rig.events.count("sync") > 0);
        }
    });
}

/// A failed sync is not to be forgotten by opening the disk again.
#[test]
fn a_server_of_another_role_whose_disk_fails_is_not_opened_again() {
    test(async {
        let epoch = Epoch::new(2);
        let rig = changes_role(Halt::Role { epoch }).await;
        let broken = io::Error::other("the disk is gone");
        rig.let_sync.send(Err(broken)).expect("the disk lives");
        let end = rig.end.await.expect("the task lives");
        assert!(matches!(end, Err(HostError::Disk { .. })), "{end:?}");
    });
}

/// Nor is that of a file that was being prepared.
#[test]
fn a_server_of_another_role_hears_of_all_that_its_disk_was_doing() {
    test(async {
        let epoch = Epoch::new(2);
        let rig = changes_role(Halt::Role { epoch }).await;
        rig.is_broken.store(true, Ordering::Relaxed);
        for _ in 0..8 {
            rig.let_sync.send(Ok(())).expect("the disk lives");
        }
        let end = rig.end.await.expect("the task lives");
        assert!(matches!(end, Err(HostError::Disk { .. })), "{end:?}");
        assert_eq!(rig.events.count("close"), 1);
    });
}
