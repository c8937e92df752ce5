//! Checks each buffer that a camera gives: is it damaged, frozen, dark or saturated? Also notices when none comes.
//!
//! Guarantees: a frame is held back and counted if the driver marks it as damaged, if it cannot be read, if its bytes are
//! equal to those of the frame before, or if it is dark or saturated. This applies to the first frame too. Several in a row are
//! reported as trouble with a reason, and one good frame ends the trouble. Gaps in the driver's sequence numbers are
//! counted, also if the numbers wrap around to zero. A sequence that starts again is not a gap.
//! Leaves out: pictures that are out of focus, blurred by movement or dirty. A sensor without noise gives identical
//! frames while nothing moves: `frozen_after = 0` is for those and for test sources.

use std::time::{Duration, Instant};

use crate::capture::{Channels, Drops, Picture, Samples, Stamp, Trouble, TroubleKind};

/// This many bad frames in a row are reported as trouble.
const IN_A_ROW: u32 = 3;
/// At most this many frames in a row are dropped for newer ones: as many as there are buffers.
const OVERTAKEN_IN_A_ROW: u32 = 4;
/// The camera is stalled if it gives no frame for this many intervals, and at least for this long.
const STALL_INTERVALS: u32 = 3;
const STALL_LEAST: Duration = Duration::from_secs(1);

/// Limits beyond which a frame is reported frozen, dark or saturated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameLimits {
    /// This many identical frames in a row are `frozen`; 0: identical frames are accepted.
    pub frozen_after: u32,
    /// Mean level, 0 to 255, below which a frame is `dark`.
    pub dark_below: f64,
    /// Share of pixels at full scale, in all channels, above which a frame is `saturated`.
    pub saturated_above: f64,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { frozen_after: 5, dark_below: 4.0, saturated_above: 0.5 }
    }
}

/// One buffer, as the driver gave it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer<'a> {
    pub bytes: &'a [u8],
    pub sequence: u32,
    pub marked_broken: bool,
    pub exposed: Stamp,
    /// A newer frame is ready already.
    pub newer_waits: bool,
    /// `exposed` is the start of the exposure; else the end of the frame.
    pub at_start: bool,
}

/// What the checks say of a frame.
#[derive(Debug)]
pub(super) enum Judged {
    Good(Picture),
    /// The frame is held back. With trouble, if there were enough bad frames in a row.
    Held(Option<Trouble>),
}

pub(super) struct FrameChecks {
    limits: FrameLimits,
    /// Without a frame for longer than this the camera is stalled.
    patience: Duration,
    interval: Duration,
    /// When the last frame came, or the stream began.
    last_frame: Instant,
    sequence: Option<u32>,
    /// Frames of this source, dropped ones included.
    seen: u64,
    /// The bytes of the frame before.
    previous: Vec<u8>,
    /// What was wrong with the frame before.
    fault: Option<Trouble>,
    faults_in_a_row: u32,
    /// Whether trouble was reported that no good frame has ended yet.
    troubled: bool,
    overtaken_in_a_row: u32,
    drops: Drops,
}

impl FrameChecks {
    pub(super) fn new(limits: FrameLimits) -> Self {
        Self {
            limits,
            patience: STALL_LEAST,
            interval: Duration::ZERO,
            last_frame: Instant::now(),
            sequence: None,
            seen: 0,
            previous: Vec::new(),
            fault: None,
            faults_in_a_row: 0,
            troubled: false,
            overtaken_in_a_row: 0,
            drops: Drops::default(),
        }
    }

    /// Called when a stream begins, with its rate if it is known.
    pub(super) fn begin(&mut self, frames_per_second: Option<f64>, now: Instant) {
        let interval = frames_per_second.map(|rate| Duration::try_from_secs_f64(1.0 / rate));
        self.interval = interval.and_then(Result::ok).unwrap_or_default();
        self.patience = STALL_LEAST.max(self.interval.saturating_mul(STALL_INTERVALS));
        self.last_frame = now;
        self.sequence = None;
    }

    pub(super) fn drops(&self) -> Drops {
        self.drops
    }

