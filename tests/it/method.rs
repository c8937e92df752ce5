//! The method as a whole, where the right answers are known: with a denoiser for which p and the true radius have
//! formulas, and with the real model of the demo bundle.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use certiscope::testing::bundle::Bundle;
use certiscope::testing::capture::{Channels, Frame, Picture, Samples, Stamp};
use certiscope::testing::certify::certify;
use certiscope::testing::computation::Computation;
use certiscope::testing::detector::Detector;
use certiscope::testing::diffusion::denoiser::{Denoiser, DenoiserError, Prediction};
use certiscope::testing::diffusion::noise::NoisyDraw;
use certiscope::testing::diffusion::onnx::{OnUnavailable, OnnxDenoiser, Provider, Runtime, SessionSettings};
use certiscope::testing::diffusion::reconstruct::{Reconstruction, reconstruct};
use certiscope::testing::diffusion::schedule::{NoiseLevel, Schedule, Timestep};
use certiscope::testing::diffusion::seed::FrameSeed;
use certiscope::testing::diffusion::testing::GaussianDenoiser;
use certiscope::testing::inspection::{Inspection, Parameters};
use certiscope::testing::inspector::{HeatMapWanted, Inspected, Inspector};
use certiscope::testing::preprocess::{Input, InputShape, Preprocessor};
use certiscope::testing::pulse::Pulse;
use certiscope::testing::score::{self, ScoreParameters, TrainingMaps};
use certiscope::testing::smoothing::{RuleSettings, SequentialRule};
use certiscope::testing::verdict::{Reason, Verdict};
use ndarray::{Array3, Array4, ArrayView4};
use statrs::distribution::{ContinuousCDF, Normal};

const SIDE: usize = 64;

/// A made-up product in which everything is Gaussian: inputs are mean + N(0, spread^2), the denoiser is the best possible
/// one, and the score is the square of the mean of z - x0_hat over the whole picture.
struct World {
    level: NoiseLevel,
    denoiser: GaussianDenoiser,
    threshold: f64,
}

/// A score of one block: the squared difference of the mean greys.
fn one_block() -> ScoreParameters {
    ScoreParameters { scales: vec![SIDE], filter_px: 1, top_pixels: 1, head_weight: 0.0, feature_weight: 0.0 }
}

impl World {
    const MEAN: f64 = 0.5;
    const SPREAD: f64 = 0.1;

    fn new(k: usize, sigma: f64, threshold: f64) -> Self {
        let level = Schedule::linear(1000, 1e-4, 0.02).unwrap().noise_level(Timestep(k), sigma).unwrap();
        Self { level, denoiser: GaussianDenoiser::new(Self::MEAN, Self::SPREAD, level), threshold }
    }

    /// The share of z - mean that remains in z - x0_hat: 1 - g sqrt(a).
    fn rest(&self) -> f64 {
        1.0 - self.denoiser.gain() * self.level.alpha_bar().sqrt()
    }

    /// Standard deviation, over both noises, of the mean of z - x0_hat over the picture.
    fn deviation(&self) -> f64 {
        let outer = self.rest() * self.level.sigma();
        let inner = self.denoiser.gain() * self.level.inner_sigma() / 2.0;
        (outer * outer + inner * inner).sqrt() / SIDE as f64
    }

    /// p = P(score > threshold) for a picture that is `grey` everywhere.
    fn p(&self, grey: f64) -> f64 {
        let centre = self.rest() * (grey - Self::MEAN);
        let edge = self.threshold.sqrt();
        let normal = Normal::standard();
        let above = |x: f64| 1.0 - normal.cdf(x);
        above((edge - centre) / self.deviation()) + normal.cdf((-edge - centre) / self.deviation())
    }

    /// The l2 size of the smallest change that moves the median score of an even picture of this grey across the
    /// threshold.
    fn true_radius(&self, grey: f64) -> f64 {
        let distance = (self.rest() * (grey - Self::MEAN)).abs() - self.threshold.sqrt();
        (distance / self.rest()).abs() * SIDE as f64
    }

    fn inspector(&self, alpha: f64, target_radius: f64, max_draws: u32, batch: u32) -> TestInspector {
        self.inspector_with(Box::new(self.denoiser.clone()), alpha, target_radius, max_draws, batch)
    }

    fn inspector_with(
        &self,
        denoiser: Box<dyn Denoiser>,
        alpha: f64,
        target_radius: f64,
        max_draws: u32,
        batch: u32,
    ) -> TestInspector {
        let settings = RuleSettings { alpha, max_draws, ..RuleSettings::new(target_radius) };
        self.inspector_keeping(denoiser, settings, batch, Box::new(|_, _| false))
    }

