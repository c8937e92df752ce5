//! `[station.source]`: where frames come from. Each kind of source has its own keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::section::{Problems, Section};
use super::trigger::read_trigger;
use crate::capture::camera::{CameraSettings, FrameLimits, PixelFormat};
use crate::capture::folder::FolderSettings;
use crate::capture::simulator::SimulatorSettings;
use crate::capture::trigger::Trigger;
use crate::capture::{ALLOWED_RATES, allowed_rates_in_words};

/// Where frames come from, when one is taken, and what happens when they come faster than they are inspected.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    pub kind: SourceKind,
    pub delivery: QueuePolicy,
    pub trigger: Trigger,
}

#[derive(Debug, Clone)]
pub enum SourceKind {
    Folder(FolderSettings),
    Simulator(SimulatorSettings),
    Camera(CameraSettings),
}

/// What the capture thread does with a frame while inference is busy. The key is `delivery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueuePolicy {
    /// Capture waits, so that every frame is inspected (folders).
    Every,
    /// Only the newest frame is kept; the others are dropped and counted (cameras and conveyors).
    Latest,
}

/// A pixel format as the configuration names it.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum FormatWord {
    Mjpg,
    Yuyv,
    Uyvy,
    Nv12,
    Grey,
    Rgb3,
    Bgr3,
}

impl From<FormatWord> for PixelFormat {
    fn from(word: FormatWord) -> Self {
        match word {
            FormatWord::Mjpg => Self::Mjpg,
            FormatWord::Yuyv => Self::Yuyv,
            FormatWord::Uyvy => Self::Uyvy,
            FormatWord::Nv12 => Self::Nv12,
            FormatWord::Grey => Self::Grey,
            FormatWord::Rgb3 => Self::Rgb3,
            FormatWord::Bgr3 => Self::Bgr3,
        }
    }
}

pub(super) fn read_source(
    mut section: Section<'_>,
    base: &Path,
    problems: &Problems,
) -> Option<SourceConfig> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum KindWord {
        Folder,
        Simulator,
        Camera,
    }
    let kind = section.required::<KindWord>("kind", "\"camera\", \"folder\" or \"simulator\"");
    let delivery = section.optional::<QueuePolicy>("delivery");
    let trigger = read_trigger(&mut section, problems);
    let triggered = matches!(trigger, Some(Trigger::Triggered { .. }));
    if triggered && delivery == Some(QueuePolicy::Latest) {
        problems.add(format!(
            "{} = \"latest\": a newer part would replace one that the line asked for; \"every\" is allowed, or leave it out",
            section.key("delivery")
        ));
    }
    let (kind, usual) = match kind? {
        KindWord::Folder => {
            let path = section.required::<PathBuf>("path", "a folder of pictures");
            let frames_per_second = read_rate(&mut section, problems);
            let repeat = section.or("repeat", false);
            section.finish();
            let settings = FolderSettings { path: base.join(path?), frames_per_second, repeat };
            (SourceKind::Folder(settings), QueuePolicy::Every)
        }
        KindWord::Simulator => {
            let plain = SimulatorSettings::default();
            let settings = SimulatorSettings {
                parts_per_second: read_rate(&mut section, problems),
                seed: section.or("seed", plain.seed as i64),
                width: section.or("width_px", plain.width),
                height: section.or("height_px", plain.height),
                defect_rate: section.or("defect_rate", plain.defect_rate),
                defect_contrast: section.or("defect_contrast", plain.defect_contrast),
                count: section.optional("count"),
            };
            section.finish();
            (SourceKind::Simulator(settings), QueuePolicy::Latest)
        }
        KindWord::Camera => {
            if delivery == Some(QueuePolicy::Every) && !triggered {
                problems.add(format!(
                    "{} = \"every\": a camera does not wait, so its frames would be inspected late; \"latest\" is allowed",
                    section.key("delivery")
                ));
            }
            (SourceKind::Camera(read_camera(section, problems)?), QueuePolicy::Latest)
        }
    };
    // A part that the line asked for is always inspected.
    let delivery = if triggered { QueuePolicy::Every } else { delivery.unwrap_or(usual) };
    Some(SourceConfig { kind, delivery, trigger: trigger? })
}

