//! The range of the pictures that a bundle was calibrated with, and whether a frame lies in it.
//!
//! The test of the certificate is one-sided: noise that buries a picture makes every part look normal. So a frame far
//! outside of what the bundle was made for must not be judged by its score.
//!
//! Guarantees: a frame is compared with the size and bits of the calibration pictures, with their colours where the model
//! input is coloured, and its clean model input with their mean, contrast, sharpness and asymmetry. What differs is
//! named, with both values. Nothing here sees a score. The same frame gives the same answer on every machine.
//! Leaves out: what to do about it (the inspector abstains); finding the range of a set (`calibration`).
//! Costs: a few passes over the model input, well below one draw.
//!
//! # The margins
//!
//! Chosen on the test pictures of three categories of MVTec AD, on magnetic tiles and on simulated flanges: nearly all
//! good and defective parts lie inside, also in light that is a tenth brighter or darker. Twelve bits in sixteen, an exposure
//! that is halved or doubled, negatives, blur and pictures without a part lie outside, as far as the calibration pictures
//! themselves do not vary as much. The absolute margins leave room for a defect on a surface that is nearly even.

use crate::capture::{Channels, Picture, Samples};
use crate::preprocess::{Input, Prepared, PreprocessError, Preprocessor, Region};

/// The mean may be lower or higher by this factor.
const MEAN_FACTOR: f64 = 1.25;
/// The contrast may be lower or higher by this factor.
const CONTRAST_FACTOR: f64 = 1.25;
/// The sharpness may be lower or higher by this factor.
const SHARPNESS_FACTOR: f64 = 1.5;
/// The least margin of the mean, and of contrast and sharpness upwards.
const LEAST_MARGIN: f64 = 0.02;
/// The asymmetry may be lower or higher by this much.
const ASYMMETRY_MARGIN: f64 = 0.25;

/// What a decoded picture is, apart from its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PictureFormat {
    /// Of the part that is inspected, in pixels.
    pub width: u32,
    pub height: u32,
    /// 1 (grey) or 3 (RGB).
    pub channels: u32,
    /// 8 or 16.
    pub bits: u32,
}

impl PictureFormat {
    pub fn of(picture: &Picture, region: Option<Region>) -> Self {
        let (width, height) = region.map_or((picture.width, picture.height), |it| (it.width, it.height));
        let channels = match picture.channels {
            Channels::Grey => 1,
            Channels::Rgb => 3,
        };
        let bits = match picture.samples {
            Samples::Eight(_) => 8,
            Samples::Sixteen(_) => 16,
        };
        Self { width, height, channels, bits }
    }
}

/// What the brightness of a model input is like. Everything in \[0,1\] units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Brightness {
    pub mean: f64,
    /// The standard deviation.
    pub contrast: f64,
    /// Root mean square of the differences of neighbouring pixels; blur lowers it.
    pub sharpness: f64,
    /// Mean minus median, in standard deviations: -1 to 1. A negative has it with the other sign.
    pub asymmetry: f64,
}

impl Brightness {
    pub fn of(input: &Input) -> Self {
        let values = input.view();
        let (channels, height, width) = values.dim();
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let contrast =
            (values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count).sqrt();
        let mut sorted: Vec<f32> = values.iter().copied().collect();
        let middle = sorted.len() / 2;
        let (_, median, _) = sorted.select_nth_unstable_by(middle, f32::total_cmp);
        // A constant picture has no asymmetry; rounding must not give it one.
        let asymmetry = if contrast > 1e-6 { (mean - f64::from(*median)) / contrast } else { 0.0 };
        let square = |one: f32, other: f32| f64::from(one - other).powi(2);
        let (mut across, mut down) = (0.0, 0.0);
        for channel in values.outer_iter() {
            for ((y, x), &value) in channel.indexed_iter() {
                if x + 1 < width {
                    across += square(value, channel[[y, x + 1]]);
                }
                if y + 1 < height {
                    down += square(value, channel[[y + 1, x]]);
                }
            }
        }
        let pairs = |along: usize, lines: usize| (channels * (along - 1) * lines).max(1) as f64;
        let sharpness = ((across / pairs(width, height) + down / pairs(height, width)) / 2.0).sqrt();
        Self { mean, contrast, sharpness, asymmetry }
    }
}

