//! `certiscope check`: tests all that the agent needs, and says what is right, what is wrong and what to do.
//!
//! Changes nothing, with one exception: it creates the database if there is none, because only that shows that it can
//! be created.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::exit_code::{Failure, REFUSED, UNREACHABLE};
use super::frames::name_of;
use crate::agent::{inspector_settings, open_source};
use crate::bundle::Bundle;
use crate::capture::trigger::Trigger;
use crate::capture::{CameraInfo, Frame, FrameSource, SourceEvent, Trouble, TroubleKind};
use crate::cli::output::print_line;
use crate::config::{Config, SourceKind, StationConfig};
use crate::detector::Detector;
use crate::diffusion::onnx::Runtime;
use crate::inspector::Inspector;
use crate::machine;
use crate::picture_range::{NotInspected, prepare};
use crate::publish::{ProbeRequest, Probed, Timing, probe};
use crate::retention::{DiskRoom, DiskRooms};
use crate::state_folder::StateFolder;
use crate::store::{Store, StoreErrorKind};

/// Check configuration, bundle, provider, source, store and broker, and say what to do.
///
/// Exit code 0: everything is right. 78: something is wrong and must be changed. 75: nothing is wrong, but something is
/// not reachable now (the agent would start and wait for it).
///
/// The broker is asked as the agent asks it: Last Will, subscription, and the right to publish to each topic (with MQTT 5). Nobody
/// hears these messages, and a running agent keeps its connection.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Configuration of the station
    #[arg(long)]
    config: PathBuf,
    /// Ask the broker under the agent's own client id, not under one that ends with `-check`. This ends the connection of an
    /// agent that runs; it connects again at once. For brokers whose access rules name client ids.
    #[arg(long)]
    take_over: bool,
}

/// The outcome of all checks so far.
#[derive(Default)]
struct Checks {
    wrong: bool,
    unreachable: bool,
}

impl Checks {
    /// Prints one line for a check and returns the value that was checked, if it is right.
    fn note<T, E: std::fmt::Display>(&mut self, what: &str, result: Result<(T, String), E>) -> Option<T> {
        match result {
            Ok((value, words)) => {
                print_line!("right      {what}: {words}");
                Some(value)
            }
            Err(error) => {
                self.wrong = true;
                print_line!("wrong      {what}: {error}");
                None
            }
        }
    }
}

pub(super) fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let mut checks = Checks::default();
    let read = Config::read(&args.config).map(|config| (config, args.config.display().to_string()));
    if let Some(config) = checks.note("configuration", read) {
        let bundle = check_model(&mut checks, &config);
        check_source(&mut checks, &config.station, bundle.as_ref());
        check_store(&mut checks, &config.state_folder);
        check_room(&mut checks, &config);
        check_broker(&mut checks, &config, args.take_over)?;
    }
    Ok(match checks {
        Checks { wrong: true, .. } => ExitCode::from(REFUSED),
        Checks { unreachable: true, .. } => ExitCode::from(UNREACHABLE),
        _ => ExitCode::SUCCESS,
    })
}

