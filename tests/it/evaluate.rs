//! `certiscope evaluate` on simulated parts: its figures are computed again here, it names what it leaves out, and it
//! continues after an interruption.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use certiscope::testing::smoothing::fixed::upper_rank;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::bundles::{BundleCopy, contents, demo_line, simulated};
use crate::support::faulty::{Part, faulty};
use crate::support::program::{Ran, certiscope, run};

const DRAWS: usize = 16;

/// A temporary folder with simulated parts and the reports of the runs.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(test_per_kind: u64) -> Self {
        let site = Self { folder: TempDir::new().unwrap() };
        simulated(&site.set(), 1, test_per_kind);
        site
    }

    fn set(&self) -> PathBuf {
        self.folder.path().join("set")
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn evaluate(&self, out: &str) -> Ran {
        run(certiscope("evaluate").args(arguments(&demo_line(), &self.set(), &self.out(out))))
    }

    fn report(&self, out: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.out(out).join("report.json")).unwrap()).unwrap()
    }

    /// Name and reason of everything that the report says was left out.
    fn left_out(&self, out: &str) -> Vec<(String, String)> {
        let report = self.report(out);
        let words = |left: &Value, key: &str| left[key].as_str().unwrap().to_owned();
        let left = report["categories"][0]["left_out"].as_array().unwrap();
        left.iter().map(|left| (words(left, "name"), words(left, "why"))).collect()
    }
}

fn arguments(bundle: &Path, data: &Path, out: &Path) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let fixed = ["--distinct-parts", "--threads", "1", "--draws"].map(str::to_owned);
    let places =
        ["--bundle".to_owned(), path(bundle), "--data".to_owned(), path(data), "--out".to_owned(), path(out)];
    fixed.into_iter().chain([DRAWS.to_string()]).chain(places).collect()
}

