//! What a client may believe, and what it does when servers die, are silent, or say no.

use super::*;
use crate::config::{Change, Config, Member, Policy};
use crate::ids::{NodeId, SessionId, Slot, TicketId, ZoneId};
use crate::machine::answer::{Answer, Grant, Refusal};
use crate::machine::command;
use crate::machine::command::{Life, Mode};
use crate::machine::key::Key;
use crate::machine::parts::Parts;
use crate::node::input::{Request, Token};
use crate::node::output::{Failure, Reply};
use crate::time::Stamp;
use crate::wire::client::{Asked, Edge};
use alloc::format;
use alloc::vec;

mod beliefs;
mod convert;
mod reenter;
mod retries;

fn config() -> Config {
    let member = Member {
        node: NodeId::new(1),
        ..Member::default()
    };
    Config::new(ClusterId([7; 16]), NodeId::new(1), vec![member]).unwrap()
}

const SESSION: SessionId = SessionId::new(0x55);
const SECRET: Token = Token([3; 32]);
const TOKEN: Token = Token([5; 32]);
const FENCE: Fence = Fence::new(17);

/// A client, the connection that it has to a real edge, and a server that is played by the test.
struct World {
    client: Client,
    edge: Option<(LinkId, Edge)>,
    /// What the server was asked and has not answered.
    asked: Vec<Asked>,
    /// What the user heard.
    heard: Vec<Output>,
    /// The servers that were connected to.
    servers: Vec<usize>,
    now: Timestamp,
    /// Nobody answers at any address.
    unreachable: bool,
    calls: u64,
}

impl World {
    fn new(servers: usize, session_ttl_ms: Option<u64>) -> Self {
        let now = Timestamp::from_nanos(1_000_000_000);
        let settings = Settings {
            servers,
            cluster: Some(ClusterId([7; 16])),
            session: session_ttl_ms.map(|ttl_ms| SessionSettings {
                ttl_ms,
                identifier: Bytes::from_static(b"host-7"),
                threads: true,
            }),
            patience: Duration::from_secs(30),
        };
        let mut world = Self {
            client: Client::new(settings, Seed::new(1), now),
            edge: None,
            asked: Vec::new(),
            heard: Vec::new(),
            servers: Vec::new(),
            now,
            unreachable: false,
            calls: 0,
        };
        world.step(Input::Tick);
        world
    }

    /// Without a session, connected.
    fn plain() -> Self {
        let world = Self::new(2, None);
        assert!(world.edge.is_some());
        world
    }

