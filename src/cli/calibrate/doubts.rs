//! Why a threshold is not to be believed, although it was computed as it should be.
//!
//! The guarantee of a calibration bounds false alarms. A threshold that is far too high keeps it and lets every defect pass. So
//! four questions are asked that good sets of pictures answer with yes:
//! * Can the pictures be seen under the noise of the draws?
//! * Are they of one kind, or is there a gap in their brightness, as between two settings of a camera?
//! * Is the threshold near what most parts score?
//! * Is a gross change of a good part found with it ([`super::planted`])?
//!
//! Leaves out: defects among the pictures that look like good parts; the report names the highest scores.
//!
//! The limits were chosen on simulated flanges and magnetic tiles with their own models, and on three categories of MVTec AD with
//! these foreign models. Flanges, tiles, bottles and pills raise no doubt. Transistors raise one: a model that was never trained on
//! them does not find the change that is drawn into them.

use super::super::Failure;
use super::picture_set::{PictureSet, SetPicture};
use crate::picture_range::Brightness;

/// A picture of less contrast than this share of sigma is under the noise.
const UNDER_THE_NOISE: f64 = 1.0 / 3.0;
/// A picture of less contrast than this share of sigma is hard to see.
const HARD_TO_SEE: f64 = 0.5;
/// The gap between neighbours in the order of a value, as a factor, above which the pictures are of two kinds.
const GAPS: [Gap; 3] = [
    Gap { what: "mean", value: |it| it.mean, factor: 1.6 },
    Gap { what: "contrast", value: |it| it.contrast, factor: 2.0 },
    Gap { what: "sharpness", value: |it| it.sharpness, factor: 2.0 },
];
/// Values below this are equally dark.
const DARK: f64 = 0.002;
/// How many typical deviations the threshold may lie above the typical bound.
const FAR: f64 = 50.0;
/// The share of planted changes that must be found.
const FOUND: f64 = 0.75;
/// How many pictures are named.
const NAMED: usize = 5;

/// A value by which pictures are told apart, and how far neighbours in its order may be apart.
struct Gap {
    what: &'static str,
    value: fn(&Brightness) -> f64,
    factor: f64,
}

/// Refuses pictures that nobody can see under the noise of standard deviation `sigma`.
pub(super) fn refuse_what_noise_buries(set: &PictureSet, sigma: f64) -> Result<(), Failure> {
    let contrast = typical_contrast(set);
    if set.pictures.is_empty() || contrast >= UNDER_THE_NOISE * sigma {
        return Ok(());
    }
    Err(Failure::refused(anyhow::anyhow!(
        "normal parts: contrast = {contrast:.4} (half of the pictures have less): the noise of the certificate, sigma {sigma}, buries them, and every part would look normal; pictures of at least {:.4} are needed: look at light, exposure, bit depth and --full-scale",
        UNDER_THE_NOISE * sigma
    )))
}

/// The reasons for doubt that the pictures give, for people.
pub(super) fn of_pictures(set: &PictureSet, sigma: f64) -> Vec<String> {
    let contrast = typical_contrast(set);
    let mut doubts = Vec::new();
    if contrast < HARD_TO_SEE * sigma {
        doubts.push(format!(
            "the pictures have a contrast of {contrast:.4} (the middle one) under noise of {sigma}: faint defects are buried; look at light, exposure and bit depth"
        ));
    }
    doubts.extend(GAPS.iter().filter_map(|it| gap(&set.pictures, it)));
    doubts
}

/// The reasons for doubt that the scores give. `bounds` are those of the parts, and of the changes planted into `planted` parts
/// `found` score above the threshold.
pub(super) fn of_threshold(threshold: f32, bounds: &[f32], found: usize, planted: usize) -> Vec<String> {
    let mut doubts = Vec::new();
    let typical = median(bounds.iter().map(|bound| f64::from(*bound)));
    let deviation = median(bounds.iter().map(|bound| (f64::from(*bound) - typical).abs()));
    let above = f64::from(threshold) - typical;
    if above > FAR * deviation {
        doubts.push(format!(
            "the threshold is {threshold:.4}, and half of the parts have a bound below {typical:.4}, give or take {deviation:.4}: some parts are of another kind; look at those with the highest scores"
        ));
    }
    if (found as f64) < FOUND * planted as f64 {
        doubts.push(format!(
            "a disc a fifth of the picture wide, in its darkest or brightest tone, was drawn into {planted} of these parts, and in {} it scores below the threshold: defects would pass",
            planted - found
        ));
    }
    doubts
}

