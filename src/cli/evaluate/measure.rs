//! Scores the pictures of one category. Scores of an earlier run are reused; a picture that cannot be scored is named.
//!
//! Costs: memory for one picture at a time, and for each finished picture its scores, a small fingerprint and the part
//! of its map that [`Pixels`] needs. Masks and maps are compared at the size of the model input, as in anomalib: the mask
//! is sampled at the centre of each pixel of the map.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use indicatif::ProgressBar;
use ndarray::Array2;
use sha2::{Digest, Sha256};

use super::super::Failure;
use super::super::frames::PictureReader;
use super::kept::{KeptScores, PictureKey, Scores};
use crate::bundle::Bundle;
use crate::capture::decode::DecodeLimits;
use crate::capture::folder::read_frame;
use crate::capture::{Picture, Samples};
use crate::detector::Detector;
use crate::diffusion::seed::FrameSeed;
use crate::evaluation::au_pro::{PixelFigures, Pixels};
use crate::evaluation::layout::{Category, GOOD, LabelledPicture, LeftOut, Mask};
use crate::heat_map::HeatMapSum;
use crate::hex;
use crate::near_duplicates::groups;
use crate::preprocess::Input;
use crate::smoothing::Ranked;

/// What is the same for all pictures of a run.
pub(super) struct Measuring<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) draws: u32,
    pub(super) seed: u64,
    /// Every picture shows a different part.
    pub(super) distinct_parts: bool,
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
    pub(super) pixel: Option<PixelFigures>,
    /// Defects whose masks took part in the pixel figures.
    pub(super) masks: usize,
    /// How many pictures had their scores from an earlier run.
    pub(super) resumed: usize,
    /// Time in the detector for the other pictures.
    pub(super) spent: Duration,
}

impl Measuring<'_> {
    pub(super) fn category(
        &self,
        category: Category,
        detector: &mut Detector,
        kept: &mut Option<KeptScores>,
        bar: &ProgressBar,
    ) -> Result<MeasuredCategory, Failure> {
        let reader = PictureReader::new(self.bundle.input_shape());
        let has_masks = category.pictures.iter().any(|listed| matches!(listed.mask, Mask::File(_)));
        let (mut fingerprints, mut pixels) = (Vec::new(), Pixels::default());
        let mut measured = MeasuredCategory {
            name: category.name,
            pictures: Vec::new(),
            left_out: category.left_out,
            pixel: None,
            masks: 0,
            resumed: 0,
            spent: Duration::ZERO,
        };
        for listed in category.pictures {
            bar.inc(1);
            let frame = read_frame(&listed.path, 0, DecodeLimits::default());
            let prepared = frame.picture.map_err(anyhow::Error::from).and_then(|picture| {
                let (input, fingerprint) = reader.read(&picture)?;
                Ok((input, fingerprint, [picture.width, picture.height]))
            });
            let (input, fingerprint, size) = match prepared {
                Ok(prepared) => prepared,
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
                    if let Some(kept) = kept {
                        kept.put(&key, &scores, &map).map_err(Failure::stopped)?;
                    }
                    (scores, map)
                }
            };
            if has_masks {
                match self.mask(&listed, size) {
                    Ok(mask) => {
                        measured.masks += usize::from(listed.kind != GOOD);
                        pixels.add(&map, &mask);
                    }
                    Err(why) => {
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
        if !self.distinct_parts {
            for (picture, part) in measured.pictures.iter_mut().zip(groups(&fingerprints)) {
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

    /// The mask at the size of the map, or why there is none.
    fn mask(&self, listed: &LabelledPicture, size: [u32; 2]) -> Result<Array2<bool>, String> {
        let [height, width] = self.map_shape();
        let path = match &listed.mask {
            Mask::Empty => return Ok(Array2::from_elem((height, width), false)),
            Mask::File(path) => path,
            Mask::Missing | Mask::Unknown => {
                return Err("missing mask: no file of its stem or stem_mask".into());
            }
        };
        let mask = read_frame(path, 0, DecodeLimits::default())
            .picture
            .map_err(|error| format!("unreadable mask: {error}"))?;
        if [mask.width, mask.height] != size {
            let [w, h] = size;
            return Err(format!(
                "mask of {}x{} for a picture of {w}x{h}: not its size",
                mask.width, mask.height
            ));
        }
        let marked = marked(&mask, path);
        let at = |place: usize, of: usize, length: u32| (2 * place + 1) * length as usize / (2 * of);
        let small = Array2::from_shape_fn((height, width), |(y, x)| {
            marked[at(y, height, mask.height) * mask.width as usize + at(x, width, mask.width)]
        });
        if !small.iter().any(|&marked| marked) {
            return Err(match marked.iter().any(|&marked| marked) {
                true => format!("its defect is too small to be seen at {width}x{height}"),
                false => "empty mask: it marks no pixel".into(),
            });
        }
        Ok(small)
    }
}

/// The marked pixels: any value above 0, because VisA numbers its defects. In a JPEG, which blurs edges, any value above
/// half of full scale.
fn marked(mask: &Picture, path: &Path) -> Vec<bool> {
    let smeared = path
        .extension()
        .is_some_and(|extension| ["jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known)));
    let pixels = (mask.width * mask.height) as usize;
    fn above<T: PartialOrd + Copy>(samples: &[T], pixels: usize, limit: T) -> Vec<bool> {
        let depth = samples.len() / pixels;
        samples.chunks(depth).map(|pixel| pixel.iter().any(|&sample| sample > limit)).collect()
    }
    match &mask.samples {
        Samples::Eight(samples) => above(samples, pixels, if smeared { 127 } else { 0 }),
        Samples::Sixteen(samples) => above(samples, pixels, 0),
    }
}
