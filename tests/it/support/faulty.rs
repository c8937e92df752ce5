//! A bundle whose model fails for certain pictures, in the real ONNX Runtime, and those pictures.
//!
//! The mean grey of a picture decides what the model does: see tests/fixtures/make_faulty.py.

use std::path::{Path, PathBuf};

use image::{GrayImage, Luma};

/// Side of the bundle's input and of its pictures.
const SIDE: u32 = 16;

/// The folder of the bundle, complete and calibrated. Tests must not write to it.
pub(crate) fn faulty() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faulty")
}

/// A kind of picture, named by what its inspection with the faulty bundle does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Certified `normal` within milliseconds.
    Normal,
    /// Middle grey with a bright square: certified `anomalous`.
    Defect,
    /// The model call gives values that are not numbers.
    NotANumber,
    /// The model call fails.
    Error,
    /// The model call takes seconds and then gives right values: `normal`.
    Slow,
    /// The model call never ends.
    Hang,
}

impl Part {
    fn grey(self) -> u8 {
        match self {
            Self::Normal | Self::Defect => 128,
            Self::NotANumber => 0,
            Self::Error => 64,
            Self::Slow => 191,
            Self::Hang => 255,
        }
    }

    /// Its picture, SIDE x SIDE grey.
    pub(crate) fn picture(self) -> GrayImage {
        GrayImage::from_fn(SIDE, SIDE, |x, y| {
            let square = self == Self::Defect && (4..9).contains(&x) && (4..9).contains(&y);
            Luma([if square { 255 } else { self.grey() }])
        })
    }

    /// Writes its picture as `name` (a PNG) into `folder`; returns where.
    pub(crate) fn write(self, folder: &Path, name: &str) -> PathBuf {
        let file = folder.join(name);
        self.picture().save(&file).unwrap();
        file
    }
}
