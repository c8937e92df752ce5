//! `certiscope collect`: writes pictures of good parts from a source, for training and calibration.
//!
//! Guarantees: a picture is written without loss, with the depth and the colours of the frame. Every frame is
//! written or counted as left out. No existing file is overwritten.
//! Leaves out: checking that the parts are good. Only the line knows that.

mod collection;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use image::DynamicImage;

use self::collection::Collection;
use super::frames::{Fingerprints, TroubleReporter, name_of};
use super::full_scale::{FULL_SCALES, fitting};
use super::part_from::PartFrom;
use super::stop_signals::stop_on_signals;
use super::{Failure, progress_bar, source_note};
use crate::agent::{Stop, open_source};
use crate::bundle::manifest::LEAST_FULL_SCALE;
use crate::capture::encode::to_image;
use crate::capture::file_names::on_one_line;
use crate::capture::folder::FolderSettings;
use crate::capture::simulator::SimulatorSettings;
use crate::capture::trigger::Trigger;
use crate::capture::{Frame, GroundTruth, SourceEvent};
use crate::cli::output::{print_line, print_note};
use crate::config::{Config, QueuePolicy, SourceConfig, SourceKind};
use crate::near_duplicates::Fingerprint;
use crate::preprocess::{FULL_SCALE, Region};

/// How long to wait for a frame before checking for a stop.
const WAIT: Duration = Duration::from_millis(200);

/// Collect pictures of good parts, to train and to calibrate with.
///
/// Writes the frames as out/good/000001.png and so on, with 8 or 16 bits as the source gives them. out/collect.csv lists
/// where each came from. For a camera, out/source.json holds its format and size; `calibrate` puts them into the
/// bundle. Let only good parts pass while it runs. Frames that cannot be read, and parts that the source itself labels as
/// defective, are left out and counted. At the end the command prints how many different parts it saw and how many
/// `calibrate` needs. 16-bit pictures that use a fraction of their range end with exit code 78 unless --full-scale says what
/// white is. Ctrl-C ends it; the pictures are kept, and --append goes on from there.
#[derive(Debug, Args)]
pub(super) struct CollectArgs {
    /// `simulator`, or a folder of pictures (./simulator for a folder of that name)
    #[arg(long, required_unless_present = "config", conflicts_with = "config")]
    source: Option<SourceArgument>,
    /// Configuration of a station: collect from its source, cut to its region
    #[arg(long)]
    config: Option<PathBuf>,
    /// Seed of the simulator; another seed shows other parts
    #[arg(long, conflicts_with = "config")]
    seed: Option<u64>,
    /// Pictures to write
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Folder to write to; new or empty unless --append is given
    #[arg(long)]
    out: PathBuf,
    /// Value of white in 16-bit pictures, such as 4095 for a camera of 12 bits; the pictures stay as they are
    #[arg(long, value_parser = clap::value_parser!(u16).range(i64::from(LEAST_FULL_SCALE)..))]
    full_scale: Option<u16>,
    /// Names tell the part: the first group of this regular expression in a picture's path below --source, or `folder` for its
    /// sub-folder [default: near-identical pictures show one part]
    #[arg(long, value_name = "REGEX|folder", value_parser = PartFrom::parse, requires = "source", conflicts_with = "append")]
    part_from: Option<PartFrom>,
    /// Continue in a folder that an earlier `collect` wrote, from the next number
    #[arg(long)]
    append: bool,
}

/// A source as the user names it.
#[derive(Debug, Clone)]
enum SourceArgument {
    Simulator,
    Folder(PathBuf),
}

impl From<&str> for SourceArgument {
    fn from(typed: &str) -> Self {
        if typed == "simulator" { Self::Simulator } else { Self::Folder(typed.into()) }
    }
}

