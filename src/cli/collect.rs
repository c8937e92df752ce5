//! `certiscope collect`: pictures of good parts from a source, for training and calibration.
//!
//! Guarantees: a picture is written losslessly, as deep and as coloured as it came; it appears whole or not at
//! all, with its line in the list; nothing that is there is overwritten; every frame is written or counted as
//! left out. Leaves out: whether the parts were good, which only the line knows.
//! Costs: each picture is compared with all before it, 3 ms at a thousand.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use image::DynamicImage;
use sha2::{Digest, Sha256};

use super::calibrate::{FALSE_ALARM_RATE, MAP_PARTS_NEEDED};
use super::frames::{Fingerprints, Told, name_of};
use super::run::stop_on_signals;
use super::{Failure, progress_bar, source_note};
use crate::agent::{Stop, open_source};
use crate::calibration::frames_needed;
use crate::calibration::groups::{Fingerprint, Parts};
use crate::capture::encode::{png, to_image};
use crate::capture::folder::{FolderSettings, FolderSource};
use crate::capture::gate::Trigger;
use crate::capture::simulator::SimulatorSettings;
use crate::capture::{Frame, FrameSource, Next, Truth};
use crate::config::{Config, QueuePolicy, SourceConfig, SourceKind};
use crate::preprocess::Region;

/// Folder of the pictures below --out: `good`, as all who read the pictures call normal parts.
const PICTURES: &str = "good";
/// Where each picture came from, beside that folder.
const LIST: &str = "collect.csv";
const COLUMNS: [&str; 6] = ["file", "sha256", "captured_at", "source", "source_seq", "part_id"];
/// How long a frame is waited for before a stop is looked for.
const WAIT: Duration = Duration::from_millis(200);

/// Collect pictures of good parts, to train and to calibrate with.
///
/// Writes each frame as out/good/000001.png and so on, 8 or 16 bits as it came, and where it came from to
/// out/collect.csv; of a camera also its format and size to out/source.json, which `calibrate` takes into the bundle.
/// Let only good parts pass while it runs. Frames that cannot be read, and parts that the source itself
/// knows to be defective, are left out and counted. Tells how many different parts were seen and how many
/// `calibrate` needs. Ctrl-C ends it; what was written stays, and --append goes on.
#[derive(Debug, Args)]
pub(super) struct CollectArgs {
    /// `simulator`, or a folder of pictures (./simulator for a folder of that name)
    #[arg(long, required_unless_present = "config", conflicts_with = "config")]
    source: Option<Source>,
    /// Configuration of a station: collects from its source, cut to its region
    #[arg(long)]
    config: Option<PathBuf>,
    /// Seed of the simulator: another one shows other parts
    #[arg(long, conflicts_with = "config")]
    seed: Option<u64>,
    /// Pictures to write
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Folder to write to; new or empty unless --append is given
    #[arg(long)]
    out: PathBuf,
    /// Go on in a folder that an earlier `collect` wrote, with the next number
    #[arg(long)]
    append: bool,
}

/// A source by what a user types.
#[derive(Debug, Clone)]
enum Source {
    Simulator,
    Folder(PathBuf),
}

impl From<&str> for Source {
    fn from(typed: &str) -> Self {
        if typed == "simulator" { Self::Simulator } else { Self::Folder(typed.into()) }
    }
}