    fn inspector_keeping(
        &self,
        denoiser: Box<dyn Denoiser>,
        settings: RuleSettings,
        batch: u32,
        heat_map_wanted: HeatMapWanted,
    ) -> TestInspector {
        let parameters = Parameters {
            model: "analytic@1".to_owned(),
            model_sha256: "none".to_owned(),
            bundle_sha256: String::new(),
            input: [1, SIDE, SIDE],
            k: self.level.k().0,
            sigma: self.level.sigma(),
            threshold: self.threshold as f32,
            required_radius: settings.target_radius,
            rule: settings,
            deadline_ms: None,
            recipe: None,
            batch,
            computation: Computation {
                provider: "none".to_owned(),
                precision: "fp32".to_owned(),
                onnxruntime: "none".to_owned(),
                threads: 1,
                cpu: String::new(),
            },
            region: None,
        };
        let shape = InputShape { channels: 1, height: SIDE, width: SIDE };
        let detector = self.detector(denoiser, batch);
        let inspector =
            Inspector::for_testing(Preprocessor::new(shape, None), parameters, heat_map_wanted).unwrap();
        TestInspector { inspector, detector }
    }

    fn detector(&self, denoiser: Box<dyn Denoiser>, batch: u32) -> Detector {
        let maps = TrainingMaps::identity(SIDE, SIDE);
        Detector::for_testing(denoiser, self.level, one_block(), maps.clone(), maps, batch)
    }
}

/// A grey value of a 16-bit picture. 8 bits are too coarse here: one step would change p by a third.
#[derive(Clone, Copy)]
struct Grey(u16);

impl Grey {
    fn value(self) -> f64 {
        f64::from(self.0) / 65535.0
    }

    /// The bright grey with the largest p below `wanted`.
    fn with_p(world: &World, wanted: f64) -> Self {
        let middle = (World::MEAN * 65535.0) as u16;
        let brighter: Vec<u16> = (middle..=u16::MAX).collect();
        Self(brighter[brighter.partition_point(|&grey| world.p(Self(grey).value()) < wanted) - 1])
    }

    /// A frame that is this grey everywhere, of the size of the model input.
    fn frame(self) -> Frame {
        let (width, height) = (SIDE as u32, SIDE as u32);
        let samples = Samples::Sixteen(vec![self.0; SIDE * SIDE]);
        Frame {
            source_seq: 1,
            captured_at: Stamp::now(),
            part_id: None,
            meas_id: None,
            picture: Ok(Picture { width, height, channels: Channels::Grey, samples }),
            encoded: None,
            truth: None,
        }
    }

    fn input(self) -> Input {
        Input::from_unit_range(Array3::from_elem((1, SIDE, SIDE), self.value() as f32)).unwrap()
    }
}

/// An inspector together with the detector that it uses.
struct TestInspector {
    inspector: Inspector,
    detector: Detector,
}

impl TestInspector {
    fn inspect(&mut self, grey: Grey, seed: u8) -> Inspected {
        let (frame, seed) = (grey.frame(), FrameSeed([seed; 32]));
        self.inspector.inspect(&mut self.detector, &Pulse::default(), &frame, seed, Instant::now())
    }
}

fn inspect(inspector: &mut TestInspector, grey: Grey, seed: u8) -> Inspection {
    inspector.inspect(grey, seed).inspection
}

/// The share of draws above the threshold is the p of the formula. A score that saw the clean frame would not contain the
/// certification noise, and this share would differ.
#[test]
fn draws_score_above_the_threshold_as_often_as_the_closed_form_says() {
    const DRAWS: u32 = 2000;
    let world = World::new(150, 0.2, 2.5e-5);
    let mut detector = world.detector(Box::new(world.denoiser.clone()), 64);
    for wanted in [0.2, 0.5, 0.8] {
        let grey = Grey::with_p(&world, wanted);
        let p = world.p(grey.value());
        assert!((p - wanted).abs() < 0.01, "the test needs a grey near p = {wanted}: {p}");
        let pairs = detector.draws(&grey.input(), FrameSeed([1; 32])).next(DRAWS).unwrap();
        let above = pairs.iter().filter(|pair| f64::from(detector.certified(pair).value()) > world.threshold);
        let above = above.count() as f64;
        let off = (above - p * f64::from(DRAWS)) / (p * (1.0 - p) * f64::from(DRAWS)).sqrt();
        assert!(off.abs() < 4.5, "{above} of {DRAWS} above, p = {p:.4}: {off:.1} deviations off");
    }
}

