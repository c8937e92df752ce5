//! The report of `bench`: its figures as a table for people and as JSON.

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::Duration;

use rustix::fs::statfs;
use serde_json::{Value, json};

use super::startup::ProgramStart;
use super::subject::Subject;
use super::throughput::{Round, Throughput};
use crate::config::all_cores;
use crate::machine;
use crate::percentiles::Percentiles;
use crate::status::VerdictCounts;

/// The times of single commits, in the order of measurement.
#[derive(Debug, Default)]
pub(super) struct CommitTimes {
    pub(super) synced: Vec<Duration>,
    pub(super) unsynced: Vec<Duration>,
}

pub(super) struct BenchReport<'a> {
    pub(super) subject: &'a Subject,
    /// The load average of the last minute, before anything was measured.
    pub(super) load_before: Option<f64>,
    pub(super) scratch: &'a Path,
    pub(super) throughput: Throughput,
    pub(super) commits: CommitTimes,
    /// The last one ran longer than the others, so that its memory could settle.
    pub(super) starts: Vec<ProgramStart>,
}

pub(super) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Repeated measurements of one thing.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted(values);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Self { median, least: sorted[0], most: sorted[sorted.len() - 1] }
    }

    fn as_json(self) -> Value {
        json!({"median": self.median, "least": self.least, "most": self.most})
    }
}

fn percentiles(times: &[Duration]) -> Percentiles {
    Percentiles::of(times).expect("there is at least one pair of commits")
}

fn as_json(Percentiles { p50, p99 }: Percentiles) -> Value {
    json!({"p50": p50, "p99": p99})
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

impl BenchReport<'_> {
    fn of_rounds(&self, value: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.throughput.rounds.iter().map(value))
    }

    fn pipeline(&self) -> Spread {
        self.of_rounds(|round| round.pipeline.evaluations)
    }

    fn bare(&self) -> Spread {
        self.of_rounds(|round| round.bare)
    }

    /// The ratio within each round, because the machine is in the same state for both turns of a round.
    fn ratio(&self) -> Spread {
        self.of_rounds(|round| round.pipeline.evaluations / round.bare)
    }

    fn frames(&self) -> Spread {
        self.of_rounds(|round| round.pipeline.frames)
    }

    fn draws(&self) -> Spread {
        self.of_rounds(|round| round.pipeline.evaluations / round.pipeline.frames)
    }

    fn first_verdict(&self) -> Spread {
        Spread::of(self.starts.iter().map(|start| start.first_verdict.as_secs_f64()))
    }

    fn longest_start(&self) -> &ProgramStart {
        self.starts.last().expect("the program was started")
    }

    pub(super) fn as_json(&self) -> Value {
        let Subject { bundle, batch, .. } = self.subject;
        let Throughput { turns, provider, verdicts, .. } = &self.throughput;
        let VerdictCounts { normal, anomalous, abstain } = verdicts;
        let start = self.longest_start();
        json!({
            "certiscope": env!("CARGO_PKG_VERSION"),
            "machine": {"cpu": machine::cpu_name(), "cores": all_cores(), "load_before": self.load_before},
            "model": {
                "bundle": bundle.label(), "bundle_sha256": bundle.sha256, "input": bundle.manifest.input_shape(),
                "provider": provider.active.word(), "provider_requested": provider.requested.word(),
                "onnxruntime": provider.onnxruntime, "threads": provider.threads, "batch": batch,
            },
            "rounds": turns.rounds, "turn_seconds": turns.length.as_secs_f64(),
            "evaluations_per_second": {"pipeline": self.pipeline().as_json(), "bare": self.bare().as_json()},
            "pipeline_to_bare": self.ratio().as_json(),
            "frames_per_second": self.frames().as_json(),
            "draws_per_frame": self.draws().as_json(),
            "verdicts": {"normal": normal, "anomalous": anomalous, "abstain": abstain},
            "start": {
                "first_verdict_seconds": self.first_verdict().as_json(), "starts": self.starts.len(),
                "verdicts": start.verdicts, "resident_bytes": start.resident_bytes, "peak_bytes": start.peak_bytes,
            },
            "commit_ms": {
                "synced": as_json(percentiles(&self.commits.synced)),
                "unsynced": as_json(percentiles(&self.commits.unsynced)),
                "commits": self.commits.synced.len(), "folder": self.scratch, "in_memory": in_memory(self.scratch),
            },
        })
    }
}

