//! Three servers, put together as `adapters/server` does, on simulated machines.

use crate::disk::SimLog;
use madsim::rand::Rng as _;
use madsim::runtime::{Handle, NodeHandle};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tenure_core::config::{Config, Member};
use tenure_core::ids::{ClusterId, Fence, NodeId, Seed};
use tenure_core::node::input::Input;
use tenure_core::node::output::Output;
use tenure_core::node::{Node, Origin, Secrets};
use tenure_core::time::Timestamp;
use tenure_core::wire::peer::Doorman;
use tenure_host::{Door, Host, Options, Status, Steps, SyncMode};
use tenure_rt::net::{Listener, resolve};
use tenure_rt::sync::watch;
use tenure_rt::{clock, spawn};
use tenure_tcp::{Contacts, Mesh, NoMemory, native};

const CLUSTER: ClusterId = ClusterId([7; 16]);
const TOKEN_KEY: [u8; 32] = [9; 32];
pub(crate) const SERVERS: u64 = 3;

/// The servers' view of themselves, each time they start.
type Statuses = Arc<Mutex<BTreeMap<NodeId, watch::Receiver<Status>>>>;

pub(crate) struct Cluster {
    machines: Vec<NodeHandle>,
    statuses: Statuses,
}

fn members() -> Vec<Member> {
    let member = |node: u64| Member {
        node: NodeId::new(node),
        peer: format!("10.0.0.{node}:7602"),
        client: format!("10.0.0.{node}:7601"),
        http: format!("10.0.0.{node}:7600"),
        ..Member::default()
    };
    (1..=SERVERS).map(member).collect()
}

/// Where native clients reach the servers.
pub(crate) fn endpoints() -> Vec<String> {
    members().into_iter().map(|member| member.client).collect()
}

/// Where HTTP clients reach the servers.
pub(crate) fn http_addresses() -> Vec<SocketAddr> {
    let address = |member: Member| member.http.parse().expect("it is an address");
    members().into_iter().map(address).collect()
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let statuses = Statuses::default();
        let machine = |member: Member| {
            let statuses = Arc::clone(&statuses);
            let me = member.node;
            let address: SocketAddr = member.peer.parse().expect("it is an address");
            let handle = Handle::current();
            let builder = handle.create_node().name(format!("server {me}"));
            let life = move || serve(me, Arc::clone(&statuses));
            builder.ip(address.ip()).init(life).build()
        };
        let machines = members().into_iter().map(machine).collect();
        Self { machines, statuses }
    }

    pub(crate) fn machine(&self, index: usize) -> madsim::task::NodeId {
        self.machines[index].id()
    }

    /// Which server believes that it leads, if any does.
    pub(crate) fn leader(&self) -> Option<usize> {
        let statuses = self.statuses.lock().expect("no test panics in it");
        let leads = |status: &watch::Receiver<Status>| status.borrow().leading.is_some();
        let leading = statuses.iter().find(|(_, status)| leads(status));
        leading.map(|(node, _)| usize::try_from(node.get() - 1).expect("there are three"))
    }
}

/// The node, with its invariants looked at now and then.
struct Audited {
    node: Node,
    steps: u64,
}

impl Steps for Audited {
    fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        self.node.step(now, input, out);
        self.steps += 1;
        if self.steps.is_multiple_of(64) {
            self.node.audit().expect("every invariant holds");
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.node.wake_at()
    }
}

/// One life of a server.
async fn serve(me: NodeId, statuses: Statuses) {
    let config = Config::new(CLUSTER, me, members()).expect("it is right");
    let member = members().into_iter().find(|member| member.node == me);
    let member = member.expect("it is a member");
    let for_peers = listen(&member.peer).await;
    let for_clients = listen(&member.client).await;
    let for_http = listen(&member.http).await;
    let (log, recovered) = SimLog::open(CLUSTER, me);
    let (incarnation, boot) = log.identity();

    let (door, inbox) = Door::new();
    let doorman = Doorman::new(config.clone(), incarnation, boot);
    let (publisher, published) = tenure_host::publish(config.clone());
    let mesh = Mesh::start(
        Contacts::default(),
        published.clone(),
        doorman,
        NoMemory,
        for_peers,
        door.clone(),
    );
    let clients = native::serve(for_clients, published.clone(), door.clone());
    drop(spawn(clients));
    let genesis = config.shared().encode();
    drop(spawn(async {
        let ended = tenure_http::serve(for_http, published, genesis, door).await;
        ended.expect("HTTP is served as long as the server");
    }));

    let node = Node::boot(
        &config,
        Origin::of(&config, Fence::new(clock::since_1970().as_secs() << 20)),
        recovered,
        None,
        &Secrets {
            token_key: TOKEN_KEY,
        },
        Seed::new(madsim::rand::thread_rng().r#gen()),
        clock::now(),
    );
    let options = Options {
        me,
        sync: SyncMode::Inline,
    };
    let audited = Audited { node, steps: 0 };
    let host = Host::new(audited, log, mesh, inbox, options).publishing(publisher);
    let status = host.status();
    {
        let mut known = statuses.lock().expect("no test panics in it");
        known.insert(me, status);
    }
    host.run().await.expect("no server stops by itself");
}

async fn listen(address: &str) -> Listener {
    let address = resolve(address).await.expect("it is an address");
    Listener::bind(address).await.expect("the port is free")
}
