//! What was measured, for people and for scripts.

use super::usage::Usage;
use std::fmt::Write as _;
use std::time::Duration;

/// How long things took, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Samples {
    acquires: Vec<u32>,
    cycles: Vec<u32>,
}

impl Samples {
    pub(super) fn note(&mut self, acquire: Duration, cycle: Duration) {
        let micros = |took: Duration| u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.acquires.push(micros(acquire));
        self.cycles.push(micros(cycle));
    }

    pub(super) fn add(&mut self, mut other: Self) {
        self.acquires.append(&mut other.acquires);
        self.cycles.append(&mut other.cycles);
    }

    pub(super) fn sort(&mut self) {
        self.acquires.sort_unstable();
        self.cycles.sort_unstable();
    }

    /// So many of a thousand acquires took at most so many microseconds, once they are sorted.
    pub(super) fn acquire_us(&self, share: usize) -> u32 {
        permille(&self.acquires, share)
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.cycles.len()).unwrap_or(u32::MAX)
    }
}

/// So many of a thousand took at most so long; zero if there are none.
fn permille(sorted: &[u32], permille: usize) -> u32 {
    let place = (sorted.len() * permille).div_ceil(1000).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}

/// One run.
pub(super) struct Report {
    pub(super) servers: usize,
    pub(super) clients: u32,
    pub(super) protocol: &'static str,
    pub(super) mode: &'static str,
    pub(super) took: Duration,
    pub(super) samples: Samples,
    pub(super) usage: Usage,
    pub(super) cold_start: Option<Duration>,
}

impl Report {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let Self { samples, usage, .. } = self;
        let (acquires, cycles) = (&samples.acquires, &samples.cycles);
        let count = f64::from(samples.count().max(1));
        let per_cycle = |total: u64| to_f64(total) / count;
        let ops_per_sync = match usage.syncs {
            0 => 0.0,
            // Each server syncs what all of them hold.
            syncs => 2.0 * count * to_f64(self.servers as u64) / to_f64(syncs),
        };
        let word = |text: &str| format!("\"{text}\"");
        let mut fields = vec![
            ("servers", self.servers.to_string()),
            ("clients", self.clients.to_string()),
            ("protocol", word(self.protocol)),
            ("mode", word(self.mode)),
            ("seconds", format!("{:.3}", self.took.as_secs_f64())),
            ("cycles", samples.count().to_string()),
            (
                "cycles_per_s",
                format!(
                    "{:.1}",
                    f64::from(samples.count()) / self.took.as_secs_f64()
                ),
            ),
            ("p50_us", permille(acquires, 500).to_string()),
            ("p99_us", permille(acquires, 990).to_string()),
            ("p999_us", permille(acquires, 999).to_string()),
            ("cycle_p50_us", permille(cycles, 500).to_string()),
            ("cycle_p99_us", permille(cycles, 990).to_string()),
            (
                "server_cpu_s_per_1000",
                format!("{:.5}", usage.cpu.as_secs_f64() * 1000.0 / count),
            ),
            ("syncs", usage.syncs.to_string()),
            ("ops_per_sync", format!("{ops_per_sync:.2}")),
            (
                "disk_bytes_per_cycle",
                format!("{:.0}", per_cycle(usage.disk_bytes)),
            ),
            ("rss_bytes", usage.rss_bytes.to_string()),
        ];
        if let Some(cold_start) = self.cold_start {
            let ms = cold_start.as_secs_f64() * 1000.0;
            fields.push(("cold_start_ms", format!("{ms:.1}")));
        }
        fields
    }

    /// One line.
    pub(super) fn json(&self) -> String {
        let fields: Vec<String> = self
            .fields()
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}\n", fields.join(","))
    }

    /// A line for each number.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.fields() {
            writeln!(text, "{name:<22} {value}").expect("writing to a string does not fail");
        }
        text
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a measurement of more than 2^53 bytes may be off by one"
)]
const fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::{Report, Samples, Usage, permille};
    use std::time::Duration;

    #[test]
    fn a_permille_is_the_nearest_rank() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert_eq!(permille(&sorted, 500), 500);
        assert_eq!(permille(&sorted, 999), 999);
        assert_eq!(permille(&[7], 500), 7);
        assert_eq!(permille(&[], 500), 0);
    }

    #[test]
    fn the_line_has_every_number() {
        let mut samples = Samples::default();
        samples.note(Duration::from_micros(200), Duration::from_micros(400));
        samples.note(Duration::from_micros(300), Duration::from_micros(500));
        samples.sort();
        let report = Report {
            servers: 3,
            clients: 2,
            protocol: "native",
            mode: "cycle",
            took: Duration::from_secs(1),
            samples,
            usage: Usage {
                cpu: Duration::from_micros(20),
                disk_bytes: 4096,
                syncs: 6,
                rss_bytes: 1 << 20,
            },
            cold_start: None,
        };
        let wanted = r#"{"servers":3,"clients":2,"protocol":"native","mode":"cycle","seconds":1.000,"cycles":2,"cycles_per_s":2.0,"p50_us":200,"p99_us":300,"p999_us":300,"cycle_p50_us":400,"cycle_p99_us":500,"server_cpu_s_per_1000":0.01000,"syncs":6,"ops_per_sync":2.00,"disk_bytes_per_cycle":2048,"rss_bytes":1048576}"#;
        assert_eq!(report.json(), format!("{wanted}\n"));
    }
}
