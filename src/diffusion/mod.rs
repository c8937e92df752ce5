//! The diffusion model: an input becomes noisy draws, and one U-Net call reconstructs each of them.
//!
//! In the order in which data flows: [`schedule`] (noise levels of the timesteps), [`seed`] (of a frame's noise),
//! [`noise`] (a noisy draw of the clean input; later steps cannot read the clean input), [`denoiser`] (the interface to
//! the U-Net), [`onnx`] (the U-Net on ONNX Runtime) and [`reconstruct`] (the one-shot reconstruction).

pub(crate) mod denoiser;
pub(crate) mod noise;
pub(crate) mod onnx;
pub(crate) mod reconstruct;
pub(crate) mod schedule;
pub(crate) mod seed;
#[doc(hidden)]
pub(crate) mod testing;
