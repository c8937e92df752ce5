//! A simulated inspection line: turned flanges on a belt, some of them defective, without any hardware.
//!
//! Guarantees: frame `i` of a seed has the same bytes, no matter which frames were rendered before it (one ChaCha stream for each frame and
//! purpose), on one platform's mathematical library. The label travels in [`Frame::truth`]. A defective frame differs from the
//! same frame without its defect only inside its mask. Good parts differ more from one another than a defective part
//! from the same part without its defect, so neither the distance to the mean picture nor the histogram finds defects.
//! Frames come at a steady rate that does not drift.
//! Leaves out: motion blur, perspective, colour. The simulator shows that the program works; it does not show how well a
//! model works on a real line.
//! Costs: a 256x256 frame takes a few milliseconds of one core.

mod dataset;
mod defect;
mod geometry;
mod grain;
mod part;
mod render;
mod settings;

use std::time::Duration;

use rand::RngExt;

use super::frame_rate::FrameRate;
use super::{CaptureError, Channels, Frame, FrameSource, GroundTruth, Picture, Samples, SourceEvent, Stamp};
pub use dataset::simulate;
pub use defect::DefectKind;
use render::{Purpose, render, stream};
pub use settings::SimulatorSettings;

/// The simulated line as a source of frames.
pub struct Simulator {
    settings: SimulatorSettings,
    rate: FrameRate,
    sent: u64,
}

impl Simulator {
    pub fn new(settings: SimulatorSettings) -> Result<Self, CaptureError> {
        settings.check()?;
        let rate = FrameRate::new(settings.parts_per_second);
        Ok(Self { settings, rate, sent: 0 })
    }
}

impl FrameSource for Simulator {
    fn next(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError> {
        if self.settings.count.is_some_and(|count| self.sent >= count) {
            return Ok(SourceEvent::End);
        }
        if !self.rate.sleep(wait) {
            return Ok(SourceEvent::NotYet);
        }
        self.sent += 1;
        let captured_at = Stamp::now();
        let defect = choose(&self.settings, self.sent);
        let rendered = render(&self.settings, self.sent, defect);
        Ok(SourceEvent::Frame(Box::new(Frame {
            source_seq: self.sent,
            captured_at,
            part_id: Some(format!("flange-{:06}", self.sent)),
            meas_id: None,
            picture: Ok(Picture {
                width: self.settings.width,
                height: self.settings.height,
                channels: Channels::Grey,
                samples: Samples::Eight(rendered.pixels),
            }),
            encoded: None,
            truth: Some(GroundTruth { kind: defect.map_or("good", DefectKind::word).into() }),
        })))
    }

    fn describe(&self) -> String {
        let SimulatorSettings { seed, width, height, .. } = self.settings;
        format!("simulator, seed {seed}, {width}x{height} grey")
    }
}

/// Whether part `index` has a defect, and which.
fn choose(settings: &SimulatorSettings, index: u64) -> Option<DefectKind> {
    let mut rng = stream(settings.seed, index, Purpose::Choice);
    let defective = rng.random_bool(settings.defect_rate);
    defective.then(|| DefectKind::ALL[rng.random_range(0..DefectKind::ALL.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> SimulatorSettings {
        SimulatorSettings { width: 128, height: 96, parts_per_second: None, ..SimulatorSettings::default() }
    }

    fn frames(settings: SimulatorSettings) -> Vec<Frame> {
        let mut source = Simulator::new(settings).unwrap();
        std::iter::from_fn(|| match source.next(Duration::ZERO).unwrap() {
            SourceEvent::Frame(frame) => Some(*frame),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn a_frame_depends_on_its_seed_and_its_number_only() {
        let kind = Some(DefectKind::Stain);
        let alone = render(&settings(), 9, kind);
        (1..9).for_each(|index| drop(render(&settings(), index, None)));
        assert_eq!(alone.pixels, render(&settings(), 9, kind).pixels);
        assert_ne!(alone.pixels, render(&settings(), 10, kind).pixels);
        let other_seed = SimulatorSettings { seed: 1, ..settings() };
        assert_ne!(alone.pixels, render(&other_seed, 9, kind).pixels);
    }

    #[test]
    fn a_source_gives_count_frames_with_their_truth() {
        let settings =
            SimulatorSettings { count: Some(400), defect_rate: 0.25, width: 32, height: 32, ..settings() };
        let frames = frames(settings.clone());
        assert_eq!(frames.len(), 400);
        let defective = frames.iter().filter(|f| f.truth.as_ref().unwrap().is_defect()).count();
        // Binomial(400, 0.25): five standard deviations are 43.
        assert!((57..=143).contains(&defective), "{defective} defective");
        for kind in DefectKind::ALL {
            assert!(frames.iter().any(|f| f.truth.as_ref().unwrap().kind == kind.word()));
        }
        assert_eq!(frames[0].source_seq, 1);
        assert_eq!(frames[399].part_id.as_deref(), Some("flange-000400"));
        let picture = frames[7].picture.as_ref().unwrap();
        let again = render(&settings, 8, choose(&settings, 8)).pixels;
        assert_eq!(picture.samples, Samples::Eight(again));
    }

    #[test]
    fn every_kind_of_defect_changes_the_part_where_its_mask_says() {
        let settings = SimulatorSettings { defect_contrast: 3.0, ..SimulatorSettings::default() };
        for kind in DefectKind::ALL {
            for index in 1..=8 {
                let good = render(&settings, index, None);
                let bad = render(&settings, index, Some(kind));
                let pixels = good.pixels.iter().zip(&bad.pixels).zip(&bad.mask);
                let (mut inside, mut outside, mut area) = (0.0, 0.0, 0_u32);
                for ((&good, &bad), &mask) in pixels {
                    let change = f64::from(good.abs_diff(bad));
                    if mask == 255 {
                        inside += change;
                        area += 1;
                    } else {
                        outside += change;
                    }
                }
                assert!(area > 40, "{}: {area} pixels of 65536", kind.word());
                assert!(inside / f64::from(area) > 20.0, "{}: change {inside} over {area}", kind.word());
                // Only the soft edge, covered less than half, lies outside.
                assert!(outside < 0.4 * inside, "{}: {outside} outside, {inside} inside", kind.word());
            }
        }
    }

    #[test]
    fn without_contrast_a_defect_cannot_be_seen() {
        let settings = SimulatorSettings { defect_contrast: 0.0, ..settings() };
        for kind in DefectKind::ALL {
            assert_eq!(render(&settings, 3, Some(kind)).pixels, render(&settings, 3, None).pixels);
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |change: fn(&mut SimulatorSettings)| {
            let mut settings = settings();
            change(&mut settings);
            Simulator::new(settings).err().expect("must be refused").to_string()
        };
        assert!(refused(|s| s.width = 31).contains("simulator.width = 31"));
        assert!(refused(|s| s.height = 5000).contains("simulator.height = 5000"));
        assert!(refused(|s| s.defect_rate = f64::NAN).contains("simulator.defect_rate = NaN"));
        assert!(refused(|s| s.defect_contrast = -1.0).contains("simulator.defect_contrast = -1"));
        assert!(refused(|s| s.parts_per_second = Some(0.0)).contains("simulator.parts_per_second = 0"));
    }
}