impl Display for BenchReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Subject { bundle, batch, .. } = self.subject;
        let Throughput { turns, provider, verdicts, .. } = &self.throughput;
        let VerdictCounts { normal, anomalous, abstain } = verdicts;
        let [channels, height, width] = bundle.manifest.input_shape();
        let load = self.load_before.map_or_else(|| "unknown".to_owned(), |load| load.to_string());
        let start = self.longest_start();
        let (synced, unsynced) = (percentiles(&self.commits.synced), percentiles(&self.commits.unsynced));

        writeln!(f, "certiscope {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "processor     {}, {} cores, load before {load}", machine::cpu_name(), all_cores())?;
        writeln!(f, "ONNX Runtime  {}", provider.onnxruntime)?;
        writeln!(
            f,
            "model         {} on {}, {channels}x{height}x{width}, batch {batch}, {} threads",
            bundle.label(),
            provider.active.word(),
            provider.threads
        )?;
        let memory = if in_memory(self.scratch) { ": memory, where a sync costs nothing" } else { "" };
        writeln!(f, "scratch       {}{memory}", self.scratch.display())?;

        writeln!(f, "\n{:<34}{:>10}{:>20}", "", "median", "least .. most")?;
        let mut row = |what: &str, spread: Spread, digits: usize| {
            let Spread { median, least, most } = spread;
            writeln!(
                f,
                "{what:<34}{median:>10.digits$}{:>20}",
                format!("{least:.digits$} .. {most:.digits$}")
            )
        };
        row("evaluations/s, pipeline", self.pipeline(), 1)?;
        row("evaluations/s, bare loop", self.bare(), 1)?;
        row("pipeline / bare loop", self.ratio(), 3)?;
        row("frames/s", self.frames(), 2)?;
        row("draws a frame", self.draws(), 1)?;
        row("first verdict, s after the start", self.first_verdict(), 2)?;
        writeln!(
            f,
            "{:<34}{:>10}{:>20}",
            "resident memory, MB (and at most)",
            megabytes(start.resident_bytes),
            megabytes(start.peak_bytes)
        )?;
        writeln!(f, "\n{:<34}{:>10}{:>20}", "", "median", "99 % within")?;
        for (what, Percentiles { p50, p99 }) in
            [("commit, ms", synced), ("commit without its sync, ms", unsynced)]
        {
            writeln!(f, "{what:<34}{p50:>10.2}{p99:>20.2}")?;
        }
        writeln!(
            f,
            "\n{} rounds of {:.1} s each; {} inspected: {normal} normal, {anomalous} anomalous, {abstain} abstained;\n\
             memory after {} verdicts; {} starts; {} commits. No broker.",
            turns.rounds,
            turns.length.as_secs_f64(),
            normal + anomalous + abstain,
            start.verdicts,
            self.starts.len(),
            self.commits.synced.len()
        )
    }
}

fn megabytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.0}", bytes as f64 / 1e6))
}

/// Whether the folder is in memory (tmpfs, ramfs).
fn in_memory(folder: &Path) -> bool {
    const TMPFS_AND_RAMFS: [i64; 2] = [0x0102_1994, 0x8584_58f6];
    #[allow(clippy::unnecessary_cast)] // `f_type` has another width on other machines
    statfs(folder).is_ok_and(|disk| TMPFS_AND_RAMFS.contains(&(disk.f_type as i64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_between_the_extremes() {
        let odd = Spread::of([3.0, 1.0, 2.5]);
        assert_eq!(odd, Spread { median: 2.5, least: 1.0, most: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of([7.0]), Spread { median: 7.0, least: 7.0, most: 7.0 });
    }
}
