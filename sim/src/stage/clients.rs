//! Who asks servers for something: clients for the lock of the page, an operator for other members.

use super::Stage;
use crate::operator;
use crate::server::{member, node_id};
use bytes::Bytes;
use tenure_core::config::Change;
use tenure_core::hash::hash64;
use tenure_core::ids::{RequestId, Tag, ZoneId};
use tenure_core::machine::command::{Acquire, Client, Life as Term, Mode};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;
use tenure_core::node::input::{Ask, Input, Request};

impl Stage {
    /// Who `somebody` is for a server: the same each time.
    fn client(&mut self, name: &str) -> u64 {
        let known = self.clients.iter().position(|other| other == name);
        let place = known.unwrap_or_else(|| {
            self.clients.push(name.to_owned());
            self.clients.len() - 1
        });
        place as u64
    }

    /// What a client calls its claim of the lock: the same each time.
    fn request_id(&self, conn: u64) -> RequestId {
        let lock = u128::from(hash64(self.lock.as_bytes()));
        RequestId::new((lock << 64) | (u128::from(conn) + 1))
    }

    /// A client asks a server for the lock.
    pub fn acquire(&mut self, client: &str, number: usize, ttl_ms: u64, wait_ms: u64) {
        let conn = self.client(client);
        let request = Request {
            zone: ZoneId::new(0),
            principal: Bytes::new(),
            client: Client::Key(self.request_id(conn)),
            ask: Ask::Acquire(Acquire {
                parts: Parts::one(self.key(), Mode::Exclusive),
                life: Term::Lease { ttl_ms },
                wait_ms,
                holder: Bytes::copy_from_slice(client.as_bytes()),
                reentrant: false,
            }),
        };
        self.note(number - 1, &format!("{client} asks for the lock"));
        let tag = Tag { conn, request: 1 };
        self.hand(number - 1, Input::Request { tag, request });
        self.settle();
    }

    /// A client asks a server how the lock is.
    pub fn read(&mut self, client: &str, number: usize) {
        let conn = self.client(client);
        let request = Request {
            zone: ZoneId::new(0),
            principal: Bytes::new(),
            client: Client::None,
            ask: Ask::Inspect { key: self.key() },
        };
        self.note(number - 1, &format!("{client} asks who holds the lock"));
        let tag = Tag { conn, request: 2 };
        self.hand(number - 1, Input::Request { tag, request });
        self.settle();
    }

    fn key(&self) -> Key {
        Key::from_path(&self.lock).unwrap_or_else(|error| panic!("a key: {error}"))
    }

    /// A client that was granted the lock writes to what the lock protects, under its fence.
    pub fn write(&mut self, client: &str) {
        let Some(fence) = self.fences.get(client).copied() else {
            panic!("{client} was granted nothing");
        };
        let word = if fence < self.store {
            "refuses"
        } else {
            "takes"
        };
        self.store = self.store.max(fence);
        let sentence =
            format!("#           the store {word} a write of {client} under fence {fence}\n");
        self.text.push_str(&sentence);
    }

    /// An operator asks a server to let this one in as a voter. It may start to follow now.
    pub fn let_in(&mut self, newcomer: usize, number: usize) {
        let change = Change::Add(member(newcomer - 1, false));
        self.configure(number, change, &format!("let {newcomer} vote"));
        self.judges.advance(&mut self.marks);
        self.servers[newcomer - 1].joined = Some(self.judges.history.shared().clone());
        self.power_on(newcomer);
    }

    /// An operator asks a server to let this one be taken down.
    pub fn drain(&mut self, member: usize, number: usize) {
        let node = node_id(member - 1);
        let change = Change::Drain { node, drains: true };
        self.configure(number, change, &format!("drain {member}"));
    }

    /// An operator asks a server to remove this one from the cluster.
    pub fn remove(&mut self, member: usize, number: usize) {
        let node = node_id(member - 1);
        self.configure(number, Change::Remove { node }, &format!("remove {member}"));
    }

    fn configure(&mut self, number: usize, change: Change, wish: &str) {
        self.judges.advance(&mut self.marks);
        let asked = operator::asks(self.judges.history.shared(), change, 1);
        self.note(number - 1, &format!("the operator asks it to {wish}"));
        self.hand(number - 1, asked);
        self.settle();
    }
}
