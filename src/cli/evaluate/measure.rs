//! Scores the pictures of one category. Scores of an earlier run are reused; a picture that cannot be scored is named.
//!
//! Costs: memory for one picture at a time, and for each finished picture its scores, a small fingerprint and the part
//! of its map that [`Pixels`] needs; and the [`Masks`].

use std::time::{Duration, Instant};

use anyhow::anyhow;
use indicatif::ProgressBar;
use ndarray::Array2;
use sha2::{Digest, Sha256};

use super::super::Failure;
use super::super::frames::PictureReader;
use super::super::part_from::PartFrom;
use super::kept::{KeptScores, PictureKey, Scores};
use super::masks::Masks;
use crate::bundle::Bundle;
use crate::capture::decode::DecodeLimits;
use crate::capture::folder::read_frame;
use crate::detector::Detector;
use crate::diffusion::seed::FrameSeed;
use crate::evaluation::au_pro::{PixelFigures, Pixels};
use crate::evaluation::layout::{Category, GOOD, LabelledPicture, LeftOut};
use crate::heat_map::HeatMapSum;
use crate::hex;
use crate::near_duplicates::groups;
use crate::picture_range::PictureFormat;
use crate::preprocess::Input;
use crate::smoothing::Ranked;

/// What is the same for all pictures of a run.
pub(super) struct Measuring<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) draws: u32,
    pub(super) seed: u64,
    /// Every picture shows a different part.
    pub(super) distinct_parts: bool,
    /// Names tell the part.
    pub(super) part_from: Option<&'a PartFrom>,
}

/// A scored picture.
pub(super) struct ScoredPicture {
    pub(super) listed: LabelledPicture,
    pub(super) key: PictureKey,
    /// Pictures of one part share it.
    pub(super) part: usize,
    /// The score of each draw, in issue order.
    pub(super) draws: Vec<f32>,
    /// The median of the draws; NaN where no draw gave a number.
    pub(super) certified: f32,
    pub(super) empirical: f32,
}

impl ScoredPicture {
    pub(super) fn is_normal(&self) -> bool {
        self.listed.kind == GOOD
    }
}

/// A category, measured.
pub(super) struct MeasuredCategory {
    pub(super) name: String,
    pub(super) pictures: Vec<ScoredPicture>,
    pub(super) left_out: Vec<LeftOut>,
    /// How many of those left out are not of the kind of the calibration pictures.
    pub(super) outside_range: usize,
    pub(super) pixel: Option<PixelFigures>,
    /// `None` if the data set has no masks.
    pub(super) masks: Option<MaskCounts>,
    /// For each picture whose scores could not be kept for a later run: why.
    pub(super) unkept: Vec<String>,
    /// How many pictures had their scores from an earlier run.
    pub(super) resumed: usize,
    /// Time in the detector for the other pictures.
    pub(super) spent: Duration,
}

/// Of the defective pictures that were scored.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MaskCounts {
    /// Their masks took part in the pixel figures.
    pub(super) used: usize,
    /// They have no mask, or one that cannot be used.
    pub(super) unusable: usize,
}

