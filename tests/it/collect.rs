//! Tests of `certiscope collect`: pictures are written without loss, numbered, listed and counted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use certiscope::testing::bundle::sha256_of;
use image::{DynamicImage, GrayImage, ImageBuffer, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::support::bundles::demo_line;
use crate::support::noise::{again, part};
use crate::support::program::{Ran, certiscope, run};
use crate::support::wait_until;

/// A folder with a source, and a place for the collection.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("source")).unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn collect(&self, more: &[&str]) -> Ran {
        run(certiscope("collect").current_dir(self.folder.path()).args(["--out", "out"]).args(more))
    }

    /// Every line of the list, by column. Checks that the files are those of the folder, each with its hash.
    fn list(&self) -> Vec<Listed> {
        let mut reader = csv::Reader::from_path(self.at("out/collect.csv")).unwrap();
        let lines: Vec<Listed> = reader
            .records()
            .map(|line| {
                let line = line.unwrap();
                assert_eq!(sha256_of(&self.at("out").join(&line[0])).unwrap(), line[1]);
                assert!(line[2].parse::<jiff::Timestamp>().is_ok(), "{line:?}");
                let [file, source, seq, part] = [0, 3, 4, 5].map(|column| line[column].to_owned());
                Listed { file, source, seq, part }
            })
            .collect();
        let listed: BTreeSet<String> = lines.iter().map(|line| line.file.replace("good/", "")).collect();
        assert_eq!(listed, names(&self.at("out/good")), "listed and there");
        assert_eq!(listed.len(), lines.len());
        lines
    }

    /// Writes a configuration; `station` gives its source and region.
    fn configure(&self, station: &str) {
        let text = format!(
            "[store]\nfolder = \"state\"\n[broker]\nhost = \"127.0.0.1\"\n[[station]]\nname = \"st1\"\nbundle = {:?}\n{station}\n[station.smoothing]\ntarget_radius = 0.03\n",
            demo_line()
        );
        std::fs::write(self.at("station.toml"), text).unwrap();
    }
}

#[derive(Debug)]
struct Listed {
    file: String,
    source: String,
    seq: String,
    part: String,
}

