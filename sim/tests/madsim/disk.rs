//! A disk that a power cut robs of what was not synced, under the host's `Log`: the core's writer
//! and recovery over images in memory.

use madsim::Config;
use madsim::plugin::{self, Simulator};
use madsim::rand::{GlobalRng, Rng as _};
use madsim::task::NodeId as Machine;
use madsim::time::TimeHandle;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tenure_core::config::Membership;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, Boot, ClusterId, Incarnation, NodeId, RecordNo, SegmentNo, Slot};
use tenure_core::replica::record::{Record, Recovered};
use tenure_core::wal::recovery::{Floor, Recovery, Verdict};
use tenure_core::wal::superblock::{self, COPIES, COPY_BYTES, COPY_STRIDE, Durable, Pending};
use tenure_core::wal::writer::{AppendError, Writer};
use tenure_core::wal::{ATOM_BYTES, Identity, Sizes};
use tenure_host::{Appended, Group, Log, NoKeeper};

/// Small, so that a run fills several segments.
const SIZES: Sizes = Sizes::new(64 << 10, 128 << 10);
/// How long a sync takes, in half of the runs and in the others: longer than the network, so that
/// an answer which did not wait for the disks comes well before they have synced.
const SYNC_US: std::ops::Range<u64> = 200..6_000;
const SLOW_SYNC_US: std::ops::Range<u64> = 20_000..60_000;

/// What happened to all disks of a run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Power cuts.
    pub(crate) cuts: u64,
    /// Atoms of 512 bytes that were stored and not synced, and are gone.
    pub(crate) atoms_lost: u64,
    /// Logs that were found with a torn or unsealed end.
    pub(crate) torn: u64,
    /// Groups that were synced.
    pub(crate) syncs: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.atoms_lost += other.atoms_lost;
        self.torn += other.torn;
        self.syncs += other.syncs;
    }
}

/// What the disks of a run are like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Disk {
    /// What was synced is there after a power cut.
    #[default]
    Honest,
    /// It says so, and syncs nothing.
    Lies,
}

#[derive(Default)]
struct File {
    /// What a read sees.
    cache: Vec<u8>,
    /// What a power cut leaves.
    durable: Vec<u8>,
    /// Atoms in which the two may differ.
    dirty: BTreeSet<usize>,
}

impl File {
    fn zeros(len: usize) -> Self {
        Self {
            cache: vec![0; len],
            durable: vec![0; len],
            dirty: BTreeSet::new(),
        }
    }

    fn store(&mut self, at: usize, bytes: &[u8]) {
        self.cache[at..at + bytes.len()].copy_from_slice(bytes);
        let atoms = at / ATOM_BYTES..(at + bytes.len()).div_ceil(ATOM_BYTES);
        self.dirty.extend(atoms);
    }

    fn keep(&mut self, atom: usize) {
        let bytes = atom * ATOM_BYTES..(atom + 1) * ATOM_BYTES;
        self.durable[bytes.clone()].copy_from_slice(&self.cache[bytes]);
    }

    fn sync(&mut self) {
        for atom in std::mem::take(&mut self.dirty) {
            self.keep(atom);
        }
    }

    /// The power is gone: each atom that is not synced is kept if `keeps` says so. Returns how many
    /// are lost.
    fn cut(&mut self, mut keeps: impl FnMut() -> bool) -> u64 {
        let mut lost = 0;
        for atom in std::mem::take(&mut self.dirty) {
            if keeps() {
                self.keep(atom);
            } else {
                lost += 1;
            }
        }
        self.cache.clone_from(&self.durable);
        lost
    }
}

#[derive(Default)]
struct Image {
    superblock: File,
    segments: BTreeMap<SegmentNo, File>,
    /// Which machine has it now.
    machine: Option<Machine>,
}

type Shared = Arc<Mutex<Image>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a test that panicked is over")
}

/// The disks of all servers. A kill is a power cut.
pub(crate) struct Disks {
    rng: GlobalRng,
    images: Mutex<BTreeMap<NodeId, Shared>>,
    tally: Arc<Mutex<Tally>>,
    kind: Arc<Mutex<Disk>>,
    slow: bool,
}

