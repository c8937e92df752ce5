//! From the decoded picture to the model input: crop, colour, resize, as one linear map M in f32.
//!
//! Guarantees: no step rounds to 8 bits, so ‖f(x + d) − f(x)‖ ≤ ‖M‖ ‖d‖ for every change d of the decoded picture in
//! \[0,1\] units. A radius R at the model input is therefore a radius R / ‖M‖ at the frame.
//! [`Prepared::norm`] is an upper bound of ‖M‖, computed in f64 from the weights that were applied; it does not
//! include the rounding of f32, about 1e-7 of full scale. The crop is the region of the settings, and no step depends
//! on what the picture shows: a crop or a step that did would make the radius invalid.
//! Leaves out: the aspect ratio. The region is squashed to the shape of the input; choose a region of the same
//! proportions where that matters.
//! Costs: about 1 ms from a grey 1280x720 frame to 64x64. The weights of the last frame size are kept.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use ndarray::{Array3, ArrayView3};

use crate::capture::{Channels, Picture, Samples};
use crate::sync;

/// ITU-R BT.601 luma weights.
const BT601: [f32; 3] = [0.299, 0.587, 0.114];

/// The shape of the model input: CHW, 1 channel (grey) or 3 (RGB).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputShape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// The part of the frame that is inspected, in pixels of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// `x,y,width,height`, as the store writes it.
impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { x, y, width, height } = self;
        write!(f, "{x},{y},{width},{height}")
    }
}

impl FromStr for Region {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sides: Result<Vec<u32>, _> = text.split(',').map(str::parse).collect();
        match sides.as_deref() {
            Ok(&[x, y, width, height]) => Ok(Self { x, y, width, height }),
            _ => Err("not a region; x,y,width,height in pixels are needed"),
        }
    }
}

/// A clean model input: CHW, every value in \[0,1\].
#[derive(Debug, Clone, PartialEq)]
pub struct Input(Array3<f32>);

impl Input {
    /// Refuses values outside \[0,1\] and those that are not numbers.
    pub fn from_unit_range(values: Array3<f32>) -> Result<Self, PreprocessError> {
        match values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
            Some(&value) => Err(PreprocessError::Range { value }),
            None => Ok(Self(values)),
        }
    }

    pub fn view(&self) -> ArrayView3<'_, f32> {
        self.0.view()
    }
}

/// A model input, with the norm of the map that made it from the frame.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub input: Input,
    /// Upper bound of the operator norm of the map from the frame to the input.
    pub norm: f64,
}

/// Why a picture gives no model input.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PreprocessError {
    #[error(
        "region: {}x{} at ({}, {}): not inside the {width}x{height} frame; \
         at least one pixel is needed, and all of the region within the frame",
        region.width, region.height, region.x, region.y
    )]
    Region { region: Region, width: u32, height: u32 },
    #[error(
        "frame: {samples} samples: not those of a {width}x{height} picture; one for each pixel and channel is needed"
    )]
    Samples { samples: usize, width: u32, height: u32 },
    #[error("input: {value}: not a brightness; 0 to 1 is allowed")]
    Range { value: f32 },
    #[error(
        "frame: a sample of {sample} is above full_scale = {full_scale}, which is white; look at the camera's bit depth, or calibrate again with --full-scale"
    )]
    FullScale { sample: u16, full_scale: u16 },
}

/// The value of white in 16-bit pictures, unless the bundle says otherwise.
pub(crate) const FULL_SCALE: u16 = u16::MAX;

/// The map from frames to model inputs of one station.
pub struct Preprocessor {
    shape: InputShape,
    region: Option<Region>,
    /// The value of white in 16-bit pictures.
    full_scale: u16,
    /// The weights for the last size of the region. Cameras seldom change their frame size.
    last: Mutex<Option<Arc<Resize>>>,
}

impl Preprocessor {
    /// `region`: `None` for the whole frame.
    pub fn new(shape: InputShape, region: Option<Region>) -> Self {
        Self { shape, region, full_scale: FULL_SCALE, last: Mutex::new(None) }
    }

    /// With another value of white in 16-bit pictures, such as 4095 where a camera fills 12 bits of them.
    #[must_use]
    pub fn with_full_scale(self, full_scale: u16) -> Self {
        Self { full_scale, ..self }
    }

