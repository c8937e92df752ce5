//! Renders the frame of a part from the part's number: the lamp, the part, its defect, the sensor.
//!
//! Guarantees: pure; a frame depends only on the settings and its number. Each use of random numbers has its own stream, so
//! the defect of a part says nothing about its pose or its shine.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::defect::{Defect, DefectKind};
use super::geometry::Point;
use super::part::SimulatedPart;
use super::settings::SimulatorSettings;

/// What random numbers are used for. Each use has its own stream, so that a part is the same with and without its
/// defect.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Choice,
    Part,
    Defect,
    Sensor,
}

pub(super) fn stream(seed: u64, index: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index.wrapping_mul(4).wrapping_add(purpose as u64));
    rng
}

/// One frame as the sensor gives it.
pub(super) struct Rendered {
    /// Row by row, 8-bit grey.
    pub(super) pixels: Vec<u8>,
    /// 255 where the defect is; all 0 on a good part.
    pub(super) mask: Vec<u8>,
}

/// Frame `index` of the line, with this defect or none.
pub(super) fn render(settings: &SimulatorSettings, index: u64, kind: Option<DefectKind>) -> Rendered {
    let (width, height) = (settings.width as usize, settings.height as usize);
    let pixel = 2.0 / width.min(height) as f32;
    let part = SimulatedPart::draw(&mut stream(settings.seed, index, Purpose::Part), pixel);
    let defect = kind.map(|kind| {
        let rng = &mut stream(settings.seed, index, Purpose::Defect);
        Defect::draw(kind, settings.defect_contrast as f32, &part, rng)
    });
    let light = Lighting::at(settings.seed, index);
    let mut sensor = stream(settings.seed, index, Purpose::Sensor);
    let mut rendered = Rendered { pixels: Vec::with_capacity(width * height), mask: vec![0; width * height] };
    for row in 0..height {
        let y = (row as f32 + 0.5 - height as f32 / 2.0) * pixel;
        for column in 0..width {
            let x = (column as f32 + 0.5 - width as f32 / 2.0) * pixel;
            let at = part.locate(Point { x, y });
            let seen = part.surface(at);
            let mut value = seen.value;
            if let Some(defect) = &defect {
                let coverage;
                (value, coverage) = defect.touch(&part, at, seen);
                if coverage >= 0.5 {
                    rendered.mask[row * width + column] = 255;
                }
            }
            rendered.pixels.push(expose(value * light.on(x, y), sensor.sample(StandardNormal)));
        }
    }
    rendered
}

/// The sensor: shot noise that grows with the light, read noise that does not, 8 bits.
fn expose(light: f32, normal: f32) -> u8 {
    let light = light.max(0.0);
    let deviation = (0.005_f32.powi(2) + 0.0001 * light).sqrt();
    // `as` saturates: a value above full scale is clipped, as on a sensor.
    ((light + deviation * normal) * 255.0 + 0.5) as u8
}

/// The brightness of the lamp for one part. It drifts slowly from part to part.
struct Lighting {
    gain: f32,
    slope_x: f32,
    slope_y: f32,
}

impl Lighting {
    fn at(seed: u64, index: u64) -> Self {
        let mut phases = stream(seed, u64::MAX, Purpose::Choice);
        let mut wave = |period: f64, size: f64| {
            let phase: f64 = phases.random();
            (size * (std::f64::consts::TAU * (index as f64 / period + phase)).sin()) as f32
        };
        Self {
            gain: 1.0 + wave(700.0, 0.12) + wave(97.0, 0.04),
            slope_x: wave(431.0, 0.15),
            slope_y: wave(293.0, 0.15),
        }
    }

    fn on(&self, x: f32, y: f32) -> f32 {
        self.gain * (1.0 + self.slope_x * x + self.slope_y * y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_light_drifts_slowly() {
        let gains: Vec<f32> = (1..=350).step_by(10).map(|index| Lighting::at(7, index).gain).collect();
        let spread =
            gains.iter().copied().fold(f32::MIN, f32::max) - gains.iter().copied().fold(f32::MAX, f32::min);
        assert!(spread > 0.1, "{spread} over 350 parts");
        let step = gains.windows(2).map(|g| (g[1] - g[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.05, "{step} within 10 parts");
    }

    #[test]
    fn every_frame_and_purpose_has_its_own_stream() {
        let mut first = std::collections::HashSet::new();
        for index in (1..100).chain([u64::MAX]) {
            for purpose in [Purpose::Choice, Purpose::Part, Purpose::Defect, Purpose::Sensor] {
                let value: u64 = stream(1, index, purpose).random();
                assert!(first.insert(value), "{purpose:?} of {index} repeats another stream");
            }
        }
    }
}
