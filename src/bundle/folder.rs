//! The folder of a bundle: reads and checks it as a whole, and writes it with a new calibration.
//!
//! Guarantees: a loaded [`Bundle`] has every file with the hash that `bundle.toml` names. A written bundle is complete
//! and can be loaded, or the folder does not appear.
//! Leaves out: opening the model, and whether it still computes the same scores (`self_test`).

use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::error::BundleError;
use super::golden::{GoldenScores, GoldenVectors};
use super::manifest::{CalibrationSection, CameraFormat, Manifest};
use crate::diffusion::schedule::{NoiseLevel, Schedule, Timestep};
use crate::hex;
use crate::picture_range::PictureRange;
use crate::preprocess::{FULL_SCALE, InputShape, Preprocessor, Region};
use crate::score::{PixelStatistics, ScoreParameters, TrainingMaps};
use crate::tensors::{self, Tensors};

/// The file that describes a bundle.
pub(crate) const MANIFEST: &str = "bundle.toml";

/// A bundle that was read and found complete.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub folder: PathBuf,
    /// sha256 of `bundle.toml` as it was read. The file holds the hashes of the other files, so this identifies all.
    pub sha256: String,
    pub manifest: Manifest,
    pub level: NoiseLevel,
    pub score: ScoreParameters,
    pub golden: GoldenVectors,
    pub calibrated: Option<Calibrated>,
}

/// The part that `certiscope calibrate` adds.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// Maps of the certified error.
    pub maps: TrainingMaps,
    /// Maps of the empirical error.
    pub empirical_maps: TrainingMaps,
    /// Threshold on the certified score.
    pub threshold: f32,
}

/// Files that are written with a bundle for people to look at: name and text.
pub(crate) type ForPeople<'a> = &'a [(&'a str, &'a str)];

impl Bundle {
    /// Reads and checks the bundle in `folder`.
    pub fn load(folder: &Path) -> Result<Self, BundleError> {
        let manifest_file = folder.join(MANIFEST);
        let manifest = Manifest::read(&manifest_file)?;
        let sha256 = sha256_of(&manifest_file)?;
        let [channels, height, width] = manifest.input_shape();
        check_hash(&folder.join(&manifest.model.file), &manifest.model.sha256)?;
        let golden_file = folder.join(&manifest.golden.file);
        check_hash(&golden_file, &manifest.golden.sha256)?;
        let golden = GoldenVectors::read(&golden_file, [channels, height, width])?;
        let calibrated = match &manifest.calibration {
            None => None,
            Some(calibration) => {
                let maps_file = folder.join(&calibration.maps);
                check_hash(&maps_file, &calibration.maps_sha256)?;
                Some(calibrated(calibration, &Tensors::read(&maps_file)?, [height, width])?)
            }
        };
        let level = noise_level(&manifest)?;
        let score = manifest.score.clone().into();
        Ok(Self { folder: folder.to_path_buf(), sha256, manifest, level, score, golden, calibrated })
    }

    /// The calibrated part, or an error that says how to calibrate.
    pub fn calibrated(&self) -> Result<&Calibrated, BundleError> {
        self.calibrated.as_ref().ok_or_else(|| BundleError::NotCalibrated {
            name: self.manifest.name.clone(),
            path: self.folder.clone(),
        })
    }

    /// Refuses a score that needs a map that the model does not give, and training maps that do not fit the model.
    /// `has_head`, `has_features`: whether the model gives a defect map, and one of feature distances.
    pub fn check_outputs(&self, has_head: bool, has_features: bool) -> Result<(), BundleError> {
        let check = |key, weight: f32, giver, given, has_map: fn(&TrainingMaps) -> bool, allowed| {
            let mapped = self.calibrated.as_ref().is_none_or(|calibrated| {
                [&calibrated.maps, &calibrated.empirical_maps].into_iter().all(|maps| has_map(maps) == given)
            });
            if (weight == 0.0 || given) && mapped {
                return Ok(());
            }
            let what = format!(
                "score.{key} = {weight}, model with {giver}: {given}, training maps that fit: {mapped}"
            );
            Err(BundleError::Content { path: self.folder.clone(), what, allowed })
        };
        check(
            "head_weight",
            self.score.head_weight,
            "a defect head",
            has_head,
            |maps| maps.defect.is_some(),
            "a model with output `defect_logit` and maps made with it are needed; export and calibrate again",
        )?;
        check(
            "feature_weight",
            self.score.feature_weight,
            "a bank of features",
            has_features,
            |maps| maps.feature.is_some(),
            "a model with output `feature_distance` and maps made with it are needed; export and calibrate again",
        )
    }

