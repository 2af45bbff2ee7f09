//! What every implementation does.

use crate::worlds::World;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tenure_service::{
    Claim, Error, Fence, Held, Key, Lock, LockService, Mode, Token, Verdict, Verify,
};

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

fn names(lock: &Lock) -> Vec<&str> {
    lock.holders.iter().map(|holder| &*holder.name).collect()
}

fn key_of(claim: &Claim) -> Key {
    claim.key().clone()
}

/// Awaits `main` while `other` goes on beside it.
async fn beside<T>(other: &mut (impl Future + Unpin), main: impl Future<Output = T>) -> T {
    let mut main = pin!(main);
    poll_fn(|context| {
        if let Poll::Ready(done) = main.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        let early = std::pin::Pin::new(&mut *other).poll(context).is_ready();
        assert!(!early, "it ended before what it was to wait for");
        Poll::Pending
    })
    .await
}

/// Both, beside each other.
pub(crate) async fn both<A, B>(
    one: impl Future<Output = A>,
    other: impl Future<Output = B>,
) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        let polled = |done: bool| if done { Poll::Ready(()) } else { Poll::Pending };
        if first.is_none()
            && let Poll::Ready(done) = one.as_mut().poll(context)
        {
            first = Some(done);
        }
        if second.is_none()
            && let Poll::Ready(done) = other.as_mut().poll(context)
        {
            second = Some(done);
        }
        polled(first.is_some() && second.is_some())
    })
    .await;
    let first = first.expect("it has ended");
    (first, second.expect("it has ended"))
}

/// The lock, once so many wait for it.
async fn once_waiting(locks: &impl LockService, key: &Key, count: u64) -> Lock {
    let mut seen = locks.query(key).await.expect("it is answered");
    while seen.waiting != count {
        seen = locks.watch(key, &seen).await.expect("it is answered");
    }
    seen
}

/// The lock, once nobody holds it.
async fn once_free(locks: &impl LockService, key: &Key) {
    let mut seen = locks.query(key).await.expect("it is answered");
    while !seen.holders.is_empty() {
        seen = locks.watch(key, &seen).await.expect("it is answered");
    }
}

fn with_wrong_token(held: &Held) -> Held {
    let mut wrong = held.clone();
    let Token(bytes) = &mut wrong.proof.token;
    bytes[7] ^= 1;
    wrong
}

pub(crate) async fn a_free_lock_is_granted_and_seen(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let key = key_of(&claim);
    assert_eq!(
        locks.query(&key).await.expect("it is answered"),
        Lock::default()
    );
    let held = locks
        .acquire(claim.holder("ann").ttl(LONG))
        .await
        .expect("it is free");
    assert_eq!((held.key(), held.ttl), (&key, Some(LONG)));
    let lock = locks.query(&key).await.expect("it is answered");
    let [holder] = &lock.holders[..] else {
        panic!("one holds it: {lock:?}");
    };
    assert_eq!(
        (&*holder.name, holder.fence, holder.mode),
        ("ann", held.fence(), Mode::Exclusive)
    );
    let remaining = holder.remaining.expect("it is leased");
    assert!(remaining <= LONG && remaining > LONG / 2, "{remaining:?}");
    let forever = locks
        .acquire(world.claim().forever())
        .await
        .expect("it is free");
    assert_eq!(forever.ttl, None);
    let lock = locks.query(forever.key()).await.expect("it is answered");
    assert_eq!(lock.holders[0].remaining, None);
}

pub(crate) async fn the_second_is_refused_and_told_who_holds_it(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let held = locks
        .acquire(claim.clone().holder("ann"))
        .await
        .expect("it is free");
    let refused = locks
        .acquire(claim.holder("bob"))
        .await
        .expect_err("it is held");
    let Error::Held { by, waited } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (&*by[0].name, by[0].fence, waited),
        ("ann", held.fence(), false)
    );
}

pub(crate) async fn readers_share_and_a_writer_does_not(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let shared = claim.clone().mode(Mode::Shared);
    for name in ["ann", "bob"] {
        locks
            .acquire(shared.clone().holder(name))
            .await
            .expect("readers share it");
    }
    let refused = locks
        .acquire(claim.clone().holder("cy"))
        .await
        .expect_err("it is read");
    assert!(refused.is_held(), "{refused}");
    let lock = locks.query(&key_of(&claim)).await.expect("it is answered");
    assert_eq!(names(&lock), ["ann", "bob"]);
    assert!(
        lock.holders
            .iter()
            .all(|holder| holder.mode == Mode::Shared)
    );
    let permits = world.claim().mode(Mode::Permits { n: 2, capacity: 3 });
    locks.acquire(permits.clone()).await.expect("two of three");
    assert!(
        locks
            .acquire(permits)
            .await
            .expect_err("one is left")
            .is_held()
    );
}