/// The lowest and the highest value among the calibration pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extremes {
    pub lowest: f64,
    pub highest: f64,
}

impl Extremes {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let start = Self { lowest: f64::INFINITY, highest: f64::NEG_INFINITY };
        values.fold(start, |Self { lowest, highest }, value| Self {
            lowest: lowest.min(value),
            highest: highest.max(value),
        })
    }
}

/// The range of the calibration pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PictureRange {
    /// `[width, height]` of all of them; `None` if they have several sizes, and the user insisted.
    pub size: Option<[u32; 2]>,
    /// 1 (grey) or 3 (RGB).
    pub channels: u32,
    /// 8 or 16.
    pub bits: u32,
    pub mean: Extremes,
    pub contrast: Extremes,
    pub sharpness: Extremes,
    pub asymmetry: Extremes,
}

/// In what a frame differs from the calibration pictures.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OutOfRange {
    #[error(
        "frame: {got} pixels, and the calibration pictures have {wanted}; pictures of one size are needed: look at the camera's size and the region, or calibrate again"
    )]
    Size { got: String, wanted: String },
    #[error(
        "frame: {got}, and the calibration pictures are {wanted}; look at the format of the camera or the files, or calibrate again"
    )]
    Channels { got: &'static str, wanted: &'static str },
    #[error(
        "frame: {got} bits a sample, and the calibration pictures have {wanted}; look at the format of the camera or the files, or calibrate again"
    )]
    Bits { got: u32, wanted: u32 },
    #[error(
        "frame: {what} {got:.3} lies outside {low:.3} to {high:.3}, the range of the calibration pictures ({:.3} to {:.3}) with its margin; look at {look_at}, or calibrate again",
        range.lowest, range.highest
    )]
    Brightness { what: &'static str, got: f64, low: f64, high: f64, range: Extremes, look_at: &'static str },
}

/// Why a decoded picture is not inspected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotInspected {
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    #[error(transparent)]
    Range(#[from] OutOfRange),
}

/// Makes the model input of a picture, unless it lies outside of `range`; `None` for a bundle that knows no range.
pub(crate) fn prepare(
    picture: &Picture,
    preprocessor: &Preprocessor,
    range: Option<&PictureRange>,
) -> Result<Prepared, NotInspected> {
    let prepared = preprocessor.apply(picture)?;
    if let Some(range) = range {
        range.check(PictureFormat::of(picture, preprocessor.region()), &prepared.input)?;
    }
    Ok(prepared)
}

impl OutOfRange {
    /// Whether another part in view could make it right: the kind of picture fits, but not what it shows.
    pub fn is_of_this_picture_alone(&self) -> bool {
        matches!(self, Self::Brightness { .. })
    }
}

impl PictureRange {
    /// The range of these pictures, whose colours and bits are those of `format`; `None` without pictures. `size` is `None`
    /// if the sizes differ.
    pub fn of(format: PictureFormat, size: Option<[u32; 2]>, pictures: &[Brightness]) -> Option<Self> {
        let extremes = |value: fn(&Brightness) -> f64| Extremes::of(pictures.iter().map(value));
        (!pictures.is_empty()).then(|| Self {
            size,
            channels: format.channels,
            bits: format.bits,
            mean: extremes(|it| it.mean),
            contrast: extremes(|it| it.contrast),
            sharpness: extremes(|it| it.sharpness),
            asymmetry: extremes(|it| it.asymmetry),
        })
    }

    /// Whether a frame is of the kind of the calibration pictures. `input` is its clean model input.
    pub fn check(&self, format: PictureFormat, input: &Input) -> Result<(), OutOfRange> {
        let PictureFormat { width, height, channels, bits } = format;
        if let Some(size) = self.size
            && size != [width, height]
        {
            let [w, h] = size;
            return Err(OutOfRange::Size { got: format!("{width}x{height}"), wanted: format!("{w}x{h}") });
        }
        // A grey input is the same for a grey file and for a coloured one of the same tones.
        if channels != self.channels && input.view().dim().0 > 1 {
            let (got, wanted) = (colour_word(channels), colour_word(self.channels));
            return Err(OutOfRange::Channels { got, wanted });
        }
        if bits != self.bits {
            return Err(OutOfRange::Bits { got: bits, wanted: self.bits });
        }
        self.check_brightness(Brightness::of(input))
    }