    /// Format and size of the pictures of the threshold, if a camera took them.
    pub fn camera(&self) -> Option<&CameraFormat> {
        self.manifest.calibration.as_ref()?.camera.as_ref()
    }

    /// The range of the calibration pictures; `None` if the bundle was calibrated by an older program, or not yet.
    pub fn picture_range(&self) -> Option<PictureRange> {
        self.manifest.calibration.as_ref()?.pictures.as_ref().map(PictureRange::from)
    }

    /// The map from frames to inputs of this bundle. `region`: `None` for the whole frame.
    pub fn preprocessor(&self, region: Option<Region>) -> Preprocessor {
        Preprocessor::new(self.input_shape(), region).with_full_scale(self.full_scale())
    }

    /// The value of white in 16-bit pictures.
    pub fn full_scale(&self) -> u16 {
        self.manifest.input.full_scale.unwrap_or(FULL_SCALE)
    }

    pub fn model_file(&self) -> PathBuf {
        self.folder.join(&self.manifest.model.file)
    }

    pub fn input_shape(&self) -> InputShape {
        let [channels, height, width] = self.manifest.input_shape();
        InputShape { channels, height, width }
    }

    /// This bundle with another value of white in 16-bit pictures; `None`: as it is.
    #[must_use]
    pub fn with_full_scale(mut self, full_scale: Option<u16>) -> Self {
        self.manifest.input.full_scale = full_scale.or(self.manifest.input.full_scale);
        self
    }

    /// Writes this bundle with a new calibration, as `version`, to `folder`, which must not exist.
    /// The folder appears once it is complete and has been read back, or not at all.
    pub fn write_calibrated(
        &self,
        folder: &Path,
        version: u32,
        calibrated: &Calibrated,
        calibration: CalibrationSection,
        golden: GoldenScores,
        for_people: ForPeople<'_>,
    ) -> Result<(), BundleError> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = folder.with_file_name(format!(".{name}.unfinished"));
        let manifest = Manifest { version, ..self.manifest.clone() };
        let written = self
            .write_files(&unfinished, manifest, calibrated, calibration, golden, for_people)
            .and_then(|()| Self::load(&unfinished))
            .and_then(|_| std::fs::rename(&unfinished, folder).map_err(failed(&unfinished)));
        if written.is_err() {
            let _ = std::fs::remove_dir_all(&unfinished); // a disk that refuses to write may refuse this too; the first error is returned
        }
        written
    }

    fn write_files(
        &self,
        unfinished: &Path,
        mut manifest: Manifest,
        calibrated: &Calibrated,
        calibration: CalibrationSection,
        golden: GoldenScores,
        for_people: ForPeople<'_>,
    ) -> Result<(), BundleError> {
        let failed = failed(unfinished);
        std::fs::create_dir_all(unfinished).map_err(&failed)?;
        for (name, text) in for_people {
            std::fs::write(unfinished.join(name), text).map_err(&failed)?;
        }
        std::fs::copy(self.model_file(), unfinished.join(&self.manifest.model.file)).map_err(&failed)?;
        let golden_file = unfinished.join(&self.manifest.golden.file);
        self.golden.calibrated_with(golden).write(&golden_file)?;
        let maps_file = unfinished.join(&calibration.maps);
        let Calibrated { maps, empirical_maps, .. } = calibrated;
        let mut list = named_maps(maps, CERTIFIED);
        list.extend(named_maps(empirical_maps, EMPIRICAL));
        let list: Vec<_> = list.iter().map(|(name, map)| (name.as_str(), map.view().into_dyn())).collect();
        tensors::write(&maps_file, &list)?;
        manifest.golden.sha256 = sha256_of(&golden_file)?;
        manifest.calibration =
            Some(CalibrationSection { maps_sha256: sha256_of(&maps_file)?, ..calibration });
        manifest.write(&unfinished.join(MANIFEST))
    }

    /// `name@version`, for people and for the wire.
    pub fn label(&self) -> String {
        format!("{}@{}", self.manifest.name, self.manifest.version)
    }
}