    /// The part of the frame that is inspected; `None` for the whole frame.
    pub fn region(&self) -> Option<Region> {
        self.region
    }

    pub fn apply(&self, picture: &Picture) -> Result<Prepared, PreprocessError> {
        let region = self.region_of(picture)?;
        if let Some(sample) = picture.largest_of_sixteen_bits().filter(|&sample| sample > self.full_scale) {
            return Err(PreprocessError::FullScale { sample, full_scale: self.full_scale });
        }
        let resize = self.resize(region);
        let InputShape { channels, height, width } = self.shape;
        let to_grey = channels == 1 && picture.channels == Channels::Rgb;
        let depth = if picture.channels == Channels::Rgb && !to_grey { 3 } else { 1 };
        let resized = resize.apply(depth, |y, line| {
            read_line(picture, region, y, to_grey, f32::from(self.full_scale), line);
        });
        let values = Array3::from_shape_fn((channels, height, width), |(channel, y, x)| {
            // A grey frame gives the same plane to every channel. Rounded weights may sum to a little more than
            // one, so white can exceed 1; clamping cannot enlarge a change.
            resized[(y * width + x) * depth + channel.min(depth - 1)].clamp(0.0, 1.0)
        });
        Ok(Prepared { input: Input(values), norm: resize.norm * colour_norm(picture.channels, channels) })
    }

    fn region_of(&self, picture: &Picture) -> Result<Region, PreprocessError> {
        let Picture { width, height, .. } = *picture;
        let (samples, depth) = match (&picture.samples, picture.channels) {
            (Samples::Eight(values), Channels::Grey) => (values.len(), 1),
            (Samples::Eight(values), Channels::Rgb) => (values.len(), 3),
            (Samples::Sixteen(values), Channels::Grey) => (values.len(), 1),
            (Samples::Sixteen(values), Channels::Rgb) => (values.len(), 3),
        };
        if samples != width as usize * height as usize * depth {
            return Err(PreprocessError::Samples { samples, width, height });
        }
        let region = self.region.unwrap_or(Region { x: 0, y: 0, width, height });
        let fits = |start: u32, size: u32, whole: u32| {
            size > 0 && start.checked_add(size).is_some_and(|end| end <= whole)
        };
        if fits(region.x, region.width, width) && fits(region.y, region.height, height) {
            Ok(region)
        } else {
            Err(PreprocessError::Region { region, width, height })
        }
    }

    fn resize(&self, region: Region) -> Arc<Resize> {
        let (height, width) = (region.height as usize, region.width as usize);
        let mut last = sync::lock(&self.last);
        match &*last {
            Some(resize) if (resize.rows.size_in, resize.columns.size_in) == (height, width) => {
                resize.clone()
            }
            _ => {
                let resize = Arc::new(Resize::new((height, width), (self.shape.height, self.shape.width)));
                *last = Some(resize.clone());
                resize
            }
        }
    }
}

/// The norm of the colour step alone: from the picture's channels to the input's.
fn colour_norm(from: Channels, to: usize) -> f64 {
    match (from, to) {
        (Channels::Rgb, 1) => BT601.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt(),
        (Channels::Rgb, _) => 1.0,
        (Channels::Grey, channels) => (channels as f64).sqrt(),
    }
}

/// Writes line `y` of the region to `line`, in \[0,1\], converted to grey if `to_grey`; `full_scale` is white in 16 bits.
fn read_line(picture: &Picture, region: Region, y: usize, to_grey: bool, full_scale: f32, line: &mut [f32]) {
    let depth = match picture.channels {
        Channels::Grey => 1,
        Channels::Rgb => 3,
    };
    let start = ((region.y as usize + y) * picture.width as usize + region.x as usize) * depth;
    let samples = start..start + region.width as usize * depth;
    match &picture.samples {
        Samples::Eight(values) => to_unit_range(&values[samples], 255.0, to_grey, line),
        Samples::Sixteen(values) => to_unit_range(&values[samples], full_scale, to_grey, line),
    }
}

fn to_unit_range<T: Copy + Into<f32>>(samples: &[T], full_scale: f32, to_grey: bool, line: &mut [f32]) {
    if to_grey {
        for (grey, rgb) in line.iter_mut().zip(samples.chunks_exact(3)) {
            let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(|v| v.into() / full_scale);
            *grey = BT601[0] * r + BT601[1] * g + BT601[2] * b;
        }
    } else {
        for (value, &sample) in line.iter_mut().zip(samples) {
            *value = sample.into() / full_scale;
        }
    }
}