impl Simulator for Disks {
    fn new(rng: &GlobalRng, _: &TimeHandle, _: &Config) -> Self {
        Self {
            rng: rng.clone(),
            images: Mutex::default(),
            tally: Arc::default(),
            kind: Arc::default(),
            slow: rng.clone().gen_bool(0.5),
        }
    }

    fn reset_node(&self, machine: Machine) {
        let mut rng = self.rng.clone();
        let images = lock(&self.images);
        let mine = |image: &&Shared| lock(image).machine == Some(machine);
        let Some(image) = images.values().find(mine) else {
            return;
        };
        let mut image = lock(image);
        image.machine = None;
        // All, none, or any of what was not synced.
        let odds = [0.0, 0.5, 1.0][rng.gen_range(0..3)];
        let segments = image.segments.values_mut();
        let lost: u64 = segments.map(|file| file.cut(|| rng.gen_bool(odds))).sum();
        let mut tally = lock(&self.tally);
        tally.cuts += 1;
        tally.atoms_lost += lost;
    }
}

/// What happened to all disks so far.
pub(crate) fn tally() -> Tally {
    *lock(&plugin::simulator::<Disks>().tally)
}

/// Says what all disks are like from now on.
pub(crate) fn become_of(disk: Disk) {
    *lock(&plugin::simulator::<Disks>().kind) = disk;
}

/// The log and superblock of one server.
pub(crate) struct SimLog {
    image: Shared,
    writer: Writer,
    superblock: Option<Durable>,
    rng: GlobalRng,
    tally: Arc<Mutex<Tally>>,
    kind: Disk,
    slow: bool,
}

impl SimLog {
    /// Opens the server's disk on this machine, as a start does; formats it at the first one.
    pub(crate) fn open(cluster: ClusterId, node: NodeId) -> (Self, Recovered) {
        let disks = plugin::simulator::<Disks>();
        let image = Arc::clone(lock(&disks.images).entry(node).or_default());
        lock(&image).machine = Some(plugin::node());
        let identity = Identity {
            cluster,
            node,
            incarnation: Incarnation::new(node.get() << 32 | 0xd15c),
        };
        let durable = open_superblock(&mut lock(&image), identity);
        let (recovered, writer, verdict) = recover(&mut lock(&image), &durable);
        if verdict != Verdict::Clean {
            lock(&disks.tally).torn += 1;
        }
        let log = Self {
            image,
            writer,
            superblock: Some(durable),
            rng: disks.rng.clone(),
            tally: Arc::clone(&disks.tally),
            kind: *lock(&disks.kind),
            slow: disks.slow,
        };
        (log, recovered)
    }

    fn sync_takes(&mut self) -> Duration {
        let range = if self.slow { SLOW_SYNC_US } else { SYNC_US };
        Duration::from_micros(self.rng.gen_range(range))
    }