/// If all noise is certification noise (sigma = sigma_k) and the score is linear, the bound of Cohen et al. is an
/// equality: the certified radius comes near the true one from below.
#[test]
fn the_certified_radius_approaches_the_true_radius_from_below() {
    let sigma_k = Schedule::linear(1000, 1e-4, 0.02).unwrap().sigma_k(Timestep(150)).unwrap();
    let world = World::new(150, sigma_k, 2.5e-5);
    let grey = Grey::with_p(&world, 0.9);
    let truth = world.true_radius(grey.value());
    for seed in 0..5 {
        // A target so near the true radius makes the run use many draws.
        let mut inspector = world.inspector(0.001, 0.97 * truth, 2000, 64);
        let radius = inspect(&mut inspector, grey, seed).certificate.unwrap().radius;
        assert!(radius < truth, "certified {radius}, true {truth}");
        assert!(radius > 0.8 * truth, "certified {radius}, true {truth}: the bound is loose");
    }
}

/// If part of the noise is added inside the model, the radius must depend on the sigma of the outer noise only.
#[test]
fn noise_added_inside_buys_no_radius() {
    let world = World::new(150, 0.05, 2.5e-5);
    let grey = Grey(52_000);
    let truth = world.true_radius(grey.value());
    let mut inspector = world.inspector(0.001, 0.1, 500, 16);
    let inspection = inspect(&mut inspector, grey, 1);
    let certificate = inspection.certificate.as_ref().unwrap();
    assert_eq!(inspection.verdict, Verdict::Anomalous);
    assert!(certificate.radius >= 0.1 && certificate.radius < truth);
    // All draws agree, so what limits the radius is sigma: 0.05 Phi^-1(alpha^(1/n)) at the most.
    let limit = 0.05 * Normal::standard().inverse_cdf(0.001_f64.powf(1.0 / f64::from(certificate.draws)));
    assert!(certificate.radius < limit, "{} against {limit}", certificate.radius);
}

/// Draws are the same however they are batched, and none is lost if the batch size does not divide their number.
#[test]
fn batches_change_nothing_and_lose_nothing() {
    let world = World::new(150, 0.2, 2.5e-5);
    let grey = Grey::with_p(&world, 0.5);
    let scores = |batch| -> Vec<f32> {
        let mut detector = world.detector(Box::new(world.denoiser.clone()), batch);
        let pairs = detector.draws(&grey.input(), FrameSeed([7; 32])).next(50).unwrap();
        pairs.iter().map(|pair| detector.certified(pair).value()).collect()
    };
    let one_by_one = scores(1);
    assert_eq!(one_by_one.len(), 50);
    for batch in [3, 8, 64] {
        assert_eq!(scores(batch), one_by_one, "batch {batch}");
        let inspection = inspect(&mut world.inspector(0.001, 0.1, 50, batch), grey, 7);
        assert_eq!(inspection.scores, one_by_one[..inspection.scores.len()], "batch {batch}");
        assert_eq!(inspection.batches.iter().sum::<u32>() as usize, inspection.scores.len());
        assert!(inspection.batches.iter().all(|&draws| draws <= batch));
    }
}

/// The draws of a detector and their scores equal those that the single functions give one by one: noise from the
/// frame's seed, one model call, the score of the draw.
#[test]
fn the_detector_s_draws_are_made_of_noise_model_and_score_bit_for_bit() {
    let world = World::new(150, 0.2, 2.5e-5);
    let (input, seed) = (Grey::with_p(&world, 0.5).input(), FrameSeed([9; 32]));
    let maps = TrainingMaps::identity(SIDE, SIDE);
    let parameters = one_block();
    let by_hand: Vec<u32> = (0..20)
        .map(|index| {
            let draw = NoisyDraw::of(&input, world.level, seed, index);
            let pair = reconstruct(&mut world.denoiser.clone(), vec![draw]).unwrap().remove(0);
            score::certified(&pair, &parameters, &maps).value().to_bits()
        })
        .collect();
    let mut detector = world.detector(Box::new(world.denoiser.clone()), 8);
    let mut draws = detector.draws(&input, seed);
    let mut made = Vec::new();
    // One draw, fewer and more than a batch: no draw is repeated or left out between the calls.
    for count in [1, 5, 14] {
        let call = draws.next(count).unwrap();
        assert_eq!(call.len(), count as usize);
        made.extend(call.iter().map(|pair| draws.detector().certified(pair).value().to_bits()));
    }
    assert_eq!(made, by_hand);
}

