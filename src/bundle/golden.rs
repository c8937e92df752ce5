//! Golden vectors: stored draws of synthetic inputs, and the scores they had where the model was exported.
//!
//! They store the noise itself, so the comparison does not depend on the random generator of either language. Python
//! writes the raw scores and Rust compares them; `certiscope calibrate` writes the calibrated scores and a Python test
//! compares them. So the definition of the score in each language is compared with the other one.
//! Leaves out: the comparison (`self_test`).

use std::path::Path;

use ndarray::{Array1, Array2, Array4, Array5};

use super::error::BundleError;
use crate::tensors::{self, Tensors};

/// m synthetic inputs with d stored draws each, and the scores they had.
#[derive(Debug, Clone)]
pub struct GoldenVectors {
    /// \[m,C,H,W\], \[0,1\] units.
    pub(super) input: Array4<f32>,
    /// \[m,d,C,H,W\], standard normal.
    pub(super) noise: Array5<f32>,
    pub(super) inner_noise: Array5<f32>,
    pub(super) raw: GoldenScores,
    /// `None` until the bundle is calibrated.
    pub(super) calibrated: Option<GoldenScores>,
}

/// Scores of the stored draws under one pair of maps.
#[derive(Debug, Clone)]
pub struct GoldenScores {
    /// \[m,d\], one for each draw.
    pub(super) certified: Array2<f32>,
    /// \[m\], one for each input, over its d draws.
    pub(super) empirical: Array1<f32>,
}

impl GoldenVectors {
    pub(super) fn read(path: &Path, shape: [usize; 3]) -> Result<Self, BundleError> {
        Self::of(&Tensors::read(path)?, shape)
    }

    pub(super) fn of(tensors: &Tensors, [c, h, w]: [usize; 3]) -> Result<Self, BundleError> {
        let (m, d) = match tensors.shape("noise") {
            Some([m, d, ..]) if m * d > 0 => (*m, *d),
            _ => {
                return Err(BundleError::Content {
                    path: tensors.path().to_path_buf(),
                    what: "tensor `noise` is missing or empty".to_owned(),
                    allowed: "at least one draw is needed; export again",
                });
            }
        };
        let scores = |certified: &str, empirical: &str| -> Result<GoldenScores, BundleError> {
            Ok(GoldenScores {
                certified: shaped(tensors.get(certified, &[m, d])?),
                empirical: shaped(tensors.get(empirical, &[m])?),
            })
        };
        Ok(Self {
            input: shaped(tensors.get("input", &[m, c, h, w])?),
            noise: shaped(tensors.get("noise", &[m, d, c, h, w])?),
            inner_noise: shaped(tensors.get("inner_noise", &[m, d, c, h, w])?),
            raw: scores("raw_score", "raw_empirical")?,
            calibrated: if tensors.shape("score").is_some() {
                Some(scores("score", "empirical")?)
            } else {
                None
            },
        })
    }

    /// The same vectors, with these scores under new training maps.
    pub fn calibrated_with(&self, calibrated: GoldenScores) -> Self {
        Self { calibrated: Some(calibrated), ..self.clone() }
    }

    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        let mut list = vec![
            ("input", self.input.view().into_dyn()),
            ("noise", self.noise.view().into_dyn()),
            ("inner_noise", self.inner_noise.view().into_dyn()),
            ("raw_score", self.raw.certified.view().into_dyn()),
            ("raw_empirical", self.raw.empirical.view().into_dyn()),
        ];
        if let Some(scores) = &self.calibrated {
            list.push(("score", scores.certified.view().into_dyn()));
            list.push(("empirical", scores.empirical.view().into_dyn()));
        }
        Ok(tensors::write(path, &list)?)
    }
}

fn shaped<D: ndarray::Dimension>(array: ndarray::ArrayD<f32>) -> ndarray::Array<f32, D> {
    array.into_dimensionality().expect("the shape was checked when the tensor was read")
}
