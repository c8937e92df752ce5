//! The interface to the model: it predicts the noise in x_k and, where it can, marks what looks like a defect.
//!
//! `onnx` implements it for real models, `testing` with formulas, so that tests know the right answers.

use ndarray::{Array3, Array4, ArrayView4};

use super::schedule::Timestep;

/// The result of one model call for B draws.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Predicted noise, \[B,C,H,W\].
    pub eps_hat: Array4<f32>,
    /// Log odds of a defect at each pixel, \[B,H,W\]; `None` from a model without a defect head.
    pub defect_logit: Option<Array3<f32>>,
    /// Distance of each pixel's features to a bank of normal ones, 0 or more, \[B,H,W\]; `None` from a model without
    /// such a bank.
    pub feature_distance: Option<Array3<f32>>,
}

/// A U-Net call: x_k \[B,C,H,W\] in the network's units and the timestep give a [`Prediction`].
///
/// The result of one draw must not depend on the other draws of the batch: draws are independent.
pub trait Denoiser: Send {
    fn predict(&mut self, x_k: ArrayView4<'_, f32>, k: Timestep) -> Result<Prediction, DenoiserError>;
}

/// A model call that gave no result.
#[derive(Debug, thiserror::Error)]
pub enum DenoiserError {
    #[error("model: the call failed: {0}")]
    Call(String),
    #[error("model: {output} has shape {got:?}; {wanted:?} is needed")]
    Shape { output: &'static str, got: Vec<usize>, wanted: Vec<usize> },
}
