//! What a picture file says about itself is followed or refused, and a file that lost data is a bad frame. A small file costs no
//! memory for which there is no picture.

use std::io::Write;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{DynamicImage, GrayImage};
use serde::Deserialize;
use tempfile::TempDir;

use crate::support::bundles::{BundleCopy, demo_line, simulated};
use crate::support::program::{certiscope, path, run};

/// A picture of tests/golden/pictures.json; see make_pictures.py beside it.
#[derive(Deserialize)]
struct Golden {
    name: String,
    file: String,
    refused: Option<String>,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    #[serde(default)]
    channels: u32,
    #[serde(default)]
    bits: u32,
    #[serde(default)]
    samples: String,
}

fn golden() -> Vec<Golden> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The samples of a picture, whatever program made it.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) channels: u32,
    /// 16-bit samples are little-endian.
    pub(super) bits: u32,
    pub(super) samples: Vec<u8>,
}

/// What the program makes of a picture file: `collect` writes it without loss. Otherwise the reason.
pub(super) fn shown(bytes: &[u8], extension: &str) -> Result<Shown, String> {
    let site = TempDir::new().unwrap();
    let source = site.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join(format!("part.{extension}")), bytes).unwrap();
    let mut command = certiscope("collect");
    command.current_dir(site.path()).args(["--source", "source", "--count", "1", "--out", "out"]);
    let ran = run(&mut command);
    if ran.code != 0 {
        return Err(ran.stderr);
    }
    let image = image::open(site.path().join("out/good/000001.png")).unwrap();
    let (width, height) = (image.width(), image.height());
    let (channels, bits) = (u32::from(image.color().channel_count()), 0);
    let shown = |bits, samples| Shown { width, height, channels, bits, samples };
    Ok(match image {
        DynamicImage::ImageLuma8(image) => shown(8, image.into_raw()),
        DynamicImage::ImageRgb8(image) => shown(8, image.into_raw()),
        DynamicImage::ImageLuma16(image) => shown(16, little_endian(image.into_raw())),
        DynamicImage::ImageRgb16(image) => shown(16, little_endian(image.into_raw())),
        _ => shown(bits, Vec::new()),
    })
}

fn little_endian(samples: Vec<u16>) -> Vec<u8> {
    samples.into_iter().flat_map(u16::to_le_bytes).collect()
}

/// The extension of a file with a golden picture; the content decides what it is.
fn extension(name: &str) -> &str {
    match name.split_once(':').expect("`format: what`").0 {
        "jpeg" => "jpg",
        "other" | "tiff" => "png",
        format => format,
    }
}