fn read_rate(section: &mut Section<'_>, problems: &Problems) -> Option<f64> {
    let rate = section.optional::<f64>("frames_per_second")?;
    if !ALLOWED_RATES.contains(&rate) {
        problems.add(format!(
            "{} = {rate}: not a rate; {} are allowed, or leave it out to go as fast as possible",
            section.key("frames_per_second"),
            allowed_rates_in_words()
        ));
    }
    Some(rate)
}

fn read_camera(mut section: Section<'_>, problems: &Problems) -> Option<CameraSettings> {
    let device = section.required::<PathBuf>(
        "device",
        "a name below /dev/v4l/by-id or by-path, as `certiscope cameras` lists them",
    );
    if let Some(device) = device.as_ref().filter(|device| !device.is_absolute()) {
        problems.add(format!(
            "{} = {}: not an absolute path; one such as /dev/v4l/by-id/usb-... is allowed",
            section.key("device"),
            device.display()
        ));
    }
    let mut side = |key| {
        let side = section.required::<u32>(key, "a size that `certiscope cameras` lists")?;
        if !(8..=16_384).contains(&side) {
            problems.add(format!(
                "{} = {side}: not a side of a picture; 8 to 16384 are allowed",
                section.key(key)
            ));
        }
        Some(side)
    };
    let (width, height) = (side("width_px"), side("height_px"));
    let frames_per_second = read_rate(&mut section, problems);
    let formats = section.optional::<Vec<FormatWord>>("format");
    if formats.as_ref().is_some_and(Vec::is_empty) {
        problems.add(format!(
            "{} = []: names no format; name one or more, or leave it out for the first that the camera offers",
            section.key("format")
        ));
    }
    let usual = FrameLimits::default();
    let limits = FrameLimits {
        frozen_after: section.or("frozen_after", usual.frozen_after),
        dark_below: section.or("dark_below", usual.dark_below),
        saturated_above: section.or("saturated_above", usual.saturated_above),
    };
    for (key, value, most) in
        [("dark_below", limits.dark_below, 255.0), ("saturated_above", limits.saturated_above, 1.0)]
    {
        if !(0.0..=most).contains(&value) {
            problems.add(format!("{} = {value}: out of range; 0 to {most} is allowed", section.key(key)));
        }
    }
    let controls = read_controls(&mut section, problems);
    section.finish();
    let size = Some((width?, height?));
    Some(CameraSettings {
        device: device?,
        size,
        frames_per_second,
        formats: formats.unwrap_or_default().into_iter().map(PixelFormat::from).collect(),
        controls,
        limits,
        calibrated: None,
    })
}

/// Any name is accepted here: only the camera knows which controls it has.
fn read_controls(section: &mut Section<'_>, problems: &Problems) -> BTreeMap<String, i64> {
    let controls = section.optional::<BTreeMap<String, toml::Value>>("controls").unwrap_or_default();
    let number = |(name, value): (String, toml::Value)| match value {
        toml::Value::Integer(number) => Some((name, number)),
        toml::Value::Boolean(on) => Some((name, i64::from(on))),
        other => {
            problems.add(format!(
                "{}.{name} = {other}: not a control's value; a whole number, true or false is allowed",
                section.key("controls")
            ));
            None
        }
    };
    controls.into_iter().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_format_is_read_by_its_word() {
        #[derive(serde::Deserialize)]
        struct Formats {
            format: Vec<FormatWord>,
        }
        for format in PixelFormat::ALL {
            let read: Formats = toml::from_str(&format!("format = [\"{format}\"]")).unwrap();
            assert_eq!(PixelFormat::from(read.format[0]), format);
        }
    }
}