    /// The data directory and the start, for the hello.
    pub(crate) fn identity(&self) -> (Incarnation, Boot) {
        let durable = self.superblock.as_ref().expect("no change is in flight");
        let superblock = durable.superblock();
        (superblock.identity.incarnation, superblock.boot)
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("images are small")
}

/// Each copy is synced before the next; that takes no time here, so no cut falls between.
fn write_superblock(image: &mut Image, pending: Pending) -> Durable {
    for write in pending.writes() {
        image.superblock.store(at(write.offset), &write.bytes);
        image.superblock.sync();
    }
    pending.done()
}

fn open_superblock(image: &mut Image, identity: Identity) -> Durable {
    if image.superblock.cache.is_empty() {
        image.superblock = File::zeros(at(superblock::FILE_BYTES));
        let first = superblock::format(identity, bytes::Bytes::new());
        write_superblock(image, first);
        let size = at(SIZES.of(SegmentNo::new(1)));
        image.segments.insert(SegmentNo::new(1), File::zeros(size));
    }
    let copies = [0, 1, 2, 3].map(|copy: usize| {
        let from = copy * at(COPY_STRIDE);
        &image.superblock.cache[from..from + COPY_BYTES]
    });
    assert_eq!(copies.len(), COPIES);
    let opened = superblock::open(copies).expect("its copies are synced one by one");
    write_superblock(image, opened)
}

fn recover(image: &mut Image, durable: &Durable) -> (Recovered, Writer, Verdict) {
    // No snapshots are kept here.
    let floor = Floor::of(durable.superblock(), Slot::new(0), Slot::new(0));
    let floor = floor.expect("nothing was removed from the log");
    let mut recovery = Recovery::new(durable.superblock(), SIZES, floor);
    for (number, file) in &image.segments {
        let read = recovery.segment(*number, &file.cache);
        read.unwrap_or_else(|damage| panic!("a power cut is no damage: {damage}"));
    }
    let tail = recovery.finish();
    let tail = tail.unwrap_or_else(|damage| panic!("a power cut is no damage: {damage}"));
    if let Some(zero) = tail.zero {
        let file = image.segments.get_mut(&zero.segment);
        let file = file.expect("what is zeroed is there");
        file.store(at(zero.offset), &vec![0; at(zero.len)]);
    }
    image.segments.values_mut().for_each(File::sync);
    let verdict = tail.verdict;
    let (recovered, writer) = tail.done();
    (recovered, writer, verdict)
}

impl Log for SimLog {
    type Group = Stored;
    type Keeper = NoKeeper;

    fn append(&mut self, number: RecordNo, record: &Record) -> io::Result<Appended> {
        match self.writer.append(number, record) {
            Ok(()) => Ok(Appended::Yes),
            Err(AppendError::Full) => Ok(Appended::GroupFull),
            Err(error @ AppendError::TooLarge { .. }) => Err(io::Error::other(error)),
        }
    }

    fn seal(&mut self) -> io::Result<Stored> {
        let group = if self.writer.is_empty() {
            self.writer.trailing_seal()
        } else {
            self.writer.seal()
        };
        let segment = group.map(|group| {
            let mut image = lock(&self.image);
            let zeros = || File::zeros(at(SIZES.of(group.segment)));
            let file = image.segments.entry(group.segment).or_insert_with(zeros);
            let synced = file.dirty.is_empty() || self.kind == Disk::Lies;
            assert!(synced, "the group before it was synced");
            file.store(at(group.offset), &group.bytes);
            group.segment
        });
        Ok(Stored {
            image: Arc::clone(&self.image),
            segment,
            takes: self.sync_takes(),
            tally: Arc::clone(&self.tally),
            kind: self.kind,
        })
    }

    fn promise(&mut self, ballot: Ballot, membership: Option<Membership>) -> io::Result<()> {
        let durable = self.superblock.take().expect("no change is in flight");
        let pending = durable.promise(ballot, membership);
        self.superblock = Some(write_superblock(&mut lock(&self.image), pending));
        Ok(())
    }

    fn load(&mut self, from: Slot, upto: Slot) -> io::Result<Vec<Entry>> {
        let mut plan = self.writer.index().plan(from, upto);
        let image = lock(&self.image);
        while let Some(piece) = plan.next_piece() {
            let file = &image.segments[&piece.segment].cache;
            let bytes = &file[at(piece.offset)..at(piece.offset + piece.len)];
            plan.take(&piece, bytes).map_err(io::Error::other)?;
        }
        Ok(plan.finish())
    }
}

/// A group in the disk's cache.
pub(crate) struct Stored {
    image: Shared,
    /// Nothing was stored, if none.
    segment: Option<SegmentNo>,
    takes: Duration,
    tally: Arc<Mutex<Tally>>,
    kind: Disk,
}

impl Group for Stored {
    fn sync(self) -> io::Result<()> {
        if let Some(segment) = self.segment
            && self.kind == Disk::Honest
        {
            let mut image = lock(&self.image);
            let file = image.segments.get_mut(&segment);
            file.expect("it was stored there").sync();
            lock(&self.tally).syncs += 1;
        }
        Ok(())
    }

    fn pace(&self) -> Option<Duration> {
        Some(self.takes)
    }
}
