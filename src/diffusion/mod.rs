//! The diffusion model's part: noise in, one U-Net call, reconstruction out.
//!
//! In the order the data flows: [`schedule`] (noise levels of the timesteps), [`seed`] (of a frame's noise), [`noise`] (a noisy draw of
//! the clean input; past this point the clean input is out of reach), [`denoiser`] (the seam to the
//! U-Net), [`onnx`] (the U-Net on ONNX Runtime) and [`reconstruct`] (the one-shot reconstruction).

pub(crate) mod denoiser;
pub(crate) mod noise;
pub(crate) mod onnx;
pub(crate) mod reconstruct;
pub(crate) mod schedule;
pub(crate) mod seed;
#[doc(hidden)]
pub(crate) mod testing;