    /// Called for each frame. Counts gaps, and returns the frame's number in this source.
    pub(super) fn arrived(&mut self, sequence: u32, now: Instant) -> u64 {
        self.last_frame = now;
        let step = self.sequence.map_or(1, |last| sequence.wrapping_sub(last));
        self.sequence = Some(sequence);
        // More than half of all numbers ahead means behind: the driver started again. The same number again means that the
        // driver does not count frames.
        let step = if (1..1 << 31).contains(&step) { u64::from(step) } else { 1 };
        self.drops.driver += step - 1;
        self.seen += step;
        self.seen
    }

    /// Whether a newer frame is to be taken in place of this one. Only a few times in a row, because a driver may always
    /// say that there is one. A damaged frame never counts as overtaken: it is counted as damaged.
    pub(super) fn is_overtaken(&mut self, buffer: &Buffer<'_>) -> bool {
        let overtaken =
            buffer.newer_waits && !buffer.marked_broken && self.overtaken_in_a_row < OVERTAKEN_IN_A_ROW;
        if overtaken {
            self.drops.stale += 1;
            self.overtaken_in_a_row += 1;
        } else {
            self.overtaken_in_a_row = 0;
        }
        overtaken
    }

    /// Whether trouble was reported that no good frame has ended yet.
    pub(super) fn is_troubled(&self) -> bool {
        self.troubled
    }

    /// Whether the exposure of the frame certainly began at `moment` or later.
    pub(super) fn is_exposed_since(&self, buffer: &Buffer<'_>, moment: Instant) -> bool {
        let exposure = if buffer.at_start { Duration::ZERO } else { self.interval };
        buffer.exposed.monotonic.checked_sub(exposure).is_some_and(|begin| begin >= moment)
    }

    /// How long there has been no frame.
    pub(super) fn silent(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_frame)
    }

    /// The trouble to report if there was no frame for too long.
    pub(super) fn silence(&self, now: Instant) -> Option<Trouble> {
        let silent = self.silent(now);
        (silent > self.patience).then(|| Trouble {
            kind: TroubleKind::Stalled,
            reason: format!(
                "the camera is there and has given no frame for {:.1} s; at least one in {:.1} s is expected",
                silent.as_secs_f64(),
                self.patience.as_secs_f64()
            ),
        })
    }

    /// Checks a frame. `read` makes a picture of its bytes.
    pub(super) fn judge(
        &mut self,
        buffer: &Buffer<'_>,
        read: impl FnOnce(&[u8]) -> Result<Picture, String>,
    ) -> Judged {
        if buffer.marked_broken {
            return self.hold(broken("the driver marks the frame as damaged"));
        }
        if buffer.bytes.is_empty() {
            return self.hold(broken("the frame is empty"));
        }
        if self.limits.frozen_after > 0 && buffer.bytes == self.previous {
            let frozen = || {
                Trouble {
                kind: TroubleKind::Frozen,
                reason: "the camera gives the same bytes again and again; if nothing moves in front of it and its pictures have no noise, set frozen_after = 0".to_owned(),
            }
            };
            // A covered lens is reported as dark, even if its frames are identical because black has no noise.
            let fault = self.fault.take().unwrap_or_else(frozen);
            return self.hold(fault);
        }
        self.previous.clear();
        self.previous.extend_from_slice(buffer.bytes);
        match read(buffer.bytes) {
            Err(why) => self.hold(broken(&why)),
            Ok(picture) => match self.limits.light(&picture) {
                Some(fault) => self.hold(fault),
                None => {
                    self.fault = None;
                    self.faults_in_a_row = 0;
                    self.troubled = false;
                    Judged::Good(picture)
                }
            },
        }
    }

    fn hold(&mut self, fault: Trouble) -> Judged {
        match fault.kind {
            TroubleKind::Broken => self.drops.broken += 1,
            _ => self.drops.stale += 1,
        }
        self.faults_in_a_row = self.faults_in_a_row.saturating_add(1);
        let enough = match fault.kind {
            TroubleKind::Frozen => self.limits.frozen_after,
            _ => IN_A_ROW,
        };
        let trouble = (self.faults_in_a_row >= enough).then(|| fault.clone());
        self.troubled |= trouble.is_some();
        self.fault = Some(fault);
        Judged::Held(trouble)
    }
}

