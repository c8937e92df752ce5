//! `certiscope check`: what is right, what is wrong, what to do.
//!
//! Changes nothing but this: the database is made where there is none, since only that shows that it can be.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use crate::agent::{database, inspector_settings, open_source};
use crate::bundle::Bundle;
use crate::config::Config;
use crate::detector::Detector;
use crate::diffusion::onnx::Runtime;
use crate::inspector::Inspector;
use crate::publish::{Fault, Timing, probe};
use crate::store::{Store, StoreError};

/// Check configuration, bundle, provider and broker, and say what to do.
///
/// Exit code 0: all is right. 78: something is wrong and must be changed. 75: all is right but something is
/// not reachable now (the agent would start and wait for it).
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Configuration of the station
    #[arg(long)]
    config: PathBuf,
}

/// The outcome of all checks so far.
#[derive(Default)]
struct Checks {
    wrong: bool,
    unreachable: bool,
}

impl Checks {
    /// Prints one line for a check and hands its value on.
    fn note<T, E: std::fmt::Display>(&mut self, what: &str, result: Result<(T, String), E>) -> Option<T> {
        match result {
            Ok((value, words)) => {
                println!("right      {what}: {words}");
                Some(value)
            }
            Err(error) => {
                self.wrong = true;
                println!("wrong      {what}: {error}");
                None
            }
        }
    }
}

pub(super) fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let mut checks = Checks::default();
    let read = Config::read(&args.config).map(|config| (config, args.config.display().to_string()));
    if let Some(config) = checks.note("configuration", read) {
        check_model(&mut checks, &config);
        let source = open_source(&config.station.source).map(|source| ((), source.describe()));
        checks.note("source", source);
        check_store(&mut checks, &config.state_folder);
        check_broker(&mut checks, &config)?;
    }
    Ok(match checks {
        Checks { wrong: true, .. } => ExitCode::from(78),
        Checks { unreachable: true, .. } => ExitCode::from(75),
        _ => ExitCode::SUCCESS,
    })
}

/// Bundle, library, provider, golden vectors and rule, each as far as the ones before it carry.
fn check_model(checks: &mut Checks, config: &Config) {
    let station = &config.station;
    let bundle = Bundle::load(&station.bundle).map(|bundle| {
        let words = format!("{}, hashes and shapes fit", bundle.label());
        (bundle, words)
    });
    let bundle = checks.note("bundle", bundle);
    let runtime = Runtime::load(config.onnxruntime_library.as_deref()).map(|runtime| {
        let words = runtime.library().display().to_string();
        (runtime, words)
    });
    let runtime = checks.note("onnxruntime", runtime);
    let (Some(bundle), Some(runtime)) = (bundle, runtime) else {
        return;
    };
    let batch = station.smoothing.batch.get();
    let opened = Detector::open(&bundle, &runtime, &station.session, batch).map(|(detector, opened)| {
        let provider = &opened.provider;
        let mut words = format!(
            "{} runs, golden vectors within {:.1e} of the spread",
            provider.active.word(),
            opened.self_test.worst
        );
        if let Some(reason) = &provider.reason {
            words += &format!("; {} was asked for and cannot run: {reason}", provider.requested.word());
        }
        ((detector, opened), words)
    });
    let Some((detector, opened)) = checks.note("model", opened) else {
        return;
    };
    let settings = inspector_settings(station);
    let inspector = Inspector::new(&bundle, detector, &opened.provider, settings).map(|inspector| {
        let parameters = inspector.parameters();
        let words = format!(
            "radius {} at sigma {} and alpha {} can be reached in {} draws",
            parameters.target_radius,
            parameters.sigma,
            parameters.alpha,
            inspector.reachable_draws()
        );
        ((), words)
    });
    checks.note("certificate", inspector);
}

fn check_store(checks: &mut Checks, folder: &Path) {
    let path = database(folder);
    let opened = match Store::open(&path) {
        Ok(_) => Ok(((), format!("{} can be written", path.display()))),
        Err(StoreError::InUse { .. }) => {
            Ok(((), format!("{} is written by a running agent", path.display())))
        }
        Err(error) => Err(error),
    };
    checks.note("store", opened);
}

fn check_broker(checks: &mut Checks, config: &Config) -> Result<(), Failure> {
    let broker = &config.station.broker;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::stopped)?;
    match runtime.block_on(probe(broker, Timing::default().connect_limit)) {
        Err(error) if !matches!(error.fault, Fault::Refused(_) | Fault::OlderProtocol) => {
            checks.unreachable = true;
            println!("not there  {error}; inspection would go on and the outbox would keep its verdicts");
        }
        result => {
            let words = format!("{}:{} lets this station in", broker.host, broker.port);
            checks.note("broker", result.map(|()| ((), words)));
        }
    }
    Ok(())
}
