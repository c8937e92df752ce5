//! The list of cameras: their names, formats, sizes, rates and controls, as text or as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::capture::camera::{
    ControlDescription, Description, Device, FormatDescription, RateRange, SizeDescription, describe, devices,
};
use crate::cli::Failure;
use crate::cli::inspection_log::printable;

/// How many of the formats that cannot be read are named.
const OTHERS: usize = 8;

/// A video node with its description, or the reason why there is none.
pub(super) struct CameraListing {
    pub(super) device: Device,
    pub(super) description: Result<Description, String>,
}

pub(super) fn look_at(device: Device) -> CameraListing {
    CameraListing { description: describe(&device.path), device }
}

pub(super) fn look_at_all() -> Result<Vec<CameraListing>, Failure> {
    Ok(devices().map_err(Failure::stopped)?.into_iter().map(look_at).collect())
}

pub(super) fn write_listing(
    out: &mut impl Write,
    CameraListing { device, description }: &CameraListing,
) -> io::Result<()> {
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
        readable.into_iter().try_for_each(|format| write_format(out, format))?;
        write_others(out, &others)?;
        let width = controls.iter().map(|control| control.name.len()).max().unwrap_or_default();
        controls.iter().try_for_each(|control| write_control(out, control, width))?;
    }
    writeln!(out)
}

fn write_format(out: &mut impl Write, format: &FormatDescription) -> io::Result<()> {
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

/// One line for the formats that certiscope cannot read. `--json` lists them all.
fn write_others(out: &mut impl Write, others: &[&FormatDescription]) -> io::Result<()> {
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

fn rate_in_words(rate: &RateRange) -> String {
    let words = |rate: f64| {
        let words = format!("{rate:.3}");
        words.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let (slowest, fastest) = (words(rate.slowest), words(rate.fastest));
    if slowest == fastest { fastest } else { format!("{slowest} to {fastest}") }
}

fn write_control(out: &mut impl Write, control: &ControlDescription, width: usize) -> io::Result<()> {
    let ControlDescription { name, minimum, maximum, step, default, .. } = control;
    let value = control.value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    write!(out, "  control  {name:width$} = {value:6}  {minimum} to {maximum}")?;
    if *step > 1 {
        write!(out, " by {step}")?;
    }
    write!(out, ", default {default}")?;
    if !control.items.is_empty() {
        let items: Vec<String> =
            control.items.iter().map(|(value, words)| format!("{value} {}", printable(words))).collect();
        write!(out, " ({})", items.join(", "))?;
    }
    for (holds, words) in
        [(control.read_only, "cannot be set"), (control.inactive, "set by an automatic mode")]
    {
        if holds {
            write!(out, ", {words}")?;
        }
    }
    writeln!(out)
}

pub(super) fn as_json(CameraListing { device, description }: &CameraListing) -> Value {
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
