//! Evidence: the files from which a technician sees why a part got its verdict, and from which `verify` computes it again.
//!
//! Each frame that [`Keep`] selects gets a folder with the bytes as captured (`frame.*`; a lossless PNG if the source gave raw
//! pixels), the exact model input (`input.safetensors`), and `heatmap.png`, which shows the frame and beside it the frame
//! under its heat map. Seed and parameters are in the inspection log.
//! Guarantees: a folder is complete or does not exist, because it is renamed when it is complete.
//! Leaves out: how long evidence is kept (see [`crate::retention`]).

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use image::DynamicImage;

use crate::capture::Frame;
use crate::capture::encode::{png, to_image};
use crate::diffusion::seed::FrameSeed;
use crate::heat_map::heat_beside_frame;
use crate::inspection::Evidence;
use crate::inspector::Inspected;
use crate::tensors::{self, TensorError};
use crate::verdict::Verdict;

/// The file with the exact model input: one tensor `input`, CHW.
pub(crate) const INPUT: &str = "input.safetensors";
/// The picture of the frame, and beside it the frame under its heat map.
pub(crate) const HEAT_MAP: &str = "heatmap.png";

/// For which inspections evidence is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// For those that are not `normal`.
    Flagged,
    All,
    /// For those that are not `normal`, and for one in so many that are, since a missed defect always had the verdict `normal`.
    OneInN(NonZeroU32),
}

impl Keep {
    /// Whether evidence is kept for this verdict. `normal` ones are chosen by their seed, which is random, so neither the part
    /// nor the line can influence the choice.
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

/// Evidence could not be kept. The verdict does not depend on it.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("evidence: {}: {why}; a writable folder with free space and free inodes (df, df -i) is needed", path.display())]
    File { path: PathBuf, why: String },
}

impl From<TensorError> for EvidenceError {
    fn from(error: TensorError) -> Self {
        let (TensorError::Read { path, why }
        | TensorError::Write { path, why }
        | TensorError::Format { path, what: why }
        | TensorError::Tensor { path, what: why }) = error;
        Self::File { path, why }
    }
}

/// The files of an evidence folder; `None` for a file that does not exist.
#[derive(Debug)]
pub(crate) struct Files {
    /// The bytes as captured.
    pub frame: Option<PathBuf>,
    pub input: Option<PathBuf>,
    pub heat_map: Option<PathBuf>,
}

/// Lists the files of an evidence folder. An error if there is no such folder.
pub(crate) fn files(folder: &Path) -> std::io::Result<Files> {
    let frame = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_stem().is_some_and(|stem| stem == "frame"));
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    Ok(Files { frame, input: there(INPUT), heat_map: there(HEAT_MAP) })
}

/// Writes the evidence of one frame to `root/name`. If a file cannot be written, the folder is deleted again.
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

/// Writes the files into `folder`; returns their size together, in bytes.
fn write(folder: &Path, frame: &Frame, inspected: &Inspected) -> Result<u64, EvidenceError> {
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    if let Some((file, bytes)) = captured_bytes(frame) {
        let path = folder.join(file);
        std::fs::write(&path, bytes).map_err(|error| failed(&path, &error))?;
    }
    if let Some(input) = &inspected.input {
        tensors::write(&folder.join(INPUT), &[("input", input.view().into_dyn())])?;
    }
    if let (Ok(picture), Some(heat)) = (&frame.picture, &inspected.heat_map) {
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

/// The bytes as captured, with a matching file name; raw pixels as PNG. `None` for a frame that has neither.
fn captured_bytes(frame: &Frame) -> Option<(String, Vec<u8>)> {
    if let Some(bytes) = &frame.encoded {
        let extension = image::guess_format(bytes).ok().and_then(|format| format.extensions_str().first());
        return Some((format!("frame.{}", extension.unwrap_or(&"bin")), bytes.to_vec()));
    }
    let picture = frame.picture.as_ref().ok()?;
    Some(("frame.png".to_owned(), png(&to_image(picture)?)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::*;
    use crate::capture::{Channels, Picture, Samples, Stamp};
    use crate::computation::Computation;
    use crate::diffusion::seed::fresh_seed;
    use crate::inspection::{FrameOutcome, Inspection, Latency, Parameters};
    use crate::preprocess::Input;
    use crate::smoothing::RuleSettings;
    use crate::verdict::Reason;

    /// A frame that abstained, with everything that evidence is made of.
    fn inspected() -> (Frame, Inspected) {
        let picture =
            Picture { width: 8, height: 8, channels: Channels::Grey, samples: Samples::Eight(vec![100; 64]) };
        let frame = Frame {
            source_seq: 1,
            captured_at: Stamp::now(),
            part_id: None,
            meas_id: None,
            picture: Ok(picture),
            encoded: None,
            truth: None,
        };
        let parameters = Arc::new(Parameters {
            model: String::new(),
            model_sha256: String::new(),
            bundle_sha256: String::new(),
            input: [1, 8, 8],
            k: 0,
            sigma: 0.1,
            threshold: 1.0,
            rule: RuleSettings::new(0.05),
            required_radius: 0.05,
            deadline_ms: None,
            recipe: None,
            batch: 8,
            computation: Computation {
                provider: String::new(),
                precision: String::new(),
                onnxruntime: String::new(),
                threads: 1,
                cpu: String::new(),
            },
            region: None,
        });
        let outcome = FrameOutcome::NotDrawn { reason: Reason::ModelFault, fault: String::new() };
        let inspection =
            Inspection::of(&frame, fresh_seed().unwrap(), outcome, Latency::default(), &parameters);
        let input = Input::from_unit_range(Array3::from_elem((1, 8, 8), 0.5)).unwrap();
        (frame, Inspected { inspection, input: Some(input), heat_map: None })
    }

    /// Each file, one after the other, cannot be written on a full disk: the message names the file and the disk, and no bundle.
    #[test]
    fn evidence_on_a_full_disk_says_so_and_nothing_of_a_bundle() {
        let (frame, inspected) = inspected();
        for file in ["frame.png", INPUT] {
            let root = tempfile::TempDir::new().unwrap();
            let unfinished = root.path().join(".part");
            std::fs::create_dir(&unfinished).unwrap();
            std::os::unix::fs::symlink("/dev/full", unfinished.join(file)).unwrap();
            let words = keep(root.path(), "part", &frame, &inspected).unwrap_err().to_string();
            assert_eq!(
                words,
                format!(
                    "evidence: {}: No space left on device (os error 28); a writable folder with free space and free inodes (df, df -i) is needed",
                    unfinished.join(file).display()
                )
            );
            assert!(!unfinished.exists(), "nothing is left of evidence that is not whole");
        }
    }

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
}
