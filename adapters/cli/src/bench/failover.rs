//! `tenure bench --failover N`: how long nobody gets a lock after the leader is gone.
//!
//! A client of another server asks in the moment in which the leader is killed, whose connections break
//! then, or stopped, so that it only falls silent. What is measured is the time to its grant, which a leader
//! that is gone can't have made.

use super::native::Client;
use super::own::Own;
use crate::args::Bench;
use crate::exit::{Code, Exit};
use std::time::Duration;
use tenure_rt::clock;

/// Between one failover and the next: all servers are there again, and have heard each other.
const SETTLE: Duration = Duration::from_millis(500);

/// What becomes of the leader.
#[derive(Clone, Copy)]
enum Fault {
    Killed,
    Stopped,
}

/// How long each failover took, the shortest first.
#[derive(Debug)]
pub(super) struct Report {
    servers: usize,
    killed: Vec<Duration>,
    stopped: Vec<Duration>,
}

pub(super) async fn measure(bench: &Bench, times: u16) -> Result<Report, Exit> {
    if bench.servers < 3 {
        let message = "--failover: with fewer than three servers nobody takes over";
        return Err(Exit::new(Code::Usage, message));
    }
    let mut own = Own::start(bench).await?;
    Ok(Report {
        servers: own.count(),
        killed: all(&mut own, Fault::Killed, times).await?,
        stopped: all(&mut own, Fault::Stopped, times).await?,
    })
}

async fn all(own: &mut Own, fault: Fault, times: u16) -> Result<Vec<Duration>, Exit> {
    let mut took = Vec::new();
    for _ in 0..times {
        took.push(one(own, fault).await?);
    }
    took.sort_unstable();
    Ok(took)
}

async fn one(own: &mut Own, fault: Fault) -> Result<Duration, Exit> {
    let leader = own.leader().await?;
    let other = (leader + 1) % own.count();
    let endpoint = own.endpoints(false)[other];
    let client = Client::connect(endpoint, "bench/failover").await;
    let mut client = client.map_err(super::no_service)?;
    clock::sleep(SETTLE).await;
    let begin = clock::now();
    match fault {
        Fault::Killed => own.kill(leader)?,
        Fault::Stopped => own.stop(leader)?,
    }
    let grant = client.acquire().await.map_err(super::no_service)?;
    let took = clock::now().since(begin);
    client.release(grant).await.map_err(super::no_service)?;
    match fault {
        Fault::Killed => own.start_again(leader)?,
        Fault::Stopped => own.go_on(leader)?,
    }
    Ok(took)
}

impl Report {
    fn rows(&self) -> [(&'static str, &[Duration]); 2] {
        [("killed", &self.killed), ("stopped", &self.stopped)]
    }

    /// One line.
    pub(super) fn json(&self) -> String {
        let row = |(name, took): (&str, &[Duration])| {
            let (middle, worst) = (millis(middle(took)), millis(took.last().copied()));
            format!("\"{name}_p50_ms\":{middle:.1},\"{name}_worst_ms\":{worst:.1}")
        };
        let rows = self.rows().map(row).join(",");
        let (servers, times) = (self.servers, self.killed.len());
        format!("{{\"servers\":{servers},\"times\":{times},{rows}}}\n")
    }

    /// The figures side by side, in milliseconds.
    pub(super) fn table(&self) -> String {
        let row = |(name, took): (&str, &[Duration])| {
            let (middle, worst) = (millis(middle(took)), millis(took.last().copied()));
            let times = took.len();
            format!("{name:<10}{times:>6}{middle:>10.1}{worst:>10.1}\n")
        };
        let head = format!(
            "{:<10}{:>6}{:>10}{:>10}\n",
            "leader", "times", "p50_ms", "worst_ms"
        );
        head + &self.rows().map(row).concat()
    }
}

fn middle(sorted: &[Duration]) -> Option<Duration> {
    sorted
        .get(sorted.len().div_ceil(2).saturating_sub(1))
        .copied()
}

fn millis(took: Option<Duration>) -> f64 {
    took.unwrap_or_default().as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::Report;
    use std::time::Duration;

    #[test]
    fn the_figures_stand_side_by_side() {
        let report = Report {
            servers: 3,
            killed: [20, 30, 90].map(Duration::from_millis).to_vec(),
            stopped: [300, 400].map(Duration::from_millis).to_vec(),
        };
        let wanted = "{\"servers\":3,\"times\":3,\"killed_p50_ms\":30.0,\"killed_worst_ms\":90.0,\
                      \"stopped_p50_ms\":300.0,\"stopped_worst_ms\":400.0}\n";
        assert_eq!(report.json(), wanted);
        let table = report.table();
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let lines: Vec<_> = table.lines().map(words).collect();
        assert_eq!(lines[1], ["killed", "3", "30.0", "90.0"]);
        assert_eq!(lines[2], ["stopped", "2", "300.0", "400.0"]);
    }
}
