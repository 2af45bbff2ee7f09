//! `tenure bench`: how many locks a second, and how long each takes.
//!
//! One cycle is an acquire and a release, each waited for. By default the servers are its own, on
//! loopback with files on this disk; their processes end with this one.

mod catchup;
mod failover;
mod http;
mod native;
mod own;
mod report;
mod usage;

use crate::args::Bench;
use crate::exit::{Code, Exit};
use own::Own;
use report::{Report, Samples};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tenure_core::time::Timestamp;
use tenure_rt::{block_on, clock, spawn};
use usage::Usage;

/// What all clients of a run share.
struct Run {
    phase: AtomicU8,
    is_contended: bool,
}

/// Nothing is counted yet, everything is, or the client is to stop.
const WARM: u8 = 0;
const COUNT: u8 = 1;
const STOP: u8 = 2;

impl Run {
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    /// The lock that a client takes.
    fn key(&self, client: u32) -> String {
        if self.is_contended {
            "bench/one".to_owned()
        } else {
            format!("bench/{client}")
        }
    }
}

pub(crate) fn run(bench: &Bench) -> Result<(), Exit> {
    if bench.tls {
        let message = "--tls: this version has no TLS; its servers listen on loopback only";
        return Err(Exit::new(Code::Config, message));
    }
    if let Some(times) = bench.failover {
        let report = block_on(failover::measure(bench, times)).map_err(system)??;
        let text = if bench.json {
            report.json()
        } else {
            report.table()
        };
        crate::serve::print(&text);
        return Ok(());
    }
    if bench.catch_up {
        let report = block_on(catchup::measure(bench)).map_err(system)??;
        let text = if bench.json {
            report.json()
        } else {
            report.table()
        };
        crate::serve::print(&text);
        return Ok(());
    }
    let report = block_on(measure(bench)).map_err(system)??;
    let text = if bench.json {
        report.json()
    } else {
        report.table()
    };
    crate::serve::print(&text);
    Ok(())
}

async fn measure(bench: &Bench) -> Result<Report, Exit> {
    let own = if bench.endpoints.is_empty() {
        Some(Own::start(bench).await?)
    } else {
        None
    };
    let endpoints = match &own {
        Some(own) => own.endpoints(bench.http),
        None => resolve(&bench.endpoints).await?,
    };
    let run = Arc::new(Run {
        phase: AtomicU8::new(WARM),
        is_contended: bench.contend,
    });
    let clients: Vec<_> = (0..bench.clients)
        .map(|number| {
            let endpoint = endpoints[number as usize % endpoints.len()];
            spawn(client(Arc::clone(&run), number, endpoint, bench.http))
        })
        .collect();
    clock::sleep(Duration::from_secs_f64(bench.warm_up)).await;
    let before = usage(own.as_ref())?;
    let begin = clock::now();
    run.phase.store(COUNT, Ordering::Relaxed);
    clock::sleep(Duration::from_secs_f64(bench.seconds)).await;
    run.phase.store(STOP, Ordering::Relaxed);
    let took = clock::now().since(begin);
    let after = usage(own.as_ref())?;

    let mut samples = Samples::default();
    for client in clients {
        let joined = client.await.map_err(system)?;
        samples.add(joined.map_err(no_service)?);
    }
    samples.sort();
    Ok(Report {
        servers: own.as_ref().map_or(endpoints.len(), Own::count),
        clients: bench.clients,
        protocol: if bench.http { "http" } else { "native" },
        mode: if bench.contend { "contend" } else { "cycle" },
        took,
        samples,
        usage: after.since(&before),
        cold_start: own.as_ref().map(|own| own.cold_start),
    })
}

/// One client, until the end of the run.
async fn client(
    run: Arc<Run>,
    number: u32,
    endpoint: SocketAddr,
    is_http: bool,
) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let key = run.key(number);
    if is_http {
        let mut client = http::Client::connect(endpoint, &key, number).await?;
        while run.phase() != STOP {
            let phase = run.phase();
            let begin = clock::now();
            let token = client.acquire().await?;
            let held = clock::now();
            client.release(&token).await?;
            note(&run, &mut samples, phase, (begin, held));
        }
    } else {
        let mut client = native::Client::connect(endpoint, &key).await?;
        while run.phase() != STOP {
            let phase = run.phase();
            let begin = clock::now();
            let grant = client.acquire().await?;
            let held = clock::now();
            client.release(grant).await?;
            note(&run, &mut samples, phase, (begin, held));
        }
    }
    Ok(samples)
}

/// Counts a cycle that began and ended while everything was counted.
fn note(run: &Run, samples: &mut Samples, began: u8, (begin, held): (Timestamp, Timestamp)) {
    if began == COUNT && run.phase() == COUNT {
        samples.note(held.since(begin), clock::now().since(begin));
    }
}

fn usage(own: Option<&Own>) -> Result<Usage, Exit> {
    own.map_or_else(|| Ok(Usage::default()), Own::usage)
}

async fn resolve(endpoints: &[String]) -> Result<Vec<SocketAddr>, Exit> {
    let mut found = Vec::new();
    for endpoint in endpoints {
        let address = tenure_rt::net::resolve(endpoint).await;
        let address = address
            .map_err(|error| Exit::new(Code::Config, format!("--endpoints {endpoint}: {error}")))?;
        found.push(address);
    }
    Ok(found)
}

fn system(error: impl std::fmt::Display) -> Exit {
    Exit::new(Code::System, error)
}

fn no_service(error: impl std::fmt::Display) -> Exit {
    Exit::new(Code::NoService, error)
}
