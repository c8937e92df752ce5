//! Evidence: what a technician needs to see why a part got its verdict, and a program to compute it again.
//!
//! One folder a frame that [`Keep`] wants: the bytes as captured (`frame.*`; a lossless PNG where the source made raw
//! pixels), the exact model input (`input.safetensors`) and `heatmap.png`, the frame beside itself under
//! its heat map. Seed and parameters lie in the database row. Guarantees: a folder is renamed into place
//! whole or not at all. Leaves out: how long it is kept (see [`crate::retention`]).

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use image::{DynamicImage, Rgb, RgbImage};
use ndarray::Array2;

use crate::bundle::{BundleError, tensors};
use crate::capture::encode::{png, to_image};
use crate::capture::{Frame, Picture};
use crate::inspection::{Evidence, FrameSeed};
use crate::inspector::Inspected;
use crate::verdict::Verdict;

/// The exact model input, one tensor `input`, CHW.
pub const INPUT: &str = "input.safetensors";
/// The frame beside itself under its heat map.
pub const HEAT_MAP: &str = "heatmap.png";

/// Of which inspections evidence is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Of those that are not `normal`.
    Flagged,
    All,
    /// Of those that are not `normal`, and of one in so many that are: an escape is always about a `normal`.
    OneInN(NonZeroU32),
}

impl Keep {
    /// Normals are chosen by their seed, so by chance, and by nothing that the part or the line can influence.
    pub fn wants(self, verdict: Verdict, seed: FrameSeed) -> bool {
        let FrameSeed([first, second, third, fourth, ..]) = seed;
        match self {
            _ if verdict != Verdict::Normal => true,
            Self::Flagged => false,
            Self::All => true,
            Self::OneInN(n) => u32::from_le_bytes([first, second, third, fourth]).is_multiple_of(n.get()),
        }
    }
}

/// Evidence that could not be kept. The verdict stands without it.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("evidence: {}: {why}; a writable folder with room is needed", path.display())]
    File { path: PathBuf, why: String },
    #[error("evidence: {0}")]
    Tensors(#[from] BundleError),
}

/// The files of a folder of evidence, as far as they are there.
#[derive(Debug)]
pub struct Files {
    /// The bytes as captured.
    pub frame: Option<PathBuf>,
    pub input: Option<PathBuf>,
    pub heat_map: Option<PathBuf>,
}

/// Looks into a folder of evidence; an error where there is none.
pub fn files(folder: &Path) -> std::io::Result<Files> {
    let frame = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_stem().is_some_and(|stem| stem == "frame"));
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    Ok(Files { frame, input: there(INPUT), heat_map: there(HEAT_MAP) })
}

/// Writes the evidence of one frame to `root/name`. Nothing is left of evidence that could not be kept whole.
pub fn keep(
    root: &Path,
    name: &str,
    frame: &Frame,
    inspected: &Inspected,
) -> Result<Evidence, EvidenceError> {
    let unfinished = root.join(format!(".{name}"));
    let kept = write(&unfinished, frame, inspected).and_then(|bytes| {
        let kept = root.join(name);
        std::fs::rename(&unfinished, &kept).map_err(|error| failed(&kept, &error))?;
        Ok(Evidence { folder: name.to_owned(), bytes })
    });
    if kept.is_err() {
        let _ = std::fs::remove_dir_all(&unfinished); // the disk that refused the files may refuse this too
    }
    kept
}

/// Writes the files into `folder`; returns their bytes together.
fn write(folder: &Path, frame: &Frame, inspected: &Inspected) -> Result<u64, EvidenceError> {
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    if let Some((file, bytes)) = captured_bytes(frame) {
        let path = folder.join(file);
        std::fs::write(&path, bytes).map_err(|error| failed(&path, &error))?;
    }
    if let Some(input) = &inspected.input {
        tensors::write(&folder.join(INPUT), &[("input", input.view().into_dyn())])?;
    }
    if let (Ok(picture), Some(heat)) = (&frame.picture, &inspected.heat) {
        let path = folder.join(HEAT_MAP);
        let threshold = inspected.inspection.parameters.threshold;
        let drawn = png(&DynamicImage::ImageRgb8(heat_beside_frame(picture, heat, threshold)));
        std::fs::write(&path, drawn).map_err(|error| failed(&path, &error))?;
    }
    size_of(folder).map_err(|error| failed(folder, &error))
}

fn size_of(folder: &Path) -> std::io::Result<u64> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

fn failed(path: &Path, error: &std::io::Error) -> EvidenceError {
    EvidenceError::File { path: path.to_path_buf(), why: error.to_string() }
}

/// The bytes as captured with a file name that suits them; raw pixels as PNG. `None` for a frame that
/// gave neither.
fn captured_bytes(frame: &Frame) -> Option<(String, Vec<u8>)> {
    if let Some(bytes) = &frame.encoded {
        let extension = image::guess_format(bytes).ok().and_then(|format| format.extensions_str().first());
        return Some((format!("frame.{}", extension.unwrap_or(&"bin")), bytes.to_vec()));
    }
    let picture = frame.picture.as_ref().ok()?;
    Some(("frame.png".to_owned(), png(&to_image(picture)?)))
}

