//! A server of one, without a disk; and one that only says what a test wants.

use crate::gateway::Gateway;
use crate::router::{Face, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::config::Membership;
use tenure_core::config::{Config, Member};
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, Boot, ClusterId, Fence, NodeId, RecordNo, Seed, Slot};
use tenure_core::node::Origin;
use tenure_core::node::input::{Input, Token};
use tenure_core::node::output::{Output, Reply};
use tenure_core::node::{Node, Secrets};
use tenure_core::replica::message::Message;
use tenure_core::replica::record::{Record, Recovered};
use tenure_core::time::Timestamp;
use tenure_host::{
    Appended, Door, Group, Host, Log, NoKeeper, Options, Peers, Steps, SyncMode, publish,
};
use tenure_rt::{block_on, clock, spawn};
use tower::ServiceExt;

/// Remembers entries for whoever asks for them again.
#[derive(Default)]
struct Memory(BTreeMap<Slot, Entry>);

struct Nothing;

impl Log for Memory {
    type Group = Nothing;
    type Keeper = NoKeeper;

    fn append(&mut self, _: RecordNo, record: &Record) -> io::Result<Appended> {
        match record.clone() {
            Record::Accepted { slot, entry, .. } | Record::Decided { slot, entry } => {
                self.0.insert(slot, entry);
            }
            Record::DecidedHint { .. } => {}
        }
        Ok(Appended::Yes)
    }

    fn seal(&mut self) -> io::Result<Nothing> {
        Ok(Nothing)
    }

    fn promise(&mut self, _: Ballot, _: Option<Membership>) -> io::Result<()> {
        Ok(())
    }

    fn load(&mut self, from: Slot, upto: Slot) -> io::Result<Vec<Entry>> {
        let entries = self.0.range(from..=upto);
        Ok(entries.map(|(_, entry)| entry.clone()).collect())
    }
}

impl Group for Nothing {
    fn sync(self) -> io::Result<()> {
        Ok(())
    }
}

impl Peers for Nothing {
    fn send(&mut self, _: NodeId, _: &Message) {}

    fn flush(&mut self) {}
}

/// Says the next of these replies to each request, and nothing when there is none left. An empty
/// list of replies is a node that never answers.
struct Script(Vec<Vec<Reply>>);

impl Steps for Script {
    fn step(&mut self, _: Timestamp, input: Input, out: &mut Vec<Output>) {
        if let Input::Request { tag, .. } = input
            && !self.0.is_empty()
        {
            let replies = self.0.remove(0).into_iter();
            out.extend(replies.map(|reply| Output::Reply { tag, reply }));
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        None
    }
}

pub(super) fn config(servers: u64) -> Config {
    let member = |id| Member {
        node: NodeId::new(id),
        peer: format!("127.0.0.1:76{id}2"),
        client: format!("127.0.0.1:76{id}1"),
        http: format!("127.0.0.1:76{id}0"),
        location: "au.perth".to_owned(),
        ..Member::default()
    };
    let members = (1..=servers).map(member).collect();
    let config = Config::new(ClusterId([7; 16]), NodeId::new(1), members);
    config.expect("it is a cluster")
}

/// A running server, and the way to it.
pub(super) struct World {
    pub(super) door: Door,
    pub(super) gateway: Arc<Gateway>,
    router: Router,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Got {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).expect("the answer is JSON")
    }

    pub(super) fn str(&self, member: &str) -> String {
        let json = self.json();
        let text = json[member].as_str();
        text.unwrap_or_else(|| panic!("no {member} in {json}"))
            .to_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        let value = value.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().expect("it is text")
    }

    /// A problem document of this status and code, about this field.
    pub(super) fn is_problem(&self, status: u16, code: &str, field: Option<&str>) {
        let json = self.json();
        assert_eq!(self.status, status, "{json}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(json["status"], status, "{json}");
        assert_eq!(json["code"], code, "{json}");
        assert_eq!(json["field"].as_str(), field, "{json}");
        assert!(json["detail"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

impl World {
    /// A server of one, which leads.
    pub(super) async fn real() -> Self {
        Self::of_servers(1).await
    }

    /// One server of so many, of which no other runs.
    pub(super) async fn of_servers(servers: u64) -> Self {
        let config = config(servers);
        let recovered = Recovered {
            boot: Boot::new(1),
            ..Recovered::default()
        };
        let secrets = Secrets { token_key: [9; 32] };
        let floor = Fence::new(1000);
        let seed = Seed::new(1);
        let now = clock::now();
        let node = Node::boot(
            &config,
            Origin::of(&config, floor),
            recovered,
            None,
            &secrets,
            seed,
            now,
        );
        Self::start(node, config, crate::router::WAIT_MARGIN).await
    }

    /// A server whose configuration is this one, of whose node nothing is expected.
    pub(super) async fn with_config(config: Config) -> Self {
        Self::start(Script(Vec::new()), config, Duration::ZERO).await
    }

    /// A node that says `replies` to the requests in their order; and no margin beyond a wait.
    pub(super) async fn scripted(replies: Vec<Vec<Reply>>) -> Self {
        Self::start(Script(replies), config(3), Duration::ZERO).await
    }

    async fn start(node: impl Steps, config: Config, wait_margin: Duration) -> Self {
        let (door, inbox) = Door::new();
        let options = Options {
            me: config.me(),
            sync: SyncMode::Inline,
        };
        let genesis = config.shared().encode();
        let (publisher, published) = publish(config);
        let host = Host::new(node, Memory::default(), Nothing, inbox, options);
        let host = host.publishing(publisher);
        drop(spawn(host.run()));
        let (gateway, _) = Gateway::open(&door).await.expect("the host runs");
        let face = Face {
            gateway: Arc::clone(&gateway),
            config: published,
            genesis,
            wait_margin,
        };
        Self {
            door,
            gateway,
            router: router(face),
        }
    }

    /// Asks; headers are `name: value`.
    pub(super) async fn ask(
        &self,
        method: Method,
        address: &str,
        headers: &[&str],
        body: &str,
    ) -> Got {
        let mut request = Request::builder().method(method).uri(address);
        for header in headers {
            let (name, value) = header.split_once(": ").expect("it is a header");
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body.to_owned()));
        self.send(request.expect("it is a request")).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Got {
        let response = self.router.clone().oneshot(request).await;
        let Ok(response) = response;
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 24)
            .await
            .expect("the body is in memory");
        Got {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).expect("answers are UTF-8"),
        }
    }

    pub(super) async fn get(&self, address: &str) -> Got {
        self.ask(Method::GET, address, &[], "").await
    }

    pub(super) async fn post(&self, address: &str) -> Got {
        self.ask(Method::POST, address, &[], "").await
    }

    /// Waits until so many are in the line of a lock.
    pub(super) async fn wait_for_line(&self, address: &str, waiting: u64) {
        let limit = Duration::from_secs(20);
        let seen = clock::timeout(limit, async {
            while self.get(address).await.json()["waiting"] != waiting {
                clock::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(seen.await.is_some(), "the line never had {waiting}");
    }
}

pub(super) fn token(byte: u8) -> Token {
    Token([byte; 32])
}

pub(super) fn test(body: impl Future<Output = ()>) {
    block_on(body).expect("the runtime starts");
}
