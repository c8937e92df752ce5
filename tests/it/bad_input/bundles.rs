//! Tests of bundles with one fault each: all are refused, and the message names the fault.

use ndarray::{ArrayD, Slice};

use super::{inspect_good, inspected};
use crate::support::bundles::BundleCopy;
use crate::support::faulty::faulty;

/// How a bundle is broken, and the words of the refusal.
type Broken = (&'static str, fn(&BundleCopy), &'static [&'static str]);

fn each_is_refused(cases: &[Broken]) {
    for (case, break_it, words) in cases {
        let bundle = BundleCopy::new();
        break_it(&bundle);
        inspect_good(bundle.path(), |_| ()).refused(case, words);
    }
}

#[test]
fn an_unbroken_copy_of_the_bundle_is_taken() {
    let bundle = BundleCopy::new();
    let verdicts = inspect_good(bundle.path(), |_| ()).succeeded().json();
    inspected("part.png", &verdicts[0]);
}

#[test]
fn a_bundle_with_changed_or_missing_files_is_refused() {
    each_is_refused(&[
        (
            "hash that is not the model's",
            |bundle| bundle.set("model", "sha256", "0".repeat(64)),
            &["model.onnx: sha256 is", "copy it again"],
        ),
        (
            "one bit of the model",
            |bundle| bundle.tamper("model.onnx", |bytes| bytes[1_000_000] ^= 1),
            &["model.onnx: sha256 is", "copy it again"],
        ),
        (
            "cut golden vectors",
            |bundle| bundle.tamper("golden.safetensors", |bytes| bytes.truncate(9)),
            &["golden.safetensors: sha256 is"],
        ),
        (
            "one byte more of maps",
            |bundle| bundle.tamper("maps.safetensors", |bytes| bytes.push(0)),
            &["maps.safetensors: sha256 is"],
        ),
        ("no model", |bundle| bundle.remove("model.onnx"), &["model.onnx: No such file", "is needed"]),
        (
            "no golden vectors",
            |bundle| bundle.remove("golden.safetensors"),
            &["golden.safetensors: No such file", "is needed"],
        ),
        ("no maps", |bundle| bundle.remove("maps.safetensors"), &["maps.safetensors: No such file"]),
        (
            "no bundle.toml",
            |bundle| bundle.remove("bundle.toml"),
            &["bundle.toml: No such file", "a folder with bundle.toml"],
        ),
        (
            "files of another folder",
            |bundle| bundle.set("model", "file", "../model.onnx"),
            &["\"../model.onnx\": not a plain file name"],
        ),
        (
            "an absolute path",
            |bundle| bundle.set("golden", "file", "/etc/hostname"),
            &["\"/etc/hostname\": not a plain file name"],
        ),
    ]);
}

#[test]
fn a_bundle_that_says_what_cannot_be_is_refused() {
    each_is_refused(&[
        ("no TOML", |bundle| bundle.tamper("bundle.toml", |text| text.push(b'=')), &["bundle.toml"]),
        (
            "a key that nobody knows",
            |bundle| bundle.set("detector", "sigmas", 0.1),
            &["unknown field `sigmas`", "expected one of `k`, `sigma`, `draws`"],
        ),
        (
            "a key that is missing",
            |bundle| bundle.edit(|table| drop(table.remove("score"))),
            &["missing field `score`"],
        ),
        (
            "a format of the future",
            |bundle| bundle.edit(|table| drop(table.insert("format".into(), 2.into()))),
            &["format = 2: unknown to this version; 1 is allowed"],
        ),
        (
            "several at once",
            |bundle| {
                bundle.set("input", "channels", 2);
                bundle.set("score", "filter_px", 4);
                bundle.set("calibration", "threshold", f64::NAN);
            },
            &["input.channels = 2", "score.filter_px = 4", "calibration.threshold = NaN"],
        ),
        (
            "more noise than the timestep has",
            |bundle| bundle.set("detector", "sigma", 0.5),
            &["detector.sigma = 0.5: more noise than timestep k = ", "or raise k to"],
        ),
        (
            "a share that is none",
            |bundle| bundle.set("score", "head_weight", 1.5),
            &["score.head_weight = 1.5: 0 (residual alone) to 1 (defect map alone) are allowed"],
        ),
        ("no noise", |bundle| bundle.set("detector", "sigma", 0.0), &["detector.sigma = 0: "]),
        (
            "a timestep beyond the schedule",
            |bundle| bundle.set("detector", "k", 1000),
            &["detector.k = 1000: the schedule has 1000 steps; allowed 0..999"],
        ),
        (
            "a schedule that fills the memory",
            |bundle| bundle.set("schedule", "steps", 1_000_000_000_000_i64),
            &["schedule.steps = 1000000000000: 1 to 100000 are allowed"],
        ),
        (
            "no threshold",
            |bundle| bundle.edit(|table| drop(table.remove("calibration"))),
            &["demo-line: not calibrated", "certiscope calibrate --bundle"],
        ),
    ]);
}

/// A score that needs an output that the model does not have must not be computed from another output.
#[test]
fn a_defect_map_that_the_model_does_not_give_is_missed() {
    let bundle = BundleCopy::of(&faulty());
    bundle.set("score", "head_weight", 0.5);
    inspect_good(bundle.path(), |_| ()).refused(
        "no head",
        &["score.head_weight = 0.5, model with a defect head: false", "a model with output `defect_logit`"],
    );
}

/// In these bundles every hash is right, as if a person had updated them.
#[test]
fn a_bundle_whose_files_do_not_fit_each_other_is_refused() {
    each_is_refused(&[
        (
            "another shape than the golden vectors",
            halved,
            &["golden.safetensors: tensor `input` has shape", "32, 32] is needed"],
        ),
        (
            "another shape than the maps",
            |bundle| {
                halved(bundle);
                bundle.forge_tensors("golden.safetensors", |_, tensor| quarter(tensor));
            },
            &["maps.safetensors: tensor `mean` has shape [64, 64] where [32, 32] is needed"],
        ),
        (
            "another shape than the model",
            |bundle| {
                halved(bundle);
                bundle.forge_tensors("golden.safetensors", |_, tensor| quarter(tensor));
                bundle.edit(|table| drop(table.remove("calibration")));
            },
            &["model.onnx: input x_k is", "the bundle says"],
        ),
        (
            "a map that is no number",
            |bundle| {
                bundle.forge_tensors("maps.safetensors", |name, mut map| {
                    if name == "mean" {
                        map[[7, 9]] = f32::NAN;
                    }
                    map
                });
            },
            &["tensor `mean` holds values that are not numbers"],
        ),
        (
            "a map to divide by zero with",
            |bundle| {
                bundle.forge_tensors(
                    "maps.safetensors",
                    |name, map| {
                        if name == "std" { map * 0.0 } else { map }
                    },
                );
            },
            &["tensor `std` has values of 0 or less", "calibrate again"],
        ),
        (
            "a model that is no ONNX",
            |bundle| bundle.forge("model.onnx", |bytes| *bytes = b"weights".to_vec()),
            &["model.onnx: cannot be opened", "certiscope_models export"],
        ),
        (
            "half a model",
            |bundle| bundle.forge("model.onnx", |bytes| bytes.truncate(bytes.len() / 2)),
            &["model.onnx: cannot be opened"],
        ),
    ]);
}

/// Changes the manifest to 32x32, while the files are made for 64x64.
fn halved(bundle: &BundleCopy) {
    bundle.set("input", "height", 32);
    bundle.set("input", "width", 32);
}

/// The upper left 32x32 of tensors that hold pictures.
fn quarter(tensor: ArrayD<f32>) -> ArrayD<f32> {
    let axes = tensor.ndim();
    let picture = |axis: usize| axes >= 4 && axis >= axes - 2;
    tensor
        .slice_each_axis(|axis| {
            Slice::from(..if picture(axis.axis.index()) { 32 } else { axis.len as isize })
        })
        .to_owned()
}

/// Faults that only the golden vectors can find: every hash and every shape is right.
#[test]
fn a_model_that_scores_otherwise_than_when_it_was_exported_is_refused() {
    const WAY_OUT: &str = "the model does not score as it did when it was exported";
    fn off_by_one_percent(bundle: &BundleCopy, changed: &str) {
        bundle.forge_tensors("golden.safetensors", |name, mut tensor| {
            if name == changed {
                let first = tensor.first_mut().unwrap();
                *first *= 1.01;
            }
            tensor
        });
    }
    each_is_refused(&[
        (
            "weights that are not numbers",
            // Bits that are all 1 are a NaN in fp16 and in fp32, at any alignment; the middle of the file is within
            // the weights.
            |bundle| {
                bundle.forge("model.onnx", |bytes| {
                    let middle = bytes.len() / 2;
                    bytes[middle..middle + 64].fill(0xFF);
                });
            },
            &["golden vectors: the raw score differs by NaN", WAY_OUT],
        ),
        (
            "other weights",
            |bundle| {
                bundle.forge("model.onnx", |bytes| {
                    let middle = bytes.len() / 2;
                    bytes[middle..middle + 4096].fill(0);
                });
            },
            &["golden vectors: the raw score differs by", WAY_OUT],
        ),
        (
            "another timestep",
            |bundle| bundle.set("detector", "k", 110),
            &["golden vectors: the raw score", WAY_OUT],
        ),
        (
            "another filter",
            |bundle| bundle.set("score", "filter_px", 7),
            &["golden vectors: the raw score", WAY_OUT],
        ),
        (
            "one raw score",
            |bundle| off_by_one_percent(bundle, "raw_score"),
            &["golden vectors: the raw score differs by", WAY_OUT],
        ),
        (
            "one raw empirical score",
            |bundle| off_by_one_percent(bundle, "raw_empirical"),
            &["golden vectors: the raw empirical score differs by", WAY_OUT],
        ),
        (
            "one calibrated score",
            |bundle| off_by_one_percent(bundle, "score"),
            &["golden vectors: the score differs by", WAY_OUT],
        ),
        (
            "one calibrated empirical score",
            |bundle| off_by_one_percent(bundle, "empirical"),
            &["golden vectors: the empirical score differs by", WAY_OUT],
        ),
        (
            "maps of another calibration",
            |bundle| bundle.forge_tensors("maps.safetensors", |_, map| map * 1.01),
            &["golden vectors: the score differs by", WAY_OUT],
        ),
    ]);
}
