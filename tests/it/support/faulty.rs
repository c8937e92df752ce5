//! A bundle that goes wrong for chosen pictures, through the real ONNX Runtime, and those pictures.
//!
//! What the model does is chosen by the mean grey of the picture: see tests/fixtures/make_faulty.py.

use std::path::{Path, PathBuf};

use image::{GrayImage, Luma};

/// Side of the bundle's input and of its pictures.
const SIDE: u32 = 16;

/// The bundle, whole and calibrated. Never to be written to.
pub(crate) fn faulty() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faulty")
}

/// What a picture makes of its inspection with the faulty bundle.
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
    /// The model call takes seconds, then gives right values: `normal`.
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
