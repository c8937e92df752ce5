//! Pictures far outside of what the bundle was calibrated with get no verdict, and calibration refuses mixed sets.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use image::imageops::{blur, overlay};
use image::{GrayImage, ImageBuffer, Luma};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::bundles::{BundleCopy, demo_line, simulated};
use crate::support::program::{Ran, certiscope, run};
use crate::support::station_config::StationConfig;

type Grey16 = ImageBuffer<Luma<u16>, Vec<u16>>;

/// Simulated parts: 40 good ones, one of each defect.
static PARTS: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    simulated(folder.path(), 40, 1);
    folder
});

fn good(number: usize) -> GrayImage {
    image::open(PARTS.path().join(format!("train/good/{number:04}.png"))).unwrap().to_luma8()
}

fn defect(kind: &str) -> GrayImage {
    image::open(PARTS.path().join(format!("test/{kind}/0000.png"))).unwrap().to_luma8()
}

/// The part in another light: black stays black, and what is too bright is white.
fn exposed(part: &GrayImage, factor: f32) -> GrayImage {
    GrayImage::from_fn(part.width(), part.height(), |x, y| {
        Luma([(f32::from(part.get_pixel(x, y)[0]) * factor) as u8])
    })
}

/// The part as a camera saves it whose white is `white`, in a file of 16 bits.
fn sixteen_bits(part: &GrayImage, white: u32) -> Grey16 {
    Grey16::from_fn(part.width(), part.height(), |x, y| {
        Luma([(u32::from(part.get_pixel(x, y)[0]) * white / 255) as u16])
    })
}

/// The part in a picture twice as wide.
fn wide(part: &GrayImage) -> GrayImage {
    let mut picture = GrayImage::from_pixel(512, 256, Luma([128]));
    overlay(&mut picture, part, 128, 0);
    picture
}

fn inspect(bundle: &Path, pictures: &[PathBuf]) -> Vec<Value> {
    let ran = run(certiscope("inspect").arg("--json").arg("--bundle").arg(bundle).args(pictures)).succeeded();
    ran.json().as_array().unwrap().clone()
}

/// Asserts a verdict that is no measurement, with a fault that has these words.
fn abstained(name: &str, verdict: &Value, words: &[&str]) {
    assert_eq!(
        (&verdict["verdict"], &verdict["reason"]),
        (&"abstain".into(), &"bad_frame".into()),
        "{name}: {verdict:#}"
    );
    let fault = verdict["fault"].as_str().unwrap();
    assert!(words.iter().all(|word| fault.contains(word)), "{name}: {words:?} in {fault}");
    for number in ["radius", "frame_radius", "score", "empirical_score", "draws"] {
        assert_eq!(verdict[number], Value::Null, "{name}: {number} of no draw");
    }
}

/// A copy of the demo's bundle that needs few draws, and folders of pictures to calibrate it with.
struct Site {
    folder: TempDir,
    bundle: BundleCopy,
}

