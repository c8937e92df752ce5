//! The preprocessing as a linear map: what it does to a picture, and that its norm bounds every change.

use certiscope::testing::capture::{Channels, Picture, Samples};
use certiscope::testing::preprocess::{InputShape, Prepared, PreprocessError, Preprocessor, Region};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const MODEL: InputShape = InputShape { channels: 1, height: 64, width: 64 };

/// The error of f32 sums over a whole input, as a share of full scale.
const ROUNDING: f64 = 2e-5;

fn depth(channels: Channels) -> usize {
    match channels {
        Channels::Grey => 1,
        Channels::Rgb => 3,
    }
}

fn picture(width: u32, height: u32, channels: Channels, mut sample: impl FnMut(usize) -> u16) -> Picture {
    let count = width as usize * height as usize * depth(channels);
    Picture { width, height, channels, samples: Samples::Sixteen((0..count).map(&mut sample).collect()) }
}

fn apply(shape: InputShape, picture: &Picture) -> Prepared {
    Preprocessor::new(shape, None).apply(picture).unwrap()
}

fn distance(a: &Prepared, b: &Prepared) -> f64 {
    let pairs = a.input.view().into_iter().zip(b.input.view());
    pairs.map(|(&a, &b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// How far a change `d` of the picture (in 16-bit steps) moves the input, the size of the change itself, and the norm
/// that bounds their ratio.
fn gain(shape: InputShape, from: (u32, u32, Channels), mut d: impl FnMut(usize) -> i32) -> (f64, f64, f64) {
    let (width, height, channels) = from;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let base = picture(width, height, channels, |_| rng.random_range(25_000..40_000));
    let Samples::Sixteen(values) = &base.samples else { unreachable!("made so above") };
    let mut square = 0.0;
    let moved = picture(width, height, channels, |at| {
        let d = d(at);
        square += (f64::from(d) / 65_535.0).powi(2);
        u16::try_from(i32::from(values[at]) + d).expect("stays within 16 bits")
    });
    let (before, after) = (apply(shape, &base), apply(shape, &moved));
    (distance(&before, &after), square.sqrt(), before.norm)
}

const SIZES: [(u32, u32); 7] =
    [(1280, 720), (256, 256), (640, 400), (103, 200), (64, 64), (40, 40), (9, 100)];

fn every_size(mut check: impl FnMut(InputShape, (u32, u32, Channels))) {
    for (width, height) in SIZES {
        for channels in [Channels::Grey, Channels::Rgb] {
            for model_channels in [1, 3] {
                check(InputShape { channels: model_channels, ..MODEL }, (width, height, channels));
            }
        }
    }
}

#[test]
fn no_random_change_is_enlarged_beyond_the_norm() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    every_size(|shape, from| {
        let (out, change, norm) = gain(shape, from, |_| rng.random_range(-20_000..20_000));
        assert!(out <= norm * change + ROUNDING, "{from:?}: {out} > {norm} * {change}");
        assert!(out > 0.0);
    });
}

#[test]
fn one_grey_level_more_is_not_enlarged_beyond_the_norm() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    every_size(|shape, from| {
        for everywhere in [true, false] {
            let level = |_| {
                if everywhere || rng.random_bool(0.5) { 257 } else { 0 }
            };
            let (out, change, norm) = gain(shape, from, level);
            assert!(out <= norm * change + ROUNDING, "{from:?}: {out} > {norm} * {change}");
        }
    });
}

/// The top right-singular vector of the resize of one axis, found with the map itself: power iteration on
/// the weights that a picture with a single bright line reveals.
fn top_vector(size_in: u32, columns: bool) -> Vec<f64> {
    let weights: Vec<Vec<f64>> = (0..size_in)
        .map(|at| {
            let (width, height) = if columns { (size_in, 8) } else { (8, size_in) };
            let line = picture(width, height, Channels::Grey, |i| {
                let place = if columns { i as u32 % width } else { i as u32 / width };
                if place == at { u16::MAX } else { 0 }
            });
            let prepared = apply(MODEL, &line);
            let view = prepared.input.view();
            (0..64)
                .map(|out| f64::from(if columns { view[[0, 0, out]] } else { view[[0, out, 0]] }))
                .collect()
        })
        .collect();
    let mut v = vec![1.0; size_in as usize];
    for _ in 0..500 {
        let image: Vec<f64> =
            (0..64).map(|out| weights.iter().zip(&v).map(|(weights, v)| weights[out] * v).sum()).collect();
        v = weights.iter().map(|weights| weights.iter().zip(&image).map(|(w, i)| w * i).sum()).collect();
        let largest = v.iter().copied().fold(0.0, f64::max);
        v.iter_mut().for_each(|v| *v /= largest);
    }
    v
}

#[test]
fn along_the_top_singular_vector_the_norm_is_reached_within_a_hundredth() {
    for (width, height) in SIZES {
        let (across, down) = (top_vector(width, true), top_vector(height, false));
        for (channels, colour) in [(Channels::Grey, vec![1.0]), (Channels::Rgb, vec![0.299, 0.587, 0.114])] {
            let along = |at: usize| {
                let (pixel, channel) = (at / colour.len(), at % colour.len());
                let v = across[pixel % width as usize] * down[pixel / width as usize] * colour[channel];
                (v * 20_000.0).round() as i32
            };
            let (out, change, norm) = gain(MODEL, (width, height, channels), along);
            assert!(out <= norm * change + ROUNDING, "{width}x{height}: {out} > {norm} * {change}");
            assert!(out >= 0.99 * norm * change, "{width}x{height}: {out} of {norm} * {change}");
        }
    }
}

#[test]
fn nothing_rounds_to_eight_bits_inside() {
    let mut samples = vec![100_u8; 640 * 640];
    let frame = |samples: &[u8]| Picture {
        width: 640,
        height: 640,
        channels: Channels::Grey,
        samples: Samples::Eight(samples.to_vec()),
    };
    let before = apply(MODEL, &frame(&samples));
    samples[0] += 1;
    let after = apply(MODEL, &frame(&samples));
    // One grey level in one of the 100 pixels under the first value.
    let moved = f64::from(after.input.view()[[0, 0, 0]] - before.input.view()[[0, 0, 0]]);
    assert!((moved * 255.0 * 100.0 - 1.0).abs() < 0.01, "{moved}");
}

#[test]
fn flat_pictures_keep_their_brightness_and_colour() {
    for (width, height) in SIZES {
        let grey = apply(MODEL, &picture(width, height, Channels::Grey, |_| 65_535));
        assert!(grey.input.view().iter().all(|&v| (0.999_999..=1.0).contains(&v)));
        let red = picture(width, height, Channels::Rgb, |at| if at % 3 == 0 { 65_535 } else { 0 });
        let grey = apply(MODEL, &red);
        assert!(grey.input.view().iter().all(|&v| (v - 0.299).abs() < 1e-6));
        let colour = apply(InputShape { channels: 3, ..MODEL }, &red);
        for (channel, wanted) in [(0, 1.0), (1, 0.0), (2, 0.0)] {
            let plane = colour.input.view().index_axis_move(ndarray::Axis(0), channel);
            assert!(plane.iter().all(|&v: &f32| (v - wanted).abs() < 1e-6), "channel {channel}");
        }
    }
}

#[test]
fn a_region_is_the_picture_that_was_cut_out_there() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let whole = picture(90, 70, Channels::Rgb, |_| rng.random());
    let Samples::Sixteen(values) = &whole.samples else { unreachable!("made so above") };
    let region = Region { x: 11, y: 7, width: 40, height: 50 };
    let cut = picture(40, 50, Channels::Rgb, |at| {
        let (x, y, channel) = (at / 3 % 40, at / 3 / 40, at % 3);
        values[((y + 7) * 90 + x + 11) * 3 + channel]
    });
    let through_region = Preprocessor::new(MODEL, Some(region)).apply(&whole).unwrap();
    let cut_before = apply(MODEL, &cut);
    assert_eq!(through_region.input, cut_before.input);
    assert_eq!(through_region.norm.to_bits(), cut_before.norm.to_bits());
}