fn broken(why: &str) -> Trouble {
    Trouble {
        kind: TroubleKind::Broken,
        reason: format!("frames cannot be used: {why}; look at the cable, the port and the rate"),
    }
}

impl FrameLimits {
    /// Whether a picture is too dark or too bright.
    fn light(&self, picture: &Picture) -> Option<Trouble> {
        let Samples::Eight(samples) = &picture.samples else {
            return None; // no camera format here has more than 8 bits
        };
        let sum: u64 =
            samples.chunks(4096).map(|part| u64::from(part.iter().map(|&v| u32::from(v)).sum::<u32>())).sum();
        let mean = sum as f64 / samples.len() as f64;
        if mean < self.dark_below {
            let reason = format!(
                "mean level {mean:.1} of 255, below dark_below = {}; is the light on, the lens open, the exposure long enough?",
                self.dark_below
            );
            return Some(Trouble { kind: TroubleKind::Dark, reason });
        }
        let full = match picture.channels {
            Channels::Grey => samples.iter().filter(|&&v| v == 255).count(),
            Channels::Rgb => samples.as_chunks().0.iter().filter(|pixel| **pixel == [255; 3]).count(),
        };
        let share = full as f64 / (f64::from(picture.width) * f64::from(picture.height));
        (share > self.saturated_above).then(|| Trouble {
            kind: TroubleKind::Saturated,
            reason: format!(
                "{:.0} % of the pixels at full scale, above saturated_above = {}; is the exposure too long or the light too close?",
                100.0 * share,
                self.saturated_above
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The picture in the buffers of the tests: 8x8 grey, row by row.
    fn grey(bytes: &[u8]) -> Result<Picture, String> {
        let samples = bytes.get(..64).ok_or("short")?.to_vec();
        let samples = Samples::Eight(samples);
        Ok(Picture { width: 8, height: 8, channels: Channels::Grey, samples })
    }

    fn buffer(bytes: &[u8]) -> Buffer<'_> {
        Buffer {
            bytes,
            sequence: 0,
            marked_broken: false,
            exposed: Stamp::now(),
            newer_waits: false,
            at_start: true,
        }
    }

    fn frame(level: u8) -> Vec<u8> {
        vec![level; 64]
    }

    /// Checks the frames one after the other: `.` good, `-` held back, else the first letter of the trouble.
    fn fates<'a>(checks: &mut FrameChecks, frames: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
        let fate = |frame: &Vec<u8>| match checks.judge(&buffer(frame), grey) {
            Judged::Good(_) => '.',
            Judged::Held(None) => '-',
            Judged::Held(Some(trouble)) => format!("{:?}", trouble.kind).chars().next().unwrap(),
        };
        frames.into_iter().map(fate).collect()
    }

    #[test]
    fn identical_frames_are_held_back_at_once_and_frozen_after_five() {
        let mut checks = FrameChecks::new(FrameLimits::default());
        let (one, two) = (frame(90), frame(91));
        let frames = [&one, &two, &two, &one, &one, &one, &one, &one, &one, &one, &two, &one];
        assert_eq!(fates(&mut checks, frames), "..-.----FF..");
        assert_eq!(checks.drops(), Drops { stale: 7, ..Drops::default() });
    }

    #[test]
    fn identical_frames_are_fine_where_they_are_said_to_be() {
        let mut checks = FrameChecks::new(FrameLimits { frozen_after: 0, ..FrameLimits::default() });
        assert_eq!(fates(&mut checks, [&frame(90); 9]), ".........");
    }

    #[test]
    fn a_covered_lens_is_dark_and_not_frozen() {
        let mut checks = FrameChecks::new(FrameLimits::default());
        let frames = [frame(90), frame(0), frame(0), frame(1), frame(1), frame(2), frame(90)];
        assert_eq!(fates(&mut checks, &frames), ".--DDD.");
        assert_eq!(checks.drops().stale, 5);
    }

    #[test]
    fn after_a_good_frame_its_repetition_is_frozen_whatever_was_before() {
        let mut checks = FrameChecks::new(FrameLimits::default());
        let (dark, good) = (frame(0), frame(90));
        assert_eq!(fates(&mut checks, [&dark, &good, &good, &good, &good, &good, &good]), "-.----F");
    }

    #[test]
    fn light_is_judged_by_the_rules_at_their_edges() {
        let limits = FrameLimits::default();
        let part_full = |full: usize| [vec![255; full], vec![100; 64 - full]].concat();
        let light = |limits: FrameLimits, bytes: &[u8]| limits.light(&grey(bytes).unwrap()).map(|t| t.kind);
        assert_eq!(light(limits, &frame(3)), Some(TroubleKind::Dark));
        assert_eq!(light(limits, &frame(4)), None);
        assert_eq!(light(limits, &part_full(32)), None);
        assert_eq!(light(limits, &part_full(33)), Some(TroubleKind::Saturated));
        let half = limits.light(&grey(&part_full(33)).unwrap()).unwrap().reason;
        assert!(half.starts_with("52 % of the pixels"), "{half}");
        let off = FrameLimits { dark_below: 0.0, saturated_above: 1.0, ..limits };
        assert_eq!(light(off, &frame(0)), None);
        assert_eq!(light(off, &frame(255)), None);
        let white = Samples::Eight(vec![255; 3 * 64]);
        let white = Picture { width: 8, height: 8, channels: Channels::Rgb, samples: white };
        let saturated = limits.light(&white).expect("a white picture");
        assert_eq!(saturated.kind, TroubleKind::Saturated);
        assert!(saturated.reason.starts_with("100 % of the pixels"), "{}", saturated.reason);
        // A bright red part is not a saturated picture.
        let red = Samples::Eight([255, 10, 10].repeat(64));
        let red = Picture { width: 8, height: 8, channels: Channels::Rgb, samples: red };
        assert_eq!(limits.light(&red), None);
    }

    #[test]
    fn broken_frames_are_trouble_from_the_third_in_a_row() {
        let mut checks = FrameChecks::new(FrameLimits::default());
        let (good, short) =
            ([frame(90), frame(91), frame(92)], vec![vec![1; 9], vec![2; 9], vec![3; 9], vec![4; 9]]);
        let frames = [&short[0], &short[1], &good[0], &short[0], &short[1], &short[2], &short[3], &good[1]];
        assert_eq!(fates(&mut checks, frames), "--.--BB.");
        assert_eq!(checks.drops(), Drops { broken: 6, ..Drops::default() });
        let marked = frame(70);
        let marked = Buffer { marked_broken: true, ..buffer(&marked) };
        assert!(matches!(checks.judge(&marked, grey), Judged::Held(None)));
        assert!(matches!(checks.judge(&buffer(&[]), grey), Judged::Held(None)));
        let Judged::Held(Some(trouble)) = checks.judge(&marked, grey) else { panic!("the third") };
        assert!(trouble.reason.contains("marks the frame"), "{}", trouble.reason);
    }

    #[test]
    fn trouble_lasts_until_a_good_frame() {
        let mut checks = FrameChecks::new(FrameLimits::default());
        let steps = [(0, false), (1, false), (2, true), (3, true), (90, false), (1, false)];
        for (level, troubled) in steps {
            fates(&mut checks, [&frame(level)]);
            assert_eq!(checks.is_troubled(), troubled, "level {level}");
        }
    }

    #[test]
    fn a_frame_gives_way_to_a_newer_one_but_not_for_ever() {
        let mut checks = FrameChecks::new(FrameLimits::default());
        let bytes = frame(90);
        let alone = buffer(&bytes);
        let overtaken = Buffer { newer_waits: true, ..alone };
        let given_way = [overtaken; 10].map(|buffer| checks.is_overtaken(&buffer));
        assert_eq!(given_way, [true, true, true, true, false, true, true, true, true, false]);
        assert!(!checks.is_overtaken(&alone));
        assert!(!checks.is_overtaken(&Buffer { marked_broken: true, ..overtaken }));
        assert_eq!(checks.drops().stale, 8);
    }

    #[test]
    fn gaps_are_counted_over_the_wrap_and_a_new_beginning_is_none() {
        let now = Instant::now();
        let count = |sequences: &[u32]| {
            let mut checks = FrameChecks::new(FrameLimits::default());
            let seen = sequences.iter().map(|&sequence| checks.arrived(sequence, now)).last().unwrap();
            (checks.drops().driver, seen)
        };
        assert_eq!(count(&[7, 8, 9]), (0, 3));
        assert_eq!(count(&[7, 9, 13]), (4, 7));
        assert_eq!(count(&[u32::MAX - 1, u32::MAX, 0, 1]), (0, 4));
        assert_eq!(count(&[u32::MAX, 2]), (2, 4));
        assert_eq!(count(&[1000, 0, 1]), (0, 3));
        assert_eq!(count(&[0, 0, 0]), (0, 3));
        assert_eq!(count(&[0, (1 << 31) - 1]), ((1 << 31) - 2, 1 << 31));
        assert_eq!(count(&[0, 1 << 31]), (0, 2), "as far ahead as behind: the driver started anew");
        let mut checks = FrameChecks::new(FrameLimits::default());
        checks.arrived(5, now);
        checks.begin(None, now);
        checks.arrived(50, now);
        assert_eq!(checks.drops().driver, 0, "a stream that is opened anew");
    }

    #[test]
    fn silence_is_a_stall_after_three_intervals_and_a_second_at_least() {
        let now = Instant::now();
        for (rate, patience) in [(Some(30.0), 1.0), (Some(0.5), 6.0), (None, 1.0), (Some(0.0), 1.0)] {
            let mut checks = FrameChecks::new(FrameLimits::default());
            checks.begin(rate, now);
            let after = |seconds: f64| checks.silence(now + Duration::from_secs_f64(seconds)).map(|t| t.kind);
            assert_eq!(after(patience), None, "{rate:?}");
            assert_eq!(after(patience + 0.05), Some(TroubleKind::Stalled), "{rate:?}");
        }
    }

    #[test]
    fn each_frame_that_comes_ends_the_silence() {
        let mut checks = FrameChecks::new(FrameLimits::default());
        // The source is made long before its camera is there.
        let begun = Instant::now() + Duration::from_secs(3600);
        checks.begin(Some(30.0), begun);
        assert_eq!(checks.silence(begun + Duration::from_millis(500)), None, "the stream has just begun");
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        for (sequence, milliseconds) in (1..).zip([900, 1800, 2700]) {
            checks.arrived(sequence, at(milliseconds));
            assert_eq!(checks.silent(at(milliseconds + 30)), Duration::from_millis(30));
            assert_eq!(checks.silence(at(milliseconds + 900)), None, "a frame came {milliseconds} ms ago");
        }
        let stalled = checks.silence(at(2700 + 1500)).expect("a stall");
        assert_eq!(stalled.kind, TroubleKind::Stalled);
        assert!(stalled.reason.contains("no frame for 1.5 s; at least one in 1.0 s"), "{}", stalled.reason);
    }

    #[test]
    fn a_frame_counts_as_exposed_after_a_moment_when_its_exposure_cannot_have_begun_before() {
        let mut checks = FrameChecks::new(FrameLimits::default());
        let moment = Instant::now();
        checks.begin(Some(10.0), moment);
        let at = |milliseconds, at_start| {
            let monotonic = moment + Duration::from_millis(milliseconds);
            let exposed = Stamp { wall: jiff::Timestamp::now(), monotonic };
            checks.is_exposed_since(&Buffer { exposed, at_start, ..buffer(&[1]) }, moment)
        };
        assert!(at(0, true) && at(100, false));
        assert!(!at(99, false), "exposed for up to an interval before its end");
    }
}
