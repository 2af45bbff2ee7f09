//! A third party asks whether a grant holds: by its fence, or by its token.

use super::*;
use crate::ids::{Fence, RequestSeq, SessionId};
use crate::machine::answer::Grant;
use crate::machine::parts::Part;
use crate::node::input::{Proof, Token, Verify};
use crate::query::Verdict;

fn cluster() -> World {
    let mut world = World::new(3);
    world.run(MS * 100);
    world
}

fn path(path: &str) -> Key {
    Key::from_path(path).unwrap()
}

fn granted(world: &World, tag: Tag) -> (Grant, Token) {
    match world.reply(tag) {
        Some(Reply::Decided {
            answer: Answer::Granted(grant),
            token: Some(token),
            ..
        }) => (grant.clone(), *token),
        other => panic!("no grant: {other:?}"),
    }
}

/// What the second server says.
fn ask(world: &mut World, verify: Verify) -> Reply {
    let tag = world.ask(2, Client::None, Ask::Verify(verify));
    world.run(MS * 100);
    world.reply(tag).cloned().expect("it is answered")
}

fn verdict(world: &mut World, verify: Verify) -> Verdict {
    match ask(world, verify) {
        Reply::Verdict { verdict, .. } => verdict,
        other => panic!("no verdict: {other:?}"),
    }
}

/// One claim over two locks, and another that came before it.
fn claim(world: &mut World, client: Client, life: Life) -> (Grant, Token) {
    let part = |name| Part {
        key: path(name),
        mode: Mode::Exclusive,
    };
    let acquire = Acquire {
        parts: Parts::new(alloc::vec![part("b"), part("a")]).unwrap(),
        life,
        wait_ms: 0,
        holder: Bytes::from_static(b"ann"),
        reentrant: false,
    };
    let tag = world.ask(1, client, Ask::Acquire(acquire));
    world.run(MS * 10);
    granted(world, tag)
}

#[test]
fn a_fence_or_a_token_tells_whether_a_grant_holds_any_of_its_locks() {
    let mut world = cluster();
    let before = world.nodes[&1].view().accepted;
    let (grant, token) = claim(&mut world, Client::None, Life::Static);
    let accepted = world.nodes[&1].view().accepted;
    assert!(accepted > before, "the claim is in the log");
    for name in ["a", "b"] {
        for token in [None, Some(token)] {
            let verify = Verify {
                token,
                ..Verify::fence(path(name), grant.fence)
            };
            let verdict = verdict(&mut world, verify);
            let holder = verdict.held.expect("it holds");
            assert_eq!(
                (&holder.holder[..], holder.fence),
                (&b"ann"[..], grant.fence)
            );
            assert_eq!(
                (verdict.key, verdict.highest),
                (path(name), Some(grant.fence))
            );
        }
    }
    let other = Verify::fence(path("a"), Fence::new(grant.fence.get() - 1));
    let other = verdict(&mut world, other);
    assert_eq!((other.held, other.highest), (None, Some(grant.fence)));
    assert_eq!(
        world.nodes[&1].view().accepted,
        accepted,
        "a question is no entry in the log"
    );
}

#[test]
fn a_wrong_token_is_refused_whatever_its_fence() {
    let mut world = cluster();
    let (grant, token) = claim(&mut world, Client::None, Life::Static);
    let mut wrong = token;
    wrong.0[0] ^= 1;
    let (fence, none) = (grant.fence, Fence::new(grant.fence.get() + 1));
    for (key, fence, token) in [
        ("a", fence, wrong),
        ("b", fence, wrong),
        ("a", none, token),
        ("c", fence, token),
    ] {
        let verify = Verify {
            token: Some(token),
            ..Verify::fence(path(key), fence)
        };
        assert_eq!(
            ask(&mut world, verify),
            Reply::Failed(Failure::BadProof),
            "{key} {fence}"
        );
    }
}

/// The token of a session is bound to it, and a third party need not know which it is.
#[test]
fn a_sessions_token_is_right_without_its_session() {
    let mut world = cluster();
    let open = Ask::OpenSession {
        ttl_ms: 10_000,
        identifier: Bytes::new(),
        threads: false,
    };
    let tag = world.ask(1, Client::None, open);
    world.run(MS * 10);
    let Answer::SessionOpened { session, .. } = world.answer(tag).clone() else {
        panic!("no session");
    };
    let client = Client::Session {
        id: session,
        seq: RequestSeq::new(1),
        done_through: RequestSeq::new(0),
    };
    let (grant, token) = claim(&mut world, client, Life::Session);
    let by_token = |session: Option<SessionId>| Verify {
        token: Some(token),
        session,
        ..Verify::fence(path("b"), grant.fence)
    };
    assert!(verdict(&mut world, by_token(None)).held.is_some());
    let other = Some(SessionId::new(session.get() ^ 1));
    assert!(verdict(&mut world, by_token(other)).held.is_some());
}

/// Nothing is stored of what has ended, so what its token is bound to must be said then.
#[test]
fn the_token_of_what_has_ended_is_right_by_its_first_lock() {
    let mut world = cluster();
    let (grant, token) = claim(&mut world, Client::None, Life::Static);
    let proof = Proof {
        key: grant.key().clone(),
        fence: grant.fence,
        session: None,
        token,
    };
    let tag = world.ask(3, Client::None, Ask::release(proof.clone()));
    world.run(MS * 10);
    assert!(matches!(world.answer(tag), Answer::Released { .. }));
    let ended = verdict(&mut world, Verify::from(proof.clone()));
    assert_eq!((ended.held, ended.highest), (None, None));
    let verify = Verify {
        key: path("b"),
        ..Verify::from(proof)
    };
    assert_eq!(ask(&mut world, verify), Reply::Failed(Failure::BadProof));
}
