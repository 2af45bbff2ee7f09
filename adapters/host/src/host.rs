//! The loop.

use crate::callers::Callers;
use crate::door::{FromCaller, FromPeer, Inbox};
use crate::log::{Keeper, Log};
use crate::peers::Peers;
use crate::published::Publisher;
use crate::snapshots::{Event, Job, Snapshots};
use crate::syncer::{SyncMode, Syncer};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tenure_core::config::Membership;
use tenure_core::ids::{Ballot, NodeId, RecordNo, Slot, SnapshotId};
use tenure_core::node::Node;
use tenure_core::node::input::{Input, Space};
use tenure_core::node::output::{Halt, Output};
use tenure_core::replica::record::Record;
use tenure_core::time::Timestamp;
use tenure_rt::clock::Alarm;
use tenure_rt::sync::watch;
use tenure_rt::{clock, select, yield_now};

mod keeping;
mod telling;
mod writing;

/// Messages of peers that one round takes.
const PEER_BATCH: usize = 256;
/// How long a server that is asked to stop waits for another one to lead, if it does, and for the
/// answers that its callers are owed.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);
/// Every connection that has something to send has its turn in this time.
const LAST_WORDS: Duration = Duration::from_millis(5);
/// Requests that one round takes.
const CALLER_BATCH: usize = 1024;

/// The core's door, as far as the loop uses it.
pub trait Steps: Send + 'static {
    /// `Node::step`.
    fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>);
    /// `Node::wake_at`.
    fn wake_at(&self) -> Option<Timestamp>;
}

impl Steps for Node {
    fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        Self::step(self, now, input, out);
    }

    fn wake_at(&self) -> Option<Timestamp> {
        Self::wake_at(self)
    }
}

/// Why a host stopped.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The core found that going on could break a promise.
    #[error("stopped, because going on could break a promise: {0}")]
    Halt(#[from] Halt),
    /// An edge found that this server can't serve.
    #[error("stopped, because this server can't serve: {0}")]
    Failed(String),
    /// The others say that this server is no member any more.
    #[error("stopped, because this server is no member any more: {0}")]
    Removed(String),
    /// The disk failed.
    #[error("stopped, because the log can't be {doing}: {error}")]
    Disk {
        /// What was tried: "written", "synced", ….
        doing: &'static str,
        /// What the disk said.
        error: io::Error,
    },
}

/// How a server is, for its health checks. Local, and perhaps old.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// The leader, as far as this server knows.
    pub leader: Option<NodeId>,
    /// The ballot under which this server leads, if it does.
    pub leading: Option<Ballot>,
}

/// How a host works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// This server's number: what [`Status::leader`] is while it leads.
    pub me: NodeId,
    /// Where the log is synced.
    pub sync: SyncMode,
}

type TruncationOf<L> = <<L as Log>::Keeper as Keeper>::Truncation;

/// Owns the node.
pub struct Host<N, L: Log, P> {
    me: NodeId,
    node: N,
    /// Before the log: its thread ends before the data directory is let go.
    snapshots: Snapshots<TruncationOf<L>>,
    log: L,
    peers: P,
    inbox: Inbox,
    callers: Callers,
    syncer: Syncer<L::Group>,
    /// Where the edges look for the configuration.
    publisher: Option<Publisher>,
    /// What is to be stepped next.
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    /// Records that are not in the open group yet: it was full, or the disk is. The core bounds what
    /// it asks for before it hears that the log is durable, and asks for nothing while the disk is full.
    to_append: VecDeque<(RecordNo, Record)>,
    /// The disk has no room for the first of them.
    waits_for_room: bool,
    /// The last record of the open group.
    appended: Option<RecordNo>,
    /// When the last group gets its trailing seal (rule 12).
    trailing_seal_at: Option<Timestamp>,
    /// The last promise that the node asked for, while a truncation has the superblock.
    promise: Option<(Ballot, Option<Membership>)>,
    /// Whether a truncation has it.
    truncating: bool,
    /// What is to be truncated after that.
    truncate: Option<(Slot, SnapshotId)>,
    /// What ended on the thread that keeps snapshots, when that was waited for.
    event: Option<Event<TruncationOf<L>>>,
    /// What the node was told of the room on the disk.
    space: Space,
    /// For the earlier of that and what the node asks for.
    alarm: Alarm,
    status: watch::Sender<Status>,
    stopping: bool,
    /// It was asked to stop, and waits until then for another server to lead.
    leaving: Option<Timestamp>,
    /// Nobody took over when somebody was to.
    stays: bool,
    failed: Option<HostError>,
    from_peers: Vec<FromPeer>,
    from_callers: Vec<FromCaller>,
}

