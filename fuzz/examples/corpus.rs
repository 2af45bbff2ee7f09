//! Writes the corpus that the golden vectors and a few plans give. Files that a search found are
//! put beside these by hand, and stay.
//!
//! `cargo run -p tenure-fuzz --example corpus`

use bytes::Bytes;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::{
    Ballot, Boot, ClusterId, Epoch, Fence, NodeId, RequestId, RequestSeq, Seed, SessionId, Slot,
    TicketId, ZoneId,
};
use tenure_core::machine::codec;
use tenure_core::machine::command::{Acquire, Client, Command, Life, Mode, Operation, Via};
use tenure_core::machine::key::Key;
use tenure_core::machine::parts::Parts;
use tenure_core::rng::Rng;
use tenure_core::time::Stamp;
use tenure_core::wal::snapshot::Encoder;

const SESSION: SessionId = SessionId::new(0x55);

fn main() -> io::Result<()> {
    peer()?;
    streams("requests", "client_requests.txt")?;
    streams("answers", "client_answers.txt")?;
    command()?;
    choices("snapshot", 1, 12, 400)?;
    contents()?;
    choices("superblock", 2, 16, 40)?;
    choices("wal", 6, 9, 220)?;
    snapshot_files()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn write(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

/// The names and bytes of a file of golden vectors.
fn vectors(file: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let text = fs::read_to_string(root().join("tests/vectors").join(file))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let named = lines.filter_map(|line| line.split_once(' '));
    Ok(named
        .map(|(name, hex)| (name.to_owned(), unhex(hex)))
        .collect())
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = str::from_utf8(pair).expect("vectors are ASCII");
        u8::from_str_radix(pair, 16).expect("vectors are hexadecimal")
    };
    digits.map(byte).collect()
}

/// Every frame, all of them as one connection, and lengths and lists that are lies.
fn peer() -> io::Result<()> {
    let frames = vectors("peer.txt")?;
    let mut stream = Vec::new();
    for (name, frame) in &frames {
        write("peer", name, frame)?;
        stream.extend_from_slice(frame);
    }
    write("peer", "a_connection", &stream)?;
    let mut huge = stream.clone();
    huge[..4].fill(0xff);
    write("peer", "length_of_4_gib", &huge)?;
    let (_, promise) = frames
        .iter()
        .find(|(name, _)| name == "promise")
        .expect("a promise is among the vectors");
    for at in 57..70 {
        let mut long = promise.clone();
        long.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x0f]);
        write("peer", &format!("promise_long_number_at_{at}"), &long)?;
    }
    // A number in more bytes than it needs: another form of the same message.
    for (name, frame) in &frames {
        let small = (57..frame.len()).find(|at| frame[*at] < 0x80);
        if let Some(at) = small.filter(|_| !name.starts_with("hello")) {
            let mut needless = frame.clone();
            needless.splice(at..=at, [frame[at] | 0x80, 0]);
            write("peer", &format!("{name}_needless_byte"), &needless)?;
        }
    }
    Ok(())
}

/// Every command and all of them as one connection, in pieces of some bytes; and long strings.
fn streams(target: &str, file: &str) -> io::Result<()> {
    let mut stream = vec![13];
    for (index, (name, bytes)) in vectors(file)?.into_iter().enumerate() {
        let piece = u8::try_from(index * 7 % 64).expect("it is below 64");
        write(target, &name, &[&[piece], &*bytes].concat())?;
        stream.extend_from_slice(&bytes);
    }
    write(target, "a_connection", &stream)?;
    write(target, "string_of_4_gib", b"\x05\xa0\x01\xff\xff\xff\xff")?;
    write(
        target,
        "string_of_16_eib",
        &[&[5, 0xb0, 1], &[0xff; 8][..]].concat(),
    )?;
    write(target, "stream_64", b"\x05\x20\x02\0\0\0\x40")?;
    write(
        target,
        "later_commands",
        b"\x05\x3f\xff12345678\x7f\xff\xcf\xff\x70\x16",
    )
}

/// Files of snapshots, and lies in each of their numbers.
fn snapshot_files() -> io::Result<()> {
    let cluster = ClusterId(*b"0123456789abcdef");
    let file = |chunks: &[&[u8]]| {
        let (mut encoder, mut file) = Encoder::begin(cluster, Slot::new(7));
        for chunk in chunks {
            file.extend_from_slice(&encoder.chunk(chunk));
            file.extend_from_slice(chunk);
        }
        let (end, _) = encoder.finish(0x0102_0304_0506_0708);
        file.extend_from_slice(&end);
        file
    };
    let whole = file(&[b"first", b"", &[0x5a; 300]]);
    write("snapshot_file", "no_chunks", &file(&[]))?;
    write("snapshot_file", "empty_chunks", &file(&[&[][..]; 40]))?;
    write("snapshot_file", "three_chunks", &whole)?;
    write("snapshot_file", "one_byte_more", &[&*whole, b"\0"].concat())?;
    // Kind, number and length of the first chunk, and what the end says.
    for at in [8, 16, 40, 52, 56, 60, whole.len() - 24, whole.len() - 8] {
        let mut lie = whole.clone();
        lie[at..at + 4].fill(0xff);
        write("snapshot_file", &format!("lie_at_{at}"), &lie)?;
    }
    Ok(())
}