impl Site {
    fn new() -> Self {
        let bundle = BundleCopy::new();
        bundle.set("detector", "draws", 19);
        Self { folder: TempDir::new().unwrap(), bundle }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes good parts as `of` changes them: `maps` with numbers below 20, `normal` with the others.
    fn show<P, C>(&self, of: impl Fn(usize, GrayImage) -> ImageBuffer<P, C>)
    where
        P: image::PixelWithColorType,
        [P::Subpixel]: image::EncodableLayout,
        C: std::ops::Deref<Target = [P::Subpixel]>,
    {
        for number in 0..29 {
            let folder = self.at(if number < 20 { "maps" } else { "normal" });
            std::fs::create_dir_all(&folder).unwrap();
            of(number, good(number)).save(folder.join(format!("{number:04}.png"))).unwrap();
        }
    }

    fn calibrate(&self, more: &[&str]) -> Ran {
        run(certiscope("calibrate")
            .current_dir(self.folder.path())
            .arg("--bundle")
            .arg(self.bundle.path())
            .args(["--maps", "maps", "--normal", "normal", "--out", "new", "--distinct-parts"])
            .args(["--false-alarm-rate", "0.1", "--threads", "1"])
            .args(more))
    }

    fn refused(&self, case: &str, words: &[&str]) {
        self.calibrate(&[]).refused(case, words);
        assert!(!self.at("new").exists(), "{case}: something was written");
    }

    fn save<P, C>(&self, name: &str, picture: &ImageBuffer<P, C>) -> PathBuf
    where
        P: image::PixelWithColorType,
        [P::Subpixel]: image::EncodableLayout,
        C: std::ops::Deref<Target = [P::Subpixel]>,
    {
        let file = self.at(name);
        picture.save(&file).unwrap();
        file
    }
}

#[test]
fn a_frame_of_another_kind_abstains_whatever_its_score() {
    let site = Site::new();
    let part = good(0);
    let pixels = |of: fn(u32, u32, u8) -> u8| {
        GrayImage::from_fn(256, 256, |x, y| Luma([of(x, y, part.get_pixel(x, y)[0])]))
    };
    let cases: Vec<(&str, PathBuf, &[&str])> = vec![
        (
            "half the exposure",
            site.save("half.png", &exposed(&part, 0.45)),
            &["mean", "lies outside", "exposure"],
        ),
        (
            "twice the exposure",
            site.save("double.png", &exposed(&part, 2.2)),
            &["lies outside", "calibrate again"],
        ),
        ("12 bits as 8", site.save("dark.png", &exposed(&part, 1.0 / 16.0)), &["mean 0.0", "lies outside"]),
        ("a defect, dark", site.save("scratch.png", &exposed(&defect("scratch"), 1.0 / 16.0)), &["mean 0.0"]),
        ("negative", site.save("negative.png", &pixels(|_, _, value| 255 - value)), &["mean 0."]),
        ("black", site.save("black.png", &pixels(|_, _, _| 0)), &["mean 0.000"]),
        ("white", site.save("white.png", &pixels(|_, _, _| 255)), &["mean 1.000"]),
        ("no part in view", site.save("grey.png", &pixels(|_, _, _| 80)), &["contrast 0.000", "in view"]),
        ("out of focus", site.save("blurred.png", &blur(&part, 8.0)), &["sharpness", "focus"]),
        (
            "noise",
            site.save(
                "noise.png",
                &pixels(|x, y, _| (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761).to_be_bytes()[0]),
            ),
            &["lies outside"],
        ),
        ("another size", site.save("wide.png", &wide(&part)), &["512x256", "256x256", "camera's size"]),
        ("16 bits", site.save("sixteen.png", &sixteen_bits(&part, 65_535)), &["16 bits a sample", "8"]),
        ("12 bits in 16", site.save("twelve.png", &sixteen_bits(&part, 4095)), &["16 bits a sample"]),
    ];
    let files: Vec<PathBuf> = cases.iter().map(|(_, file, _)| file.clone()).collect();
    for ((name, _, words), verdict) in cases.iter().zip(inspect(&demo_line(), &files)) {
        abstained(name, &verdict, words);
    }
    // The same part, also in the light of another hour, and every kind of defect.
    let mut inside: Vec<PathBuf> = [1.0, 0.9, 1.1]
        .map(|light| site.save(&format!("light-{light}.png"), &exposed(&part, light)))
        .to_vec();
    for kind in ["chip", "crack", "dent", "missing_hole", "scratch", "stain"] {
        inside.push(PARTS.path().join(format!("test/{kind}/0000.png")));
    }
    let verdicts = inspect(&demo_line(), &inside);
    for verdict in &verdicts {
        assert!(verdict["fault"].is_null() && verdict["draws"].as_u64() > Some(0), "{verdict:#}");
    }
    assert_eq!(verdicts[0]["verdict"], "normal", "{:#}", verdicts[0]);
    assert!(
        verdicts[3..].iter().filter(|verdict| verdict["verdict"] == "anomalous").count() >= 5,
        "{verdicts:#?}"
    );
}

#[test]
fn calibration_refuses_pictures_that_one_camera_cannot_have_made() {
    let several = |number: usize, part: GrayImage| if number < 24 { part } else { wide(&part) };
    let site = Site::new();
    site.show(several);
    site.refused("sizes in --normal", &["24 pictures of 256x256", "5 pictures of 512x256", "--mixed-sizes"]);
    let site = Site::new();
    site.show(|number, part| if number == 3 { wide(&part) } else { part });
    site.refused(
        "one size in --maps",
        &["28 pictures of 256x256", "1 pictures of 512x256 (such as 0003.png)"],
    );
    let site = Site::new();
    site.show(|_, part| part);
    site.save("maps/0004.png", &sixteen_bits(&good(4), 65_535));
    site.refused("depths", &["28 pictures of 8 bits", "1 pictures of 16 bits (such as 0004.png)"]);
}

#[test]
fn sixteen_bit_pictures_that_use_a_fraction_of_their_range_are_refused_with_the_value_of_white() {
    for (bits, white) in [(8, 255), (10, 1023), (12, 4095), (14, 16_383)] {
        let site = Site::new();
        site.show(|_, part| sixteen_bits(&part, white));
        let value = format!("--full-scale {white}");
        site.refused(&format!("{bits} bits"), &["16-bit pictures whose largest sample is", &value]);
        if bits == 12 {
            let above = ["a sample of", "is above full_scale = 1023"];
            site.calibrate(&["--full-scale", "1023"]).refused("white below a sample", &above);
            let buried = ["buries them", "contrast = 0.0"];
            site.calibrate(&["--full-scale", "65535"]).refused("so dark", &buried);
        }
    }
}

#[test]
fn a_bundle_that_knows_white_inspects_twelve_bits() {
    let site = Site::new();
    site.show(|_, part| sixteen_bits(&part, 4095));
    let said = site.calibrate(&["--full-scale", "4095"]).succeeded().stdout;
    assert!(!said.contains("NOT BELIEVABLE"), "{said}");
    let text = std::fs::read_to_string(site.at("new/bundle.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    assert_eq!(table["input"]["full_scale"].as_integer(), Some(4095));
    let pictures = table["calibration"]["pictures"].as_table().unwrap();
    let size = ["width", "height", "channels", "bits"].map(|key| pictures[key].as_integer().unwrap());
    assert_eq!(size, [256, 256, 1, 16]);
    for key in ["mean", "contrast", "sharpness", "asymmetry"] {
        let [low, high] = [0, 1].map(|at| pictures[key][at].as_float().unwrap());
        assert!(0.0 < low && low < high && high < 1.0, "{key}: {low} to {high}");
    }

    let files = [
        site.save("twelve.png", &sixteen_bits(&good(30), 4095)),
        site.save("full.png", &sixteen_bits(&good(30), 65_535)),
        site.save("eight.png", &good(30)),
        site.save("stain.png", &sixteen_bits(&defect("stain"), 4095)),
    ];
    let verdicts = inspect(&site.at("new"), &files);
    assert!(verdicts[0]["fault"].is_null() && verdicts[0]["verdict"] != "anomalous", "{:#}", verdicts[0]);
    abstained("white at 65535", &verdicts[1], &["above full_scale = 4095"]);
    abstained("8 bits", &verdicts[2], &["8 bits a sample", "have 16"]);
    assert_eq!(verdicts[3]["verdict"], "anomalous", "{:#}", verdicts[3]);
}

#[test]
fn a_threshold_that_is_not_to_be_believed_is_called_so() {
    // Several sizes, allowed: nothing checks the size later, and that is said.
    let site = Site::new();
    site.show(|number, part| if number % 4 == 3 { wide(&part) } else { part });
    let said = site.calibrate(&["--mixed-sizes"]).succeeded().stdout;
    assert!(said.contains("NOT BELIEVABLE: 22 pictures of 256x256"), "{said}");
    assert!(
        said.contains("the bundle checks the size of no frame") && said.contains("do not use it"),
        "{said}"
    );
    let table: toml::Table = std::fs::read_to_string(site.at("new/bundle.toml")).unwrap().parse().unwrap();
    assert!(!table["calibration"]["pictures"].as_table().unwrap().contains_key("width"));
    let verdicts = inspect(&site.at("new"), &[site.save("wide.png", &wide(&good(30)))]);
    assert_ne!(verdicts[0]["reason"], "bad_frame", "{:#}", verdicts[0]);

    // Two exposures.
    let site = Site::new();
    site.show(|number, part| if number % 5 == 4 { exposed(&part, 0.25) } else { part });
    let said = site.calibrate(&[]).succeeded().stdout;
    assert!(said.contains("NOT BELIEVABLE: 5 of 29 pictures have a"), "{said}");
    assert!(said.contains("0004.png") && said.contains("two exposures"), "{said}");

    // Nothing to see but noise of the sensor.
    let site = Site::new();
    site.show(|number, part| {
        GrayImage::from_fn(256, 256, |x, y| Luma([128 + part.get_pixel(x, y)[0] % 3 + (number % 2) as u8]))
    });
    site.refused("even pictures", &["contrast = 0.0", "buries them"]);
}

#[test]
fn a_station_counts_such_frames_as_bad_and_verify_finds_them_again() {
    let site = Site::new();
    std::fs::create_dir(site.at("pictures")).unwrap();
    site.save("pictures/0.png", &exposed(&good(1), 0.1));
    site.save("pictures/1.png", &good(1));
    site.save("pictures/2.png", &wide(&good(1)));
    let source = "kind = \"folder\"\npath = \"pictures\"";
    let config = StationConfig::new(&demo_line(), 1, source).write(site.folder.path());
    let checked = run(certiscope("check").arg("--config").arg(&config));
    assert_eq!(checked.code, 78, "{checked:?}");
    let wrong =
        checked.stdout.lines().find(|line| line.starts_with("wrong      source:")).expect(&checked.stdout);
    assert!(wrong.contains("0.png: frame: mean 0.0") && wrong.contains("lies outside"), "{wrong}");
    assert!(checked.stdout.contains("for pictures 256x256, grey, 8 bits, mean 0."), "{}", checked.stdout);

    let ran = run(certiscope("run").arg("--config").arg(&config)).succeeded();
    assert!(
        ran.stdout.contains("3 inspected: 1 normal, 0 anomalous, 2 abstained"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert!(!ran.stderr.contains("knows no range"), "{}", ran.stderr);
    let state = site.at("state");
    let database = rusqlite::Connection::open(state.join("certiscope.db")).unwrap();
    let rows: Vec<(String, Option<String>, Option<String>)> = database
        .prepare("SELECT boot_id || '-' || seq, reason, fault FROM inspection ORDER BY seq")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let reasons: Vec<Option<&str>> = rows.iter().map(|(_, reason, _)| reason.as_deref()).collect();
    assert_eq!(reasons, [Some("bad_frame"), None, Some("bad_frame")]);
    for (number, words) in [(0, "mean 0.0"), (2, "512x256")] {
        let (id, _, fault) = &rows[number];
        assert!(fault.as_deref().unwrap().contains(words), "{fault:?}");
        let verify = |more: &[&str]| run(certiscope("verify").arg(id).arg("--store").arg(&state).args(more));
        let found = verify(&[]);
        assert_eq!(found.code, 0, "{found:?}");
        assert!(found.stdout.contains("frame to fault"), "{}", found.stdout);
        // Without the bundle the range is not known.
        let found = verify(&["--bundle", site.at("nowhere").to_str().unwrap()]);
        assert_eq!(found.code, 75, "{found:?}");
    }
    database.execute("UPDATE inspection SET fault = replace(fault, 'mean 0.0', 'mean 0.1')", []).unwrap();
    let changed = run(certiscope("verify").arg(&rows[0].0).arg("--store").arg(&state));
    assert_eq!(changed.code, 1, "another fault in the log: {changed:?}");
}

#[test]
fn a_bundle_without_a_range_says_so_and_works_as_before() {
    let site = Site::new();
    site.bundle.edit(|table| {
        table["calibration"]
            .as_table_mut()
            .unwrap()
            .remove("pictures")
            .expect("the shipped bundle has a range");
    });
    std::fs::create_dir(site.at("pictures")).unwrap();
    site.save("pictures/0.png", &wide(&good(1)));
    let source = "kind = \"folder\"\npath = \"pictures\"";
    let config = StationConfig::new(site.bundle.path(), 1, source).write(site.folder.path());
    let checked = run(certiscope("check").arg("--config").arg(&config));
    let words = "it knows no range of its pictures: calibrate again to get one";
    assert!(checked.stdout.contains(words) && !checked.stdout.contains("wrong "), "{}", checked.stdout);
    let ran = run(certiscope("run").arg("--config").arg(&config)).succeeded();
    assert_eq!(ran.stderr.matches("knows no range of its pictures").count(), 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("1 inspected: 0 normal, 1 anomalous"), "{}", ran.stdout);
}

#[test]
fn evaluate_names_and_counts_pictures_of_another_kind() {
    let site = Site::new();
    for (kind, name) in [("good", "good"), ("stain", "stain")] {
        let folder = site.at("set/test").join(kind);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(PARTS.path().join(format!("test/{name}/0000.png")), folder.join("0.png")).unwrap();
    }
    site.save("set/test/good/wide.png", &wide(&good(0)));
    site.save("set/test/stain/dark.png", &exposed(&defect("stain"), 0.1));
    let ran = run(certiscope("evaluate")
        .arg("--bundle")
        .arg(demo_line())
        .args(["--draws", "16", "--threads", "1", "--data"])
        .arg(site.at("set"))
        .arg("--out")
        .arg(site.at("out")))
    .succeeded();
    let said = &ran.stdout;
    assert!(said.contains("2 pictures are not of the kind that the bundle was calibrated with"), "{said}");
    assert!(said.contains("1 normal and 1 defective pictures"), "{said}");
    for words in
        ["wide.png: a station abstains: frame: 512x256", "dark.png: a station abstains: frame: mean 0.0"]
    {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(site.at("out/report.json")).unwrap()).unwrap();
    assert_eq!(report["categories"][0]["outside_range"], 2);
    assert_eq!(report["categories"][0]["left_out"].as_array().unwrap().len(), 2);
}

#[test]
fn collect_says_what_white_is_in_sixteen_bit_pictures() {
    let site = Site::new();
    site.show(|_, part| sixteen_bits(&part, 4095));
    let collect = |out: &str, more: &[&str]| {
        run(certiscope("collect")
            .current_dir(site.folder.path())
            .args(["--source", "normal", "--count", "9", "--out", out])
            .args(more))
    };
    let ran = collect("one", &[]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains("--full-scale 4095") && ran.stderr.contains("are kept"), "{}", ran.stderr);
    let kept = image::open(site.at("one/good/000001.png")).unwrap().to_luma16();
    assert_eq!(kept, image::open(site.at("normal/0020.png")).unwrap().to_luma16(), "as it was");
    collect("two", &["--full-scale", "4095"]).succeeded();
    let ran = collect("three", &["--full-scale", "1023"]);
    assert!(ran.stderr.contains("is above full_scale = 1023"), "{ran:?}");
    assert!(ran.stdout.contains("0 pictures written"), "{ran:?}");
}

#[test]
fn a_range_that_no_pictures_have_is_refused() {
    type Change = fn(&mut toml::Table);
    let cases: [(&str, Change, &str); 6] = [
        ("mean", |t| set(t, "mean", vec![0.9, 0.1]), "calibration.pictures.mean = [0.9, 0.1]"),
        (
            "contrast",
            |t| set(t, "contrast", vec![0.1, f64::NAN]),
            "calibration.pictures.contrast = [0.1, NaN]",
        ),
        ("asymmetry", |t| set(t, "asymmetry", vec![-2.0, 0.1]), "calibration.pictures.asymmetry = [-2, 0.1]"),
        ("bits", |t| set(t, "bits", 12), "calibration.pictures.bits = 12: 8 or 16"),
        ("width", |t| set(t, "width", 0), "calibration.pictures: width and height above 0"),
        ("channels", |t| set(t, "channels", 2), "calibration.pictures.channels = 2"),
    ];
    let picture = PARTS.path().join("train/good/0000.png");
    for (case, change, words) in cases {
        let bundle = BundleCopy::new();
        bundle.edit(|table| {
            change(table["calibration"].as_table_mut().unwrap()["pictures"].as_table_mut().unwrap());
        });
        run(certiscope("inspect").arg("--bundle").arg(bundle.path()).arg(&picture)).refused(case, &[words]);
    }
    let bundle = BundleCopy::new();
    bundle.set("input", "full_scale", 100);
    let ran = run(certiscope("inspect").arg("--bundle").arg(bundle.path()).arg(&picture));
    ran.refused("full scale", &["input.full_scale = 100", "255 to 65535"]);
}

fn set(table: &mut toml::Table, key: &str, value: impl Into<toml::Value>) {
    table.insert(key.to_owned(), value.into());
}