/// Makes the error for something that cannot be written at `path`.
fn failed(path: &Path) -> impl Fn(std::io::Error) -> BundleError {
    |error| BundleError::Write { path: path.to_path_buf(), why: error.to_string() }
}

/// The calibrated part, from its section and its maps.
pub(super) fn calibrated(
    calibration: &CalibrationSection,
    maps: &Tensors,
    shape: [usize; 2],
) -> Result<Calibrated, BundleError> {
    Ok(Calibrated {
        maps: read_maps(maps, CERTIFIED, shape)?,
        empirical_maps: read_maps(maps, EMPIRICAL, shape)?,
        threshold: calibration.threshold,
    })
}

pub(super) fn noise_level(manifest: &Manifest) -> Result<NoiseLevel, BundleError> {
    let refused = |error| BundleError::Schedule { name: manifest.name.clone(), error };
    let schedule = &manifest.schedule;
    Schedule::linear(schedule.steps, schedule.beta_first, schedule.beta_last)
        .and_then(|s| s.noise_level(Timestep(manifest.detector.k), manifest.detector.sigma))
        .map_err(refused)
}

/// Prefixes of the names of tensors: of the maps of the certified score, and of those of the empirical score.
const CERTIFIED: &str = "";
const EMPIRICAL: &str = "empirical_";
/// What follows them for the maps of the defect head, and for those of the features; nothing for the residual.
const DEFECT: &str = "defect_";
const FEATURE: &str = "feature_";

fn read_maps(tensors: &Tensors, score: &str, shape: [usize; 2]) -> Result<TrainingMaps, BundleError> {
    let map = |name: &str| -> Result<Array2<f32>, BundleError> {
        Ok(tensors.get(name, &shape)?.into_dimensionality().expect("two dimensions were asked for"))
    };
    let statistics = |part: &str| -> Result<PixelStatistics, BundleError> {
        let std = format!("{score}{part}std");
        let found = PixelStatistics { mean: map(&format!("{score}{part}mean"))?, std: map(&std)? };
        if found.std.iter().any(|&s| s <= 0.0) {
            return Err(BundleError::Content {
                path: tensors.path().to_path_buf(),
                what: format!("tensor `{std}` has values of 0 or less"),
                allowed: "calibrate again",
            });
        }
        Ok(found)
    };
    let optional = |part: &str| -> Result<Option<PixelStatistics>, BundleError> {
        let there = tensors.shape(&format!("{score}{part}mean")).is_some();
        there.then(|| statistics(part)).transpose()
    };
    Ok(TrainingMaps { residual: statistics("")?, defect: optional(DEFECT)?, feature: optional(FEATURE)? })
}

/// The maps of one score, each with the name of its tensor.
fn named_maps<'a>(maps: &'a TrainingMaps, score: &str) -> Vec<(String, &'a Array2<f32>)> {
    let parts =
        [("", Some(&maps.residual)), (DEFECT, maps.defect.as_ref()), (FEATURE, maps.feature.as_ref())];
    let present = parts.into_iter().filter_map(|(part, statistics)| Some((part, statistics?)));
    present
        .flat_map(|(part, PixelStatistics { mean, std })| {
            [(format!("{score}{part}mean"), mean), (format!("{score}{part}std"), std)]
        })
        .collect()
}

/// sha256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> Result<String, BundleError> {
    std::fs::File::open(path)
        .and_then(hex::sha256_of)
        .map_err(|error| BundleError::File { path: path.to_path_buf(), why: error.to_string() })
}

fn check_hash(path: &Path, wanted: &str) -> Result<(), BundleError> {
    let got = sha256_of(path)?;
    if got == wanted {
        return Ok(());
    }
    Err(BundleError::Hash { path: path.to_path_buf(), got, wanted: wanted.to_owned() })
}