// A table reads better with one operation a line.
#[rustfmt::skip]
fn operations() -> Vec<(&'static str, Operation)> {
    let key = Key::from_path("deploy/prod").expect("it is a path");
    let (ticket, session, fence) = (TicketId::new(12), SESSION, Fence::new(17));
    let acquire = |mode, life, wait_ms| {
        let holder = Bytes::from_static(b"alice");
        Operation::Acquire(Acquire { parts: Parts::one(key.clone(), mode), life, wait_ms, holder, reentrant: life == Life::Session })
    };
    let lease = Life::Lease { ttl_ms: 10_000 };
    let identifier = Bytes::from_static(b"host-7");
    vec![
        ("acquire", acquire(Mode::Exclusive, lease, 0)),
        ("acquire_permits", acquire(Mode::Permits { n: 2, capacity: 5 }, lease, 0)),
        ("acquire_wait", acquire(Mode::Shared, Life::Static, 30_000)),
        ("acquire_session", acquire(Mode::Shared, Life::Session, 0)),
        ("release", Operation::Release { key: key.clone(), fence, all: false }),
        ("release_all", Operation::Release { key: key.clone(), fence, all: true }),
        ("renew", Operation::Renew { key: key.clone(), fence, ttl_ms: None }),
        ("renew_ttl", Operation::Renew { key: key.clone(), fence, ttl_ms: Some(60_000) }),
        ("cancel", Operation::Cancel { ticket }),
        ("confirm", Operation::Confirm { ticket }),
        ("open_session", Operation::OpenSession { ttl_ms: 10_000, identifier, threads: false }),
        ("keep_alive", Operation::KeepAlive { session }),
        ("close_session", Operation::CloseSession { session }),
        ("resize", Operation::Resize { key, capacity: 5 }),
    ]
}

/// One command of each kind, and entries of them.
fn command() -> io::Result<()> {
    let clients = [
        Client::Key(RequestId::new(1 << 100)),
        Client::None,
        Client::Session {
            id: SESSION,
            seq: RequestSeq::new(300),
            done_through: RequestSeq::new(299),
        },
    ];
    let mut all = Vec::new();
    for (index, (name, operation)) in operations().into_iter().enumerate() {
        let via = Via {
            node: NodeId::new(2),
            boot: Boot::new(3),
            seq: 70_000,
        };
        let bytes = codec::encode(&Command {
            zone: ZoneId::new(0),
            principal: Bytes::from_static(b"ci"),
            client: clients[index % 3],
            via,
            operation,
        });
        write("command", name, &bytes)?;
        all.push(bytes);
    }
    let start = codec::encode_start(Fence::new(1 << 40));
    let by = Ballot::opening(Epoch::new(1)).above(NodeId::new(2));
    write("command", "start", &start)?;
    let stamp = Stamp::from_nanos(1 << 40);
    let entries = [
        ("entry_noop", Entry::new(EntryKind::Noop, stamp, &[])),
        ("entry_start", Entry::leader_start(by, stamp, &start)),
        ("entry_batch", Entry::new(EntryKind::Batch, stamp, &all)),
    ];
    for (name, entry) in entries {
        write("command", name, entry.bytes())?;
    }
    Ok(())
}

/// The golden snapshot, and lies about how much there is.
fn contents() -> io::Result<()> {
    let text = fs::read_to_string(root().join("tests/vectors/snapshot.txt"))?;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (Some(name), Some(_id), Some(hex)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let golden = [&[1], &*unhex(hex)].concat();
        write("snapshot", name, &golden)?;
        // Counts of everything, and a mask of a whole group, wherever one may stand.
        for at in (60..golden.len() - 8).step_by(97) {
            let mut many = golden.clone();
            many[at..at + 4].fill(0xff);
            write("snapshot", &format!("{name}_many_at_{at}"), &many)?;
        }
    }
    Ok(())
}

/// Inputs that are choices: of each kind, the first byte, some that are drawn.
fn choices(target: &str, kinds: u8, of_each: u64, len: u64) -> io::Result<()> {
    for kind in 0..kinds {
        for number in 0..of_each {
            let mut rng = Rng::new(Seed::new(u64::from(kind) << 32 | number));
            let drawn = (0..=len / 4 + rng.below(len)).map(|_| rng.next().to_le_bytes()[0]);
            let bytes: Vec<u8> = std::iter::once(kind).chain(drawn).collect();
            write(target, &format!("kind_{kind}_draw_{number}"), &bytes)?;
        }
    }
    Ok(())
}