/// Separable resizing: along the rows and along the columns, each with its own weights.
struct Resize {
    rows: Axis,
    columns: Axis,
    norm: f64,
}

impl Resize {
    /// Sizes are (height, width).
    fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        let (rows, columns) = (Axis::new(from.0, to.0), Axis::new(from.1, to.1));
        let norm = rows.norm() * columns.norm();
        Self { rows, columns, norm }
    }

    /// Resizes lines with `depth` interleaved values for each pixel; `read(y, line)` fills `line` with line `y`.
    fn apply(&self, depth: usize, mut read: impl FnMut(usize, &mut [f32])) -> Vec<f32> {
        let mut line = vec![0.0; self.columns.size_in * depth];
        let mut sum = line.clone();
        let mut resized = Vec::with_capacity(self.rows.outputs.len() * self.columns.outputs.len() * depth);
        for output in &self.rows.outputs {
            sum.fill(0.0);
            for (offset, &weight) in output.weights.iter().enumerate() {
                read(output.start + offset, &mut line);
                for (sum, &value) in sum.iter_mut().zip(&line) {
                    *sum += weight * value;
                }
            }
            for output in &self.columns.outputs {
                for channel in 0..depth {
                    let inputs = sum[output.start * depth + channel..].iter().step_by(depth);
                    resized.push(output.weights.iter().zip(inputs).map(|(&w, &v)| w * v).sum());
                }
            }
        }
        resized
    }
}

/// The weight matrix W of one axis. Each row is kept from its first non-zero weight to its last.
struct Axis {
    size_in: usize,
    outputs: Vec<Weights>,
}

struct Weights {
    start: usize,
    weights: Vec<f32>,
}

impl Axis {
    /// Shrinking averages the source interval under each output value, fractions included; enlarging
    /// interpolates linearly between pixel centres and repeats the edge.
    fn new(size_in: usize, size_out: usize) -> Self {
        let step = size_in as f64 / size_out as f64;
        let outputs = (0..size_out).map(|output| {
            if size_out <= size_in {
                let (from, to) = (output as f64 * step, (output + 1) as f64 * step);
                let covered = from as usize..(to.ceil() as usize).min(size_in);
                let overlap = |pixel: usize| (to.min((pixel + 1) as f64) - from.max(pixel as f64)).max(0.0);
                Weights::normalized(covered.start, covered.map(overlap).collect())
            } else {
                let centre = ((output as f64 + 0.5) * step - 0.5).clamp(0.0, (size_in - 1) as f64);
                let left = centre as usize;
                let right = centre - left as f64;
                let weights = if right > 0.0 { vec![1.0 - right, right] } else { vec![1.0] };
                Weights::normalized(left, weights)
            }
        });
        Self { size_in, outputs: outputs.collect() }
    }

    /// An upper bound of the largest singular value of W, tight where power iteration has converged.
    ///
    /// A = W Wᵀ has no negative entry, so max_i (Av)_i / v_i is at least its largest eigenvalue for every
    /// positive v (Collatz 1942, Wielandt 1950). So stopping early makes the bound less tight but never wrong. For
    /// shrinking, v = 1 is already the eigenvector.
    fn norm(&self) -> f64 {
        const STEPS: usize = 1000;
        /// Far larger than the rounding of these sums in f64, and far too small to matter in a radius.
        const MARGIN: f64 = 1.0 + 1e-9;
        let mut v = vec![1.0; self.outputs.len()];
        let mut bound = f64::INFINITY;
        for _ in 0..STEPS {
            let image = self.times_own_transpose(&v);
            let ratios = image.iter().zip(&v).map(|(a, v)| a / v);
            let (low, high) =
                ratios.fold((f64::INFINITY, 0.0_f64), |(low, high), r| (low.min(r), high.max(r)));
            bound = bound.min(high);
            if high <= low * (1.0 + 1e-6) {
                break;
            }
            let largest = image.iter().copied().fold(0.0, f64::max);
            // The bound needs v to stay positive.
            v = image.iter().map(|a| (a / largest).max(1e-12)).collect();
        }
        bound.sqrt() * MARGIN
    }

