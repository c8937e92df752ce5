//! Tests of the program with bad pictures, bundles, libraries and providers: the result is a refusal with a message or
//! `abstain`, never a panic and never `normal`.

mod bundles;

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::bundles::{demo_line, simulated};
use crate::support::program::{Ran, certiscope, run};

/// A simulated normal part.
fn part() -> DynamicImage {
    let folder = TempDir::new().unwrap();
    simulated(folder.path(), 1, 0);
    image::open(folder.path().join("train/good/0000.png")).unwrap()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(image: &DynamicImage) -> Vec<u8> {
    let grey = image.to_luma8();
    let (width, height) = (grey.width() as usize, grey.height() as usize);
    let format = turbojpeg::PixelFormat::GRAY;
    let image = turbojpeg::Image { pixels: &grey.into_raw()[..], width, pitch: width, height, format };
    turbojpeg::compress(image, 90, turbojpeg::Subsamp::Gray).unwrap().to_vec()
}

/// A PNG whose header claims this size, with a checksum that is right.
fn png_claiming(side: u32) -> Vec<u8> {
    let mut png = encoded(&part(), ImageFormat::Png);
    png[16..20].copy_from_slice(&side.to_be_bytes());
    png[20..24].copy_from_slice(&side.to_be_bytes());
    let checksum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&checksum);
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn bmp_claiming(side: i32) -> Vec<u8> {
    let mut bmp = encoded(&part(), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&side.to_le_bytes());
    bmp[22..26].copy_from_slice(&side.to_le_bytes());
    bmp
}

/// The first `share` of some bytes.
fn cut(mut bytes: Vec<u8>, share: f64) -> Vec<u8> {
    bytes.truncate((bytes.len() as f64 * share) as usize);
    bytes
}

#[test]
fn a_bad_picture_abstains_and_the_good_ones_beside_it_get_their_verdict() {
    let folder = TempDir::new().unwrap();
    let part = part();
    let (png, jpeg) = (encoded(&part, ImageFormat::Png), jpeg(&part));
    // The content of each file, and the words of its fault; `None`: a good picture.
    let pictures: [(&str, Vec<u8>, Option<&str>); 13] = [
        ("first.png", png.clone(), None),
        ("empty.png", Vec::new(), Some("empty file")),
        ("third.jpg", cut(jpeg.clone(), 1.0 / 3.0), Some("cut off")),
        ("half.png", cut(png.clone(), 0.5), Some("cut off")),
        ("half.bmp", cut(encoded(&part, ImageFormat::Bmp), 0.5), Some("cut off")),
        ("list.png", b"Bolts, washers, a list of things to buy.".to_vec(), Some("no known picture format")),
        ("bomb.png", png_claiming(60_000), Some("60000x60000 pixels")),
        ("bomb.bmp", bmp_claiming(60_000), Some("60000x60000 pixels")),
        ("tiny.png", png_claiming(7), Some("7x7 pixels")),
        ("zero.png", png_claiming(0), Some("cannot be decoded")),
        ("zero.bmp", bmp_claiming(0), Some("a PNG, JPEG, BMP or TIFF picture is needed")),
        ("wrong name.png", jpeg, None),
        ("last.png", png, None),
    ];
    let mut expected = Vec::new();
    for (name, bytes, fault) in pictures {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        expected.push((name, fault));
    }
    let unreadable = [("nobody.png", Some("cannot be read"))];
    expected.splice(1..1, unreadable);

    let paths = expected.iter().map(|(name, _)| folder.path().join(name));
    let ran = inspect(&demo_line(), folder.path(), |command| {
        command.args(paths);
    })
    .succeeded();
    let verdicts = ran.json();
    let verdicts = verdicts.as_array().unwrap();
    assert_eq!(verdicts.len(), expected.len(), "one verdict a picture");
    for ((name, fault), verdict) in expected.into_iter().zip(verdicts) {
        match fault {
            Some(words) => abstained(name, verdict, words),
            None => inspected(name, verdict),
        }
        let heat_map = folder.path().join(name).with_extension("");
        let heat_map = format!("{}-heatmap.png", heat_map.display());
        assert_eq!(Path::new(&heat_map).exists(), fault.is_none(), "{heat_map}");
    }
}

/// Asserts that a verdict on a bad picture has nothing that could be taken for a pass or for a measurement.
fn abstained(name: &str, verdict: &Value, words: &str) {
    assert_eq!(verdict["verdict"], "abstain", "{name}: {verdict:#}");
    assert_eq!(verdict["reason"], "bad_frame", "{name}: {verdict:#}");
    let fault = verdict["fault"].as_str().unwrap();
    assert!(fault.contains(words) && fault.contains(name), "{name}: {fault}");
    for number in ["radius", "frame_radius", "score", "empirical_score", "draws", "heat_map"] {
        assert_eq!(verdict[number], Value::Null, "{name}: {number} of no picture");
    }
}

fn inspected(name: &str, verdict: &Value) {
    assert_ne!(verdict["reason"], "bad_frame", "{name}: {verdict:#}");
    assert_eq!(verdict["fault"], Value::Null, "{name}");
    assert!(verdict["draws"].as_u64().unwrap() > 0 && verdict["score"].is_number(), "{name}: {verdict:#}");
}

fn inspect(bundle: &Path, heat_maps: &Path, more: impl FnOnce(&mut assert_cmd::Command)) -> Ran {
    let mut command = certiscope("inspect");
    command.args(["--json", "--bundle"]).arg(bundle).arg("--heat-maps").arg(heat_maps);
    more(&mut command);
    run(&mut command)
}

/// Inspects a good picture, so that a refusal cannot be caused by the picture.
fn inspect_good(bundle: &Path, more: impl FnOnce(&mut assert_cmd::Command)) -> Ran {
    let folder = TempDir::new().unwrap();
    let picture = folder.path().join("part.png");
    part().save(&picture).unwrap();
    let ran = inspect(bundle, folder.path(), |command| {
        command.arg(picture);
        more(command);
    });
    if ran.code != 0 {
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "a refused run writes nothing");
    }
    ran
}