/// `certify` is what the inspector runs, and it can be run without a frame.
#[test]
fn an_input_is_certified_as_its_frame_is() {
    let world = World::new(150, 0.2, 1e-3);
    for grey in [Grey(32_768), Grey(64_000)] {
        let inspection = inspect(&mut world.inspector(0.001, 0.1, 100, 8), grey, 3);
        let mut detector = world.detector(Box::new(world.denoiser.clone()), 8);
        let settings = RuleSettings { max_draws: 100, ..RuleSettings::new(0.1) };
        let rule = SequentialRule::new(&settings, world.threshold as f32, world.level.sigma()).unwrap();
        let frame = grey.frame();
        let shape = InputShape { channels: 1, height: SIDE, width: SIDE };
        let input = Preprocessor::new(shape, None).apply(frame.picture.as_ref().unwrap()).unwrap().input;
        let mut seen = 0;
        let draws = certify(&mut detector, &rule, &input, FrameSeed([3; 32]), || Ok(()), |_, _| seen += 1);
        assert_eq!(draws.verdict(), inspection.verdict);
        assert_eq!(Some(&draws.certificate), inspection.certificate.as_ref());
        assert_eq!((&draws.scores, &draws.batches), (&inspection.scores, &inspection.batches));
        assert_eq!(seen, draws.scores.len());
        // If drawing stops before the first model call, the certificate has no side.
        let stopped = certify(
            &mut detector,
            &rule,
            &input,
            FrameSeed([3; 32]),
            || Err(Reason::Deadline),
            |_, _| panic!("no draw was allowed"),
        );
        assert_eq!((stopped.verdict(), stopped.scores.len()), (Verdict::Abstain(Reason::Deadline), 0));
    }
}

/// A heat map is made only for frames for which one is wanted; it is the mean of the score maps of the draws.
#[test]
fn heat_maps_are_made_only_of_the_frames_that_want_one() {
    let world = World::new(150, 0.2, 1e-3);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept_seed = FrameSeed([5; 32]);
    let wanted: HeatMapWanted = {
        let asked = Arc::clone(&asked);
        Box::new(move |verdict, seed| {
            asked.lock().unwrap().push(verdict);
            verdict != Verdict::Normal || seed == kept_seed
        })
    };
    let settings = RuleSettings { max_draws: 100, ..RuleSettings::new(0.1) };
    let mut inspector = world.inspector_keeping(Box::new(world.denoiser.clone()), settings, 8, wanted);
    let (good, bad) = (Grey(32_768), Grey(64_000));
    let mut maps = Vec::new();
    for (grey, seed) in [(good, 1), (good, 5), (bad, 1), (good, 2)] {
        let inspected = inspector.inspect(grey, seed);
        if let Some(map) = &inspected.heat_map {
            let input = inspected.input.as_ref().unwrap();
            let mut detector = world.detector(Box::new(world.denoiser.clone()), 8);
            let draws = inspected.inspection.scores.len() as u32;
            let pairs = detector.draws(input, FrameSeed([seed; 32])).next(draws).unwrap();
            // The definition: the maps of all draws, added in order, divided by their number.
            let mut of_draws = pairs.iter().map(|pair| detector.score(pair).map);
            let first = of_draws.next().unwrap();
            let mean = of_draws.fold(first, |sum, map| sum + map) / draws as f32;
            assert_eq!(*map, mean);
        }
        maps.push((inspected.inspection.verdict, inspected.heat_map.is_some()));
    }
    let expected = [
        (Verdict::Normal, false),
        (Verdict::Normal, true),
        (Verdict::Anomalous, true),
        (Verdict::Normal, false),
    ];
    assert_eq!(maps, expected);
    assert_eq!(asked.lock().unwrap().len(), 4, "each frame is asked for once, when its verdict is known");
}

/// A denoiser that fails after a number of draws.
struct Breaking {
    inner: GaussianDenoiser,
    draws_left: usize,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Error,
    NotANumber,
}