/// Orientation, palettes, alpha, depth, scans, strips: the rule that agent and trainer share.
#[test]
fn every_golden_picture_is_shown_as_it_is_meant_or_refused_by_name() {
    let mut wrong = Vec::new();
    for case in golden() {
        let bytes = STANDARD.decode(&case.file).unwrap();
        match (&case.refused, shown(&bytes, extension(&case.name))) {
            (Some(word), Err(error)) if error.contains(word) => {}
            (None, Ok(picture)) => {
                let Golden { width, height, channels, bits, .. } = case;
                let samples = STANDARD.decode(&case.samples).unwrap();
                if picture != (Shown { width, height, channels, bits, samples }) {
                    let Shown { width, height, channels, bits, .. } = picture;
                    wrong.push(format!("{}: {width}x{height}, {channels} channels, {bits} bits", case.name));
                }
            }
            (_, other) => wrong.push(format!("{}: {other:?}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A JPEG of a whole part whose data was lost on the way: no verdict but `bad_frame`.
#[test]
fn a_picture_that_lost_data_abstains_as_a_bad_frame() {
    let folder = TempDir::new().unwrap();
    simulated(folder.path(), 1, 0);
    let part = image::open(folder.path().join("train/good/0000.png")).unwrap().into_luma8();
    let whole = jpeg(&part);
    let scan = whole.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap() + 10;
    let end = [0xFF, 0xD9];
    let data = &whole[scan..whole.len() - 2];
    let head = &whole[..scan];
    let cut = |percent: usize| -> Vec<u8> {
        let mut kept = data[..data.len() * percent / 100].to_vec();
        while kept.last() == Some(&0xFF) {
            kept.pop();
        }
        [head, &kept, &end].concat()
    };
    let mut changed = data.to_vec();
    let middle = changed.len() / 2;
    changed[middle..middle + 40].iter_mut().filter(|byte| !matches!(byte, 0 | 0xAA | 0xFF)).for_each(
        |byte| {
            *byte ^= 0x55;
        },
    );
    let lost = [&data[..middle], &data[middle + data.len() / 5..]].concat();
    let cases = [
        ("a quarter.jpg", cut(25)),
        ("half.jpg", cut(50)),
        ("nearly all.jpg", cut(97)),
        ("changed.jpg", [head, &changed, &end].concat()),
        ("lost.jpg", [head, &lost, &end].concat()),
        ("more.jpg", [head, data, b"\x12\x34\x56\x78\x9a\xbc\xde\x77\x66", &end].concat()),
        ("one more.jpg", [head, data, b"\x12", &end].concat()),
    ];
    let mut paths = vec![folder.path().join("whole.jpg")];
    std::fs::write(&paths[0], &whole).unwrap();
    for (name, bytes) in &cases {
        paths.push(folder.path().join(name));
        std::fs::write(paths.last().unwrap(), bytes).unwrap();
    }
    let mut command = certiscope("inspect");
    command.args(["--json", "--bundle"]).arg(demo_line()).args(&paths);
    let verdicts = run(&mut command).succeeded().json();
    assert_ne!(verdicts[0]["reason"], "bad_frame", "{:#}", verdicts[0]);
    for (index, (name, _)) in cases.iter().enumerate() {
        let verdict = &verdicts[index + 1];
        assert_eq!(
            (&verdict["verdict"], &verdict["reason"]),
            (&"abstain".into(), &"bad_frame".into()),
            "{name}"
        );
        assert!(verdict["fault"].as_str().unwrap().contains("damaged"), "{name}: {verdict:#}");
    }
}

fn jpeg(part: &GrayImage) -> Vec<u8> {
    let (width, height) = (part.width() as usize, part.height() as usize);
    let format = turbojpeg::PixelFormat::GRAY;
    let image = turbojpeg::Image { pixels: &part.as_raw()[..], width, pitch: width, height, format };
    turbojpeg::compress(image, 92, turbojpeg::Subsamp::Gray).unwrap().to_vec()
}

/// The heat map shows the part as the picture shows it: both are turned.
#[test]
fn a_turned_picture_and_its_heat_map_are_turned_alike() {
    let golden = golden();
    let folder = TempDir::new().unwrap();
    let of = |name: &str| {
        let case = golden.iter().find(|case| case.name == name).unwrap();
        let path = folder.path().join(format!("{}.jpg", name.replace([':', ' '], "-")));
        std::fs::write(&path, STANDARD.decode(&case.file).unwrap()).unwrap();
        (path, case.width, case.height)
    };
    let cases = [of("jpeg: orientation 1"), of("jpeg: orientation 6"), of("jpeg: orientation 3")];
    // The golden pictures are small, and the shipped bundle knows the size of its pictures.
    let bundle = BundleCopy::new();
    bundle.edit(|table| {
        table["calibration"].as_table_mut().unwrap().remove("pictures");
    });
    let mut command = certiscope("inspect");
    command.args(["--bundle"]).arg(bundle.path()).arg("--heat-maps").arg(folder.path());
    command.args(cases.iter().map(|(path, ..)| path));
    run(&mut command).succeeded();
    for (path, width, height) in cases {
        let map = path.with_file_name(format!("{}-heatmap.png", path.file_stem().unwrap().to_str().unwrap()));
        let map = image::open(map).unwrap();
        // The frame, and beside it the frame under its heat.
        let stretched = f64::from(map.width()) / 2.0 / f64::from(map.height());
        assert!((stretched / (f64::from(width) / f64::from(height)) - 1.0).abs() < 0.1, "{}", path.display());
    }
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes(), kind.as_slice(), data, &crc.sum().to_be_bytes()].concat()
}

fn png(width: u32, height: u32, depth: u8, colour: u8, more: &[u8], squeezed: &[u8]) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = chunk(b"IHDR", &[&size[..], &[depth, colour, 0, 0, 0]].concat());
    [b"\x89PNG\r\n\x1a\n", &header[..], more, &chunk(b"IDAT", squeezed), &chunk(b"IEND", &[])].concat()
}

/// So many times these bytes, compressed.
fn squeezed(bytes: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..times {
        encoder.write_all(bytes).unwrap();
    }
    encoder.finish().unwrap()
}

/// Runs `collect` with no more address space than this, and returns what it says.
fn collected_within(megabytes: u64, file: &[u8]) -> (bool, String) {
    let site = TempDir::new().unwrap();
    std::fs::create_dir(site.path().join("source")).unwrap();
    std::fs::write(site.path().join("source/part.png"), file).unwrap();
    let output = std::process::Command::new("prlimit")
        .arg(format!("--as={}", megabytes << 20))
        .args([path(), "collect", "--source", "source", "--count", "1", "--out", "out"])
        .current_dir(site.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code().is_some_and(|code| code < 128), "{}: {stderr}", output.status);
    (output.status.success(), stderr)
}

#[test]
fn a_small_file_takes_no_memory_for_which_there_is_no_picture() {
    let grey = squeezed(&[&[0], &[7; 256][..]].concat(), 256);
    let profile = [&b"x\0\0"[..], &squeezed(&[0; 1 << 20], 600)].concat();
    let (written, said) = collected_within(400, &png(256, 256, 8, 0, &chunk(b"iCCP", &profile), &grey));
    assert!(written, "a picture with a colour profile of 600 MB: {said}");

    // 49 megapixels of 16-bit RGBA.
    let row = [&[0], &[0xFF, 0].repeat(16_384 * 4)[..]].concat();
    let large = png(16_384, 3000, 16, 6, &[], &squeezed(&row, 3000));
    let (written, said) = collected_within(400, &large);
    assert!(!written && said.contains("16384x3000 pixels") && said.contains("40 megapixels"), "{said}");
}

/// 8K: 33 megapixels, with 8 and with 16 bits, within the memory of a small computer.
#[test]
fn pictures_of_33_megapixels_are_read() {
    for (depth, bytes) in [(8, 3), (16, 6)] {
        let row = [&[0], &(0..7680 * bytes).map(|at| at as u8).collect::<Vec<_>>()[..]].concat();
        let (written, said) = collected_within(1600, &png(7680, 4320, depth, 2, &[], &squeezed(&row, 4320)));
        assert!(written, "{depth} bits: {said}");
    }
}