    /// W Wᵀ v.
    fn times_own_transpose(&self, v: &[f64]) -> Vec<f64> {
        let mut back = vec![0.0; self.size_in];
        for (output, &v) in self.outputs.iter().zip(v) {
            for (back, &weight) in back[output.start..].iter_mut().zip(&output.weights) {
                *back += f64::from(weight) * v;
            }
        }
        let along = |output: &Weights| {
            let pairs = output.weights.iter().zip(&back[output.start..]);
            pairs.map(|(&weight, back)| f64::from(weight) * back).sum()
        };
        self.outputs.iter().map(along).collect()
    }
}

impl Weights {
    fn normalized(start: usize, weights: Vec<f64>) -> Self {
        let sum: f64 = weights.iter().sum();
        Self { start, weights: weights.iter().map(|weight| (weight / sum) as f32).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Fixture {
        height: usize,
        width: usize,
        out_height: usize,
        out_width: usize,
        picture: Vec<f32>,
        resized: Vec<f32>,
        norm: f64,
    }

    #[test]
    fn resizing_and_its_norm_agree_with_the_training_code() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tests/fixtures/resize.json");
        let fixtures: Vec<Fixture> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert!(fixtures.len() >= 7);
        for case in fixtures {
            let resize = Resize::new((case.height, case.width), (case.out_height, case.out_width));
            let lines: Vec<&[f32]> = case.picture.chunks(case.width).collect();
            let resized = resize.apply(1, |y, line| line.copy_from_slice(lines[y]));
            assert_eq!(resized.len(), case.resized.len());
            for (ours, theirs) in resized.iter().zip(&case.resized) {
                assert!((ours - theirs).abs() < 1e-6, "{ours} and {theirs}");
            }
            assert!(resize.norm >= case.norm * (1.0 - 1e-9), "{} below {}", resize.norm, case.norm);
            assert!(resize.norm <= case.norm * (1.0 + 1e-5), "{} far above {}", resize.norm, case.norm);
        }
    }

    #[derive(serde::Deserialize)]
    struct Bmp {
        name: String,
        file: String,
        height: usize,
        width: usize,
        input_1: Vec<f32>,
        input_3: Vec<f32>,
    }

    #[test]
    fn a_bmp_gives_the_input_that_the_training_code_makes_of_it() {
        use base64::Engine as _;
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bmp.json");
        let cases: Vec<Bmp> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert!(cases.len() >= 7);
        for case in cases {
            let bytes = base64::engine::general_purpose::STANDARD.decode(&case.file).unwrap();
            let picture = crate::capture::decode::decode(&case.name, &bytes, Default::default()).unwrap();
            for (channels, wanted) in [(1, &case.input_1), (3, &case.input_3)] {
                let shape = InputShape { channels, height: case.height, width: case.width };
                let found = Preprocessor::new(shape, None).apply(&picture).unwrap().input;
                assert_eq!(found.view().len(), wanted.len());
                for (ours, theirs) in found.view().iter().zip(wanted) {
                    assert!((ours - theirs).abs() < 1e-6, "{}: {ours} and {theirs}", case.name);
                }
            }
        }
    }

    #[test]
    fn shrinking_by_a_whole_factor_has_norm_one_over_its_root() {
        for (size_in, size_out) in [(1280, 64), (64, 64), (16, 4)] {
            let wanted = (size_out as f64 / size_in as f64).sqrt();
            let norm = Axis::new(size_in, size_out).norm();
            assert!((norm / wanted - 1.0).abs() < 1e-6, "{size_in} to {size_out}: {norm}, not {wanted}");
        }
    }

    #[test]
    fn the_weights_of_every_output_sum_to_one_and_lie_inside() {
        for size_in in 1..140 {
            for output in Axis::new(size_in, 64).outputs {
                let sum: f32 = output.weights.iter().sum();
                assert!((sum - 1.0).abs() < 1e-6, "{size_in}: {sum}");
                assert!(output.start + output.weights.len() <= size_in);
            }
        }
    }

    #[test]
    fn an_input_holds_numbers_from_zero_to_one_only() {
        let with = |value| Input::from_unit_range(Array3::from_elem((1, 2, 2), value));
        assert!(with(0.0).is_ok() && with(1.0).is_ok());
        for value in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
            assert!(matches!(with(value), Err(PreprocessError::Range { .. })), "{value}");
        }
    }
}
