//! `certiscope calibrate`: which parts count, which files it writes, what it reports about the scores.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use certiscope::testing::bundle::Bundle;
use image::{DynamicImage, GrayImage};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::bundles::contents;
use crate::support::faulty::faulty;
use crate::support::noise::{again, black, part};
use crate::support::program::{Ran, certiscope, run};

/// A temporary folder with a bundle called `line` and folders of pictures.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: TempDir::new().unwrap() };
        std::fs::create_dir(site.at("line")).unwrap();
        for (name, bytes) in contents(&faulty()) {
            std::fs::write(site.at("line").join(name), bytes).unwrap();
        }
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes pictures `kind-NUMBER.png` to a folder; `of` makes each from its number.
    fn show(&self, folder: &str, kind: &str, of: fn(u64) -> GrayImage, numbers: std::ops::Range<u64>) {
        std::fs::create_dir_all(self.at(folder)).unwrap();
        for number in numbers {
            of(number).save(self.at(folder).join(format!("{kind}-{number:03}.png"))).unwrap();
        }
    }

    /// Calibrates at 5 % false alarms, which 19 parts allow.
    fn calibrate(&self, bundle: &str, more: &[&str]) -> Ran {
        run(certiscope("calibrate").current_dir(self.folder.path()).args(
            [
                &["--bundle", bundle, "--normal", "normal", "--false-alarm-rate", "0.05", "--threads", "1"],
                more,
            ]
            .concat(),
        ))
    }

    fn names(&self) -> BTreeSet<String> {
        names(self.folder.path())
    }

    fn calibration(&self, bundle: &str) -> certiscope::testing::bundle::manifest::CalibrationSection {
        Bundle::load(&self.at(bundle)).unwrap().manifest.calibration.unwrap()
    }

    fn scores(&self, bundle: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.at(bundle).join("scores.json")).unwrap()).unwrap()
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn each_run_writes_the_next_version_and_the_bundle_stays_as_it_was() {
    let site = Site::new();
    site.show("normal", "part", part, 0..40);
    let before = contents(&site.at("line"));
    let first = site.calibrate("line", &[]).succeeded();
    assert!(first.stdout.contains("line-v3 (faulty@3)"), "{}", first.stdout);
    site.calibrate("line/", &[]).succeeded();
    site.calibrate("line-v3", &["--seed", "2"]).succeeded();
    assert_eq!(contents(&site.at("line")), before, "the bundle it was given");
    let all = ["line", "line-v3", "line-v4", "line-v5", "normal"].map(str::to_owned);
    assert_eq!(site.names(), BTreeSet::from(all), "whole, and nothing beside them");
    for version in 3..=5 {
        let bundle = Bundle::load(&site.at(&format!("line-v{version}"))).unwrap();
        assert_eq!(bundle.label(), format!("faulty@{version}"));
    }

    // The same pictures and seed give the same bundle again, except for its version; another seed gives another one.
    let (same, other) = (site.calibration("line-v4"), site.calibration("line-v5"));
    assert_eq!(site.calibration("line-v3"), same);
    assert_ne!((other.threshold, other.maps_sha256), (same.threshold, same.maps_sha256));
}

