//! Gross changes drawn into good parts, to see whether the threshold finds them.
//!
//! The change is a disc a fifth of the picture wide, in the darkest or the brightest tone of that picture, whichever is farther
//! from what it covers. So it is as gross as the pictures themselves allow, and no detector worth its name passes it.
//! Leaves out: how well real defects are found (`certiscope evaluate`).
//! Costs: a few draws for each of a dozen parts.

use ndarray::ArrayViewMut2;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use super::super::Failure;
use super::parts::NormalPart;
use crate::detector::Detector;
use crate::diffusion::seed::FrameSeed;
use crate::preprocess::Input;
use crate::smoothing::Ranked;

/// How many parts get a change.
const PARTS: usize = 12;
/// How many draws are made of each.
const DRAWS: u32 = 16;
/// Diameter of the disc as a share of the shorter side.
const DIAMETER: f64 = 0.2;
/// Where the disc lies, as shares of width and height: another place in each part.
const PLACES: [(f64, f64); 5] = [(0.5, 0.5), (0.35, 0.35), (0.65, 0.35), (0.35, 0.65), (0.65, 0.65)];

/// The smoothed scores of parts with a change; NaN where no draw gave a number.
pub(super) fn scores(
    detector: &mut Detector,
    parts: &[NormalPart],
    rng: &mut ChaCha20Rng,
) -> Result<Vec<f32>, Failure> {
    let step = parts.len().div_ceil(PARTS).max(1);
    let chosen = parts.iter().step_by(step).zip(PLACES.into_iter().cycle());
    chosen
        .map(|(part, place)| {
            let changed = with_disc(&part.input, place);
            let seed = FrameSeed(rng.random());
            let draws = detector.draws(&changed, seed).next(DRAWS).map_err(Failure::stopped)?;
            let scores = draws.iter().map(|draw| detector.certified(draw).value());
            Ok(Ranked::new(scores).median().unwrap_or(f32::NAN))
        })
        .collect()
}

/// The input with a disc around a place, given as shares of width and height.
fn with_disc(input: &Input, (across, down): (f64, f64)) -> Input {
    let mut values = input.view().to_owned();
    let (_, height, width) = values.dim();
    let radius = DIAMETER / 2.0 * height.min(width) as f64;
    let (x_mid, y_mid) = (across * width as f64 - 0.5, down * height as f64 - 0.5);
    let inside = |y: usize, x: usize| (x as f64 - x_mid).hypot(y as f64 - y_mid) <= radius;
    values.outer_iter_mut().for_each(|channel| draw_disc(channel, inside));
    Input::from_unit_range(values).expect("its own tones are in the unit range")
}

/// Fills the disc with the darkest or brightest tone of the channel. The tones are those of the lowest and highest hundredth, so
/// that a single odd pixel does not decide.
fn draw_disc(mut channel: ArrayViewMut2<'_, f32>, inside: impl Fn(usize, usize) -> bool) {
    let mut tones: Vec<f32> = channel.iter().copied().collect();
    tones.sort_by(f32::total_cmp);
    let (dark, bright) = (tones[tones.len() / 100], tones[tones.len() - 1 - tones.len() / 100]);
    let covered: Vec<f32> =
        channel.indexed_iter().filter(|((y, x), _)| inside(*y, *x)).map(|(_, value)| *value).collect();
    let mean = covered.iter().sum::<f32>() / covered.len().max(1) as f32;
    let tone = if mean - dark > bright - mean { dark } else { bright };
    for ((y, x), value) in channel.indexed_iter_mut() {
        if inside(y, x) {
            *value = tone;
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn the_disc_has_the_tone_that_is_farther_from_what_it_covers() {
        // Dark on the left, bright on the right.
        let values = Array3::from_shape_fn((1, 40, 40), |(_, _, x)| if x < 20 { 0.2 } else { 0.7 });
        let input = Input::from_unit_range(values).unwrap();
        for (place, x, tone) in [((0.25, 0.5), 10, 0.7), ((0.75, 0.5), 30, 0.2)] {
            let changed = with_disc(&input, place);
            let (before, after) = (input.view(), changed.view());
            assert_eq!(after[[0, 20, x]], tone);
            let different = before.iter().zip(after).filter(|(one, other)| one != other).count();
            // A disc of diameter 8 has an area of 50.
            assert!((44..=58).contains(&different), "{different}");
        }
    }
}
