//! Appends records to a log, one group after another, and tells how fast that is.
//!
//! `disk-bench DIR` runs for five seconds and prints one line. `disk-bench DIR acks` prints the slot
//! of each record once it is durable, for ever: a test kills it and looks for them.

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tenure_core::entry::{Entry, EntryKind};
use tenure_core::ids::{Ballot, ClusterId, Epoch, Incarnation, NodeId, RecordNo, Round, Slot};
use tenure_core::replica::record::Record;
use tenure_core::time::Stamp;
use tenure_disk::{Disk, DiskError, Options, Owner};

const OWNER: Owner = Owner {
    cluster: ClusterId(*b"disk-bench......"),
    node: NodeId::new(1),
};
const BALLOT: Ballot = Ballot {
    epoch: Epoch::new(1),
    round: Round::new(1),
    node: NodeId::new(1),
};

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let Some(dir) = words.next() else {
        eprintln!("usage: disk-bench DIR [acks]");
        return ExitCode::from(2);
    };
    let ran = open(Path::new(&dir)).and_then(|(disk, next)| match words.next().as_deref() {
        Some("acks") => acks(disk, next),
        _ => bench(disk, next),
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("disk-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The disk, and the first slot that it has nothing for.
fn open(dir: &Path) -> Result<(Disk, Slot), DiskError> {
    if !Disk::is_formatted(dir) {
        Disk::format(
            dir,
            OWNER.identity(Incarnation::new(1)),
            bytes::Bytes::new(),
            &Options::default(),
        )?;
    }
    let began = Instant::now();
    let (mut disk, recovered) = Disk::open(dir, OWNER, Options::default())?;
    eprintln!("opened in {:?}", began.elapsed());
    disk.promise(BALLOT, None)?;
    let last = recovered.accepted.last();
    let next = last.map_or(recovered.decided, |last| last.slot).next();
    Ok((disk, next))
}

fn record(slot: Slot) -> Record {
    let command = bytes::Bytes::from(vec![0x61; 256]);
    Record::Accepted {
        ballot: BALLOT,
        base: Slot::new(0),
        slot,
        entry: Entry::new(EntryKind::Batch, Stamp::from_nanos(slot.get()), &[command]),
    }
}

fn acks(mut disk: Disk, mut next: Slot) -> Result<(), DiskError> {
    let mut number = RecordNo::default();
    let mut out = io::stdout().lock();
    loop {
        number = number.next();
        disk.append(number, &record(next))?;
        disk.seal()?.sync()?;
        if writeln!(out, "{next}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
        next = next.next();
    }
}

fn bench(mut disk: Disk, mut next: Slot) -> Result<(), DiskError> {
    let mut number = RecordNo::default();
    let mut times = Vec::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let record = record(next);
        let start = Instant::now();
        number = number.next();
        disk.append(number, &record)?;
        disk.seal()?.sync()?;
        times.push(start.elapsed());
        next = next.next();
    }
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 1000].as_nanos() / 1000;
    let counters = disk.counters();
    println!(
        "{} groups of 4096 bytes, {} bytes synced: p50 {} us, p99 {} us, p99.9 {} us, longest {} us; {:.0}/s",
        times.len(),
        counters.bytes,
        at(500),
        at(990),
        at(999),
        at(1000),
        times.len() as f64 / began.elapsed().as_secs_f64(),
    );
    Ok(())
}