impl<N: Steps, L: Log, P: Peers> Host<N, L, P> {
    /// A host of `node`, whose log is `log`.
    pub fn new(node: N, log: L, peers: P, inbox: Inbox, options: Options) -> Self {
        Self {
            me: options.me,
            node,
            snapshots: Snapshots::none(),
            log,
            peers,
            inbox,
            callers: Callers::default(),
            syncer: Syncer::new(options.sync),
            publisher: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            to_append: VecDeque::new(),
            waits_for_room: false,
            appended: None,
            trailing_seal_at: None,
            promise: None,
            truncating: false,
            truncate: None,
            event: None,
            space: Space::Enough,
            alarm: Alarm::default(),
            status: watch::Sender::default(),
            stopping: false,
            leaving: None,
            stays: false,
            failed: None,
            from_peers: Vec::with_capacity(PEER_BATCH),
            from_callers: Vec::with_capacity(CALLER_BATCH),
        }
    }

    /// Tells the configuration there, whenever it changes.
    #[must_use]
    pub fn publishing(mut self, publisher: Publisher) -> Self {
        self.publisher = Some(publisher);
        self
    }

    /// Tells how the server is, now and whenever that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Runs until it is asked to stop. Then its disk is quiet, unless that hung for longer than was waited.
    ///
    /// # Errors
    ///
    /// The server must not go on.
    pub async fn run(mut self) -> Result<(), HostError> {
        let keeper = self.log.keeper();
        self.snapshots.start(keeper).map_err(disk("kept"))?;
        // The node may have words from its boot.
        self.inputs.push(Input::Tick);
        while !self.stopping {
            self.round()?;
            if self.may_go() {
                clock::sleep(LAST_WORDS).await;
                break;
            }
            // Lets every connection that is ready hand in what it has: the more of them share a
            // round, the fewer writes and syncs there are.
            yield_now().await;
            self.gather().await?;
        }
        let Some(why) = self.failed else {
            return Ok(());
        };
        self.snapshots = Snapshots::none(); // ends what they do now, which may fail
        self.log.close().map_err(disk("synced"))?;
        Err(why)
    }

    /// Steps what was gathered, does what the node wants, and so on until it wants nothing.
    fn round(&mut self) -> Result<(), HostError> {
        while !self.inputs.is_empty() {
            // After the last of these inputs was received (rule 23), and anew for each group of
            // them.
            let now = clock::now();
            for input in self.inputs.drain(..) {
                self.node.step(now, input, &mut self.outputs);
            }
            self.node.step(now, Input::Flush, &mut self.outputs);
            self.do_outputs()?;
        }
        Ok(())
    }

    fn do_outputs(&mut self) -> Result<(), HostError> {
        let mut outputs = std::mem::take(&mut self.outputs);
        let mut loads = Vec::new();
        for output in outputs.drain(..) {
            match output {
                Output::Send { to, message } => self.peers.send(to, &message),
                Output::Reply { tag, reply } => self.callers.deliver(tag, reply),
                Output::Append { number, record } => self.to_append.push_back((number, record)),
                Output::Promise { ballot, membership } => self.promise = Some((ballot, membership)),
                Output::Load { from, upto } => loads.push((from, upto)),
                Output::SnapshotChunk {
                    slot,
                    index,
                    bytes,
                    received,
                } => self.store_chunk((slot, index), bytes, received),
                // If its thread has enough to do, it is dropped here.
                Output::Retire(machine) => drop(self.snapshots.begin(Job::Retire(machine))),
                Output::SnapshotDone { id, chunks, keep } => self.end_snapshot(id, chunks, keep),
                Output::Truncate { upto, snapshot } => self.truncate = Some((upto, snapshot)),
                Output::LoadChunk { id, index } => self.load_chunk(id, index),
                Output::Configured { config } => self.configured(*config),
                Output::Note(note) => self.note(&note),
                Output::Halt { reason } => self.halt(reason)?,
            }
        }
        self.outputs = outputs;
        // Words first: the peers' disks work while this one does.
        self.peers.flush();
        self.callers.flush();
        self.change_superblock()?;
        for (first, upto) in loads {
            let entries = self.log.load(first, upto).map_err(disk("read"))?;
            self.inputs.push(Input::Loaded { first, entries });
        }
        self.sync_appended()
    }

