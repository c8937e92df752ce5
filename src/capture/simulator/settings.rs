//! The settings of the simulator, and which values are accepted.

use crate::capture::CaptureError;
use crate::capture::frame_rate::{ALLOWED_RATES, allowed_rates_in_words};

/// The settings of the simulator.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatorSettings {
    /// The same seed gives the same frames.
    pub seed: u64,
    pub width: u32,
    pub height: u32,
    /// Share of parts with a defect, 0 to 1.
    pub defect_rate: f64,
    /// How clearly defects are seen: 1 as designed, less for fainter ones, more for clearer ones.
    pub defect_contrast: f64,
    /// `None`: as fast as frames are asked for.
    pub parts_per_second: Option<f64>,
    /// `None`: for ever.
    pub count: Option<u64>,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            // Not the seed that the shipped model was trained with: a demo shows unseen parts.
            seed: 2026,
            width: 256,
            height: 256,
            defect_rate: 0.15,
            defect_contrast: 1.0,
            parts_per_second: Some(4.0),
            count: None,
        }
    }
}

impl SimulatorSettings {
    pub(super) fn check(&self) -> Result<(), CaptureError> {
        let refuse = |key, value: String, why: &str, allowed: &str| {
            Err(CaptureError::Setting { key, value, why: why.into(), allowed: allowed.into() })
        };
        for (key, side) in [("simulator.width", self.width), ("simulator.height", self.height)] {
            if !(32..=4096).contains(&side) {
                return refuse(key, side.to_string(), "no such frame can be rendered", "32 to 4096 pixels");
            }
        }
        if !(0.0..=1.0).contains(&self.defect_rate) {
            return refuse("simulator.defect_rate", self.defect_rate.to_string(), "not a share", "0 to 1");
        }
        if !(0.0..=10.0).contains(&self.defect_contrast) {
            let value = self.defect_contrast.to_string();
            return refuse("simulator.defect_contrast", value, "out of range", "0 to 10, 1 as designed");
        }
        match self.parts_per_second {
            Some(rate) if !ALLOWED_RATES.contains(&rate) => {
                let allowed = format!("{}, or none to go as fast as possible", allowed_rates_in_words());
                refuse("simulator.parts_per_second", rate.to_string(), "no such rate", &allowed)
            }
            _ => Ok(()),
        }
    }
}
