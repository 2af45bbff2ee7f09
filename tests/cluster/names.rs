//! Members by names, and one address behind which any member answers.

use crate::found::takes_a_lock;
use crate::grow::{listed, votes};
use crate::kill::same_digests;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;
use tenure_client::{Client, Key, News, Options, SessionOptions};
use tenure_rt::block_on;
use tenure_tests::balancer::Balancer;
use tenure_tests::members::{Members, PATIENCE};

/// A name that the system's resolver knows without a file or a server: the old notation of addresses, in
/// one, two or four parts. To everything of ours it is a name, and each member has another one.
fn named(address: SocketAddr, how: usize) -> String {
    let SocketAddr::V4(v4) = address else {
        panic!("tests are on 127.0.0.0/8");
    };
    let [a, b, c, d] = v4.ip().octets();
    let all = u32::from_be_bytes([a, b, c, d]);
    let port = address.port();
    match how % 3 {
        0 => format!("0x{a:x}.0x{b:x}.{c}.{d}:{port}"),
        1 => format!("{a}.{}:{port}", all & 0x00ff_ffff),
        _ => format!("{all}:{port}"),
    }
}

#[test]
fn members_that_are_listed_by_names_find_each_other() {
    let mut members = Members::new(3);
    for member in 1..=3 {
        let mut text = members.config("kill", member);
        for other in 1..=3 {
            for at in [
                members.peer(other),
                members.client(other),
                members.http(other),
            ] {
                text = text.replace(&at.to_string(), &named(at, other));
            }
        }
        assert!(!text.contains(&members.peer(1).to_string()));
        fs::write(members.config_file(member), text).expect("it can be written");
    }
    members.start_all();
    takes_a_lock(&members, 1, "a");
    let dead = members.leader(PATIENCE);
    members.kill(dead);
    let left = members.leader_but(dead, PATIENCE);
    takes_a_lock(&members, left, "b");
    let shown = listed(&members, left).expect("it leads");
    assert_eq!(shown["members"][0]["peer"], named(members.peer(1), 1));
    members.start(dead);
    takes_a_lock(&members, dead, "c");
    same_digests(&members, &[1, 2, 3]);
}

/// What it asks goes to a dead server first, and then to one that does not lead.
#[test]
fn a_newcomer_joins_through_a_balancer_whichever_member_it_meets() {
    let mut members = Members::found(4);
    for newcomer in [2, 3] {
        members.invite(newcomer, &[]);
        members.start(newcomer);
        votes(&members, newcomer);
    }
    let leader = members.leader(PATIENCE);
    let follower = 1 + leader % 3;
    let nobody = members.http(9);
    let servers = [nobody, members.http(follower), members.http(leader)];
    let balancer = Balancer::start(&servers);
    let text = fs::read_to_string(members.config_file(4)).expect("it is there");
    let listed = text.lines().find(|line| line.starts_with("addresses"));
    let one = format!("addresses = [{:?}]", balancer.name());
    let text = text.replace(listed.expect("it joins"), &one);
    fs::write(members.config_file(4), text).expect("it can be written");
    members.invite(4, &[]);
    members.start(4);
    votes(&members, 4);
    assert_eq!(balancer.handed(), servers[..2], "{}", members.output());
    drop(balancer);
    // What it joined by is not needed any more.
    members.kill(4);
    members.start(4);
    takes_a_lock(&members, 4, "a");
}

#[test]
fn a_client_that_knows_only_a_balancer_keeps_its_lock_while_members_die() {
    let mut members = Members::new(3);
    members.start_all();
    let servers = [1, 2, 3].map(|member| members.client(member));
    let balancer = Balancer::start(&servers);
    let session = SessionOptions {
        ttl: Duration::from_secs(20),
        identifier: String::new(),
        one_thread: false,
    };
    let options = Options::new([balancer.name()]).session(session);
    block_on(async {
        let client = Client::connect(options.patience(PATIENCE)).expect("the options are good");
        let guard = client.lock("a").acquire().await.expect("it is free");
        for _ in 0..2 {
            let met = balancer.handed().last().copied();
            let met = (1..=3).find(|member| Some(members.client(*member)) == met);
            let met = met.expect("it has a connection to a member");
            members.kill(met);
            let key = Key::from_path("a").expect("it is a path");
            let seen = client.inspect(key).await.expect("another one answers");
            assert_eq!(seen.value.holders[0].fence, guard.fence());
            assert!(matches!(guard.news(), News::Until(Some(_))));
            members.start(met);
            members.leader(PATIENCE);
        }
        assert!(balancer.handed().len() >= 3, "{:?}", balancer.handed());
        guard.release().await.expect("it is held");
    })
    .expect("the runtime starts");
}
