//! `certiscope cameras`: which cameras there are, by the names to configure them by, and what they can do.
//!
//! Guarantees: changes nothing of a camera, unless a snapshot is asked for, which sets format and size; a node that
//! cannot be opened is listed with the reason.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::Failure;
use super::inspection_log::{printable, written};
use crate::capture::camera::{
    CameraSettings, CameraSource, ControlDescription, Description, Device, Format, FormatDescription, Rate,
    Rules, SizeDescription, describe, device, devices,
};
use crate::capture::encode::{png, to_image};
use crate::capture::{Frame, FrameSource, Next};

/// Good frames that are let pass before the one that is kept, for the camera to find its exposure.
const WARM_UP: usize = 5;
/// How long good frames are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Formats that cannot be read and are named all the same.
const OTHERS: usize = 8;

/// List the cameras of this machine: names, formats, sizes, rates, controls.
///
/// Configure a camera by one of its by-id or by-path names: they stay when it is plugged in again or another one
/// before it, the number of a node does not. Formats that certiscope cannot read are named in a line; --json has
/// all of them. Controls stand there by the names that [station.source.controls] takes,
/// with their present value and their range. With --snapshot it takes one picture, through the same code as `run`.
#[derive(Debug, Args)]
pub(super) struct CamerasArgs {
    /// Only this one: a node, or a by-id or by-path name
    #[arg(long)]
    device: Option<PathBuf>,
    /// Print a JSON array instead of words
    #[arg(long, conflicts_with = "snapshot")]
    json: bool,
    /// Write one frame as PNG; with the end .jpg the bytes of a camera that sends JPEG
    #[arg(long)]
    snapshot: Option<PathBuf>,
    /// Format of the snapshot, such as YUYV [default: the first that can be read]
    #[arg(long, requires = "snapshot", value_parser = format_by_word)]
    format: Option<Format>,
    /// Size of the snapshot, such as 1280x720 [default: as the camera is set]
    #[arg(long, requires = "snapshot", value_parser = size_by_words)]
    size: Option<(u32, u32)>,
}

fn format_by_word(typed: &str) -> Result<Format, String> {
    Format::from_word(&typed.to_ascii_uppercase())
        .ok_or_else(|| format!("one of {} is allowed", Format::ALL.map(Format::word).join(", ")))
}

fn size_by_words(typed: &str) -> Result<(u32, u32), String> {
    let sides = typed.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sides.ok_or_else(|| "width and height such as 1280x720 are needed".to_owned())
}

/// A node and what it says of itself, or why it does not.
struct Seen {
    device: Device,
    description: Result<Description, String>,
}

pub(super) fn cameras(args: &CamerasArgs) -> Result<ExitCode, Failure> {
    if let Some(file) = &args.snapshot {
        return snapshot(args, file);
    }
    let seen = match &args.device {
        Some(named) => {
            let path = fs::canonicalize(named).with_context(|| named.display().to_string());
            vec![look_at(device(path.map_err(Failure::Stopped)?))]
        }
        None => look_at_all()?,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let all: Vec<Value> = seen.iter().map(as_json).collect();
        return written(
            serde_json::to_writer_pretty(&mut out, &all)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out)),
        );
    }
    if seen.is_empty() {
        println!("no camera: there is no /dev/video*; plug one in, or load its driver");
        return Ok(ExitCode::SUCCESS);
    }
    written(seen.iter().try_for_each(|seen| tell(&mut out, seen)).and_then(|()| out.flush()))
}

fn look_at(device: Device) -> Seen {
    Seen { description: describe(&device.path), device }
}

fn look_at_all() -> Result<Vec<Seen>, Failure> {
    Ok(devices().map_err(Failure::stopped)?.into_iter().map(look_at).collect())
}