impl Measuring<'_> {
    pub(super) fn category(
        &self,
        category: Category,
        detector: &mut Detector,
        kept: &mut Option<KeptScores>,
        bar: &ProgressBar,
    ) -> Result<MeasuredCategory, Failure> {
        if let Some(it) = self.part_from {
            // Before hours of scoring.
            it.groups(category.pictures.iter().map(|it| it.name.as_str())).map_err(Failure::Refused)?;
        }
        let reader = PictureReader::new(self.bundle.input_shape(), self.bundle.full_scale());
        let range = self.bundle.picture_range();
        let masks = Masks::read(&category.pictures, self.map_shape());
        let (mut fingerprints, mut pixels) = (Vec::new(), Pixels::default());
        let mut measured = MeasuredCategory {
            name: category.name,
            pictures: Vec::new(),
            left_out: category.left_out,
            outside_range: 0,
            pixel: None,
            masks: masks.as_ref().map(|_| MaskCounts::default()),
            unkept: Vec::new(),
            resumed: 0,
            spent: Duration::ZERO,
        };
        for (index, listed) in category.pictures.into_iter().enumerate() {
            bar.inc(1);
            let frame = read_frame(&listed.path, 0, DecodeLimits::default());
            let prepared = frame.picture.map_err(anyhow::Error::from).and_then(|picture| {
                let (input, fingerprint) = reader.read(&picture)?;
                let outside = range.and_then(|it| it.check(PictureFormat::of(&picture, None), &input).err());
                Ok((input, fingerprint, [picture.width, picture.height], outside))
            });
            let (input, fingerprint, size) = match prepared {
                // A station gives no score to such a picture, so it takes part in no figure.
                Ok((.., Some(outside))) => {
                    measured.outside_range += 1;
                    measured
                        .left_out
                        .push(LeftOut::new(&listed.name, format!("a station abstains: {outside}")));
                    continue;
                }
                Ok((input, fingerprint, size, None)) => (input, fingerprint, size),
                Err(error) => {
                    measured
                        .left_out
                        .push(LeftOut::new(&listed.name, format!("unreadable picture: {error}")));
                    continue;
                }
            };
            let bytes = frame.encoded.expect("a file that was decoded has bytes");
            let key = self.key(&bytes);
            let (scores, map) = match kept.as_ref().and_then(|kept| kept.get(&key, self.map_shape())) {
                Some(found) => {
                    measured.resumed += 1;
                    found
                }
                None => {
                    let started = Instant::now();
                    let (scores, map) = self.score(detector, &input, &bytes)?;
                    measured.spent += started.elapsed();
                    // Without it the figures are the same; only an interruption would cost more.
                    if let Some(Err(error)) = kept.as_mut().map(|kept| kept.put(&key, &scores, &map)) {
                        measured.unkept.push(format!("{error:#}"));
                    }
                    (scores, map)
                }
            };
            if let (Some(masks), Some(counts)) = (&masks, &mut measured.masks) {
                let is_defective = usize::from(listed.kind != GOOD);
                match masks.of(index, &listed.kind, size) {
                    Ok(mask) => {
                        counts.used += is_defective;
                        pixels.add(&map, &mask);
                    }
                    Err(why) => {
                        counts.unusable += is_defective;
                        let why = format!("not in the pixel figures: {why}");
                        measured.left_out.push(LeftOut::new(&listed.name, why));
                    }
                }
            }
            let draws: Vec<f32> = scores.draws_scores.iter().map(|score| score.unwrap_or(f32::NAN)).collect();
            fingerprints.push(fingerprint);
            measured.pictures.push(ScoredPicture {
                part: measured.pictures.len(),
                certified: Ranked::new(draws.iter().copied()).median().unwrap_or(f32::NAN),
                empirical: scores.empirical.unwrap_or(f32::NAN),
                listed,
                key,
                draws,
            });
        }
        let parts = match self.part_from {
            Some(it) => {
                let names = measured.pictures.iter().map(|picture| picture.listed.name.as_str());
                Some(it.groups(names).map_err(Failure::Refused)?)
            }
            None => (!self.distinct_parts).then(|| groups(&fingerprints)),
        };
        if let Some(parts) = parts {
            for (picture, part) in measured.pictures.iter_mut().zip(parts) {
                picture.part = part;
            }
        }
        measured.pixel = pixels.figures();
        Ok(measured)
    }

    pub(super) fn map_shape(&self) -> [usize; 2] {
        let shape = self.bundle.input_shape();
        [shape.height, shape.width]
    }

    fn key(&self, bytes: &[u8]) -> PictureKey {
        PictureKey {
            picture: hex::sha256(bytes),
            bundle: self.bundle.sha256.clone(),
            draws: self.draws,
            seed: self.seed,
        }
    }

    /// Makes the draws of a picture. The noise comes from the seed of the run and the content of the file, so that the
    /// same picture has the same score in any folder. An inspection never does this, because its noise must be
    /// unpredictable.
    fn score(
        &self,
        detector: &mut Detector,
        input: &Input,
        bytes: &[u8],
    ) -> Result<(Scores, Array2<f32>), Failure> {
        let seed = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(bytes).finalize();
        let pairs =
            detector.draws(input, FrameSeed(seed.into())).next(self.draws).map_err(Failure::stopped)?;
        let mut heat = HeatMapSum::default();
        let scored = pairs.iter().map(|pair| detector.score(pair));
        let number = |score: f32| Some(score).filter(|score| score.is_finite());
        let scores = Scores {
            draws_scores: scored
                .map(|draw| {
                    heat.add(draw.map);
                    number(draw.score.value())
                })
                .collect(),
            empirical: number(detector.empirical(input, &pairs).value()),
        };
        let map =
            heat.heat_map().ok_or_else(|| Failure::refused(anyhow!("draws = 0: no map; at least 1")))?;
        Ok((scores, map))
    }
}
