//! `tenure bench --catch-up`: what clients notice of a server that catches up.
//!
//! The clients hold many locks, take and give back one each, and speak to servers that stay. A follower is
//! killed, and started again when the others' logs go no further back than above what it had: it needs the
//! newest snapshot, and what came since. Told is how long an acquire takes before, while it is away, while it
//! catches up, and afterwards.

use super::native::{self, Client};
use super::own::Own;
use super::report::Samples;
use super::{no_service, system};
use crate::args::Bench;
use crate::exit::{Code, Exit};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tenure_rt::{clock, spawn};

/// The locks that all clients together hold from the beginning: 25 MB of snapshot.
const HELD: u32 = 300_000;
/// How often it is asked how far the servers are.
const LOOK: Duration = Duration::from_millis(20);
/// As far behind the leader is whoever hears of each entry as it comes.
const NEAR: u64 = 50;
/// How long a phase may last that waits for something.
const PATIENCE: Duration = Duration::from_secs(300);

const PHASES: [&str; 4] = ["before", "away", "catching up", "after"];
const STOP: usize = PHASES.len();

/// What was measured.
#[derive(Debug)]
pub(super) struct Report {
    clients: u32,
    /// Slots that the follower was behind when it was started again.
    behind: u64,
    lasted: [Duration; STOP],
    samples: [Samples; STOP],
}

pub(super) async fn measure(bench: &Bench) -> Result<Report, Exit> {
    if bench.servers < 3 {
        let message = "--catch-up: with fewer than three servers none can be away";
        return Err(Exit::new(Code::Usage, message));
    }
    let mut own = Own::start(bench).await?;
    let endpoints = own.endpoints(false);
    let leader = own.leader().await?;
    let away = (leader + 1) % own.count();
    let stay: Vec<SocketAddr> = (0..own.count())
        .filter(|place| *place != away)
        .map(|place| endpoints[place])
        .collect();
    let phase = Arc::new(AtomicUsize::new(0));
    let each = HELD / bench.clients;
    let filling: Vec<_> = (0..bench.clients)
        .map(|number| spawn(begin(number, each, stay[number as usize % stay.len()])))
        .collect();
    let mut filled = Vec::new();
    for client in filling {
        filled.push(client.await.map_err(system)?.map_err(no_service)?);
    }
    let clients: Vec<_> = filled
        .into_iter()
        .map(|client| spawn(cycles(client, Arc::clone(&phase))))
        .collect();
    let run = Run { bench, phase, away };
    let (behind, lasted) = run
        .phases(&mut own, (endpoints[leader], endpoints[away]))
        .await?;
    let mut samples: [Samples; STOP] = Default::default();
    for client in clients {
        let noted = client.await.map_err(system)?.map_err(no_service)?;
        for (all, noted) in samples.iter_mut().zip(noted) {
            all.add(noted);
        }
    }
    samples.iter_mut().for_each(Samples::sort);
    Ok(Report {
        clients: bench.clients,
        behind,
        lasted,
        samples,
    })
}

struct Run<'b> {
    bench: &'b Bench,
    phase: Arc<AtomicUsize>,
    /// The place of the follower.
    away: usize,
}

impl Run<'_> {
    /// All phases, one after another; gives how far the follower was behind, and how long each lasted.
    async fn phases(
        &self,
        own: &mut Own,
        (leader, away): (SocketAddr, SocketAddr),
    ) -> Result<(u64, [Duration; STOP]), Exit> {
        let mut lasted = [Duration::ZERO; STOP];
        let seconds = Duration::from_secs_f64(self.bench.seconds);
        let mut begin = clock::now();
        let mut next = |of: &mut [Duration; STOP], phase: usize| {
            let now = clock::now();
            of[phase] = now.since(begin);
            begin = now;
            self.phase.store(phase + 1, Ordering::Relaxed);
        };
        clock::sleep(seconds).await;
        next(&mut lasted, 0);
        let had = native::applied(away).await.map_err(no_service)?;
        own.kill(self.away)?;
        self.log_goes(own, had).await?;
        let behind = native::applied(leader)
            .await
            .map_err(no_service)?
            .saturating_sub(had);
        next(&mut lasted, 1);
        // Without waiting for it here: the clients run on this thread, and would stand still.
        own.start_one(self.away)?;
        meet(leader, away).await?;
        next(&mut lasted, 2);
        clock::sleep(seconds).await;
        next(&mut lasted, 3);
        Ok((behind, lasted))
    }

    /// Waits until the logs of all that stay begin above `slot`: they keep what is above the snapshot
    /// before the newest.
    async fn log_goes(&self, own: &Own, slot: u64) -> Result<(), Exit> {
        let until = clock::now().plus(PATIENCE);
        let stay = || (0..own.count()).filter(|place| *place != self.away);
        while clock::now() < until {
            let mut all = true;
            for place in stay() {
                let made = own.snapshots(place).map_err(system)?;
                all &= made.iter().filter(|made| **made > slot).count() >= 2;
            }
            if all {
                return Ok(());
            }
            clock::sleep(LOOK).await;
        }
        Err(system("no two snapshots were made: give it more clients"))
    }
}

