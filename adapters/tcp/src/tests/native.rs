//! Clients of a server whose node answers by a script.

use super::{NoLog, listen, says, test};
use crate::native;
use bytes::BytesMut;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tenure_core::config::{Config, Member};
use tenure_core::ids::{ClusterId, NodeId, RequestId, Slot};
use tenure_core::machine::command::Client;
use tenure_core::machine::key::Key;
use tenure_core::node::input::{Ask, Input};
use tenure_core::node::output::{Output, Reply};
use tenure_core::replica::message::Message;
use tenure_core::time::Timestamp;
use tenure_core::wire::client::{Caller, Heard, Word, numbers};
use tenure_core::wire::codes;
use tenure_host::{Door, Host, Options, Peers, Steps, SyncMode, publish};
use tenure_rt::net::Stream;
use tenure_rt::{clock, spawn};

/// Answers `Servers` at once, and nothing else ever; keeps what goes away.
struct Script(Arc<Mutex<Vec<u64>>>);

impl Steps for Script {
    fn step(&mut self, _: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Request { tag, request } if request.ask == Ask::Servers => {
                let reply = Reply::Servers {
                    nodes: vec![NodeId::new(1)],
                    leader: Some(NodeId::new(1)),
                    applied: Slot::new(7),
                    digest: 8,
                };
                out.push(Output::Reply { tag, reply });
            }
            Input::Gone { tag } => {
                let mut gone = self.0.lock().expect("no test panics in it");
                gone.push(tag.request);
            }
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        None
    }
}

struct Alone;

impl Peers for Alone {
    fn send(&mut self, _: NodeId, _: &Message) {}
    fn flush(&mut self) {}
}

struct Server {
    address: String,
    gone: Arc<Mutex<Vec<u64>>>,
}

async fn start() -> Server {
    let (listener, address) = listen().await;
    let me = NodeId::new(1);
    let member = Member {
        node: me,
        peer: String::new(),
        client: address.clone(),
        ..Member::default()
    };
    let config = Config::new(ClusterId([1; 16]), me, vec![member]).expect("it is right");
    let gone = Arc::<Mutex<Vec<u64>>>::default();
    let (door, inbox) = Door::new();
    let sync = SyncMode::Inline;
    let host = Host::new(
        Script(Arc::clone(&gone)),
        NoLog,
        Alone,
        inbox,
        Options { me, sync },
    );
    drop(spawn(host.run()));
    drop(spawn(native::serve(listener, publish(config).1, door)));
    Server { address, gone }
}

struct Connection {
    stream: Stream,
    caller: Caller,
    input: BytesMut,
}

impl Connection {
    async fn new(server: &Server) -> Self {
        let address = server.address.parse().expect("it is an address");
        let stream = Stream::connect(address).await.expect("it listens");
        let mut this = Self {
            stream,
            caller: Caller::default(),
            input: BytesMut::new(),
        };
        let hello = this.heard().await;
        assert!(matches!(hello.word, Word::Hello { .. }), "{hello:?}");
        this
    }

    async fn ask(&mut self, asks: &[(u128, Ask)]) {
        let mut out = BytesMut::new();
        for (id, ask) in asks {
            let id = RequestId::new(*id);
            self.caller.ask(id, &Client::None, ask, &mut out);
        }
        self.stream.write_all(&mut out).await.expect("it reads");
    }

    async fn heard(&mut self) -> Heard {
        let heard = async {
            loop {
                let heard = self.caller.read(&mut self.input).expect("it is an answer");
                if let Some(heard) = heard {
                    return heard;
                }
                let read = self.stream.read(&mut self.input).await;
                assert!(read.expect("the connection stands") > 0, "it is closed");
            }
        };
        let limit = Duration::from_secs(20);
        clock::timeout(limit, heard).await.expect("it answers")
    }
}

/// A question that the script never answers.
fn unanswered() -> Ask {
    let key = Key::from_path("a").expect("it is a name");
    Ask::Inspect { key }
}

#[test]
fn requests_are_answered_each_under_its_own_name() {
    test(async {
        let server = start().await;
        let mut connection = Connection::new(&server).await;
        let asks: Vec<(u128, Ask)> = (1..=500).map(|id| (id, Ask::Servers)).collect();
        connection.ask(&asks).await;
        for (id, _) in asks {
            let heard = connection.heard().await;
            assert_eq!(heard.id, RequestId::new(id));
            assert!(matches!(heard.word, Word::Servers { .. }), "{heard:?}");
        }
    });
}

#[test]
fn the_node_hears_that_a_client_went_away() {
    test(async {
        let server = start().await;
        let mut connection = Connection::new(&server).await;
        connection
            .ask(&[(1, unanswered()), (2, Ask::Servers)])
            .await;
        assert_eq!(connection.heard().await.id, RequestId::new(2));
        drop(connection);
        let gone = || server.gone.lock().expect("no test panics in it").clone();
        let limit = Duration::from_secs(20);
        let seen = clock::timeout(limit, async {
            while gone().is_empty() {
                clock::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(seen.await.is_some(), "nobody told it");
        assert_eq!(gone().len(), 1, "the answered one is not gone");
    });
}

#[test]
fn a_declared_length_of_4_gib_is_answered_and_closed() {
    test(async {
        let server = start().await;
        let mut connection = Connection::new(&server).await;
        // A string whose length has four bytes.
        let mut bytes = numbers::KEY_VALUES.to_be_bytes().to_vec();
        bytes.extend([0xff; 4]);
        let mut heard = says(&server.address, &bytes).await;
        let mut caller = Caller::default();
        let hello = caller.read(&mut heard).expect("it is an answer");
        assert!(matches!(hello.expect("it came").word, Word::Hello { .. }));
        let word = caller.read(&mut heard).expect("it is an answer");
        let Word::Rejected(rejection) = word.expect("it came").word else {
            panic!("it took a string of 4 GiB");
        };
        assert_eq!(rejection.code, codes::TOO_LONG.number);
        // Others are served on.
        connection.ask(&[(5, Ask::Servers)]).await;
        assert_eq!(connection.heard().await.id, RequestId::new(5));
    });
}