pub(super) fn collect(args: &CollectArgs) -> Result<ExitCode, Failure> {
    let (config, region) = configured(args)?;
    if let (Some(_), Some(SourceArgument::Simulator)) = (&args.part_from, &args.source) {
        let words =
            "--part-from: the simulator's pictures have no names, and each shows another part; leave it out";
        return Err(Failure::refused(anyhow!(words)));
    }
    let mut source = open_source(&config, None, None).map_err(Failure::refused)?;
    let mut collection = Collection::open(&args.out, args.append).map_err(Failure::Refused)?;
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    let fingerprints = Fingerprints::new(region, args.full_scale.unwrap_or(FULL_SCALE));
    let from = source.describe();
    if let Some(left_out) = source.left_out() {
        print_note!("source: {left_out}");
    }
    let (mut written, mut unreadable, mut defective) = (0, 0_u64, 0_u64);
    let bar = progress_bar(args.count, "collecting");
    let mut troubles = TroubleReporter::default();
    let mut largest_sample = None;
    while written < args.count && !stop.requested() {
        let frame = match source.next(WAIT).map_err(Failure::stopped)? {
            SourceEvent::Frame(frame) => frame,
            SourceEvent::NotYet | SourceEvent::Passed(_) => continue,
            SourceEvent::Trouble(trouble) => {
                bar.suspend(|| troubles.report(&trouble));
                continue;
            }
            SourceEvent::End => break,
        };
        troubles = TroubleReporter::default();
        if let Some(camera) = source.camera() {
            source_note::write(&args.out, &camera).map_err(Failure::Refused)?;
        }
        if frame.truth.as_ref().is_some_and(GroundTruth::is_defect) {
            defective += 1;
            continue;
        }
        if let Some(part_from) = &args.part_from {
            let name = frame.part_id.as_deref().unwrap_or_default();
            collection.tell_part(part_from.part(name).map_err(Failure::Refused)?);
        }
        match prepared(&frame, region, &fingerprints) {
            Ok((image, fingerprint)) => {
                collection.add(&image, fingerprint, &frame, &from).map_err(Failure::Stopped)?;
                written += 1;
                largest_sample =
                    largest_sample.max(frame.picture.ok().and_then(|it| it.largest_of_sixteen_bits()));
                bar.inc(1);
            }
            Err(error) => {
                unreadable += 1;
                bar.suspend(|| tracing::warn!("{}: left out: {error:#}", name_of(&frame)));
            }
        }
    }
    bar.finish();
    print_line!("{written} pictures written to {}", on_one_line(collection.pictures()));
    if unreadable + defective > 0 {
        print_line!(
            "left out: {unreadable} frames that cannot be read, {defective} parts that the source calls defective"
        );
    }
    collection.report();
    if let (Some(white), None) = (largest_sample.and_then(fitting), args.full_scale) {
        return Err(Failure::refused(anyhow!(
            "16-bit pictures whose largest sample is {}: they look black, because white is 65535; the pictures are kept as they are: give `certiscope-models train` and `certiscope calibrate` --full-scale {white} if that is what the camera calls white ({FULL_SCALES}), and give it here too to go on with --append",
            largest_sample.unwrap_or_default()
        )));
    }
    if written == args.count {
        return Ok(ExitCode::SUCCESS);
    }
    let missing = args.count - written;
    let why = if stop.requested() { "stopped by a signal" } else { "the source has no more" };
    print_line!("{why}: {missing} pictures fewer than asked for; go on with --append --count {missing}");
    // A stop by the user is success. Too few pictures is a failure, because a script may wait for them.
    Ok(if stop.requested() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The source that was asked for, and the region of its frames to collect.
fn configured(args: &CollectArgs) -> Result<(SourceConfig, Option<Region>), Failure> {
    let kind = match (&args.config, &args.source) {
        (Some(file), _) => {
            let station = Config::read(file).map_err(Failure::refused)?.station;
            return Ok((station.source, station.region));
        }
        (None, Some(SourceArgument::Folder(path))) => {
            if args.seed.is_some() {
                let words = "a folder's pictures do not depend on it; leave it out";
                return Err(Failure::refused(anyhow!("--seed: {words}")));
            }
            let settings = FolderSettings { path: path.clone(), frames_per_second: None, repeat: false };
            SourceKind::Folder(settings)
        }
        (None, _) => {
            let plain = SimulatorSettings::default();
            let seed = args.seed.unwrap_or(plain.seed);
            SourceKind::Simulator(SimulatorSettings { seed, parts_per_second: None, ..plain })
        }
    };
    Ok((SourceConfig { kind, delivery: QueuePolicy::Every, trigger: Trigger::Free }, None))
}

/// The picture to write, and the fingerprint by which pictures of the same part are found.
fn prepared(
    frame: &Frame,
    region: Option<Region>,
    fingerprints: &Fingerprints,
) -> anyhow::Result<(DynamicImage, Fingerprint)> {
    let picture = frame.picture.as_ref().map_err(Clone::clone)?;
    let fingerprint = fingerprints.of(picture)?;
    let image = to_image(picture).context("its number of samples does not fit its size")?;
    let image = match region {
        Some(Region { x, y, width, height }) => image.crop_imm(x, y, width, height),
        None => image,
    };
    Ok((image, fingerprint))
}