#[test]
fn the_figures_are_those_of_the_scores() {
    let site = Site::new(4);
    let ran = site.evaluate("out").succeeded();
    let report = site.report("out");
    let category = &report["categories"][0];
    let pictures = category["pictures"].as_array().unwrap();
    assert_eq!((pictures.len(), category["draws"].as_u64()), (28, Some(DRAWS as u64)));
    let kinds: BTreeSet<&str> = pictures.iter().map(|p| p["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    for score in ["certified", "empirical"] {
        for kind in kinds.iter().filter(|kind| **kind != "good").chain([&"all"]) {
            let figures = &category["image"][kind][score];
            let [value, lower, upper] =
                ["value", "lower", "upper"].map(|key| figures["auroc"][key].as_f64().unwrap());
            let found = auroc(pictures, score, kind);
            assert!((value - found).abs() < 1e-12, "{score} {kind}: {value}, {found}");
            assert!(
                0.0 <= lower && lower <= value && value <= upper && upper <= 1.0,
                "{score} {kind}: {figures}"
            );
            let row = ran.stdout.lines().find(|line| line.starts_with(kind)).expect(kind);
            let [low, high] = [lower, upper].map(|it| format!("{it:.3}"));
            let interval = if low == high { "no interval".to_owned() } else { format!("{low} to {high}") };
            let words = format!("{value:.3} ({interval})");
            assert!(row.contains(&words), "no {words} in {row}");
        }
    }

    // From the scores of the draws: the median, the verdicts, and the bounds at every radius.
    let number = |value: &Value| value.as_f64().unwrap();
    let threshold = number(&category["bundle"]["threshold"]);
    let rank = |reach: f64| upper_rank(DRAWS as u32, reach, 0.0005).map(|rank| rank as usize);
    let (mut normal, mut defective) = (Vec::new(), Vec::new());
    for picture in pictures {
        let draws = draws_of(&site.out("out"), picture["sha256"].as_str().unwrap());
        let median = (draws[DRAWS / 2 - 1] + draws[DRAWS / 2]) / 2.0;
        let stored = number(&picture["certified"]);
        assert!((median - stored).abs() <= 1e-5 * stored.abs(), "{median}, {stored}");
        if picture["kind"] == "good" { normal.push(draws) } else { defective.push(draws) }
    }
    let missed = defective.iter().filter(|draws| draws[rank(0.0).unwrap() - 1] <= threshold).count();
    assert_eq!(number(&category["verdicts"]["misses"]), missed as f64 / defective.len() as f64);
    let mut values = BTreeSet::new();
    for at in category["certified_auc"].as_array().unwrap() {
        let won = rank(number(&at["radius"]) / number(&category["bundle"]["sigma"])).map_or(0, |rank| {
            let beaten = |upper: f64| defective.iter().filter(|draws| draws[DRAWS - rank] > upper).count();
            normal.iter().map(|draws| beaten(draws[rank - 1])).sum()
        });
        assert_eq!(number(&at["value"]), won as f64 / (normal.len() * defective.len()) as f64, "{at}");
        values.insert(won);
    }
    assert!(values.len() >= 3, "some pairs are won at no radius, some at few: {values:?}");
    let reference = category["reference_radius"].as_f64().unwrap();
    assert!((reference - 0.2 * (64.0 * 64.0 / 196_608.0_f64).sqrt()).abs() < 1e-12);
    assert!(category["ms_per_picture"].as_f64().unwrap() > 0.0);
    for figure in ["auroc", "au_pro"] {
        assert!((0.5..=1.0).contains(&category["pixel"][figure].as_f64().unwrap()), "{}", category["pixel"]);
    }

    let page = std::fs::read_to_string(site.out("out").join("report.html")).unwrap();
    for words in ["<svg", "data:image/png;base64,", "AU-PRO", "test/crack/", "scores were there already"] {
        assert!(page.contains(words), "no {words} in the page");
    }
    for outside in ["<script", "src=\"http", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
}

/// The scores of a picture's draws, ascending.
fn draws_of(out: &Path, sha256: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(out.join("scores.jsonl")).unwrap();
    let line = text.lines().find(|line| line.contains(sha256)).expect(sha256);
    let line: Value = serde_json::from_str(line).unwrap();
    let mut draws: Vec<f64> =
        line["draws_scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
    draws.sort_unstable_by(f64::total_cmp);
    draws
}

/// The AUROC, computed pair by pair: how often a defect scores above a normal part.
fn auroc(pictures: &[Value], score: &str, kind: &str) -> f64 {
    let of = |wanted: &dyn Fn(&str) -> bool| -> Vec<f64> {
        let wanted = pictures.iter().filter(|picture| wanted(picture["kind"].as_str().unwrap()));
        wanted.map(|picture| picture[score].as_f64().unwrap()).collect()
    };
    let normal = of(&|of| of == "good");
    let defective = of(&|of| of != "good" && (kind == "all" || of == kind));
    let won: f64 = defective
        .iter()
        .flat_map(|defective| normal.iter().map(move |normal| defective.total_cmp(normal)))
        .map(|order| (order as i8 as f64 + 1.0) / 2.0)
        .sum();
    won / (normal.len() * defective.len()) as f64
}

#[test]
fn what_cannot_take_part_is_named_everywhere() {
    let site = Site::new(2);
    let set = site.set();
    std::fs::write(set.join("test/good/cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    std::fs::create_dir(set.join("test/worn")).unwrap();
    std::fs::remove_file(set.join("ground_truth/crack/0000_mask.png")).unwrap();
    image::GrayImage::from_pixel(32, 16, [255].into())
        .save(set.join("ground_truth/dent/0001_mask.png"))
        .unwrap();
    image::GrayImage::new(256, 256).save(set.join("ground_truth/chip/0000_mask.png")).unwrap();
    std::fs::write(set.join("ground_truth/stain/0000_mask.png"), "no picture").unwrap();

    let ran = site.evaluate("out").succeeded();
    let wanted = [
        ("test/worn", "an empty class"),
        ("test/chip/0000.png", "empty mask"),
        ("test/crack/0000.png", "missing mask"),
        ("test/dent/0001.png", "mask of 32x16 for a picture of 256x256"),
        ("test/good/cut.png", "unreadable picture"),
        ("test/stain/0000.png", "unreadable mask"),
    ];
    let left_out = site.left_out("out");
    let page = std::fs::read_to_string(site.out("out").join("report.html")).unwrap();
    assert_eq!(left_out.len(), wanted.len(), "{left_out:?}");
    for (name, why) in wanted {
        let found = left_out.iter().find(|left| left.0 == name).expect(name);
        assert!(found.1.contains(why), "{found:?}");
        assert!(ran.stdout.contains(&format!("left out: {name}: ")) && page.contains(name), "{name}");
    }
    assert!(ran.stdout.contains("2 normal and 12 defective pictures") && ran.stdout.contains("6 left out"));
    assert_eq!(site.report("out")["categories"][0]["pixel"]["masks"], 8);
}

#[test]
fn killed_half_way_it_goes_on_and_ends_with_the_same_figures() {
    let site = Site::new(3);
    site.evaluate("whole").succeeded();

    let lines = || std::fs::read_to_string(site.out("stopped").join("scores.jsonl")).unwrap_or_default();
    let mut child = std::process::Command::new(crate::support::program::path())
        .arg("evaluate")
        .args(arguments(&demo_line(), &site.set(), &site.out("stopped")))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while lines().lines().count() < 4 {
        assert!(Instant::now() < deadline, "no scores within a minute");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = lines();
    assert!(before.lines().count() < 21, "it was done before it was killed");
    // As after a power cut: the last line is incomplete.
    std::fs::write(site.out("stopped").join("scores.jsonl"), &before[..before.trim_end().len() - 5]).unwrap();

    let resumed = site.evaluate("stopped").succeeded();
    let there = before.trim_end().lines().count() - 1;
    assert!(resumed.stdout.contains(&format!("{there} scores were there already")), "{}", resumed.stdout);
    let figures = |out: &str| {
        let mut report = site.report(out)["categories"][0].clone();
        for measured in ["ms_per_picture", "resumed"] {
            report.as_object_mut().unwrap().remove(measured);
        }
        report
    };
    assert_eq!(figures("stopped"), figures("whole"));

    let again = site.evaluate("stopped").succeeded();
    assert!(again.stdout.contains("all scores were there already"), "{}", again.stdout);
    assert_eq!(figures("stopped"), figures("whole"));
}

#[test]
fn categories_have_their_own_bundles_and_a_mean() {
    let site = Site::new(1);
    let (root, bundles) = (site.folder.path().join("root"), site.folder.path().join("bundles"));
    std::fs::create_dir(&root).unwrap();
    std::fs::rename(site.set(), root.join("disc")).unwrap();
    simulated(&root.join("ring"), 1, 1);
    std::fs::create_dir_all(root.join("bare/test/good")).unwrap();
    let copy = BundleCopy::new();
    let bundle = |name: &str| {
        let folder = bundles.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (file, bytes) in contents(copy.path()) {
            std::fs::write(folder.join(file), bytes).unwrap();
        }
    };
    let evaluate =
        || run(certiscope("evaluate").args(arguments(&bundles, &root, &site.folder.path().join("out"))));
    bundle("disc");
    evaluate().refused("a category without a bundle", &["no bundle for ring", "named like it"]);
    bundle("ring");
    let ran = evaluate().succeeded();
    let report = site.report("out");
    let table = report["table"].as_array().unwrap();
    let names: Vec<_> = table.iter().map(|row| row["category"].as_str().unwrap()).collect();
    assert_eq!(names, ["disc", "ring", "mean"]);
    let [disc, ring, mean] = [0, 1, 2].map(|row: usize| table[row]["certified_auroc"].as_f64().unwrap());
    assert!((mean - (disc + ring) / 2.0).abs() < 1e-12);
    assert!(ran.stdout.lines().any(|line| line.starts_with("mean ")), "{}", ran.stdout);
    let bare =
        ran.stdout.lines().find(|line| line.starts_with("left out: bare: ")).expect("the bare category");
    assert!(bare.contains("0 normal and 0 defective"), "{bare}");
}

#[test]
fn what_has_no_labels_or_one_class_is_refused() {
    let site = Site::new(1);
    let set = site.set();
    let evaluate =
        |data: &Path| run(certiscope("evaluate").args(arguments(&demo_line(), data, &site.out("out"))));
    evaluate(&set.join("test/crack")).refused("no classes", &["no labelled pictures", "good/"]);
    evaluate(&set.join("nowhere")).refused("no folder", &["nowhere"]);
    let good = site.folder.path().join("good");
    std::fs::create_dir_all(good.join("test")).unwrap();
    std::fs::rename(set.join("test/good"), good.join("test/good")).unwrap();
    let words = ["1 normal and 0 defective pictures", "at least 1 of each"];
    evaluate(&good).refused("no defects", &words);
    evaluate(&set).refused("no normal parts", &["0 normal and 6 defective pictures"]);
    assert!(!site.out("out").exists(), "something was written");
    std::fs::create_dir(set.join("test/good")).unwrap();
    std::fs::write(set.join("test/good/0.png"), "broken").unwrap();
    evaluate(&set)
        .refused("no readable normal parts", &["of what can be read, 0 normal and 6", "test/good/0.png"]);
}

/// Scores that are not numbers count against the model on both sides, and the report says so.
#[test]
fn scores_that_are_no_numbers_count_against_the_detector() {
    let folder = TempDir::new().unwrap();
    let set = folder.path().join("set");
    for (name, part) in [
        ("good/even.png", Part::Normal),
        ("good/black.png", Part::NotANumber),
        ("bad/bright.png", Part::Defect),
    ] {
        std::fs::create_dir_all(set.join(name).parent().unwrap()).unwrap();
        part.picture().save(set.join(name)).unwrap();
    }
    let out = folder.path().join("out");
    run(certiscope("evaluate").args(arguments(&faulty(), &set, &out))).succeeded();
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    let category = &report["categories"][0];
    assert_eq!(category["image"]["all"]["certified"]["auroc"]["value"], 0.5, "{}", category["image"]);
    assert_eq!(category["verdicts"]["normal_abstained"], 0.5);
    let black =
        category["pictures"].as_array().unwrap().iter().find(|p| p["picture"] == "good/black.png").unwrap();
    assert_eq!((&black["certified"], black["verdict"].as_str()), (&Value::Null, Some("abstain")));
}