fn typical_contrast(set: &PictureSet) -> f64 {
    median(set.pictures.iter().map(|picture| picture.brightness.contrast))
}

/// Names the smaller side of a gap that is wider than allowed.
fn gap(pictures: &[SetPicture], &Gap { what, value, factor }: &Gap) -> Option<String> {
    let mut sorted: Vec<(f64, &str)> =
        pictures.iter().map(|it| (value(&it.brightness).max(DARK), it.name.as_str())).collect();
    sorted.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let width = |at: usize| sorted[at].0 / sorted[at - 1].0;
    let at = (1..sorted.len()).max_by(|&one, &other| width(one).total_cmp(&width(other)))?;
    if width(at) <= factor {
        return None;
    }
    let (below, above) = sorted.split_at(at);
    let (few, side) = if below.len() <= above.len() { (below, "below") } else { (above, "above") };
    let names: Vec<&str> = few.iter().take(NAMED).map(|(_, name)| *name).collect();
    Some(format!(
        "{} of {} pictures have a {what} {side} all others, {:.3} and then {:.3}: two kinds of pictures, such as two exposures; those are {}{}",
        few.len(),
        sorted.len(),
        sorted[at - 1].0,
        sorted[at].0,
        names.join(", "),
        if few.len() > NAMED { ", …" } else { "" }
    ))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(contrasts: impl IntoIterator<Item = (f64, f64)>) -> PictureSet {
        let picture = |(number, (mean, contrast)): (usize, (f64, f64))| SetPicture {
            name: format!("{number}.png"),
            brightness: Brightness { mean, contrast, sharpness: contrast / 4.0, asymmetry: 0.2 },
        };
        let pictures = contrasts.into_iter().enumerate().map(picture).collect();
        PictureSet { pictures, range: None, mixed_sizes: None }
    }

    #[test]
    fn pictures_under_the_noise_are_refused_and_faint_ones_doubted() {
        let of = |contrast: f64| set((0..9).map(|_| (0.4, contrast)));
        assert!(refuse_what_noise_buries(&of(0.2), 0.05).is_ok() && of_pictures(&of(0.2), 0.05).is_empty());
        assert!(refuse_what_noise_buries(&of(0.02), 0.05).is_ok());
        let doubts = of_pictures(&of(0.02), 0.05);
        assert!(doubts.len() == 1 && doubts[0].contains("0.0200"), "{doubts:?}");
        assert!(refuse_what_noise_buries(&of(0.01), 0.05).is_err());
    }

    #[test]
    fn two_exposures_are_told_with_the_names_of_the_fewer() {
        let varied = (0..30).map(|n| (0.3 + 0.01 * f64::from(n), 0.1 + 0.003 * f64::from(n)));
        assert!(of_pictures(&set(varied.clone()), 0.02).is_empty());
        let doubts = of_pictures(&set(varied.chain([(0.15, 0.05), (0.14, 0.05)])), 0.02);
        assert!(
            doubts.len() == 1 && doubts[0].contains("2 of 32") && doubts[0].contains("31.png, 30.png"),
            "{doubts:?}"
        );
    }

    #[test]
    fn a_threshold_that_an_odd_picture_made_or_that_finds_nothing_is_doubted() {
        let bounds: Vec<f32> = (0..100).map(|n| 4.0 + 0.01 * n as f32).collect();
        assert!(of_threshold(6.0, &bounds, 12, 12).is_empty());
        let far = of_threshold(110.0, &bounds, 12, 12);
        assert!(far.len() == 1 && far[0].contains("110.0000") && far[0].contains("4.5"), "{far:?}");
        let blind = of_threshold(6.0, &bounds, 8, 12);
        assert!(blind.len() == 1 && blind[0].contains("in 4 it scores"), "{blind:?}");
    }
}