fn names(folder: &Path) -> BTreeSet<String> {
    folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// One picture of each depth and colour.
fn kinds() -> [(&'static str, DynamicImage); 4] {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut values = |count: usize| -> Vec<u16> { (0..count).map(|_| rng.random()).collect() };
    let (grey, colour) = (values(40 * 24), values(40 * 24 * 3));
    let bytes = |values: &[u16]| -> Vec<u8> { values.iter().map(|value| (value >> 8) as u8).collect() };
    [
        ("a-grey.png", GrayImage::from_raw(40, 24, bytes(&grey)).unwrap().into()),
        ("b-colour.bmp", RgbImage::from_raw(40, 24, bytes(&colour)).unwrap().into()),
        ("d-deep.png", DynamicImage::ImageLuma16(ImageBuffer::from_raw(40, 24, grey).unwrap())),
        ("e-deep-colour.png", DynamicImage::ImageRgb16(ImageBuffer::from_raw(40, 24, colour).unwrap())),
    ]
}

#[test]
fn pictures_come_out_as_they_went_in_and_broken_ones_are_named() {
    let site = Site::new();
    for (name, picture) in kinds() {
        picture.save(site.at("source").join(name)).unwrap();
    }
    let whole = std::fs::read(site.at("source/a-grey.png")).unwrap();
    std::fs::write(site.at("source/c-cut.png"), &whole[..whole.len() / 2]).unwrap();
    let ran = site.collect(&["--source", "source", "--count", "9"]);
    assert_eq!(ran.code, 1, "fewer than asked for: {ran:?}");
    for words in ["4 pictures written", "left out: 1 frames", "the source has no more: 5 pictures fewer"] {
        assert!(ran.stdout.contains(words), "no {words:?} in {}", ran.stdout);
    }
    assert!(ran.stderr.contains("c-cut.png: left out: ") && ran.stderr.contains("cut off"), "{}", ran.stderr);
    let list = site.list();
    for ((name, picture), line) in kinds().into_iter().zip(&list) {
        assert_eq!(line.part, name);
        assert!(line.source.starts_with("folder source"), "{line:?}");
        let written = image::open(site.at("out").join(&line.file)).unwrap();
        assert_eq!(written.color(), picture.color(), "{name}");
        assert_eq!(written, picture, "{name}: not the very samples");
    }
    assert_eq!(list.iter().map(|line| line.seq.as_str()).collect::<Vec<_>>(), ["1", "2", "4", "5"]);
}

#[test]
fn a_folder_in_use_is_only_appended_to() {
    let site = Site::new();
    let simulator =
        |more: &[&str]| site.collect(&[&["--source", "simulator", "--count", "3"], more].concat());
    simulator(&["--append"]).succeeded();
    let first = site.list();
    simulator(&[]).refused("used before", &["--out out: not empty", "--append"]);
    simulator(&["--append", "--seed", "7"]).succeeded();
    let list = site.list();
    let files: Vec<&str> = list.iter().map(|line| line.file.as_str()).collect();
    assert_eq!(files, [1, 2, 3, 4, 5, 6].map(|number| format!("good/{number:06}.png")));
    assert_eq!(list[2].part, first[2].part, "what was there stays");
    assert!(list[5].source.contains("seed 7") && !list[2].source.contains("seed 7"));

    std::fs::remove_dir_all(site.at("out")).unwrap();
    std::fs::create_dir_all(site.at("out/photos")).unwrap();
    simulator(&[]).refused("somebody else's", &["not empty"]);
    simulator(&["--append"]).refused("nothing to go on with", &["holds no collect.csv"]);
    assert_eq!(names(&site.at("out")), BTreeSet::from(["photos".to_owned()]), "something was written");
}

#[test]
fn different_parts_are_counted_and_compared_with_what_calibrate_needs() {
    let site = Site::new();
    for number in 0..5 {
        part(number).save(site.at(&format!("source/{number}-one.png"))).unwrap();
        again(number).save(site.at(&format!("source/{number}-two.png"))).unwrap();
    }
    let ran = site.collect(&["--source", "source", "--count", "10"]).succeeded();
    for words in [
        "10 pictures of 5 different parts",
        "needs 99 different parts",
        "94 more are needed",
        "--distinct-parts",
    ] {
        assert!(ran.stdout.contains(words), "no {words:?} in {}", ran.stdout);
    }
    // The earlier pictures count too: five parts again, and one of them is new.
    std::fs::remove_file(site.at("source/4-two.png")).unwrap();
    part(50).save(site.at("source/4-two.png")).unwrap();
    let ran = site.collect(&["--source", "source", "--count", "10", "--append"]).succeeded();
    assert!(ran.stdout.contains("20 pictures of 6 different parts"), "{}", ran.stdout);
}

#[test]
fn defects_that_the_source_knows_are_left_out() {
    let site = Site::new();
    for class in ["good", "scratch"] {
        std::fs::create_dir(site.at("source").join(class)).unwrap();
        part(1).save(site.at("source").join(class).join("1.png")).unwrap();
    }
    let ran = site.collect(&["--source", "source", "--count", "1"]).succeeded();
    assert_eq!(site.list()[0].part, "good/1.png");
    assert!(!ran.stdout.contains("left out: "), "the scratch was not reached: {}", ran.stdout);
    let ran = site.collect(&["--source", "source", "--count", "2", "--append"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("1 parts that the source calls defective"), "{}", ran.stdout);
    assert!(site.list().iter().all(|line| line.part == "good/1.png"));
}

#[test]
fn a_stations_own_source_is_collected_cut_to_its_region() {
    let site = Site::new();
    let [.., (_, deep)] = kinds();
    deep.save(site.at("source/deep.png")).unwrap();
    let source = "[station.source]\nkind = \"folder\"\npath = \"source\"\n[station.region]\n";
    site.configure(&format!("{source}x_px = 5\ny_px = 3\nwidth_px = 16\nheight_px = 9"));
    let collect =
        |more: &[&str]| site.collect(&[&["--config", "station.toml", "--count", "1"], more].concat());
    collect(&[]).succeeded();
    let written = image::open(site.at("out/good/000001.png")).unwrap();
    assert_eq!(written, deep.crop_imm(5, 3, 16, 9));
    assert_eq!(written.as_rgb16().unwrap().get_pixel(0, 0), deep.as_rgb16().unwrap().get_pixel(5, 3));

    site.configure(&format!("{source}x_px = 5\ny_px = 3\nwidth_px = 36\nheight_px = 9"));
    let ran = collect(&["--append"]);
    assert!(ran.stderr.contains("deep.png: left out: region: 36x9 at (5, 3): not inside"), "{}", ran.stderr);
    assert_eq!((ran.code, site.list().len()), (1, 1));

    site.configure("[station.source]\nkind = \"scanner\"");
    collect(&["--append"]).refused("not a source", &["kind", "scanner"]);
}

#[test]
fn a_signal_ends_it_and_what_was_written_stays() {
    let site = Site::new();
    site.configure(
        "[station.source]\nkind = \"simulator\"\nframes_per_second = 50.0\nwidth_px = 64\nheight_px = 64",
    );
    let collecting = Command::new(crate::support::program::path())
        .current_dir(site.folder.path())
        .args(["collect", "--config", "station.toml", "--count", "2000", "--out", "out"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("pictures are there", || site.at("out/good/000005.png").exists());
    let kill = format!("kill -INT {}", collecting.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let ended = collecting.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{said}");
    let written = site.list().len();
    assert!(written >= 5, "{written}");
    assert!(said.contains(&format!("{written} pictures written")), "{said}");
    let rest = 2000 - written;
    assert!(said.contains(&format!("stopped by a signal: {rest} pictures fewer")), "{said}");
    assert!(said.contains(&format!("--append --count {rest}")), "{said}");
    for line in site.list() {
        image::open(site.at("out").join(line.file)).unwrap();
    }
}

#[test]
fn names_tell_the_part_where_they_are_said_to() {
    let site = Site::new();
    for (name, of) in [("7_a", 1), ("7_b", 2), ("8_a", 1)] {
        part(of).save(site.at(&format!("source/{name}.png"))).unwrap();
    }
    let collect = |part_from: &str, out: &str| {
        run(certiscope("collect").current_dir(site.folder.path()).args([
            "--source",
            "source",
            "--count",
            "3",
            "--part-from",
            part_from,
            "--out",
            out,
        ]))
    };
    let said = collect("^([0-9]+)_", "by-name").succeeded().stdout;
    assert!(said.contains("3 pictures of 2 different parts"), "{said}");
    assert!(!said.contains("near-identical"), "{said}");
    collect("folder", "by-folder").refused("no sub-folders", &["7_a.png: lies in no sub-folder"]);
    collect("^(8)_", "other").refused("another name", &["does not match 7_a.png"]);
    assert_eq!(collect("7", "no-group").code, 2);
    let simulated = ["--source", "simulator", "--count", "1", "--part-from", "folder"];
    site.collect(&simulated).refused("no names", &["--part-from", "leave it out"]);
}

#[test]
fn what_is_no_source_is_refused_in_words() {
    let site = Site::new();
    site.collect(&["--source", "nowhere", "--count", "1"]).refused("no such folder", &["nowhere"]);
    site.collect(&["--source", "source", "--count", "1"]).refused("an empty folder", &["no pictures"]);
    part(1).save(site.at("source/1.png")).unwrap();
    let seeded = ["--source", "source", "--count", "1", "--seed", "3"];
    site.collect(&seeded).refused("a seed for a folder", &["--seed"]);
    for wrong in
        [&["--count", "1"][..], &["--source", "simulator", "--count", "0"], &["--source", "simulator"]]
    {
        assert_eq!(site.collect(wrong).code, 2, "{wrong:?}");
    }
    assert!(!site.at("out").exists(), "something was written");
}