/// Side of the longer edge of each of the two pictures, pixels: small frames are enlarged for the eye.
const SHOWN_PX: u32 = 384;
const GAP_PX: u32 = 8;

/// The frame, and beside it the frame under its heat map. `heat` is HW at the size of the model input, in
/// training standard deviations; it begins to colour at a quarter of the threshold and is full red at it.
pub fn heat_beside_frame(picture: &Picture, heat: &Array2<f32>, threshold: f32) -> RgbImage {
    let frame = to_image(picture).map(|image| image.to_rgb8()).unwrap_or_default();
    let scale = f64::from(SHOWN_PX) / f64::from(frame.width().max(frame.height()).max(1));
    let shown = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    let (width, height) = (shown(frame.width()), shown(frame.height()));
    let frame = image::imageops::resize(&frame, width, height, image::imageops::FilterType::Triangle);
    let mut sheet = RgbImage::from_pixel(2 * width + GAP_PX, height, Rgb([255; 3]));
    for (x, y, &pixel) in frame.enumerate_pixels() {
        sheet.put_pixel(x, y, pixel);
        let value =
            sample(heat, (f64::from(x) + 0.5) / f64::from(width), (f64::from(y) + 0.5) / f64::from(height));
        sheet.put_pixel(x + width + GAP_PX, y, coloured(pixel, value / threshold));
    }
    sheet
}

/// Bilinear value of the map at relative coordinates in \[0, 1\].
fn sample(map: &Array2<f32>, x: f64, y: f64) -> f32 {
    let at = |relative: f64, len: usize| {
        let position = (relative * len as f64 - 0.5).clamp(0.0, (len - 1) as f64);
        let low = position.floor() as usize;
        (low, (low + 1).min(len - 1), (position - low as f64) as f32)
    };
    let (rows, columns) = map.dim();
    let (top, bottom, down) = at(y, rows);
    let (left, right, across) = at(x, columns);
    let row = |y: usize| map[[y, left]] * (1.0 - across) + map[[y, right]] * across;
    row(top) * (1.0 - down) + row(bottom) * down
}

/// A frame pixel under heat: untouched when cold, through yellow to red at the threshold and beyond.
fn coloured(Rgb([r, g, b]): Rgb<u8>, heat: f32) -> Rgb<u8> {
    let warmth = ((heat - 0.25) / 0.75).clamp(0.0, 1.0);
    let opacity = 0.55 * warmth.sqrt();
    let flame = [255.0, 220.0 * (1.0 - warmth), 0.0];
    let mix = |frame: u8, flame: f32| (f32::from(frame) * (1.0 - opacity) + flame * opacity).round() as u8;
    Rgb([mix(r, flame[0]), mix(g, flame[1]), mix(b, flame[2])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Channels, Samples};
    use crate::diffusion::noise::fresh_seed;
    use crate::verdict::Reason;

    #[test]
    fn one_in_n_takes_every_flagged_part_and_about_one_normal_in_n() {
        let keep = Keep::OneInN(NonZeroU32::new(100).unwrap());
        let seeds: Vec<FrameSeed> = std::iter::repeat_with(|| fresh_seed().unwrap()).take(20_000).collect();
        let kept = |keep: Keep, verdict| seeds.iter().filter(|seed| keep.wants(verdict, **seed)).count();
        // 200 are expected; six standard deviations are 85.
        assert!((115..=285).contains(&kept(keep, Verdict::Normal)), "{}", kept(keep, Verdict::Normal));
        for flagged in [Verdict::Anomalous, Verdict::Abstain(Reason::Undecided)] {
            assert_eq!((kept(keep, flagged), kept(Keep::Flagged, flagged)), (20_000, 20_000));
        }
        assert_eq!((kept(Keep::Flagged, Verdict::Normal), kept(Keep::All, Verdict::Normal)), (0, 20_000));
    }

    #[test]
    fn the_heat_map_reddens_the_hot_place_and_leaves_the_cold_ones() {
        let picture = Picture {
            width: 32,
            height: 16,
            channels: Channels::Grey,
            samples: Samples::Eight(vec![100; 512]),
        };
        let mut heat = Array2::zeros((8, 8));
        heat[[2, 6]] = 9.0;
        let sheet = heat_beside_frame(&picture, &heat, 3.0);
        assert_eq!(sheet.dimensions(), (2 * SHOWN_PX + GAP_PX, SHOWN_PX / 2));
        let right = |x: f64, y: f64| {
            *sheet.get_pixel(
                SHOWN_PX + GAP_PX + (x * f64::from(SHOWN_PX)) as u32,
                (y * f64::from(SHOWN_PX / 2)) as u32,
            )
        };
        let Rgb([red, green, _]) = right(6.5 / 8.0, 2.5 / 8.0);
        assert!(red > 180 && green < 60, "{red} {green}");
        assert_eq!(right(1.5 / 8.0, 6.5 / 8.0), Rgb([100; 3]));
    }
}