    fn check_brightness(&self, got: Brightness) -> Result<(), OutOfRange> {
        let widened = |range: Extremes, factor: f64| {
            let low = range.lowest / factor;
            (low, (range.highest * factor).max(range.highest + LEAST_MARGIN))
        };
        let (low, high) = widened(self.mean, MEAN_FACTOR);
        let mean = (low.min(self.mean.lowest - LEAST_MARGIN), high);
        let asymmetry = (self.asymmetry.lowest - ASYMMETRY_MARGIN, self.asymmetry.highest + ASYMMETRY_MARGIN);
        let rows = [
            ("mean", got.mean, self.mean, mean, "light, exposure, bit depth and full scale"),
            (
                "contrast",
                got.contrast,
                self.contrast,
                widened(self.contrast, CONTRAST_FACTOR),
                "light, exposure, bit depth and whether a part is in view",
            ),
            (
                "sharpness",
                got.sharpness,
                self.sharpness,
                widened(self.sharpness, SHARPNESS_FACTOR),
                "focus, a dirty lens and the picture's noise",
            ),
            (
                "asymmetry",
                got.asymmetry,
                self.asymmetry,
                asymmetry,
                "light and background, and whether the picture is a negative",
            ),
        ];
        let outside = rows.into_iter().find(|(_, got, _, (low, high), _)| !(*low..=*high).contains(got));
        outside.map_or(Ok(()), |(what, got, range, (low, high), look_at)| {
            Err(OutOfRange::Brightness {
                what,
                got,
                low: low.max(lowest_of(what)),
                high: high.min(1.0),
                range,
                look_at,
            })
        })
    }
}

/// The lowest value that there is.
fn lowest_of(what: &str) -> f64 {
    if what == "asymmetry" { -1.0 } else { 0.0 }
}