#[test]
fn the_scores_are_written_and_the_highest_parts_are_named() {
    let site = Site::new();
    site.show("normal", "part", part, 0..79);
    // A part with a brighter half: the command must name it, so that a technician finds it.
    let mut odd = part(1000);
    odd.enumerate_pixels_mut().filter(|(x, ..)| *x < 24).for_each(|(.., pixel)| pixel.0[0] += 60);
    // Every second part makes the maps; by its name this one does not.
    odd.save(site.at("normal/part-000x.png")).unwrap();
    std::fs::write(site.at("normal/broken.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let said = site.calibrate("line", &[]).succeeded().stdout;
    assert!(
        said.contains("40 parts for the maps and 40 for the threshold, of 80 pictures, 1 more unusable"),
        "{said}"
    );

    let scores = site.scores("line-v3");
    let parts = scores["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 40);
    assert_eq!(parts[0]["picture"], "part-000x.png", "{}", parts[0]);
    let bounds: Vec<f64> = parts.iter().map(|part| part["bound"].as_f64().unwrap()).collect();
    assert!(bounds.is_sorted_by(|one, next| one >= next), "{bounds:?}");
    // 41 * 0.05 is 2.05: two of 41 ranks are above, so the second highest of 40 parts is the threshold.
    assert_eq!(scores["threshold"].as_f64().unwrap(), bounds[1]);
    assert_eq!(scores["threshold_is_bound_of"], parts[1]["picture"]);
    assert_eq!(site.calibration("line-v3").threshold as f64, bounds[1]);

    let named = said.lines().skip_while(|line| !line.starts_with("highest scores")).nth(1).unwrap();
    assert!(named.trim().starts_with("part-000x.png"), "{said}");
    let count = |verdict: &str| parts.iter().filter(|part| part["verdict"] == verdict).count();
    let words = format!(
        "{} of these parts are certified normal, {} anomalous, {} abstain: {:.1} % abstain",
        count("normal"),
        count("anomalous"),
        count("abstain"),
        100.0 * count("abstain") as f64 / 40.0
    );
    assert!(count("normal") > 30 && said.contains(&words), "no {words:?} in {said}");

    let picture = std::fs::read_to_string(site.at("line-v3/scores.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("threshold"), "{picture}");
}

#[test]
fn a_part_that_both_folders_show_is_left_out_of_the_threshold() {
    let site = Site::new();
    site.show("maps", "part", part, 0..20);
    site.show("normal", "part", part, 100..118);
    site.show("normal", "again", again, 3..5);
    let words = [
        "20 parts for the maps and 18 for the threshold",
        "--maps shows the same parts: 2 (again-003.png, again-004.png)",
        "20 and 19 different parts",
    ];
    site.calibrate("line", &["--maps", "maps"]).refused("shared parts do not count", &words);
    site.show("normal", "part", part, 118..119);
    let ran = site.calibrate("line", &["--maps", "maps"]).succeeded();
    assert!(ran.stdout.contains("same parts: 2 (again-003.png, again-004.png)"), "{}", ran.stdout);
    let calibration = site.calibration("line-v3");
    assert_eq!((calibration.maps_groups, calibration.threshold_groups), (20, 19));

    // With --distinct-parts pictures that look alike are different parts, but the same picture twice is one part.
    std::fs::copy(site.at("maps/part-007.png"), site.at("normal/copy.png")).unwrap();
    let ran = site.calibrate("line", &["--maps", "maps", "--distinct-parts"]).succeeded();
    assert!(
        ran.stdout.contains("21 for the threshold") && ran.stdout.contains("1 (copy.png)"),
        "{}",
        ran.stdout
    );
    let words = ["0 for the threshold", "--maps shows the same parts: 22 (", "and 17 more)"];
    site.calibrate("line", &["--maps", "normal"]).refused("one folder for both", &words);
    assert!(!site.at("line-v5").exists());
}

#[test]
fn names_tell_the_part_where_they_are_said_to() {
    let site = Site::new();
    site.show("normal", "part", part, 0..40);
    // The last digit: ten parts, although no two pictures are alike.
    let words = ["5 parts for the maps and 5 for the threshold, of 40 pictures", "--part-from"];
    site.calibrate("line", &["--part-from", r"([0-9])\."]).refused("too few by name", &words);
    let words = ["does not match part-000.png"];
    site.calibrate("line", &["--part-from", "(1)"]).refused("a name that does not match", &words);
    // One part again and again, which only its names can tell apart.
    std::fs::remove_dir_all(site.at("normal")).unwrap();
    site.show("normal", "part", |_| part(1), 0..40);
    let ran = site.calibrate("line", &["--part-from", "part-([0-9]+)"]).succeeded();
    assert!(ran.stdout.contains("20 parts for the maps and 20 for the threshold"), "{}", ran.stdout);
}

#[test]
fn pictures_that_say_nothing_count_as_one_part() {
    let site = Site::new();
    site.show("normal", "part", |_| part(1), 0..60);
    let words = ["1 parts for the maps and 0 for the threshold, of 60 pictures"];
    site.calibrate("line", &[]).refused("copies", &words);
    site.calibrate("line", &["--distinct-parts"]).refused("copies said to be parts", &words);
    std::fs::remove_dir_all(site.at("normal")).unwrap();
    site.show("normal", "lens-cap", |n| GrayImage::from_pixel(64, 64, [n as u8].into()), 0..60);
    site.calibrate("line", &[]).refused("a closed lens", &words);
}

#[test]
fn parts_without_numbers_are_named_and_never_lower_the_threshold() {
    let site = Site::new();
    site.show("maps", "part", part, 0..20);
    site.show("normal", "part", part, 100..138);
    site.calibrate("line", &["--maps", "maps"]).succeeded();
    // Its name comes last, so that the others keep their noise.
    site.show("normal", "z-black", black, 0..1);
    let ran = site.calibrate("line", &["--maps", "maps"]).succeeded();
    assert!(ran.stderr.contains("z-black-000.png: 32 draws gave no number"), "{}", ran.stderr);
    let scores = site.scores("line-v4");
    assert_eq!(scores["parts"][0]["picture"], "z-black-000.png");
    assert_eq!(
        (&scores["parts"][0]["score"], &scores["parts"][0]["verdict"]),
        (&Value::Null, &"abstain".into())
    );
    assert!(site.calibration("line-v4").threshold >= site.calibration("line-v3").threshold);

    site.show("normal", "z-black", black, 1..2);
    let refused = site.calibrate("line", &["--maps", "maps"]);
    refused.refused("too many without numbers", &["threshold = infinite", "z-black-001.png"]);
    site.show("maps", "z-black", black, 50..51);
    site.calibrate("line", &["--maps", "maps"]).refused("maps without numbers", &["training maps: "]);
}

#[test]
fn what_cannot_be_calibrated_is_refused_and_leaves_nothing() {
    let site = Site::new();
    site.show("normal", "part", part, 0..40);
    site.calibrate("normal", &[]).refused("no bundle", &["bundle.toml", "a folder with bundle.toml"]);
    site.calibrate("line", &["--out", "normal"]).refused("a folder in use", &["exists already"]);
    let colour = DynamicImage::ImageLuma8(part(50)).to_rgb8();
    colour.save(site.at("normal/colour.png")).unwrap();
    let words = ["part-000.png is grey and colour.png is coloured", "of one kind"];
    site.calibrate("line", &[]).refused("mixed pictures", &words);
    std::fs::remove_dir_all(site.at("normal")).unwrap();
    site.show("normal", "part", part, 0..0);
    for number in 0..50 {
        std::fs::write(site.at(&format!("normal/{number}.png")), b"\x89PNG\r\n\x1a\n").unwrap();
    }
    let words = ["0 parts for the maps and 0 for the threshold, of 0 pictures, 50 more unusable"];
    site.calibrate("line", &[]).refused("unreadable pictures", &words);
    assert_eq!(site.names(), BTreeSet::from(["line".to_owned(), "normal".to_owned()]));
}
