//! Servers that meet, and some that should not.

use super::{NoLog, listen, says, test};
use crate::{Contacts, Memory, Mesh, NoMemory};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tenure_core::config::{Change, Config, Member, Membership, Role};
use tenure_core::ids::{Boot, ClusterId, Epoch, Incarnation, NodeId, Slot};
use tenure_core::node::input::Input;
use tenure_core::node::output::Output;
use tenure_core::replica::message::Message;
use tenure_core::time::{Stamp, Timestamp};
use tenure_core::wire::peer::{self, Body, Doorman, HelloRefusal};
use tenure_host::{Door, Host, HostError, Options, Steps, SyncMode, publish};
use tenure_rt::net::Listener;
use tenure_rt::{JoinHandle, clock, spawn};

/// Tells what it hears, and answers `CatchUp` with one slot more; and tells the configurations that a
/// test puts there.
struct Echo(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<Config>>>);

impl Steps for Echo {
    fn step(&mut self, _: Timestamp, input: Input, out: &mut Vec<Output>) {
        let mut heard = self.0.lock().expect("no test panics in it");
        match input {
            Input::Link { peer, up } => {
                heard.push(format!("{peer} {}", if up { "up" } else { "down" }));
                if up {
                    out.push(Output::Send {
                        to: peer,
                        message: Message::CatchUp { from: Slot::new(1) },
                    });
                }
            }
            Input::Peer {
                from,
                message: Message::CatchUp { from: slot },
                ..
            } => {
                heard.push(format!("{from} said {slot}"));
                if slot.get() < 5 {
                    out.push(Output::Send {
                        to: from,
                        message: Message::CatchUp { from: slot.next() },
                    });
                }
            }
            _ => {}
        }
        let mut told = self.1.lock().expect("no test panics in it");
        out.extend(told.drain(..).map(|config| Output::Configured {
            config: Box::new(config),
        }));
    }

    fn wake_at(&self) -> Option<Timestamp> {
        None
    }
}

struct Server {
    heard: Arc<Mutex<Vec<String>>>,
    /// Configurations that the node tells next.
    told: Arc<Mutex<Vec<Config>>>,
    door: Door,
    end: JoinHandle<Result<(), HostError>>,
}

impl Server {
    async fn wait_for(&self, what: &str, count: usize) {
        let seen = clock::timeout(Duration::from_secs(20), async {
            while self.count(what) < count {
                clock::sleep(Duration::from_millis(1)).await;
            }
        });
        let heard = || self.heard.lock().expect("no test panics in it").clone();
        assert!(seen.await.is_some(), "no {count} x {what}: {:?}", heard());
    }

    /// Its node tells another configuration.
    async fn learns(&self, config: Config) {
        self.told.lock().expect("no test panics in it").push(config);
        // Something to be stepped for.
        let nobody = self.door.link(NodeId::new(99), false).await;
        nobody.expect("it runs");
    }

    fn count(&self, what: &str) -> usize {
        let heard = self.heard.lock().expect("no test panics in it");
        heard.iter().filter(|line| *line == what).count()
    }
}

fn config(me: u64, cluster: u8, addresses: &[String]) -> Config {
    let member = |(number, address): (u64, &String)| Member {
        node: NodeId::new(number),
        peer: address.clone(),
        ..Member::default()
    };
    let members = (1..).zip(addresses).map(member).collect();
    Config::new(ClusterId([cluster; 16]), NodeId::new(me), members).expect("it is right")
}

fn start(config: &Config, listener: Listener, incarnation: u64) -> Server {
    start_with(config, listener, incarnation, NoMemory)
}

fn start_with(
    config: &Config,
    listener: Listener,
    incarnation: u64,
    memory: impl Memory,
) -> Server {
    let (door, inbox) = Door::new();
    let doorman = Doorman::new(config.clone(), Incarnation::new(incarnation), Boot::new(1));
    let (publisher, published) = publish(config.clone());
    let contacts = Contacts::default();
    let mesh = Mesh::start(contacts, published, doorman, memory, listener, door.clone());
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let options = Options {
        me: config.me(),
        sync: SyncMode::Inline,
    };
    let told = Arc::<Mutex<Vec<Config>>>::default();
    let echo = Echo(Arc::clone(&heard), Arc::clone(&told));
    let host = Host::new(echo, NoLog, mesh, inbox, options).publishing(publisher);
    Server {
        heard,
        told,
        door,
        end: spawn(host.run()),
    }
}