    /// A server that is to go on as something else, or nowhere, has broken nothing: what it said until
    /// then is said, and it goes when its disk is quiet. Any other halt lets nothing out any more.
    fn halt(&mut self, reason: Halt) -> Result<(), HostError> {
        match reason {
            Halt::Role { .. } | Halt::Removed { .. } => {
                self.failed = Some(reason.into());
                Ok(())
            }
            Halt::TwoValues { .. } | Halt::Unreadable { .. } => Err(reason.into()),
        }
    }

    /// Takes everything that is ready; waits if nothing is.
    async fn gather(&mut self) -> Result<(), HostError> {
        self.take_ready()?;
        if self.inputs.is_empty() && !self.stopping {
            self.wait().await;
            self.take_ready()?;
        }
        Ok(())
    }

    /// Takes everything that is ready, without waiting.
    fn take_ready(&mut self) -> Result<(), HostError> {
        self.take_synced()?;
        self.take_snapshots()?;
        self.take_space()?;
        self.take_told();
        self.callers.flush();
        self.take_due()
    }

    fn take_told(&mut self) {
        let peers = &mut self.inbox.peers;
        while self.from_peers.len() < PEER_BATCH
            && let Ok(told) = peers.try_recv()
        {
            self.from_peers.push(told);
        }
        let callers = &mut self.inbox.callers;
        while self.from_callers.len() < CALLER_BATCH
            && let Ok(told) = callers.try_recv()
        {
            self.from_callers.push(told);
        }
        for told in self.from_peers.drain(..) {
            match told {
                FromPeer::Said(from, boot, message) => {
                    self.inputs.push(Input::Peer {
                        from,
                        boot,
                        message,
                    });
                }
                FromPeer::Link(peer, up) => self.inputs.push(Input::Link { peer, up }),
                FromPeer::Stop => {
                    // A leader hands over first, if somebody takes over soon.
                    self.inputs.push(Input::Stop);
                    self.leaving = Some(clock::now().plus(LEAVE_PATIENCE));
                    self.stays = false;
                }
                FromPeer::Fail(why) => {
                    self.stopping = true;
                    self.failed = Some(why);
                }
            }
        }
        for told in self.from_callers.drain(..) {
            match told {
                FromCaller::Open(conn, replies) => self.callers.open(conn, replies),
                FromCaller::Request(tag, request) => {
                    if self.callers.asked(tag) {
                        self.inputs.push(Input::Request { tag, request });
                    }
                }
                FromCaller::Gone(tag) => {
                    if self.callers.gone(tag) {
                        self.inputs.push(Input::Gone { tag });
                    }
                }
                FromCaller::Close(conn) => {
                    let waiting = self.callers.close(conn);
                    self.inputs.extend(waiting.map(|tag| Input::Gone { tag }));
                }
            }
        }
    }

    /// What time asks for.
    fn take_due(&mut self) -> Result<(), HostError> {
        let now = clock::now();
        if self.node.wake_at().is_some_and(|when| when <= now) {
            self.inputs.push(Input::Tick);
        }
        if self.trailing_seal_at.is_some_and(|when| when <= now) && self.syncer.is_idle() {
            self.trailing_seal_at = None;
            self.sync_group(None)?;
        }
        Ok(())
    }

    /// Waits for a peer, a caller, the disk or the time, and keeps what came first.
    async fn wait(&mut self) {
        let trailing = self.trailing_seal_at.filter(|_| self.syncer.is_idle());
        let wakes = [self.node.wake_at(), trailing, self.leaving];
        let wake_at = wakes.into_iter().flatten().min();
        let wake_at = wake_at.unwrap_or(Timestamp::MAX);
        let Self {
            syncer,
            snapshots,
            inbox,
            ..
        } = self;
        select! { biased;
            () = syncer.ended() => {}
            event = snapshots.ended() => self.event = Some(event),
            told = inbox.peers.recv() => match told {
                Some(told) => self.from_peers.push(told),
                // Every door is gone: nobody can want anything any more.
                None => self.stopping = true,
            },
            told = inbox.callers.recv() => self.from_callers.extend(told),
            () = self.alarm.ring(wake_at) => {}
        }
    }

    /// Whether it is to stop, and needs not wait any longer. Who halted opens its disk again, perhaps in
    /// this very process: not before the last group is synced, whose failure nobody else would hear of.
    fn may_go(&self) -> bool {
        let halted = self.failed.is_some() && self.syncer.is_idle();
        let leads = self.status.borrow().leading.is_some();
        let is_done = (!leads || self.stays) && !self.callers.are_owed();
        let leaves = |until| is_done || clock::now() >= until;
        halted || self.leaving.is_some_and(leaves)
    }
}

const fn disk(doing: &'static str) -> impl FnOnce(io::Error) -> HostError {
    move |error| HostError::Disk { doing, error }
}