#[test]
fn without_a_usable_onnx_runtime_nothing_starts() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    std::fs::write(&text, "no library").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps
        .split_whitespace()
        .find(|word| word.contains("/libc.so") || word.contains("/libc-"))
        .expect("tests run on a libc");
    let cases = [
        ("no such file", "/nowhere/libonnxruntime.so"),
        ("a text file", text.to_str().unwrap()),
        ("another library", libc),
    ];
    for (case, library) in cases {
        let words = [library, "cannot be loaded", "make setup", "ORT_DYLIB_PATH"];
        let by_environment = inspect_good(&demo_line(), |command| {
            command.env("ORT_DYLIB_PATH", library);
        });
        by_environment.refused(case, &words);
        let by_option = inspect_good(&demo_line(), |command| {
            command.args(["--onnxruntime", library]);
        });
        by_option.refused(case, &words);
    }
    let unset = inspect_good(&demo_line(), |command| {
        command.env("ORT_DYLIB_PATH", "");
    });
    unset.succeeded();
}

/// The library that `make setup` fetches runs on the CPU only.
#[test]
fn a_provider_that_cannot_run_is_refused_or_replaced_aloud() {
    for provider in ["cuda", "tensorrt"] {
        let refused = inspect_good(&demo_line(), |command| {
            command.args(["--provider", provider]);
        });
        let asked_for = format!("model.provider = {provider}: cannot run here");
        refused.refused(provider, &[&asked_for, "not enabled in this build", "--or-cpu"]);

        let replaced = inspect_good(&demo_line(), |command| {
            command.args(["--or-cpu", "--provider", provider]);
        })
        .succeeded();
        let fallback = format!("{provider} asked for, cpu runs: ");
        assert!(replaced.stderr.contains(&fallback), "{}", replaced.stderr);
        inspected(provider, &replaced.json()[0]);
    }
}