fn tell(out: &mut impl Write, Seen { device, description }: &Seen) -> io::Result<()> {
    let path = device.path.display();
    match description {
        Err(why) => writeln!(out, "{path}  {}", printable(why))?,
        Ok(Description { driver, card, bus, .. }) => {
            writeln!(out, "{path}  {}  (driver {}, {})", printable(card), printable(driver), printable(bus))?;
        }
    }
    for (kind, names) in [("by-id", &device.by_id), ("by-path", &device.by_path)] {
        for name in names {
            writeln!(out, "  {kind:8} {}", name.display())?;
        }
    }
    if let Ok(Description { formats, controls, .. }) = description {
        let (readable, others): (Vec<_>, Vec<_>) = formats.iter().partition(|format| format.readable);
        readable.into_iter().try_for_each(|format| tell_format(out, format))?;
        tell_others(out, &others)?;
        let width = controls.iter().map(|control| control.name.len()).max().unwrap_or_default();
        controls.iter().try_for_each(|control| tell_control(out, control, width))?;
    }
    writeln!(out)
}

fn tell_format(out: &mut impl Write, format: &FormatDescription) -> io::Result<()> {
    writeln!(out, "  format   {}  {}", printable(&format.word), printable(&format.name))?;
    for size in &format.sizes {
        let SizeDescription { smallest, largest, step, .. } = size;
        let sides = if smallest == largest {
            format!("{}x{}", largest.0, largest.1)
        } else {
            let ((w, h), (to_w, to_h), (by_w, by_h)) = (smallest, largest, step);
            format!("{w}x{h} to {to_w}x{to_h} by {by_w}x{by_h}")
        };
        let rates: Vec<String> = size.rates.iter().map(rate_in_words).collect();
        let rates = if rates.is_empty() { "any rate".to_owned() } else { rates.join(", ") };
        writeln!(out, "             {sides:12} at {rates} frames/s")?;
    }
    Ok(())
}

