//! The configuration changes once, everywhere, and everybody is told.

use super::*;
use crate::config::Change;
use crate::config::Policy;
use crate::ids::ChangeId;
use crate::machine::answer::Refusal;
use crate::machine::command::Configure;
use crate::node::input::Admin;
use crate::node::output::NotReady;

fn policy(expect: u64, members_min: u8) -> Ask {
    Ask::Admin(Admin::Configure(Configure {
        expect: ChangeId::new(expect),
        by: "ann".into(),
        change: Change::Policy(Policy {
            members_min,
            leader_location: String::new(),
        }),
    }))
}

fn cluster() -> World {
    let mut world = World::new(3);
    world.run(MS * 100);
    world
}

#[test]
fn a_change_is_told_once_on_every_server() {
    let mut world = cluster();
    let tag = world.ask(2, Client::None, policy(0, 2));
    world.run(MS * 100);
    let Answer::Configured { mark } = world.answer(tag).clone() else {
        panic!("{:?}", world.answer(tag));
    };
    let told = world.configured.iter();
    let mut told: Vec<_> = told
        .map(|(node, config)| (*node, config.shared().mark()))
        .collect();
    told.sort_unstable_by_key(|(node, _)| *node);
    assert_eq!(told, [(1, mark), (2, mark), (3, mark)]);
    let tag = world.ask(3, Client::None, Ask::Admin(Admin::ReadConfig));
    world.run(MS * 100);
    match world.reply(tag) {
        Some(Reply::Config { shared, .. }) => assert_eq!(shared.mark(), mark),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_two_operators_one_is_late() {
    let mut world = cluster();
    let [first, second] =
        [1, 2].map(|node: u64| world.ask(node, Client::None, policy(0, node as u8)));
    world.run(MS * 100);
    let answers = [first, second].map(|tag| world.answer(tag).clone());
    let made = answers
        .iter()
        .filter(|answer| matches!(answer, Answer::Configured { .. }));
    assert_eq!(made.count(), 1);
    let late = |answer: &&Answer| matches!(answer, Answer::Refused(Refusal::ConfigMoved { .. }));
    assert_eq!(answers.iter().filter(late).count(), 1);
}

#[test]
fn a_server_that_hears_too_few_members_takes_no_new_work_but_operators() {
    let mut world = cluster();
    world.ask(1, Client::None, policy(0, 3));
    let open = Ask::OpenSession {
        ttl_ms: 10_000,
        identifier: Bytes::new(),
        threads: false,
    };
    let tag = world.ask(1, Client::None, open);
    world.run(MS * 100);
    let Answer::SessionOpened { session, .. } = *world.answer(tag) else {
        panic!("{:?}", world.answer(tag));
    };
    world.isolate(3);
    world.run(MS * 600);
    // Agreed time goes on, so what was granted must be kept alive somewhere.
    let tag = world.ask(1, Client::None, Ask::KeepAlive { session });
    world.run(MS * 100);
    assert!(matches!(world.answer(tag), Answer::KeptAlive { .. }));
    let tag = world.ask(1, Client::None, acquire("a", 0));
    let alone = NotReady::Alone {
        members: 2,
        wanted: 3,
    };
    let refused = Some(&Reply::Failed(Failure::NotReady(alone)));
    assert_eq!(world.reply(tag), refused);
    let change = world.nodes[&1].view().machine.shared().mark().change;
    let tag = world.ask(1, Client::None, policy(change.get(), 2));
    world.run(MS * 100);
    assert!(matches!(world.answer(tag), Answer::Configured { .. }));
    let tag = world.ask(1, Client::None, acquire("a", 0));
    world.run(MS * 100);
    assert!(matches!(world.answer(tag), Answer::Granted(_)));
}

#[test]
fn who_drains_answers_those_it_has_and_takes_no_more() {
    let mut world = cluster();
    let before = world.ask(2, Client::None, acquire("a", 0));
    world.step(2, Input::Stop);
    let after = world.ask(2, Client::None, acquire("b", 0));
    world.run(MS * 100);
    assert!(matches!(world.answer(before), Answer::Granted(_)));
    let draining = Reply::Failed(Failure::NotReady(NotReady::Draining));
    assert_eq!(world.reply(after), Some(&draining));
}

#[test]
fn an_operator_says_who_shall_lead() {
    let mut world = cluster();
    let to = Some(NodeId::new(3));
    let tag = world.ask(2, Client::None, Ask::Admin(Admin::HandOver { to }));
    assert!(matches!(world.reply(tag), Some(Reply::Servers { .. })));
    world.run(MS * 1000);
    assert_eq!(world.leader(), 3);
}

#[test]
fn a_restarted_server_has_the_configuration_again() {
    let mut world = cluster();
    world.ask(1, Client::None, policy(0, 2));
    world.run(MS * 100);
    let mark = world.nodes[&1].view().machine.shared().mark();
    world.configured.clear();
    world.start(3);
    world.run(MS * 200);
    assert_eq!(world.nodes[&3].view().machine.shared().mark(), mark);
    let told = world
        .configured
        .iter()
        .map(|(node, config)| (*node, config.shared().mark()));
    assert_eq!(told.collect::<Vec<_>>(), [(3, mark)]);
}