fn colour_word(channels: u32) -> &'static str {
    if channels == 1 { "grey" } else { "coloured" }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    /// A bright square of a given brightness on a dark ground.
    fn part(ground: f32, square: f32) -> Input {
        let values = Array3::from_shape_fn((1, 32, 32), |(_, y, x)| {
            if (10..20).contains(&y) && (8..24).contains(&x) { square } else { ground }
        });
        Input::from_unit_range(values).unwrap()
    }

    fn changed(input: &Input, change: impl Fn(f32) -> f32) -> Input {
        Input::from_unit_range(input.view().mapv(|value| change(value).clamp(0.0, 1.0))).unwrap()
    }

    const FORMAT: PictureFormat = PictureFormat { width: 64, height: 64, channels: 1, bits: 8 };

    fn range() -> PictureRange {
        let parts: Vec<_> = (0..10).map(|n| Brightness::of(&part(0.2, 0.8 + 0.01 * n as f32))).collect();
        PictureRange::of(FORMAT, Some([64, 64]), &parts).unwrap()
    }

    fn word(result: Result<(), OutOfRange>) -> Option<&'static str> {
        match result {
            Ok(()) => None,
            Err(OutOfRange::Brightness { what, .. }) => Some(what),
            Err(OutOfRange::Size { .. }) => Some("size"),
            Err(OutOfRange::Channels { .. }) => Some("channels"),
            Err(OutOfRange::Bits { .. }) => Some("bits"),
        }
    }

    #[test]
    fn brightness_by_hand() {
        // Values 0, 0, 0, 1: mean 1/4, variance 3/16, median 0; each of the two directions has the differences 0 and 1.
        let values = Array3::from_shape_vec((1, 2, 2), vec![0.0, 0.0, 0.0, 1.0]).unwrap();
        let Brightness { mean, contrast, sharpness, asymmetry } =
            Brightness::of(&Input::from_unit_range(values).unwrap());
        assert_eq!(mean, 0.25);
        assert!((contrast - (3.0_f64 / 16.0).sqrt()).abs() < 1e-12, "{contrast}");
        assert!((sharpness - 0.5_f64.sqrt()).abs() < 1e-12, "{sharpness}");
        assert!((asymmetry - 0.25 / contrast).abs() < 1e-12, "{asymmetry}");
        let flat = Brightness::of(&changed(&part(0.3, 0.3), |value| value));
        assert_eq!((flat.sharpness, flat.asymmetry), (0.0, 0.0));
    }

    #[test]
    fn good_parts_in_the_lines_light_are_inside_and_other_pictures_are_named_with_what_differs() {
        let (range, good) = (range(), part(0.2, 0.84));
        for light in [0.9, 1.0, 1.1] {
            assert_eq!(range.check(FORMAT, &changed(&good, |value| light * value)), Ok(()), "{light}");
        }
        let mut defect = good.view().to_owned();
        defect[[0, 4, 4]] = 0.9;
        assert_eq!(range.check(FORMAT, &Input::from_unit_range(defect).unwrap()), Ok(()));
        for (what, change, expected) in [
            (
                "twelve bits in sixteen",
                Box::new(|value: f32| value / 16.0) as Box<dyn Fn(f32) -> f32>,
                "mean",
            ),
            ("half the exposure", Box::new(|value: f32| value / 2.0), "mean"),
            ("twice the exposure", Box::new(|value: f32| value * 2.0), "mean"),
            ("negative", Box::new(|value: f32| 1.0 - value), "mean"),
            ("black", Box::new(|_| 0.0), "mean"),
            ("white", Box::new(|_| 1.0), "mean"),
            ("even grey", Box::new(|_| 0.3), "contrast"),
        ] {
            assert_eq!(word(range.check(FORMAT, &changed(&good, change))), Some(expected), "{what}");
        }
    }

    #[test]
    fn a_negative_with_the_same_mean_and_a_blurred_picture_are_outside() {
        // 160 of 1024 pixels are bright: with this ground the mean is a half, and that of the negative too.
        let good = part(0.4, 0.4 + 0.1 * 1024.0 / 160.0 * 0.9);
        let range = PictureRange::of(FORMAT, None, &[Brightness::of(&good)]).unwrap();
        assert_eq!(word(range.check(FORMAT, &good)), None);
        assert_eq!(word(range.check(FORMAT, &changed(&good, |value| 1.0 - value))), Some("asymmetry"));
        let sharp = good.view().to_owned();
        let mut smooth = sharp.clone();
        for ((_, y, x), value) in smooth.indexed_iter_mut() {
            let near = |at: usize| at.saturating_sub(2)..(at + 3).min(32);
            let around: Vec<f32> =
                near(y).flat_map(|y| near(x).map(move |x| (y, x))).map(|(y, x)| sharp[[0, y, x]]).collect();
            *value = around.iter().sum::<f32>() / around.len() as f32;
        }
        assert_eq!(word(range.check(FORMAT, &Input::from_unit_range(smooth).unwrap())), Some("sharpness"));
    }

    #[test]
    fn another_size_colour_or_depth_is_outside() {
        let (range, good) = (range(), part(0.2, 0.84));
        let check = |format| range.check(format, &good);
        assert_eq!(word(check(PictureFormat { width: 128, ..FORMAT })), Some("size"));
        assert_eq!(word(check(PictureFormat { channels: 3, ..FORMAT })), None, "the model's input is grey");
        let coloured = PictureRange { channels: 3, ..range };
        let planes = Array3::from_shape_fn((3, 32, 32), |(_, y, x)| good.view()[[0, y, x]]);
        let found = coloured.check(FORMAT, &Input::from_unit_range(planes).unwrap());
        assert_eq!(word(found), Some("channels"));
        assert_eq!(word(check(PictureFormat { bits: 16, ..FORMAT })), Some("bits"));
        let any_size = PictureRange { size: None, ..range };
        assert_eq!(any_size.check(PictureFormat { width: 128, ..FORMAT }, &good), Ok(()));
        let words = check(PictureFormat { width: 128, ..FORMAT }).unwrap_err().to_string();
        assert!(words.contains("128x64") && words.contains("64x64"), "{words}");
        let words = range.check(FORMAT, &changed(&good, |value| value / 16.0)).unwrap_err().to_string();
        assert!(words.contains("mean 0.019 lies outside 0.235 to") && words.contains("exposure"), "{words}");
    }
}