impl Denoiser for Breaking {
    fn predict(&mut self, x_k: ArrayView4<'_, f32>, k: Timestep) -> Result<Prediction, DenoiserError> {
        let batch = x_k.dim().0;
        if self.draws_left >= batch {
            self.draws_left -= batch;
            return self.inner.predict(x_k, k);
        }
        match self.how {
            How::Error => Err(DenoiserError::Call("planted".to_owned())),
            How::NotANumber => {
                let eps_hat = Array4::from_elem(x_k.raw_dim(), f32::NAN);
                Ok(Prediction { eps_hat, defect_logit: None, feature_distance: None })
            }
        }
    }
}

/// Any fault of the model, at any draw, gives `abstain`: on a frame that would be normal, and on one that would be
/// anomalous.
#[test]
fn a_model_that_fails_abstains_and_says_so() {
    // A threshold far from both frames, so that all draws before the fault agree.
    let world = World::new(150, 0.2, 1e-3);
    for grey in [Grey(32_768), Grey(64_000)] {
        for how in [How::Error, How::NotANumber] {
            // 24 agreeing draws certify a side already, though not yet at the target.
            for draws_left in [0, 8, 24] {
                let denoiser = Breaking { inner: world.denoiser.clone(), draws_left, how };
                let mut inspector = world.inspector_with(Box::new(denoiser), 0.001, 0.2, 100, 4);
                let inspection = inspect(&mut inspector, grey, 1);
                assert_eq!(inspection.verdict, Verdict::Abstain(Reason::ModelFault));
                assert!(inspection.fault.is_some() && inspection.frame_radius.is_none());
                assert_eq!(inspection.certificate.unwrap().side, None);
            }
        }
    }
}

/// If the score saw the clean frame, every certificate would be invalid. Two clean frames and two noises with the same
/// sum give the same draw, bit for bit, so the certified score must be the same, bit for bit. A score that sees the
/// frame differs.
#[test]
fn the_score_of_a_draw_cannot_see_the_clean_frame() {
    let bundle = Bundle::load(std::path::Path::new("models/bundles/demo-line")).unwrap();
    let settings =
        SessionSettings { provider: Provider::Cpu, on_unavailable: OnUnavailable::Refuse, threads: 1 };
    let mut unet = OnnxDenoiser::open(
        &Runtime::load(None).unwrap(),
        &bundle.model_file(),
        bundle.manifest.input_shape(),
        &settings,
    )
    .unwrap();
    let level = Schedule::linear(1000, 1e-4, 0.02).unwrap().noise_level(Timestep(100), 0.0625).unwrap();
    let shape = (1, SIDE, SIDE);
    // All values are multiples of 1/256 and sigma is 1/16, so every sum is exact in f32.
    let grid = |at: (usize, usize, usize), factor: usize| ((at.1 * factor + at.2 * 3) % 97) as f32 / 256.0;
    let clean = Array3::from_shape_fn(shape, |at| 0.25 + grid(at, 7));
    let change =
        Array3::from_shape_fn(shape, |at| grid(at, 11) / 2.0 - 0.125).mapv(|v| (v * 256.0).round() / 256.0);
    let noise = Array3::from_shape_fn(shape, |at| 16.0 * (grid(at, 5) - 0.1875));
    let inner = Array3::from_shape_fn(shape, |at| 4.0 * (grid(at, 13) - 0.1875));

    let changed = &clean + &change;
    let compensated = &noise - &(&change * 16.0);
    let inputs = [clean, changed].map(|values| Input::from_unit_range(values).unwrap());
    let [first, second] = [(&inputs[0], noise), (&inputs[1], compensated)].map(|(input, noise)| {
        let draw = NoisyDraw::with_noise(input, level, noise, inner.clone());
        let z = draw.z().to_owned();
        (z, reconstruct(&mut unet, vec![draw]).unwrap().remove(0))
    });
    assert_eq!(first.0, second.0, "the two frames must give the same draw");

    let parameters = &bundle.score;
    let maps = &bundle.calibrated().unwrap().maps;
    let certified = |_: &Input, pair: &Reconstruction| score::certified(pair, parameters, maps).value();
    // A score with the fault: the same pair, but compared with the frame instead of the draw.
    let leaking = |input: &Input, pair: &Reconstruction| {
        score::empirical(input, std::slice::from_ref(pair), parameters, maps).value()
    };
    let tells_apart = |score: &dyn Fn(&Input, &Reconstruction) -> f32| {
        score(&inputs[0], &first.1).to_bits() != score(&inputs[1], &second.1).to_bits()
    };
    assert!(!tells_apart(&certified), "the certified score saw the clean frame");
    assert!(tells_apart(&leaking), "the check would not notice a leak");
}
