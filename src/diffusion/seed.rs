//! The seed of one frame's noise.
//!
//! Guarantees: fresh entropy of the operating system for every frame that is inspected, never derived from anything
//! that can be guessed; kept with the verdict, so that the draws can be made again.

use crate::hex;

/// The entropy of one frame's noise: fresh from the operating system, kept with the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSeed(pub [u8; 32]);

impl FrameSeed {
    pub fn to_hex(self) -> String {
        hex::of(&self.0)
    }
}

/// A seed for one frame from the operating system: who could guess the noise could aim an attack at it.
pub(crate) fn fresh_seed() -> Result<FrameSeed, getrandom::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(FrameSeed(seed))
}