#[test]
fn a_region_outside_the_frame_is_refused_with_both_sizes() {
    let frame = picture(90, 70, Channels::Grey, |_| 0);
    for (x, y, width, height) in [(60, 0, 31, 10), (0, 61, 10, 10), (0, 0, 0, 10), (u32::MAX, 0, 2, 10)] {
        let region = Region { x, y, width, height };
        let error = Preprocessor::new(MODEL, Some(region)).apply(&frame).unwrap_err();
        assert_eq!(error, PreprocessError::Region { region, width: 90, height: 70 });
        let words = error.to_string();
        assert!(
            words.contains(&format!("{width}x{height} at ({x}, {y})")) && words.contains("90x70"),
            "{words}"
        );
    }
}

#[test]
fn a_picture_whose_samples_do_not_fit_its_size_is_refused() {
    let mut frame = picture(16, 12, Channels::Rgb, |_| 0);
    frame.height = 13;
    let error = Preprocessor::new(MODEL, None).apply(&frame).unwrap_err();
    assert_eq!(error, PreprocessError::Samples { samples: 576, width: 16, height: 13 });
}

#[test]
fn frames_of_changing_size_each_get_their_own_norm() {
    let preprocessor = Preprocessor::new(MODEL, None);
    let norm = |side| preprocessor.apply(&picture(side, side, Channels::Grey, |_| 0)).unwrap().norm;
    for (side, wanted) in [(128, 0.5), (256, 0.25), (128, 0.5)] {
        assert!((norm(side) - wanted).abs() < 1e-6, "{side}: {}", norm(side));
    }
}
