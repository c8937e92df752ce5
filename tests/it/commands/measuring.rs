//! Tests of `certiscope calibrate`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use certiscope::testing::bundle::Bundle;
use tempfile::TempDir;

use crate::support::bundles::{BundleCopy, contents, demo_line, simulated};
use crate::support::program::{Ran, certiscope, run};

/// Simulated parts in a folder that is deleted after the test.
fn parts(train_good: u64, test_per_kind: u64) -> TempDir {
    let folder = TempDir::new().unwrap();
    simulated(folder.path(), train_good, test_per_kind);
    folder
}

fn calibrate(bundle: &Path, normal: &Path, out: &Path, more: &[&str]) -> Ran {
    run(certiscope("calibrate")
        .arg("--bundle")
        .arg(bundle)
        .arg("--normal")
        .arg(normal)
        .arg("--out")
        .arg(out)
        .args(more))
}

/// A case: its bundle, pictures, new folder and options, and the words of the refusal.
type Uncalibrated<'a> = (&'a str, &'a Path, PathBuf, &'a Path, &'a [&'a str], &'a [&'a str]);

#[test]
fn calibrate_refuses_what_carries_no_guarantee() {
    let set = parts(12, 1);
    let (good, out) = (set.path().join("train/good"), set.path().join("new"));
    let few = BundleCopy::new();
    few.set("detector", "draws", 5);
    let shipped = demo_line();
    let cases: [Uncalibrated<'_>; 7] = [
        (
            "too few parts",
            &shipped,
            good.clone(),
            &out,
            &["--distinct-parts", "--false-alarm-rate", "0.04"],
            &["6 parts for the maps and 6 for the threshold", "too few; at least 20 and 24 different parts"],
        ),
        (
            "look-alikes are one part",
            &shipped,
            look_alikes(set.path()),
            &out,
            &[],
            &["1 parts for the maps and 0 for the threshold", "--distinct-parts"],
        ),
        (
            "a folder that exists",
            &shipped,
            good.clone(),
            set.path(),
            &[],
            &["--out", "exists already; give a folder that does not"],
        ),
        (
            "a defect among the normal parts",
            &shipped,
            set.path().join("test"),
            &out,
            &[],
            &["chip/0000.png: a picture of a defect; only pictures of normal parts are allowed"],
        ),
        ("no such folder", &shipped, set.path().join("nowhere"), &out, &[], &["nowhere"]),
        ("too few draws", few.path(), good.clone(), &out, &[], &["draws = 5: too few", "at least 19"]),
        (
            "not a rate",
            &shipped,
            good.clone(),
            &out,
            &["--false-alarm-rate", "0"],
            &["false_alarms = 0: no guarantee can be made"],
        ),
    ];
    let before = contents_below(set.path());
    for (case, bundle, normal, out, more, words) in cases {
        let ran = calibrate(bundle, &normal, out, more);
        assert_eq!(ran.code, 78, "{case}: {ran:?}");
        for words in words {
            assert!(ran.stderr.contains(words), "{case}: no {words:?} in {}", ran.stderr);
        }
        assert_eq!(contents_below(set.path()), before, "{case}: something was written");
    }
}

/// The same part photographed again and again.
fn look_alikes(set: &Path) -> PathBuf {
    let folder = set.join("again");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..50 {
        std::fs::copy(set.join("train/good/0000.png"), folder.join(format!("{number}.png"))).unwrap();
    }
    folder
}

/// The entries of a folder.
fn contents_below(folder: &Path) -> BTreeSet<PathBuf> {
    folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn calibrate_writes_the_next_version_and_leaves_the_bundle_as_it_was() {
    let set = parts(20, 9);
    let bundle = BundleCopy::new();
    bundle.set("detector", "draws", 19);
    let before = contents(bundle.path());
    let out = set.path().join("deeper/new");
    std::fs::create_dir(set.path().join("deeper")).unwrap();
    let maps = set.path().join("train/good");
    let ran = calibrate(
        bundle.path(),
        &set.path().join("test/good"),
        &out,
        &["--distinct-parts", "--false-alarm-rate", "0.1", "--maps", maps.to_str().unwrap()],
    )
    .succeeded();
    assert_eq!(contents(bundle.path()), before, "the bundle it was given");
    let names: Vec<_> = contents_below(out.parent().unwrap()).into_iter().collect();
    assert_eq!(names, std::slice::from_ref(&out), "whole, and nothing beside it");

    let (old, new) = (Bundle::load(bundle.path()).unwrap(), Bundle::load(&out).unwrap());
    assert_eq!(new.manifest.version, old.manifest.version + 1);
    assert_eq!(new.manifest.model.sha256, old.manifest.model.sha256);
    let calibration = new.manifest.calibration.as_ref().unwrap();
    assert_eq!((calibration.maps_groups, calibration.threshold_groups, calibration.draws), (20, 9, 19));
    assert_eq!((calibration.false_alarm_rate, calibration.radius), (0.1, old.level.sigma() / 2.0));
    let [low, high] = calibration.realised_rate;
    assert!(0.0 < low && low < 0.1 && 0.1 < high && high < 0.5, "{low} to {high}");
    let words = format!("threshold {:.4} from 9 parts", calibration.threshold);
    assert!(ran.stdout.contains(&words), "no {words:?} in {}", ran.stdout);

    // It opens, so its golden vectors agree with the new maps; and its verdicts use the new threshold.
    let heat_maps = set.path().join("heat");
    let picture = set.path().join("test/crack/0000.png");
    let inspected = run(certiscope("inspect")
        .arg("--json")
        .arg("--bundle")
        .arg(&out)
        .arg("--heat-maps")
        .arg(heat_maps)
        .arg(picture));
    let verdict = &inspected.succeeded().json()[0];
    assert_eq!(verdict["model"], new.label());
    assert_eq!(verdict["threshold"].as_f64().unwrap() as f32, calibration.threshold);
}