pub(super) fn collect(args: &CollectArgs) -> Result<ExitCode, Failure> {
    let (config, region) = configured(args)?;
    let mut source = open_source(&config, None).map_err(Failure::refused)?;
    let mut collection = Collection::open(&args.out, args.append).map_err(Failure::Refused)?;
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    let fingerprints = Fingerprints::new(region);
    let from = source.describe();
    let (mut written, mut unreadable, mut defective) = (0, 0_u64, 0_u64);
    let bar = progress_bar(args.count, "collecting");
    let mut told = Told::default();
    while written < args.count && !stop.requested() {
        let frame = match source.next(WAIT).map_err(Failure::stopped)? {
            Next::Frame(frame) => frame,
            Next::NotYet | Next::Passed(_) => continue,
            Next::Trouble(trouble) => {
                bar.suspend(|| told.tell(&trouble));
                continue;
            }
            Next::End => break,
        };
        told = Told::default();
        if let Some(camera) = source.camera() {
            source_note::write(&args.out, &camera).map_err(Failure::Refused)?;
        }
        if frame.truth.as_ref().is_some_and(Truth::is_defect) {
            defective += 1;
            continue;
        }
        match prepared(&frame, region, &fingerprints) {
            Ok((image, fingerprint)) => {
                collection.add(&image, fingerprint, &frame, &from).map_err(Failure::Stopped)?;
                written += 1;
                bar.inc(1);
            }
            Err(error) => {
                unreadable += 1;
                bar.suspend(|| tracing::warn!("{}: left out: {error:#}", name_of(&frame)));
            }
        }
    }
    bar.finish();
    println!("{written} pictures written to {}", collection.pictures().display());
    if unreadable + defective > 0 {
        println!(
            "left out: {unreadable} frames that cannot be read, {defective} parts that the source calls defective"
        );
    }
    collection.report();
    if written == args.count {
        return Ok(ExitCode::SUCCESS);
    }
    let missing = args.count - written;
    let why = if stop.requested() { "stopped by a signal" } else { "the source has no more" };
    println!("{why}: {missing} pictures fewer than asked for; go on with --append --count {missing}");
    // Who ended it knows; who waits for the pictures must be told.
    Ok(if stop.requested() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The source that was asked for, and the part of its frames that counts.
fn configured(args: &CollectArgs) -> Result<(SourceConfig, Option<Region>), Failure> {
    let kind = match (&args.config, &args.source) {
        (Some(file), _) => {
            let station = Config::read(file).map_err(Failure::refused)?.station;
            return Ok((station.source, station.region));
        }
        (None, Some(Source::Folder(path))) => {
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

/// The picture to write, and what tells its part from others.
fn prepared(
    frame: &Frame,
    region: Option<Region>,
    fingerprints: &Fingerprints,
) -> anyhow::Result<(DynamicImage, Fingerprint)> {
    let picture = frame.picture.as_ref().map_err(Clone::clone)?;
    let fingerprint = fingerprints.of(picture)?;
    let image = to_image(picture).context("its samples are not those of a picture")?;
    let image = match region {
        Some(Region { x, y, width, height }) => image.crop_imm(x, y, width, height),
        None => image,
    };
    Ok((image, fingerprint))
}

/// The folder that is filled.
struct Collection {
    folder: PathBuf,
    /// One line a picture.
    list: File,
    /// Its length when every line was whole.
    list_bytes: u64,
    /// Number of the newest picture.
    newest: u64,
    parts: Parts,
    fingerprints: Vec<Fingerprint>,
}

impl Collection {
    /// A new or empty folder, or, to append to, one that was collected into.
    fn open(folder: &Path, append: bool) -> anyhow::Result<Self> {
        let at = || folder.display().to_string();
        let list = folder.join(LIST);
        let empty = !folder.exists() || fs::read_dir(folder).with_context(at)?.next().is_none();
        let words = match (append, list.is_file()) {
            _ if empty => None,
            (true, true) => None,
            (false, _) => {
                Some("not empty; a new or empty folder, or --append to go on in one that `collect` wrote")
            }
            (true, false) => Some("holds no collect.csv; --append goes on where `collect` wrote"),
        };
        if let Some(words) = words {
            anyhow::bail!("--out {}: {words}", folder.display());
        }
        fs::create_dir_all(folder.join(PICTURES)).with_context(at)?;
        let newest = newest(&folder.join(PICTURES)).with_context(at)?;
        let list = File::options().create(true).append(true).open(list).with_context(at)?;
        let list_bytes = list.metadata().with_context(at)?.len();
        let mut collection = Self {
            folder: folder.to_path_buf(),
            list,
            list_bytes,
            newest,
            parts: Parts::default(),
            fingerprints: Vec::new(),
        };
        if list_bytes == 0 {
            collection.write_line(&COLUMNS).with_context(at)?;
        }
        if newest > 0 {
            collection.count_parts()?;
        }
        Ok(collection)
    }

    fn pictures(&self) -> PathBuf {
        self.folder.join(PICTURES)
    }

    /// Counts the parts of the pictures that are there.
    fn count_parts(&mut self) -> anyhow::Result<()> {
        let settings = FolderSettings { path: self.pictures(), frames_per_second: None, repeat: false };
        let mut source = FolderSource::open(settings)?;
        let bar = progress_bar(source.len() as u64, "reading");
        // They are what was written: cut to the region already.
        let fingerprints = Fingerprints::new(None);
        while let Next::Frame(frame) = source.next(Duration::ZERO)? {
            self.count_part(fingerprints.of(&frame.picture?)?);
            bar.inc(1);
        }
        bar.finish();
        Ok(())
    }

    fn count_part(&mut self, fingerprint: Fingerprint) {
        self.parts.add(|earlier| self.fingerprints[earlier].is_like(&fingerprint));
        self.fingerprints.push(fingerprint);
    }

    /// Writes the next picture with its line; neither stays without the other.
    fn add(
        &mut self,
        image: &DynamicImage,
        fingerprint: Fingerprint,
        frame: &Frame,
        source: &str,
    ) -> anyhow::Result<()> {
        let name = format!("{PICTURES}/{:06}.png", self.newest + 1);
        let file = self.folder.join(&name);
        let bytes = png(image);
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let kept = write_whole(&file, &bytes).and_then(|()| {
            let captured_at = frame.captured_at.wall.to_string();
            let (seq, part) = (frame.source_seq.to_string(), frame.part_id.as_deref().unwrap_or_default());
            self.write_line(&[&name, &sha256, &captured_at, source, &seq, part]).inspect_err(|_| {
                let _ = fs::remove_file(&file); // the disk that refused the line may refuse this too
            })
        });
        kept.with_context(|| {
            format!(
                "{}: cannot be written; the {} pictures before it are kept, and --append goes on when there is room",
                file.display(),
                self.fingerprints.len()
            )
        })?;
        self.newest += 1;
        self.count_part(fingerprint);
        Ok(())
    }

    /// A line of the list, whole or not at all.
    fn write_line(&mut self, cells: &[&str]) -> io::Result<()> {
        let mut line = csv::Writer::from_writer(Vec::new());
        line.write_record(cells)?;
        let line = line.into_inner().map_err(|error| error.into_error())?;
        let written = self.list.write_all(&line).and_then(|()| self.list.sync_data());
        match &written {
            Ok(()) => self.list_bytes += line.len() as u64,
            Err(_) => self.list.set_len(self.list_bytes)?,
        }
        written
    }

    /// How many parts there are, and whether they are enough.
    fn report(&self) {
        let (pictures, parts) = (self.fingerprints.len(), self.parts.count());
        println!("{} holds {pictures} pictures of {parts} different parts", self.folder.display());
        if parts < pictures {
            println!(
                "look-alikes count as one part; where every picture shows another part all the same, give `calibrate` --distinct-parts"
            );
        }
        let needed = frames_needed(FALSE_ALARM_RATE);
        let missing = match needed.saturating_sub(parts) {
            0 => "enough".to_owned(),
            missing => format!("{missing} more are needed"),
        };
        println!(
            "`calibrate` needs {needed} different parts for its default of {} % false alarms, others than those trained on ({} where --maps is left out): {missing}",
            100.0 * FALSE_ALARM_RATE,
            2 * needed.max(MAP_PARTS_NEEDED)
        );
    }
}

/// The highest number that a picture of the folder has; 0 for none.
fn newest(pictures: &Path) -> io::Result<u64> {
    fs::read_dir(pictures)?.try_fold(0, |newest, entry| {
        let number = Path::new(&entry?.file_name()).file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        Ok(number.unwrap_or(0).max(newest))
    })
}

/// Writes a new file under its name when all of it is on the disk. Nothing is left of one that is not.
fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().expect("a picture lies in a folder");
    let mut unfinished = tempfile::Builder::new()
        .prefix(".")
        // Others read the pictures too, where the umask lets them.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    unfinished.write_all(bytes)?;
    unfinished.as_file().sync_data()?;
    unfinished.persist_noclobber(file)?;
    Ok(())
}