pub(crate) async fn those_who_wait_are_served_in_order(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let key = key_of(&claim);
    let first = locks
        .acquire(claim.clone().holder("ann"))
        .await
        .expect("it is free");
    let mut second = pin!(locks.acquire(claim.clone().holder("bob").wait(LONG)));
    beside(&mut second, once_waiting(locks, &key, 1)).await;
    let mut third = pin!(locks.acquire(claim.holder("cy").wait(LONG)));
    let lock = beside(
        &mut third,
        beside(&mut second, once_waiting(locks, &key, 2)),
    )
    .await;
    let waiting: Vec<&str> = lock.waiters.iter().map(|waiter| &*waiter.name).collect();
    assert_eq!((names(&lock), waiting), (vec!["ann"], vec!["bob", "cy"]));
    assert!(!locks.release(&first).await.expect("it is answered"));
    let second = beside(&mut third, second).await.expect("its turn has come");
    let lock = locks.query(&key).await.expect("it is answered");
    assert_eq!((names(&lock), lock.waiting), (vec!["bob"], 1));
    assert!(!locks.release(&second).await.expect("it is answered"));
    let third = third.await.expect("its turn has come");
    assert!(first.fence() < second.fence() && second.fence() < third.fence());
}

pub(crate) async fn a_wait_ends_and_tells_who_held_it_to_the_end(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let key = key_of(&claim);
    let held = locks
        .acquire(claim.clone().holder("ann"))
        .await
        .expect("it is free");
    let mut second = pin!(locks.acquire(claim.wait(SHORT)));
    beside(&mut second, once_waiting(locks, &key, 1)).await;
    world.pass(SHORT);
    let refused = second.await.expect_err("the wait ended");
    let Error::Held { by, waited } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((by[0].fence, waited), (held.fence(), true));
    assert_eq!(locks.query(&key).await.expect("it is answered").waiting, 0);
}

pub(crate) async fn who_gives_up_leaves_the_line(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let key = key_of(&claim);
    let held = locks.acquire(claim.clone()).await.expect("it is free");
    {
        let mut second = Box::pin(locks.acquire(claim.clone().wait(SHORT)));
        beside(&mut second, once_waiting(locks, &key, 1)).await;
    }
    // Over HTTP the key of the request keeps its place, until its wait ends.
    world.pass(SHORT);
    once_waiting(locks, &key, 0).await;
    assert!(!locks.release(&held).await.expect("it is answered"));
    locks.acquire(claim).await.expect("nobody has it");
}

pub(crate) async fn a_lock_is_given_back_once(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let first = locks.acquire(claim.clone()).await.expect("it is free");
    assert!(!locks.release(&first).await.expect("it is answered"));
    assert!(
        locks.release(&first).await.expect("it is answered"),
        "it had ended"
    );
    let second = locks.acquire(claim).await.expect("it is free again");
    assert!(
        locks.release(&first).await.expect("it is answered"),
        "it had ended"
    );
    let lock = locks.query(second.key()).await.expect("it is answered");
    assert_eq!(
        lock.holders[0].fence,
        second.fence(),
        "another's grant stands"
    );
}

pub(crate) async fn what_was_never_held_is_not_released(world: impl World) {
    let locks = world.locks();
    let held = locks.acquire(world.claim()).await.expect("it is free");
    let mut other = held.clone();
    other.proof.key = key_of(&world.claim());
    assert_eq!(
        locks.release(&other).await,
        Err(Error::BadProof),
        "another lock"
    );
    let mut never = held.clone();
    never.proof.fence = Fence::new(held.fence().get() + 1);
    assert_eq!(
        locks.release(&never).await,
        Err(Error::BadProof),
        "another fence"
    );
    assert!(
        !locks.release(&held).await.expect("it is answered"),
        "it stood"
    );
}

pub(crate) async fn a_wrong_token_changes_nothing(world: impl World) {
    let locks = world.locks();
    let held = locks.acquire(world.claim()).await.expect("it is free");
    let wrong = with_wrong_token(&held);
    assert_eq!(locks.release(&wrong).await, Err(Error::BadProof));
    assert_eq!(locks.renew(&wrong, Some(LONG)).await, Err(Error::BadProof));
    assert_eq!(
        locks.verify(Verify::from(&wrong)).await,
        Err(Error::BadProof)
    );
    let lock = locks.query(held.key()).await.expect("it is answered");
    assert_eq!(lock.holders[0].fence, held.fence());
}

pub(crate) async fn a_renewal_counts_from_now(world: impl World) {
    let locks = world.locks();
    let held = locks
        .acquire(world.claim().ttl(LONG / 2))
        .await
        .expect("it is free");
    assert_eq!(locks.renew(&held, Some(LONG)).await, Ok(LONG));
    let lock = locks.query(held.key()).await.expect("it is answered");
    assert!(lock.holders[0].remaining > Some(LONG / 2), "{lock:?}");
    assert!(!locks.release(&held).await.expect("it is answered"));
    assert_eq!(locks.renew(&held, None).await, Err(Error::NotHeld));
    let forever = locks
        .acquire(world.claim().forever())
        .await
        .expect("it is free");
    assert_eq!(locks.renew(&forever, None).await, Err(Error::NotLeased));
}