/// Waits until two servers have applied the same, or almost.
async fn meet(leader: SocketAddr, away: SocketAddr) -> Result<(), Exit> {
    let until = clock::now().plus(PATIENCE);
    while clock::now() < until {
        // It may not listen yet.
        if let Ok(its) = native::applied(away).await
            && its + NEAR >= native::applied(leader).await.map_err(no_service)?
        {
            return Ok(());
        }
        clock::sleep(LOOK).await;
    }
    Err(system("it does not catch up"))
}

/// A client that has taken its part of the locks that are held all the time.
async fn begin(number: u32, count: u32, endpoint: SocketAddr) -> io::Result<Client> {
    let mut client = Client::connect(endpoint, &format!("bench/{number}")).await?;
    for lock in 0..count {
        client.hold(&format!("held/{number}/{lock}")).await?;
    }
    Ok(client)
}

/// One client, until the end; what it noted in each phase.
async fn cycles(mut client: Client, phase: Arc<AtomicUsize>) -> io::Result<[Samples; STOP]> {
    let mut samples: [Samples; STOP] = Default::default();
    loop {
        let before = phase.load(Ordering::Relaxed);
        let begin = clock::now();
        let grant = client.acquire().await?;
        let held = clock::now();
        client.release(grant).await?;
        // What waited across a border counts where it began.
        let Some(samples) = samples.get_mut(before) else {
            break;
        };
        samples.note(held.since(begin), clock::now().since(begin));
    }
    Ok(samples)
}

impl Report {
    fn rows(&self) -> impl Iterator<Item = (&str, f64, [f64; 5])> {
        PHASES
            .iter()
            .zip(self.lasted)
            .zip(&self.samples)
            .map(|((name, lasted), samples)| {
                let seconds = lasted.as_secs_f64();
                let ms = |permille| f64::from(samples.acquire_us(permille)) / 1000.0;
                let rate = f64::from(samples.count()) / seconds.max(0.001);
                (*name, seconds, [rate, ms(500), ms(990), ms(999), ms(1000)])
            })
    }

    /// One line.
    pub(super) fn json(&self) -> String {
        let row = |(name, seconds, [rate, p50, p99, p999, worst]): (&str, f64, [f64; 5])| {
            let name = name.replace(' ', "_");
            format!(
                "\"{name}\":{{\"seconds\":{seconds:.3},\"cycles_per_s\":{rate:.1},\"p50_ms\":{p50:.3},\
                 \"p99_ms\":{p99:.3},\"p999_ms\":{p999:.3},\"worst_ms\":{worst:.3}}}"
            )
        };
        let rows: Vec<String> = self.rows().map(row).collect();
        let (clients, behind, rows) = (self.clients, self.behind, rows.join(","));
        format!("{{\"clients\":{clients},\"held\":{HELD},\"behind_slots\":{behind},{rows}}}\n")
    }

    /// The phases side by side.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{} clients, {HELD} locks held, {} slots behind\n{:<12}{:>9}{:>10}{:>9}{:>9}{:>9}{:>10}\n",
            self.clients,
            self.behind,
            "follower",
            "seconds",
            "cycles/s",
            "p50_ms",
            "p99_ms",
            "p999_ms",
            "worst_ms"
        );
        for (name, seconds, [rate, p50, p99, p999, worst]) in self.rows() {
            writeln!(
                text,
                "{name:<12}{seconds:>9.2}{rate:>10.0}{p50:>9.2}{p99:>9.2}{p999:>9.2}{worst:>10.2}"
            )
            .expect("writing to a string does not fail");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, STOP, Samples};
    use std::time::Duration;

    #[test]
    fn the_phases_stand_side_by_side() {
        let mut samples: [Samples; STOP] = Default::default();
        let us = Duration::from_micros;
        samples[2].note(us(1500), us(3000));
        let report = Report {
            clients: 2,
            behind: 9,
            lasted: [Duration::from_secs(1); STOP],
            samples,
        };
        let table = report.table();
        let line = table.lines().find(|line| line.starts_with("catching up"));
        let words: Vec<&str> = line.unwrap().split_whitespace().skip(2).collect();
        assert_eq!(words, ["1.00", "1", "1.50", "1.50", "1.50", "1.50"]);
        let wanted = "\"catching_up\":{\"seconds\":1.000,\"cycles_per_s\":1.0,\"p50_ms\":1.500,";
        assert!(report.json().contains(wanted), "{}", report.json());
    }
}
