//! The seed of one frame's noise.
//!
//! Guarantees: every inspected frame gets fresh entropy from the operating system, which cannot be guessed. The seed is
//! stored with the verdict, so that the draws can be made again.

use crate::hex;

/// The seed of one frame's noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSeed(pub [u8; 32]);

impl FrameSeed {
    pub fn to_hex(self) -> String {
        hex::of(&self.0)
    }
}

/// A new seed from the operating system. Someone who could guess the noise could build an attack on it.
pub(crate) fn fresh_seed() -> Result<FrameSeed, getrandom::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(FrameSeed(seed))
}