/// Formats that certiscope cannot read, in a line; `--json` has them all.
fn tell_others(out: &mut impl Write, others: &[&FormatDescription]) -> io::Result<()> {
    if others.is_empty() {
        return Ok(());
    }
    let words: Vec<String> =
        others.iter().take(OTHERS).map(|format| printable(&format.word).to_string()).collect();
    let more = match others.len().saturating_sub(OTHERS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    writeln!(out, "  others   {}{more}: certiscope cannot read them", words.join(", "))
}

fn rate_in_words(rate: &Rate) -> String {
    let words = |rate: f64| {
        let words = format!("{rate:.3}");
        words.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let (slowest, fastest) = (words(rate.slowest), words(rate.fastest));
    if slowest == fastest { fastest } else { format!("{slowest} to {fastest}") }
}

fn tell_control(out: &mut impl Write, control: &ControlDescription, width: usize) -> io::Result<()> {
    let ControlDescription { name, minimum, maximum, step, default, .. } = control;
    let value = control.value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    write!(out, "  control  {name:width$} = {value:6}  {minimum} to {maximum}")?;
    if *step > 1 {
        write!(out, " by {step}")?;
    }
    write!(out, ", usually {default}")?;
    if !control.items.is_empty() {
        let items: Vec<String> =
            control.items.iter().map(|(value, words)| format!("{value} {}", printable(words))).collect();
        write!(out, " ({})", items.join(", "))?;
    }
    for (holds, words) in
        [(control.read_only, "cannot be set"), (control.inactive, "held by an automatic mode")]
    {
        if holds {
            write!(out, ", {words}")?;
        }
    }
    writeln!(out)
}

fn as_json(Seen { device, description }: &Seen) -> Value {
    let described = description.as_ref().ok();
    let formats = described.map(|it| it.formats.iter().map(format_as_json).collect::<Vec<_>>());
    let controls = described.map(|it| it.controls.iter().map(control_as_json).collect::<Vec<_>>());
    json!({
        "path": device.path,
        "by_id": device.by_id,
        "by_path": device.by_path,
        "error": description.as_ref().err(),
        "driver": described.map(|it| &it.driver),
        "card": described.map(|it| &it.card),
        "bus": described.map(|it| &it.bus),
        "formats": formats.unwrap_or_default(),
        "controls": controls.unwrap_or_default(),
    })
}

fn format_as_json(format: &FormatDescription) -> Value {
    let sizes = format.sizes.iter().map(|size| {
        let rates: Vec<[f64; 2]> = size.rates.iter().map(|rate| [rate.slowest, rate.fastest]).collect();
        json!({
            "smallest_px": size.smallest,
            "largest_px": size.largest,
            "step_px": size.step,
            "frames_per_second": rates,
        })
    });
    json!({
        "format": format.word,
        "name": format.name,
        "readable": format.readable,
        "sizes": sizes.collect::<Vec<_>>(),
    })
}

fn control_as_json(control: &ControlDescription) -> Value {
    json!({
        "name": control.name,
        "value": control.value,
        "minimum": control.minimum,
        "maximum": control.maximum,
        "step": control.step,
        "default": control.default,
        "read_only": control.read_only,
        "inactive": control.inactive,
        "items": control.items,
    })
}

/// The node of the one camera that can be read.
fn the_only_camera() -> Result<PathBuf, Failure> {
    let mut cameras = look_at_all()?;
    cameras.retain(|seen| {
        seen.description.as_ref().is_ok_and(|it| it.formats.iter().any(|format| format.readable))
    });
    match cameras.as_slice() {
        [only] => Ok(only.device.path.clone()),
        cameras => Err(Failure::stopped(anyhow!(
            "--snapshot: {} cameras that can be read; name the one with --device",
            cameras.len()
        ))),
    }
}

fn snapshot(args: &CamerasArgs, file: &Path) -> Result<ExitCode, Failure> {
    let device = args.device.clone().map_or_else(the_only_camera, Ok)?;
    // What is there is shown, good or not.
    let rules = Rules { frozen_after: 0, dark_below: 0.0, saturated_above: 1.0 };
    let formats = args.format.into_iter().collect();
    let settings = CameraSettings { size: args.size, formats, rules, ..CameraSettings::of(device) };
    let mut source = CameraSource::new(settings);
    let frame = warm_frame(&mut source).map_err(Failure::Stopped)?;
    let jpeg =
        file.extension().is_some_and(|end| ["jpg", "jpeg"].iter().any(|jpg| end.eq_ignore_ascii_case(jpg)));
    let bytes = match (jpeg, &frame.encoded) {
        (true, Some(bytes)) => bytes.to_vec(),
        (true, None) => {
            return Err(Failure::refused(anyhow!(
                "--snapshot {}: this camera sends no JPEG in this format; a name that ends in .png is allowed",
                file.display()
            )));
        }
        (false, _) => {
            let picture = frame.picture.as_ref().map_err(Clone::clone).map_err(Failure::stopped)?;
            png(&to_image(picture).context("the frame").map_err(Failure::Stopped)?)
        }
    };
    fs::write(file, bytes).with_context(|| file.display().to_string()).map_err(Failure::Stopped)?;
    let camera = source.camera().context("the camera").map_err(Failure::Stopped)?;
    println!(
        "written: {}, {}x{} {} of {}",
        file.display(),
        camera.width,
        camera.height,
        camera.format,
        camera.path
    );
    Ok(ExitCode::SUCCESS)
}

/// A good frame after some others.
fn warm_frame(source: &mut CameraSource) -> anyhow::Result<Frame> {
    let deadline = Instant::now() + PATIENCE;
    let (mut passed, mut trouble) = (0, None);
    while Instant::now() < deadline {
        match source.next(Duration::from_millis(100))? {
            Next::Frame(frame) if passed == WARM_UP => return Ok(*frame),
            Next::Frame(_) => passed += 1,
            Next::Trouble(now) => trouble = Some(now),
            Next::NotYet | Next::Passed(_) | Next::End => {}
        }
    }
    Err(match trouble {
        Some(trouble) => anyhow!("{}", trouble.reason),
        None => anyhow!("the camera gave {passed} good frames in {PATIENCE:?}; more are needed"),
    })
}
