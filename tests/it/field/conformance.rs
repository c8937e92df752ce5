//! Variants of PNG, BMP and JPEG files, made here, are shown as Pillow and libjpeg show them.
//!
//! tests/fixtures/make_variants.py makes the files and says what each must show: every colour type, depth, filter and interlacing of PNG,
//! headers, palettes and orders of BMP, samplings, scans, restarts and codings of JPEG.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::decoding::{Shown, shown};
use crate::support::skip;

/// Makes the variants of a format; `false` if this machine cannot.
fn made(format: &str, folder: &Path) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/make_variants.py");
    let can = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    // The Python of the system has Debian's Pillow; another one may come first in PATH.
    let pillow =
        ["python3", "/usr/bin/python3"].into_iter().find(|python| can(python, &["-c", "import PIL"]));
    let python = if format == "jpeg" {
        let programs = ["cjpeg", "djpeg", "jpegtran"];
        if !programs.iter().all(|program| can("sh", &["-c", &format!("command -v {program}")])) {
            skip("cjpeg", "the JPEG decoder was not compared with libjpeg");
            return false;
        }
        "python3"
    } else {
        let Some(python) = pillow else {
            skip("pillow", &format!("the {format} decoder was not compared with Pillow"));
            return false;
        };
        python
    };
    let output =
        Command::new(python).args(["-W", "ignore"]).arg(script).arg(format).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// Compares what the program shows of each variant with what it must show, within so many levels.
fn compared(format: &str, at_least: usize, levels: u8) {
    let folder = TempDir::new().unwrap();
    if !made(format, folder.path()) {
        return;
    }
    let (mut count, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().unwrap().to_str().unwrap();
        if extension == "raw" {
            continue;
        }
        count += 1;
        let wanted = read(&path.with_extension("raw"));
        let is_right =
            shown(&std::fs::read(&path).unwrap(), extension).map(|found| found.is_near(&wanted, levels));
        if is_right != Ok(true) {
            wrong.push(format!("{}: {is_right:?}", path.file_name().unwrap().display()));
        }
    }
    assert!(count >= at_least, "only {count} variants");
    assert!(wrong.is_empty(), "{} of {count} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

impl Shown {
    fn is_near(&self, other: &Self, levels: u8) -> bool {
        let form =
            |shown: &Self| (shown.width, shown.height, shown.channels, shown.bits, shown.samples.len());
        form(self) == form(other)
            && self.samples.iter().zip(&other.samples).all(|(one, two)| one.abs_diff(*two) <= levels)
    }
}

fn read(path: &Path) -> Shown {
    let bytes = std::fs::read(path).unwrap();
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let numbers =
        std::str::from_utf8(&bytes[..end]).unwrap().split(' ').map(|number| number.parse().unwrap());
    let [width, height, channels, bits] = numbers.collect::<Vec<u32>>()[..] else {
        panic!("{}", path.display())
    };
    Shown { width, height, channels, bits, samples: bytes[end + 1..].to_vec() }
}

/// Bit for bit: what the trainer sees of a JPEG is what the station sees of it.
#[test]
fn jpegs_are_shown_as_libjpeg_shows_them() {
    compared("jpeg", 250, 0);
}

#[test]
fn pngs_are_shown_as_pillow_shows_them() {
    compared("png", 180, 0);
}

/// Of 5 and 6 bits Pillow rounds down where this program rounds to the nearest: one level.
#[test]
fn bmps_are_shown_as_pillow_shows_them() {
    compared("bmp", 100, 1);
}