/// Checks bundle, library, provider, golden vectors and rule, as far as the earlier ones allow. Returns the bundle.
fn check_model(checks: &mut Checks, config: &Config) -> Option<Bundle> {
    let station = &config.station;
    let bundle = Bundle::load(&station.bundle).map(|bundle| {
        let words = format!("{}, hashes and shapes fit{}", bundle.label(), range_in_words(&bundle));
        (bundle, words)
    });
    let bundle = checks.note("bundle", bundle);
    let runtime = Runtime::load(config.onnxruntime_library.as_deref()).map(|runtime| {
        let words = runtime.library().display().to_string();
        (runtime, words)
    });
    let runtime = checks.note("onnxruntime", runtime);
    let (Some(bundle), Some(runtime)) = (&bundle, runtime) else {
        return bundle;
    };
    let batch = station.smoothing.batch.get();
    let opened = Detector::open(bundle, &runtime, &station.session, batch).map(|(detector, opened)| {
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
    if let Some((detector, opened)) = checks.note("model", opened) {
        let settings = inspector_settings(station);
        let inspector = Inspector::new(bundle, &detector, &opened.provider, &settings, |_, _| false)
            .map(|inspector| ((), inspector.rule().cost_in_words()));
        checks.note("certificate", inspector);
    }
    Some(bundle.clone())
}

/// What the bundle knows of the pictures that it was calibrated with.
fn range_in_words(bundle: &Bundle) -> String {
    let Some(range) = bundle.picture_range() else {
        let unknown = "; it knows no range of its pictures: calibrate again to get one";
        return if bundle.calibrated.is_some() { unknown.to_owned() } else { String::new() };
    };
    let size =
        range.size.map_or("of several sizes".to_owned(), |[width, height]| format!("{width}x{height}"));
    let colours = if range.channels == 1 { "grey" } else { "coloured" };
    let white = match range.bits {
        16 => format!(" with white at {}", bundle.full_scale()),
        _ => String::new(),
    };
    format!(
        "; for pictures {size}, {colours}, {} bits{white}, mean {:.3} to {:.3}, contrast {:.3} to {:.3}",
        range.bits, range.mean.lowest, range.mean.highest, range.contrast.lowest, range.contrast.highest
    )
}

/// Whether the source can be read, and whether its first frame is of the kind that the bundle was calibrated with. A camera
/// must give a good frame.
fn check_source(checks: &mut Checks, station: &StationConfig, bundle: Option<&Bundle>) {
    let config = &station.source;
    let mut source = match open_source(config, bundle, station.region) {
        Ok(source) => source,
        Err(error) => {
            checks.note("source", Err::<((), String), _>(error));
            return;
        }
    };
    let is_camera = matches!(config.kind, SourceKind::Camera(_));
    let seen = first_frame(source.as_mut());
    match (is_camera, &seen) {
        (true, Ok(_)) => {
            let camera = source.camera().expect("a frame comes from a camera that was opened");
            let CameraInfo { device, path, driver, format, width, height, frames_per_second, .. } = &*camera;
            print_line!(
                "right      source: camera {device} is {path} ({driver}) and gives {format} {width}x{height} at {frames_per_second:.2} frames a second"
            );
            for drifted in &camera.controls_drifted {
                checks.wrong = true;
                print_line!("wrong      source: {drifted}");
            }
        }
        (true, Err(Trouble { kind: TroubleKind::Refused | TroubleKind::Broken, reason })) => {
            checks.wrong = true;
            print_line!("wrong      source: {reason}");
        }
        (true, Err(Trouble { reason, .. })) => {
            checks.unreachable = true;
            print_line!("not there  {reason}; the agent would start and wait for it");
        }
        // A folder may be empty, or fill later.
        (false, _) => print_line!("right      source: {}", source.describe()),
    }
    if let (Some(bundle), Ok(frame)) = (bundle, &seen) {
        check_first_frame(checks, station, bundle, frame, is_camera);
    }
}

/// Says how the first frame differs from the calibration pictures of the bundle.
fn check_first_frame(
    checks: &mut Checks,
    station: &StationConfig,
    bundle: &Bundle,
    frame: &Frame,
    is_camera: bool,
) {
    // A picture that cannot be read says nothing of the others.
    let Ok(picture) = &frame.picture else { return };
    let range = bundle.picture_range();
    let Err(outside) = prepare(picture, &bundle.preprocessor(station.region), range.as_ref()) else { return };
    let of_this_picture_alone = matches!(&outside, NotInspected::Range(it) if it.is_of_this_picture_alone());
    if is_camera && of_this_picture_alone {
        print_line!("look at    source: {outside}; right if no part is in view now");
    } else {
        checks.wrong = true;
        print_line!("wrong      source: {}: {outside}", name_of(frame));
    }
}

/// Waits for a frame, or for the reason why there is none.
fn first_frame(source: &mut dyn FrameSource) -> Result<Frame, Trouble> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let lost = |reason: String| Trouble { kind: TroubleKind::Lost, reason };
    while Instant::now() < deadline {
        match source.next(Duration::from_millis(100)) {
            Ok(SourceEvent::Frame(frame)) => return Ok(*frame),
            Ok(SourceEvent::Trouble(trouble)) => return Err(trouble),
            Ok(SourceEvent::NotYet | SourceEvent::Passed(_)) => {}
            Ok(SourceEvent::End) => return Err(lost("the source has no frames".to_owned())),
            Err(error) => return Err(lost(error.to_string())),
        }
    }
    Err(lost("the camera gave no good frame in 10 s".to_owned()))
}

fn check_store(checks: &mut Checks, folder: &Path) {
    let path = StateFolder::new(folder).database();
    let opened = match Store::open(&path) {
        Ok(_) => Ok(((), format!("{} can be written", path.display()))),
        Err(error) if error.kind() == StoreErrorKind::InUse => {
            Ok(((), format!("{} is written by a running agent", path.display())))
        }
        Err(error) => Err(error),
    };
    checks.note("store", opened);
}

/// Whether the disk of the state folder has the room that the limits want, and whether it ever can.
fn check_room(checks: &mut Checks, config: &Config) {
    let look = |folder: &Path| DiskRoom {
        free_bytes: machine::disk_free_bytes(folder),
        disk_bytes: machine::disk_bytes(folder),
    };
    let state = &config.state_folder;
    let evidence = StateFolder::new(state).evidence();
    // A folder that is not there yet will be on the disk of the state folder.
    let own_disk = !machine::same_disk(state, &evidence);
    let disks = DiskRooms { state: look(state), evidence: own_disk.then(|| look(&evidence)) };
    let never = config.limits.never_kept_on(&disks);
    for problem in &never {
        checks.wrong = true;
        print_line!("wrong      disk: {problem}");
    }
    if let Some(missed) = config.limits.missed_on(&disks).filter(|_| never.is_empty()) {
        checks.unreachable = true;
        print_line!("not there  disk: {missed}");
    }
}

fn check_broker(checks: &mut Checks, config: &Config, take_over: bool) -> Result<(), Failure> {
    let station = &config.station;
    let broker = &station.broker;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::stopped)?;
    let asked = ProbeRequest {
        broker,
        topics: &station.topics,
        triggered: matches!(station.source.trigger, Trigger::Triggered { .. }),
        take_over,
        limit: Timing::default().connect_limit,
    };
    let address = broker.address();
    match runtime.block_on(probe(asked)) {
        Err(error) if !error.fault.needs_a_change() => {
            checks.unreachable = true;
            print_line!("not there  {error}; inspection would go on and the outbox would keep its verdicts");
        }
        Err(error) => {
            checks.wrong = true;
            print_line!("wrong      {error}");
        }
        Ok(Probed { client_id, right, wrong, unknown }) => {
            let lets_in = format!("lets this station in as client {client_id}");
            let words: Vec<String> = [lets_in].into_iter().chain(right).collect();
            print_line!("right      broker: {address} {}", words.join("; "));
            for what in unknown {
                print_line!("unknown    broker: {address}: {what}");
            }
            for what in wrong {
                checks.wrong = true;
                print_line!("wrong      broker: {address}: {what}");
            }
        }
    }
    Ok(())
}
