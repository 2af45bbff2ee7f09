//! The seed of it all: a server of files that alone reaches the lock service, end to end.

use crate::worlds::World;
use std::time::Duration;
use tenure_service::{Fence, Key, LockService, TokenText};
use tenure_tests::files::{Access, Files, Refused};

const NOW: Duration = Duration::ZERO;
const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

fn files<W: World>(world: &W, ttl: Duration) -> Files<W::Service> {
    Files::new(world.locks().clone(), ttl)
}

/// The file's lock, once its holder has lost it.
async fn once_over<W: World>(world: &W, file: &str) {
    world.pass(SHORT);
    let key = Key::from_path(&format!("files/{file}")).expect("it is short");
    let mut seen = world.locks().query(&key).await.expect("it is answered");
    while !seen.holders.is_empty() {
        seen = world
            .locks()
            .watch(&key, &seen)
            .await
            .expect("it is answered");
    }
}

pub(crate) async fn a_file_opens_with_a_valid_lock_only(world: impl World) {
    let (files, file) = (files(&world, LONG), world.name());
    let pass = files
        .open("ann", &file, Access::Write, NOW)
        .await
        .expect("it is free");
    assert_eq!(files.write(&file, pass, b"one").await, Ok(()));
    assert_eq!(files.read(&file, pass).await, Ok(b"one".to_vec()));

    let mut forged = pass;
    forged.token.0[0] ^= 1;
    assert_eq!(files.read(&file, forged).await, Err(Refused::Forged));
    assert_eq!(
        files.write(&file, forged, b"two").await,
        Err(Refused::Forged)
    );
    assert_eq!(files.close(&file, forged).await, Err(Refused::Forged));
    let other = world.name();
    assert_eq!(
        files.write(&other, pass, b"two").await,
        Err(Refused::Forged),
        "another file"
    );

    assert_eq!(files.close(&file, pass).await, Ok(false));
    assert_eq!(files.write(&file, pass, b"two").await, Err(Refused::Over));
    assert_eq!(files.read(&file, pass).await, Err(Refused::Over));
    assert_eq!(files.store().read(&file), b"one");
}

pub(crate) async fn who_comes_later_learns_who_has_it_and_how_many_are_before(world: impl World) {
    let (files, file) = (files(&world, LONG), world.name());
    let pass = files
        .open("ann", &file, Access::Write, NOW)
        .await
        .expect("it is free");
    let busy = |before| {
        Err(Refused::Busy {
            holder: "ann".to_owned(),
            before,
        })
    };
    assert_eq!(files.open("bob", &file, Access::Read, NOW).await, busy(0));
    let key = Key::from_path(&format!("files/{file}")).expect("it is short");
    let before = world.locks().query(&key).await.expect("it is answered");
    let first = async {
        let held = world
            .locks()
            .watch(&key, &before)
            .await
            .expect("it is answered");
        assert_eq!((held.waiting, &*held.waiters[0].name), (1, "bob"));
        assert_eq!(files.open("cy", &file, Access::Write, NOW).await, busy(1));
        files.close(&file, pass).await.expect("it is answered")
    };
    let bob = files.open("bob", &file, Access::Read, LONG);
    let (bob, already) = crate::cases::both(bob, first).await;
    let bob = bob.expect("ann has closed it");
    assert!(!already && bob.fence > pass.fence);
    assert_eq!(
        files.write(&file, bob, b"two").await,
        Err(Refused::ReadOnly)
    );
    let cy = files
        .open("cy", &file, Access::Read, NOW)
        .await
        .expect("readers share it");
    assert!(cy.fence > bob.fence);
}

pub(crate) async fn a_late_writer_is_refused_by_its_older_fence(world: impl World) {
    let (files, file) = (files(&world, SHORT), world.name());
    let late = files
        .open("ann", &file, Access::Write, NOW)
        .await
        .expect("it is free");
    // Ann's machine pauses. Her lock ends, and Bob writes.
    once_over(&world, &file).await;
    assert_eq!(files.write(&file, late, b"ann").await, Err(Refused::Over));
    let bob = open(&files, &file).await;
    assert_eq!(files.store().write(&file, bob.fence, b"bob"), Ok(()));
    // Her write was checked before she paused, and comes now.
    let refused = files.store().write(&file, late.fence, b"ann");
    assert_eq!(refused, Err(Refused::Late { seen: bob.fence }));
    assert_eq!(files.store().read(&file), b"bob");
    let older = Fence::new(late.fence.get() - 1);
    assert!(files.store().write(&file, older, b"").is_err());
}

async fn open<L: LockService>(files: &Files<L>, file: &str) -> TokenText {
    let pass = files.open("bob", file, Access::Write, LONG).await;
    pass.expect("nobody has it")
}

/// What the manual shows is what runs.
#[test]
fn the_manual_shows_the_code() {
    let page = include_str!("../../docs/SHOULD-YOU-LOCK.md");
    let code = include_str!("../src/files.rs");
    let mut shown = 0;
    for block in page.split("```rust\n").skip(1) {
        let block = block.split("```").next().expect("it ends");
        assert!(code.contains(block), "tests/src/files.rs has no\n{block}");
        shown += 1;
    }
    assert!(shown >= 2, "{shown} parts of the code are shown");
}
