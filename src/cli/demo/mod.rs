//! `certiscope demo`: runs the whole agent on a simulated line, without any other file or program.
//!
//! It is the same agent as in `run`; configuration, bundle and broker are built in. Beside each verdict it prints hit or
//! miss, by the simulator's label of the part. No stage before the verdict can read that label.

mod broker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::run::{in_words, run_agent};
use super::stop_signals::stop_on_signals;
use super::{Failure, rounded_down};
use crate::agent::{Recorded, Stop};
use crate::capture::GroundTruth;
use crate::cli::output::print_line;
use crate::config::{Config, SourceKind};
use crate::state_folder::StateFolder;
use crate::verdict::Verdict;
use broker::EmbeddedBroker;

const CONFIG: &str = include_str!("../../../config/demo.toml");

/// The demo's bundle, file by file.
const BUNDLE: [(&str, &[u8]); 4] = [
    ("bundle.toml", include_bytes!("../../../models/bundles/demo-line/bundle.toml")),
    ("model.onnx", include_bytes!("../../../models/bundles/demo-line/model.onnx")),
    ("golden.safetensors", include_bytes!("../../../models/bundles/demo-line/golden.safetensors")),
    ("maps.safetensors", include_bytes!("../../../models/bundles/demo-line/maps.safetensors")),
];

/// Watch a simulated line: no camera, no broker and no files needed.
///
/// Inspects simulated parts for a minute, prints each verdict, publishes it over MQTT and logs it.
/// The evidence of anomalous parts (frame, model input, heat map) is kept in the folder --state.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Stop after this many seconds; 0 runs until Ctrl-C
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Parts per second on the simulated belt
    #[arg(long)]
    rate: Option<f64>,
    /// Seed of the simulated parts
    #[arg(long)]
    seed: Option<u64>,
    /// Port of the embedded MQTT broker (another free one if it is taken)
    #[arg(long)]
    port: Option<u16>,
    /// State folder: database and evidence [default: ./certiscope-demo]
    #[arg(long)]
    state: Option<PathBuf>,
}

pub(super) fn demo(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let mut config = Config::parse(CONFIG, Path::new("demo.toml")).map_err(Failure::refused)?;
    if let Some(folder) = &args.state {
        config.state_folder.clone_from(folder);
    }
    config.station.bundle = config.state_folder.join("bundle");
    unpack_bundle(&config.station.bundle).map_err(Failure::refused)?;
    if let SourceKind::Simulator(simulator) = &mut config.station.source.kind {
        simulator.parts_per_second = args.rate.or(simulator.parts_per_second);
        simulator.seed = args.seed.unwrap_or(simulator.seed);
    }
    let broker =
        EmbeddedBroker::start(args.port.unwrap_or(config.station.broker.port)).map_err(Failure::stopped)?;
    config.station.broker.port = broker.port();

    let stop = Stop::default();
    stop_on_signals(&stop)?;
    stop_after(args.seconds, &stop);
    print_line!(
        "A simulated line; MQTT on 127.0.0.1:{port}. To watch: mosquitto_sub -p {port} -t '{root}/#' -v",
        port = broker.port(),
        root = config.station.topics.root()
    );
    print_line!(
        "{:>5} {:<14} {:<10} {:<8} {:>8} {:>6} {:>5}",
        "seq",
        "part is",
        "verdict",
        "",
        "radius",
        "draws",
        "ms"
    );
    let started = Instant::now();
    let mut tally = Tally::default();
    let summary = run_agent(&config, &stop, |recorded| tally.count(recorded))?;
    let seconds = started.elapsed().as_secs_f64();
    print_line!("\n{}", in_words(&summary));
    tally.print(seconds);
    print_line!("{} verdicts were received from the broker", broker.verdicts());
    print_line!("evidence of flagged parts: {}", StateFolder::new(&config.state_folder).evidence().display());
    Ok(ExitCode::SUCCESS)
}

pub(super) fn unpack_bundle(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| {
        format!("{}: cannot be made; give a writable folder with --state", folder.display())
    })?;
    for (name, bytes) in BUNDLE {
        let file = folder.join(name);
        std::fs::write(&file, bytes).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn stop_after(seconds: u64, stop: &Stop) {
    if seconds > 0 {
        let stop = stop.clone();
        std::thread::spawn(move || {
            if !stop.wait(Duration::from_secs(seconds)) {
                stop.request();
            }
        });
    }
}

/// Counts hits, misses and false alarms: each verdict is compared with the simulator's label.
#[derive(Debug, Default)]
struct Tally {
    hits: u64,
    misses: u64,
    passed: u64,
    false_alarms: u64,
    abstained_defects: u64,
    abstained_good: u64,
}

impl Tally {
    fn count(&mut self, recorded: &Recorded<'_>) {
        let inspection = recorded.inspection;
        let truth = recorded.frame.truth.as_ref();
        let defect = truth.is_some_and(GroundTruth::is_defect);
        let (counter, word) = match (inspection.verdict, defect) {
            (Verdict::Anomalous, true) => (&mut self.hits, "hit"),
            (Verdict::Normal, true) => (&mut self.misses, "MISS"),
            (Verdict::Abstain(_), true) => (&mut self.abstained_defects, ""),
            (Verdict::Normal, false) => (&mut self.passed, ""),
            (Verdict::Anomalous, false) => (&mut self.false_alarms, "FALSE"),
            (Verdict::Abstain(_), false) => (&mut self.abstained_good, ""),
        };
        *counter += 1;
        let certificate = inspection.certificate.as_ref();
        print_line!(
            "{:>5} {:<14} {:<10} {:<8} {:>8.4} {:>6} {:>5.0}",
            recorded.seq,
            truth.map_or("?", |truth| truth.kind.as_str()),
            inspection.verdict.word(),
            word,
            certificate.map_or(0.0, |certificate| rounded_down(certificate.radius)),
            certificate.map_or(0, |certificate| certificate.draws),
            inspection.latency.total_ms
        );
    }

    fn print(&self, seconds: f64) {
        let Self { hits, misses, passed, false_alarms, abstained_defects, abstained_good } = self;
        let all = hits + misses + passed + false_alarms + abstained_defects + abstained_good;
        let abstained = abstained_defects + abstained_good;
        print_line!("{:>22} {:>10} {:>10} {:>10}", "", "anomalous", "normal", "abstain");
        print_line!("{:>22} {hits:>10} {misses:>10} {abstained_defects:>10}", "defective parts");
        print_line!("{:>22} {false_alarms:>10} {passed:>10} {abstained_good:>10}", "good parts");
        print_line!(
            "{hits} hits, {misses} misses, {false_alarms} false alarms; {:.1} % abstained; {:.1} verdicts a second",
            100.0 * abstained as f64 / (all.max(1)) as f64,
            all as f64 / seconds
        );
    }
}