async fn three() -> (Vec<Server>, Vec<String>) {
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (listener, address) = listen().await;
        listeners.push(listener);
        addresses.push(address);
    }
    let servers = (1..)
        .zip(listeners)
        .map(|(me, listener)| start(&config(me, 1, &addresses), listener, 100 + me));
    (servers.collect(), addresses)
}

#[test]
fn three_servers_meet_and_talk_both_ways() {
    test(async {
        let (servers, _) = three().await;
        for (me, server) in (1..).zip(&servers) {
            for peer in (1..=3).filter(|peer| *peer != me) {
                server.wait_for(&format!("{peer} up"), 1).await;
                server.wait_for(&format!("{peer} said 5"), 1).await;
                assert_eq!(server.count(&format!("{peer} up")), 1, "one connection");
            }
        }
    });
}

#[test]
fn a_server_that_stops_is_missed_at_once_and_found_again() {
    test(async {
        let (listener_1, address_1) = listen().await;
        let (listener_2, address_2) = listen().await;
        let addresses = [address_1, address_2];
        let two = start(&config(2, 1, &addresses), listener_2, 102);
        // A first start of server 1 on a runtime of its own: when that ends, its sockets close as
        // those of a killed process do.
        let (config_1, again) = (config(1, 1, &addresses), config(1, 1, &addresses));
        drop(listener_1);
        let address: SocketAddr = addresses[0].parse().expect("it is an address");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let first = std::thread::spawn(move || {
            test(async {
                let listener = Listener::bind(address).await.expect("it is free again");
                let one = start(&config_1, listener, 101);
                one.wait_for("2 said 5", 1).await;
                while stopped.try_recv().is_err() {
                    clock::sleep(Duration::from_millis(1)).await;
                }
            });
        });
        two.wait_for("1 said 5", 1).await;
        assert_eq!(two.count("1 down"), 0);
        stop.send(()).expect("it runs");
        two.wait_for("1 down", 1).await;
        first.join().expect("it ends");
        let listener = Listener::bind(address).await.expect("it is free again");
        let one = start(&again, listener, 101);
        one.wait_for("2 said 5", 1).await;
        two.wait_for("1 up", 2).await;
    });
}

#[test]
fn a_server_of_another_cluster_is_told_so_and_stops() {
    test(async {
        let (servers, mut addresses) = three().await;
        let (listener, address) = listen().await;
        addresses[2] = address;
        // It believes to be member 3, of another cluster with the same addresses.
        let stranger = start(&config(3, 9, &addresses), listener, 900);
        let ended = clock::timeout(Duration::from_secs(20), stranger.end).await;
        let ended = ended.expect("it stops").expect("the task lives");
        let message = ended.expect_err("it can't serve").to_string();
        assert!(message.contains("of cluster 0909"), "{message}");
        assert!(message.contains("2 members refuse server 3"), "{message}");
        assert_eq!(servers[0].count("3 down"), 0, "the real one is not touched");
    });
}

#[test]
fn a_second_server_with_the_same_id_is_told_so_and_stops() {
    test(async {
        let (servers, mut addresses) = three().await;
        servers[0].wait_for("3 up", 1).await;
        servers[1].wait_for("3 up", 1).await;
        let (listener, address) = listen().await;
        let same = config(3, 1, &addresses);
        addresses[2] = address;
        let second = start(&same, listener, 999);
        let ended = clock::timeout(Duration::from_secs(20), second.end).await;
        let ended = ended.expect("it stops").expect("the task lives");
        let message = ended.expect_err("it can't serve").to_string();
        assert!(
            message.contains("server 3 is known with data directory"),
            "{message}"
        );
        assert_eq!(
            servers[0].count("3 down"),
            0,
            "the first one is not touched"
        );
        servers[0].door.stop().await;
    });
}