    /// With a session of 10 s, open.
    fn session() -> Self {
        let mut world = Self::new(2, Some(10_000));
        world.answer(&opened());
        assert!(world.asked.is_empty());
        world
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input, Input::Flush];
        while !inputs.is_empty() {
            let mut out = Vec::new();
            for input in inputs.drain(..) {
                self.client.step(self.now, input, &mut out);
            }
            for output in out {
                self.output(output, &mut inputs);
            }
            if !inputs.is_empty() {
                inputs.push(Input::Flush);
            }
        }
    }

    fn output(&mut self, output: Output, inputs: &mut Vec<Input>) {
        match output {
            Output::Connect { link, server } => {
                self.asked.clear();
                self.servers.push(server);
                if self.unreachable {
                    return inputs.push(Input::Down { link });
                }
                let mut bytes = BytesMut::new();
                let edge = Edge::new(Bytes::new(), &config(), &mut bytes);
                self.edge = Some((link, edge));
                inputs.push(Input::Connected { link });
                let bytes = bytes.freeze();
                inputs.push(Input::Received { link, bytes });
            }
            Output::Disconnect { link } => {
                if self.edge.as_ref().is_some_and(|(of, _)| *of == link) {
                    self.edge = None;
                }
            }
            Output::Send { link, bytes } => {
                let Some((of, edge)) = &mut self.edge else {
                    return;
                };
                assert_eq!(*of, link);
                let (mut bytes, mut out) = (BytesMut::from(&bytes[..]), BytesMut::new());
                edge.read(&config(), &mut bytes, &mut self.asked, &mut out)
                    .unwrap();
                if !out.is_empty() {
                    let bytes = out.freeze();
                    inputs.push(Input::Received { link, bytes });
                }
            }
            other => self.heard.push(other),
        }
    }

    /// The server answers the oldest request.
    fn answer(&mut self, reply: &Reply) -> Request {
        let asked = self.asked.remove(0);
        self.reply(asked.number, reply);
        asked.request
    }

    fn reply(&mut self, number: u64, reply: &Reply) {
        self.reply_under(&config(), number, reply);
    }

    /// A server answers that knows this configuration.
    fn reply_under(&mut self, config: &Config, number: u64, reply: &Reply) {
        let (link, edge) = self.edge.as_mut().unwrap();
        let (link, mut out) = (*link, BytesMut::new());
        assert!(edge.reply(config, number, reply, &mut out));
        let bytes = out.freeze();
        self.step(Input::Received { link, bytes });
    }

    fn want(&mut self, want: Want) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        self.step(Input::Call { call, want });
        call
    }

    /// Lets time pass, waking the client when it wants to be. Pings are answered.
    fn pass(&mut self, ms: u64) {
        let end = self.now.plus(Duration::from_millis(ms));
        while self.client.wake_at() <= end {
            self.now = self.now.max(self.client.wake_at());
            self.step(Input::Tick);
        }
        self.now = end;
        self.step(Input::Tick);
    }

    /// The server dies; the next one takes over at once.
    fn server_dies(&mut self) {
        let (link, _) = self.edge.take().unwrap();
        self.asked.clear();
        self.step(Input::Down { link });
    }

    fn take_heard(&mut self) -> Vec<Output> {
        core::mem::take(&mut self.heard)
    }

    /// Milliseconds from now until when the grant is believed in; negative numbers are not.
    fn believes_ms(&self) -> Option<u64> {
        let until = self.client.belief(FENCE)??;
        Some(u64::try_from(until.since(self.now).as_millis()).unwrap())
    }
}

fn decided(answer: Answer, token: Option<Token>) -> Reply {
    Reply::Decided {
        answer,
        token,
        slot: Slot::new(9),
    }
}

fn opened() -> Reply {
    let answer = Answer::SessionOpened {
        session: SESSION,
        ttl_ms: 10_000,
    };
    decided(answer, Some(SECRET))
}

fn kept() -> Reply {
    let answer = Answer::KeptAlive {
        session: SESSION,
        ttl_ms: 10_000,
        taken: vec![],
    };
    decided(answer, None)
}

fn renewed(ttl_ms: u64) -> Reply {
    let fence = FENCE;
    decided(Answer::Renewed { fence, ttl_ms }, None)
}

fn refused(refusal: Refusal) -> Reply {
    decided(Answer::Refused(refusal), None)
}

fn path() -> Key {
    Key::from_path("deploy/prod").unwrap()
}

fn grant(life: Life) -> Grant {
    Grant {
        zone: ZoneId::new(0),
        parts: Parts::one(path(), Mode::Exclusive),
        fence: FENCE,
        life,
        session: None,
        holder: Bytes::new(),
        entered: 0,
        remaining_ms: None,
        replayed: false,
    }
}

const LEASE: Life = Life::Lease { ttl_ms: 12_000 };

fn granted(life: Life) -> Reply {
    decided(Answer::Granted(grant(life)), Some(TOKEN))
}

fn granted_in_session(life: Life) -> Reply {
    let grant = Grant {
        session: Some(SESSION),
        ..grant(life)
    };
    decided(Answer::Granted(grant), Some(TOKEN))
}

fn acquire(life: Life, wait_ms: u64) -> Want {
    let acquire = Acquire {
        parts: Parts::one(path(), Mode::Exclusive),
        life,
        wait_ms,
        holder: Bytes::new(),
        reentrant: false,
    };
    Want::Acquire {
        acquire,
        renew: true,
    }
}

fn is_ok(output: &Output, of: CallId) -> bool {
    matches!(output, Output::Answer { call, result: Ok(_) } if *call == of)
}

fn lost(loss: Loss) -> Output {
    let news = News::Lost(loss);
    Output::Grant { fence: FENCE, news }
}