pub(crate) async fn what_is_not_renewed_expires(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let held = locks
        .acquire(claim.clone().ttl(SHORT))
        .await
        .expect("it is free");
    world.pass(SHORT);
    once_free(locks, held.key()).await;
    assert_eq!(locks.renew(&held, None).await, Err(Error::NotHeld));
    assert!(
        locks.release(&held).await.expect("it is answered"),
        "it had ended"
    );
    locks.acquire(claim).await.expect("it is free again");
}

pub(crate) async fn fences_rise(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let mut last = Fence::new(0);
    for _ in 0..3 {
        let held = locks.acquire(claim.clone()).await.expect("it is free");
        assert!(held.fence() > last, "{} after {last}", held.fence());
        last = held.fence();
        assert!(!locks.release(&held).await.expect("it is answered"));
    }
    let held = locks
        .acquire(claim.clone().ttl(SHORT))
        .await
        .expect("it is free");
    world.pass(SHORT);
    once_free(locks, held.key()).await;
    let next = locks.acquire(claim).await.expect("it is free again");
    assert!(
        next.fence() > held.fence() && held.fence() > last,
        "after an expiry too"
    );
}

pub(crate) async fn a_watch_sees_each_change(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let key = key_of(&claim);
    let free = Lock::default();
    // It is begun before, and ends with the change.
    let mut watch = Box::pin(locks.watch(&key, &free));
    let held = beside(&mut watch, locks.acquire(claim.clone().holder("ann"))).await;
    let held = held.expect("it is free");
    let granted = watch.await.expect("it is answered");
    assert_eq!((names(&granted), granted.waiting), (vec!["ann"], 0));

    let mut second = pin!(locks.acquire(claim.holder("bob").ttl(SHORT).wait(LONG)));
    let queued = beside(&mut second, locks.watch(&key, &granted)).await;
    let queued = queued.expect("it is answered");
    assert_eq!((names(&queued), queued.waiting), (vec!["ann"], 1));

    assert!(!locks.release(&held).await.expect("it is answered"));
    second.await.expect("its turn has come");
    let mut passed = locks.watch(&key, &queued).await.expect("it is answered");
    while names(&passed) != ["bob"] {
        passed = locks.watch(&key, &passed).await.expect("it is answered");
    }
    assert_eq!(passed.waiting, 0);

    world.pass(SHORT);
    let expired = locks.watch(&key, &passed).await.expect("it is answered");
    assert_eq!(expired, free);
}

pub(crate) async fn a_third_party_verifies(world: impl World) {
    let (locks, claim) = (world.locks(), world.claim());
    let none = Verdict {
        held: None,
        highest: None,
    };
    let held = locks
        .acquire(claim.clone().holder("ann").ttl(LONG))
        .await
        .expect("it is free");
    let by_fence = Verify::fence(held.key().clone(), held.fence());
    for verify in [by_fence.clone(), Verify::from(&held)] {
        let verdict = locks.verify(verify).await.expect("it is answered");
        let holder = verdict.held.expect("it holds");
        assert_eq!(
            (&*holder.name, holder.fence, holder.mode),
            ("ann", held.fence(), Mode::Exclusive)
        );
        assert!(holder.remaining.expect("it is leased") <= LONG);
        assert_eq!(verdict.highest, Some(held.fence()));
    }
    assert!(!locks.release(&held).await.expect("it is answered"));
    assert_eq!(locks.verify(Verify::from(&held)).await, Ok(none.clone()));
    let next = locks.acquire(claim).await.expect("it is free again");
    let verdict = locks.verify(by_fence).await.expect("it is answered");
    assert_eq!((verdict.held, verdict.highest), (None, Some(next.fence())));
}

pub(crate) async fn pairs_are_locked_like_paths(world: impl World) {
    let locks = world.locks();
    let name = world.name();
    let key = Key::from_text(&format!("{{file={name:?}, part=5u8}}")).expect("it is a key");
    let held = locks
        .acquire(Claim::of(key.clone()))
        .await
        .expect("it is free");
    assert_eq!(held.key(), &key);
    assert!(
        locks
            .acquire(Claim::of(key.clone()))
            .await
            .expect_err("it is held")
            .is_held()
    );
    let odd = Claim::new(&format!("{name}/ä b:c?d=e&f%")).expect("any text is a path");
    let odd = locks.acquire(odd).await.expect("it is free");
    for held in [held, odd] {
        let lock = locks.query(held.key()).await.expect("it is answered");
        assert_eq!(lock.holders[0].fence, held.fence());
        assert!(!locks.release(&held).await.expect("it is answered"));
    }
}

pub(crate) async fn what_is_out_of_bounds_is_no_request(world: impl World) {
    assert!(matches!(Claim::new(""), Err(Error::Invalid(_))));
    let locks = world.locks();
    for claim in [
        world.claim().ttl(Duration::from_millis(1)),
        world.claim().holder("h".repeat(129)),
        world.claim().mode(Mode::Permits { n: 4, capacity: 3 }),
    ] {
        let key = key_of(&claim);
        let refused = locks.acquire(claim).await.expect_err("it is out of bounds");
        assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
        assert_eq!(
            locks.query(&key).await.expect("it is answered"),
            Lock::default()
        );
    }
}