#[test]
fn garbage_and_a_declared_length_of_4_gib_close_the_connection() {
    test(async {
        let (servers, addresses) = three().await;
        servers[0].wait_for("2 up", 1).await;
        let declared = [0xff_u8; 64];
        let http = b"GET / HTTP/1.1\r\nHost: a-server-that-speaks-something-else\r\n\r\n";
        for bytes in [&declared[..], http] {
            assert!(says(&addresses[0], bytes).await.is_empty());
        }
        assert_eq!(servers[0].count("2 down"), 0, "the others are not touched");
    });
}

#[test]
fn a_stranger_hears_why_he_is_refused() {
    test(async {
        let (servers, addresses) = three().await;
        servers[0].wait_for("2 up", 1).await;
        let config = config(2, 7, &addresses);
        let doorman = Doorman::new(config, Incarnation::new(5), Boot::new(1));
        let hello = Body::Hello(doorman.hello(NodeId::new(1)));
        let word = peer::encode(&doorman.header(), &hello).to_bytes();
        let mut heard = says(&addresses[0], &word).await;
        let frame = peer::decode(&mut heard).expect("it is a frame");
        let refused = Body::Refused(HelloRefusal::Cluster {
            expected: ClusterId([1; 16]),
            found: ClusterId([7; 16]),
        });
        assert_eq!(frame.expect("all of it came").body, refused);
    });
}

/// Whom a server refuses does not refuse it: a stranger's call must not make one wrong member two.
#[test]
fn a_stranger_and_one_wrong_member_do_not_stop_a_server() {
    test(async {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (listener, address) = listen().await;
            listeners.push(listener);
            addresses.push(address);
        }
        let mut listeners = listeners.into_iter();
        let mut next = || listeners.next().expect("there are three");
        // Member 1 is of another cluster, and refuses both others.
        let wrong = start(&config(1, 9, &addresses), next(), 101);
        let two = start(&config(2, 1, &addresses), next(), 102);
        let doorman = Doorman::new(config(3, 7, &addresses), Incarnation::new(5), Boot::new(1));
        let three = start(&config(3, 1, &addresses), next(), 103);
        three.wait_for("2 up", 1).await;
        let hello = Body::Hello(doorman.hello(NodeId::new(3)));
        let word = peer::encode(&doorman.header(), &hello).to_bytes();
        assert!(
            !says(&addresses[2], &word).await.is_empty(),
            "it is told why"
        );
        // Server 2 dialled member 1 as well, and both go on.
        assert_eq!((two.count("3 down"), three.count("2 down")), (0, 0));
        two.door.stop().await;
        three.wait_for("2 down", 1).await;
        assert!(!three.end.is_finished(), "it goes on alone");
        drop(wrong);
    });
}

/// How `me` sees the cluster of `config` after these changes.
fn changed(config: &Config, me: u64, changes: &[Change]) -> Config {
    let mut shared = config.shared().clone();
    for (slot, change) in (1..).zip(changes) {
        let expect = shared.mark().change;
        let next = shared.apply(Slot::new(slot), Stamp::ZERO, "", expect, change);
        shared = next.expect("it fits");
    }
    let membership = shared.membership();
    Config::seen_by(NodeId::new(me), shared, membership)
}

fn observer(node: u64, address: &str) -> Change {
    Change::Add(Member {
        node: NodeId::new(node),
        peer: address.to_owned(),
        role: Role::Observer,
        ..Member::default()
    })
}

#[test]
fn a_newcomer_is_let_in_when_the_others_know_it_and_out_when_it_is_removed() {
    test(async {
        let (listener_1, address_1) = listen().await;
        let (listener_2, address_2) = listen().await;
        let old = config(1, 1, &[address_1]);
        let one = start(&old, listener_1, 101);
        // It knows what the cluster began with, and that it is number 2.
        let two = start(&changed(&old, 2, &[]), listener_2, 102);
        let arrives = observer(2, &address_2);
        one.learns(changed(&old, 1, std::slice::from_ref(&arrives)))
            .await;
        one.wait_for("2 said 5", 1).await;
        two.wait_for("1 said 5", 1).await;
        let leaves = Change::Remove {
            node: NodeId::new(2),
        };
        one.learns(changed(&old, 1, &[arrives, leaves])).await;
        one.wait_for("2 down", 1).await;
        let ended = clock::timeout(Duration::from_secs(20), two.end).await;
        let ended = ended.expect("it stops").expect("the task lives");
        assert!(matches!(ended, Err(HostError::Removed(_))), "{ended:?}");
        assert_eq!(one.count("2 up"), 1, "it is not let in again");
    });
}

