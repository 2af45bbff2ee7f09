//! A cluster of one real node, whose disk works at once.

use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use tenure_core::config::{Config, Member};
use tenure_core::ids::{Boot, ClusterId, Fence, NodeId, Seed, Tag};
use tenure_core::node::Origin;
use tenure_core::node::input::Input;
use tenure_core::node::output::{Output, Reply};
use tenure_core::node::{Node, Secrets};
use tenure_core::replica::record::Recovered;
use tenure_core::wire::client::Edge;
use tenure_rt::line::{self, Hearer, Limits, Speaker};
use tenure_rt::net::Listener;
use tenure_rt::{clock, spawn};

const LIMITS: Limits = Limits {
    output_bytes_max: 32 << 20,
    deaf_above_bytes: None,
};

struct Conn {
    edge: Edge,
    speaker: Speaker,
}

struct World {
    node: Node,
    config: Config,
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    stopped: bool,
}

/// A cluster of one.
#[derive(Clone)]
pub(super) struct Server {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::bind(any).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let member = Member {
            node: NodeId::new(1),
            peer: String::new(),
            client: address.to_string(),
            ..Member::default()
        };
        let config = Config::new(ClusterId([7; 16]), NodeId::new(1), vec![member]);
        let config = config.expect("a good config");
        let recovered = Recovered {
            boot: Boot::new(1),
            ..Recovered::default()
        };
        let secrets = Secrets { token_key: [9; 32] };
        let (seed, floor) = (Seed::new(1), Fence::new(1));
        let node = Node::boot(
            &config,
            Origin::of(&config, floor),
            recovered,
            None,
            &secrets,
            seed,
            clock::now(),
        );
        let world = Arc::new(Mutex::new(World {
            node,
            config,
            conns: BTreeMap::new(),
            next_conn: 0,
            stopped: false,
        }));
        let server = Self { address, world };
        drop(spawn(server.clone().tick()));
        drop(spawn(server.clone().accept(listener)));
        server
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Connections that were ever made.
    pub(super) fn connections(&self) -> u64 {
        self.world().next_conn
    }

    /// It speaks of another configuration.
    pub(super) fn learns(&self, config: Config) {
        self.world().config = config;
    }

    pub(super) fn config(&self) -> Config {
        self.world().config.clone()
    }

    /// It answers nothing any more, and takes no connection.
    pub(super) fn stop(&self) {
        self.world().stopped = true;
        self.cut_all();
    }

    /// Breaks all connections.
    pub(super) fn cut_all(&self) {
        self.world()
            .conns
            .values()
            .for_each(|conn| conn.speaker.hang_up());
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics in it")
    }

    async fn tick(self) {
        loop {
            let wake = self.world().node.wake_at();
            let soon = clock::now().plus(std::time::Duration::from_millis(5));
            clock::sleep_until(wake.map_or(soon, |wake| wake.min(soon))).await;
            self.world().step(Input::Tick);
        }
    }

    async fn accept(self, listener: Listener) {
        loop {
            let (stream, _) = listener.accept().await;
            if self.world().stopped {
                continue;
            }
            let (speaker, hearer) = line::split(stream, LIMITS);
            let conn = {
                let mut world = self.world();
                let mut hello = BytesMut::new();
                let edge = Edge::new(Bytes::new(), &world.config, &mut hello);
                speaker.say(|out| out.extend_from_slice(&hello));
                speaker.flush();
                world.next_conn += 1;
                let conn = world.next_conn;
                world.conns.insert(conn, Conn { edge, speaker });
                conn
            };
            drop(spawn(self.clone().serve(conn, hearer)));
        }
    }

    async fn serve(self, conn: u64, mut hearer: Hearer) {
        let mut input = BytesMut::new();
        while let Ok(1..) = hearer.read(&mut input).await {
            self.world().read(conn, &mut input);
        }
        let mut world = self.world();
        if let Some(gone) = world.conns.remove(&conn) {
            for request in gone.edge.open() {
                let tag = Tag { conn, request };
                world.step(Input::Gone { tag });
            }
        }
    }
}

impl World {
    fn read(&mut self, conn: u64, input: &mut BytesMut) {
        let (mut asked, mut out) = (Vec::new(), BytesMut::new());
        let Some(of) = self.conns.get_mut(&conn) else {
            return;
        };
        let read = of.edge.read(&self.config, input, &mut asked, &mut out);
        read.expect("the client speaks well");
        of.speaker.say(|bytes| bytes.extend_from_slice(&out));
        for one in asked {
            let tag = Tag {
                conn,
                request: one.number,
            };
            let request = one.request;
            self.step(Input::Request { tag, request });
        }
        self.conns.values().for_each(|conn| conn.speaker.flush());
    }

    fn step(&mut self, input: Input) {
        // In their order: what is durable stays durable.
        let mut inputs = VecDeque::from([input, Input::Flush]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.node.step(clock::now(), input, &mut out);
            for output in out {
                match output {
                    Output::Append { number, .. } => {
                        inputs.extend([Input::Durable { through: number }, Input::Flush]);
                    }
                    Output::Promise { ballot, .. } => {
                        inputs.extend([Input::Promised { ballot }, Input::Flush])
                    }
                    Output::Reply { tag, reply } => self.reply(tag, &reply),
                    Output::Send { .. } | Output::Configured { .. } | Output::Note(_) => {}
                    Output::Retire(_)
                    | Output::SnapshotChunk { .. }
                    | Output::SnapshotDone { .. }
                    | Output::Truncate { .. } => {}
                    Output::Load { .. } | Output::LoadChunk { .. } | Output::Halt { .. } => {
                        panic!("{output:?}")
                    }
                }
            }
        }
    }

    fn reply(&mut self, tag: Tag, reply: &Reply) {
        if let Some(Conn { edge, speaker }) = self.conns.get_mut(&tag.conn) {
            speaker.say(|out| {
                edge.reply(&self.config, tag.request, reply, out);
            });
            speaker.flush();
        }
    }
}
