//! What it takes of the loop to install a peer's snapshot: the steps of a whole node, each timed.

use crate::timed;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;
use tenure_core::config::{Config, Member};
use tenure_core::ids::{Boot, ClusterId, Fence, NodeId, Seed, SnapshotId};
use tenure_core::machine::Machine;
use tenure_core::machine::snapshot::Restore;
use tenure_core::node::input::Input;
use tenure_core::node::output::{Note, Output};
use tenure_core::node::snapshots::Restored;
use tenure_core::node::{Node, Origin, Secrets};
use tenure_core::replica::message::Message;
use tenure_core::replica::record::Recovered;
use tenure_core::time::Timestamp;

/// Processor time of an install.
pub(crate) struct Install {
    /// The longest step of the node.
    pub(crate) step_max: Duration,
    /// To drop the machine that another one stands for, beside the loop.
    pub(crate) retire: Duration,
}

/// A node that holds `machine`, of the snapshot `old`, is sent the snapshot `new` by a peer.
pub(crate) fn install(
    machine: Machine,
    old: (SnapshotId, u32),
    new: SnapshotId,
    chunks: &[Bytes],
) -> Install {
    let mut node = learner(machine, old);
    let mut loop_of = Loop::default();
    let count = u32::try_from(chunks.len()).expect("they are few");
    let offer = Message::SnapshotOffer {
        id: new,
        chunks: count,
    };
    loop_of.hear(&mut node, offer);
    let mut restore = None;
    let mut retire = Duration::ZERO;
    for (index, bytes) in (0..).zip(chunks) {
        let bytes = bytes.clone();
        let chunk = Message::SnapshotChunk {
            id: new,
            index,
            bytes,
        };
        loop_of.hear(&mut node, chunk);
        while let Some(output) = loop_of.outputs.pop_front() {
            match output {
                Output::SnapshotChunk {
                    slot,
                    index,
                    bytes,
                    received,
                } => {
                    // Beside the loop.
                    if let Some(of) = received {
                        restore = Some(of.restore());
                    }
                    let read = restore.as_mut().map(|restore| restore.chunk(&bytes));
                    assert_eq!(read, Some(Ok(())), "it is what was written");
                    loop_of.step(&mut node, Input::ChunkStored { slot, index });
                }
                Output::SnapshotDone { id, .. } => {
                    let restored = restore.take().map(Restore::finish);
                    let machine = restored.expect("it was begun").expect("it is whole");
                    let machine = Box::new(machine);
                    loop_of.step(&mut node, Input::SnapshotRestored { id, machine });
                }
                Output::Retire(machine) => retire = timed(|| drop(machine)).1,
                Output::Note(Note::Installed { id }) => assert_eq!(id, new),
                _ => {}
            }
        }
    }
    assert_eq!(
        node.view().applied,
        new.slot,
        "it goes on from the snapshot"
    );
    Install {
        step_max: loop_of.step_max,
        retire,
    }
}

#[derive(Default)]
struct Loop {
    now_ns: u64,
    step_max: Duration,
    outputs: VecDeque<Output>,
}

impl Loop {
    fn hear(&mut self, node: &mut Node, message: Message) {
        let (from, boot) = (NodeId::new(2), Boot::new(1));
        let input = Input::Peer {
            from,
            boot,
            message,
        };
        self.step(node, input);
    }

    fn step(&mut self, node: &mut Node, input: Input) {
        self.now_ns += 1_000;
        let now = Timestamp::from_nanos(self.now_ns);
        let mut outputs = Vec::new();
        let took = timed(|| node.step(now, input, &mut outputs)).1;
        self.step_max = self.step_max.max(took);
        self.outputs.extend(outputs);
    }
}

/// Of one of three servers.
pub(crate) fn config() -> Config {
    let member = |node| Member {
        node: NodeId::new(node),
        ..Member::default()
    };
    let members = (1..=3).map(member).collect();
    let config = Config::new(ClusterId([7; 16]), NodeId::new(1), members);
    config.expect("three servers are a cluster")
}

fn learner(machine: Machine, (id, chunks): (SnapshotId, u32)) -> Node {
    let recovered = Recovered {
        boot: Boot::new(1),
        decided: id.slot,
        ..Recovered::default()
    };
    let restored = Restored {
        id,
        chunks,
        machine,
        older: None,
    };
    let config = config();
    Node::boot(
        &config,
        Origin::of(&config, Fence::new(1)),
        recovered,
        Some(restored),
        &Secrets { token_key: [7; 32] },
        Seed::new(1),
        Timestamp::from_nanos(0),
    )
}