#[test]
fn a_server_that_moved_is_followed() {
    test(async {
        let (gone, address_1) = listen().await;
        let (listener_2, address_2) = listen().await;
        let (listener_1, new_address) = listen().await;
        // Nobody listens where server 1 was.
        drop(gone);
        let old = config(1, 1, &[address_1, address_2]);
        let one = start(&old, listener_1, 101);
        let two = start(&changed(&old, 2, &[]), listener_2, 102);
        let moved = Change::Member(Member {
            peer: new_address,
            ..old.members()[0].clone()
        });
        two.learns(changed(&old, 2, &[moved])).await;
        two.wait_for("1 said 5", 1).await;
        one.wait_for("2 said 5", 1).await;
    });
}

/// Those above it do not call any more: it asks them itself.
#[test]
fn a_server_that_was_removed_while_it_was_away_hears_of_it() {
    test(async {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (listener, address) = listen().await;
            listeners.push(listener);
            addresses.push(address);
        }
        let all = config(1, 1, &addresses);
        let gone = Change::Role {
            node: NodeId::new(1),
            role: Role::Observer,
        };
        let now = changed(&all, 2, &[gone]);
        let voters = now
            .membership()
            .seats()
            .iter()
            .filter(|seat| seat.node.get() > 1);
        let next = Membership::new(Epoch::new(2), Slot::new(2), voters.copied().collect());
        let shared = now
            .shared()
            .turn(Slot::new(2), Stamp::ZERO, &next.expect("two may lead"));
        let leave = Change::Remove {
            node: NodeId::new(1),
        };
        let mark = shared.mark().change;
        let shared = shared.apply(Slot::new(3), Stamp::ZERO, "", mark, &leave);
        let shared = shared.expect("it fits");
        let seen_by = |me| {
            let membership = shared.membership();
            Config::seen_by(NodeId::new(me), shared.clone(), membership)
        };
        let mut listeners = listeners.into_iter();
        let mut next = || listeners.next().expect("there are three");
        let one = start(&all, next(), 101);
        let others = [
            start(&seen_by(2), next(), 102),
            start(&seen_by(3), next(), 103),
        ];
        others[0].wait_for("3 up", 1).await;
        let ended = clock::timeout(Duration::from_secs(20), one.end).await;
        let ended = ended.expect("it stops").expect("the task lives");
        assert!(matches!(ended, Err(HostError::Removed(_))), "{ended:?}");
    });
}

/// How often something was to be kept, and what is, if there is room.
#[derive(Default)]
struct Page {
    asked: usize,
    kept: Option<BTreeMap<NodeId, Incarnation>>,
}

struct Paper(Arc<Mutex<Page>>);

impl Memory for Paper {
    fn keep(&mut self, incarnations: &BTreeMap<NodeId, Incarnation>) -> io::Result<()> {
        let mut page = self.0.lock().expect("no test panics in it");
        page.asked += 1;
        let room = page.kept.as_mut();
        let room = room.ok_or_else(|| io::Error::other("the disk is full"))?;
        room.clone_from(incarnations);
        Ok(())
    }
}

#[test]
fn nobody_is_let_in_who_is_not_remembered_first() {
    test(async {
        let (listener_1, address_1) = listen().await;
        let (listener_2, address_2) = listen().await;
        let all = config(1, 1, &[address_1, address_2]);
        let page = Arc::<Mutex<Page>>::default();
        let look = || page.lock().expect("no test panics in it");
        let one = start_with(&all, listener_1, 101, Paper(Arc::clone(&page)));
        let two = start(&changed(&all, 2, &[]), listener_2, 102);
        while look().asked < 3 {
            clock::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!((one.count("2 up"), two.count("1 up")), (0, 0));
        look().kept = Some(BTreeMap::new());
        one.wait_for("2 said 5", 1).await;
        let expected = BTreeMap::from([(NodeId::new(2), Incarnation::new(102))]);
        assert_eq!(look().kept, Some(expected));
    });
}
