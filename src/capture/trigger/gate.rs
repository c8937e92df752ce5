//! The gate that takes frames from a source: every frame, one in each interval, or one for each trigger of the line.
//!
//! While no frame is wanted, the [`TriggerGate`] lets the source drop frames, so that none is stale when one is wanted.
//! Guarantees: a part that the line triggered gets only a frame that was captured after its trigger. A trigger without a
//! frame within its limit is answered `missed`. The clock of `interval` does not drift.
//! Leaves out: what "captured" means for a camera; the source decides that.

use std::time::{Duration, Instant};

use super::queue::{Ack, Answers, TriggerRequest, Triggers};
use crate::capture::{CaptureError, Frame, FrameSource, SourceEvent};

/// When frames are taken from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Every frame, as it comes.
    Free,
    /// One in each interval, counted from the start. An interval without a frame is skipped.
    Interval(Duration),
    /// One for each request of the line. A request without a frame within `limit` is missed.
    Triggered { limit: Duration },
}

/// Lets a frame of the source through when one is wanted.
pub(crate) struct TriggerGate {
    source: Box<dyn FrameSource>,
    wanted: FrameDemand,
}

enum FrameDemand {
    Always,
    Each(IntervalClock),
    Asked(RequestedFrames),
}

impl TriggerGate {
    /// Makes the gate. If the line triggers, also returns the two ends for its requests and their answers.
    pub(crate) fn new(source: Box<dyn FrameSource>, trigger: Trigger) -> (Self, Option<(Triggers, Answers)>) {
        let (wanted, line) = match trigger {
            Trigger::Free => (FrameDemand::Always, None),
            Trigger::Interval(interval) => (FrameDemand::Each(IntervalClock { interval, due: None }), None),
            Trigger::Triggered { limit } => {
                let (triggers, answers) = Triggers::new();
                let requests = RequestedFrames { limit, triggers: triggers.clone(), pending: None };
                (FrameDemand::Asked(requests), Some((triggers, answers)))
            }
        };
        (Self { source, wanted }, line)
    }

    /// The next wanted frame, waiting at most `wait` for it.
    pub(crate) fn next(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError> {
        let source = &mut *self.source;
        match &mut self.wanted {
            FrameDemand::Always => source.next(wait),
            FrameDemand::Each(schedule) => schedule.next(source, wait),
            FrameDemand::Asked(requests) => requests.next(source, wait),
        }
    }

    /// Called when the last frame waits for inspection: its request is answered `accepted`.
    pub(crate) fn handed_over(&mut self) {
        if let FrameDemand::Asked(requests) = &mut self.wanted {
            requests.pending = None;
            requests.triggers.settle(Ack::Accepted, None);
        }
    }

    pub(crate) fn source(&self) -> &dyn FrameSource {
        &*self.source
    }
}

impl Drop for TriggerGate {
    fn drop(&mut self) {
        if let FrameDemand::Asked(requests) = &self.wanted {
            requests.triggers.close();
        }
    }
}

/// One frame in each interval.
struct IntervalClock {
    interval: Duration,
    /// When the next frame is due. The first is due when it is asked for.
    due: Option<Instant>,
}

impl IntervalClock {
    fn next(&mut self, source: &mut dyn FrameSource, wait: Duration) -> Result<SourceEvent, CaptureError> {
        let now = Instant::now();
        let due = *self.due.get_or_insert(now);
        if now < due {
            return pass(source, wait.min(due - now), std::thread::sleep);
        }
        source.not_before(due);
        let next = captured_since(due, source.next(wait)?);
        if matches!(next, SourceEvent::Frame(_)) {
            self.due = Some(self.after(due, Instant::now()));
        }
        Ok(next)
    }

    /// The first time after `now` that is a whole number of intervals after `due`.
    fn after(&self, due: Instant, now: Instant) -> Instant {
        let into_interval = now.duration_since(due).as_nanos() % self.interval.as_nanos();
        now + self.interval - Duration::from_nanos(into_interval as u64)
    }
}

/// One frame for each request of the line.
struct RequestedFrames {
    limit: Duration,
    triggers: Triggers,
    pending: Option<PendingRequest>,
}

/// A request whose frame has not come yet.
struct PendingRequest {
    request: TriggerRequest,
    /// The last trouble of the source.
    trouble: Option<String>,
}

impl RequestedFrames {
    fn next(&mut self, source: &mut dyn FrameSource, wait: Duration) -> Result<SourceEvent, CaptureError> {
        let Some(pending) = &mut self.pending else {
            let passed = pass(source, wait, |rest| self.triggers.wait(rest))?;
            self.pending = self.triggers.pending().map(|request| PendingRequest { request, trouble: None });
            if let Some(pending) = &self.pending {
                source.not_before(pending.request.received.monotonic);
            }
            return Ok(passed);
        };
        let asked = pending.request.received.monotonic;
        let left = (asked + self.limit).saturating_duration_since(Instant::now());
        let next = source.next(wait.min(left)).map(|next| captured_since(asked, next));
        match &next {
            Ok(SourceEvent::Frame(_)) => return next.map(|next| pending.name(next)),
            Ok(SourceEvent::End) => return next, // dropping the gate answers the request
            Ok(SourceEvent::Trouble(trouble)) => pending.trouble = Some(trouble.reason.clone()),
            Ok(SourceEvent::Passed(_) | SourceEvent::NotYet) => {}
            Err(error) => pending.trouble = Some(error.to_string()),
        }
        if asked.elapsed() >= self.limit {
            let why = pending.trouble.take().map(|trouble| format!(": {trouble}")).unwrap_or_default();
            let reason = format!("no frame within {} ms of the trigger{why}", self.limit.as_millis());
            self.pending = None;
            self.triggers.settle(Ack::Missed, Some(reason));
        }
        next
    }
}

impl PendingRequest {
    /// Gives the frame the names of the request, in place of those of the source.
    fn name(&self, next: SourceEvent) -> SourceEvent {
        let SourceEvent::Frame(frame) = next else { return next };
        let TriggerRequest { part_id, meas_id, .. } = self.request.clone();
        SourceEvent::Frame(Box::new(Frame { part_id, meas_id, ..*frame }))
    }
}

/// Waits while no frame is wanted. The source may use the time to drop a frame; `rest` waits for what is left of it.
fn pass(
    source: &mut dyn FrameSource,
    wait: Duration,
    rest: impl FnOnce(Duration),
) -> Result<SourceEvent, CaptureError> {
    let start = Instant::now();
    let passed = source.pass(wait);
    if !matches!(passed, Ok(SourceEvent::Passed(_))) {
        rest(wait.saturating_sub(start.elapsed()));
    }
    passed
}

/// Drops a frame that was captured before `moment`: it would get the id of the wrong part.
fn captured_since(moment: Instant, next: SourceEvent) -> SourceEvent {
    match next {
        SourceEvent::Frame(frame) if frame.captured_at.monotonic < moment => {
            SourceEvent::Passed(frame.captured_at)
        }
        next => next,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::capture::{BadFrame, Stamp, Trouble, TroubleKind};

    /// Gives these events one after the other, then none.
    struct Prepared(VecDeque<SourceEvent>);

    impl FrameSource for Prepared {
        fn next(&mut self, _: Duration) -> Result<SourceEvent, CaptureError> {
            Ok(self.0.pop_front().unwrap_or(SourceEvent::NotYet))
        }

        fn describe(&self) -> String {
            "prepared".to_owned()
        }
    }

    fn frame(captured_at: Stamp) -> SourceEvent {
        let (part_id, meas_id) = (Some("file.png".to_owned()), None);
        let picture = Err(BadFrame::Empty("test".to_owned()));
        SourceEvent::Frame(Box::new(Frame {
            source_seq: 1,
            captured_at,
            part_id,
            meas_id,
            picture,
            encoded: None,
            truth: None,
        }))
    }

    fn request(part_id: &str) -> TriggerRequest {
        let (part_id, meas_id) = (Some(part_id.to_owned()), Some("m".to_owned()));
        TriggerRequest { part_id, meas_id, left_out: None, received: Stamp::now() }
    }

    fn triggered(
        limit: Duration,
        nexts: impl IntoIterator<Item = SourceEvent>,
    ) -> (TriggerGate, Triggers, Answers) {
        let source = Box::new(Prepared(nexts.into_iter().collect()));
        let (gate, line) = TriggerGate::new(source, Trigger::Triggered { limit });
        let (triggers, answers) = line.expect("the line triggers");
        (gate, triggers, answers)
    }

    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    fn words(answers: &mut Answers) -> Vec<(Option<String>, &'static str)> {
        std::iter::from_fn(|| answers.try_recv().ok())
            .map(|answer| (answer.part_id, answer.ack.word()))
            .collect()
    }

    #[test]
    fn a_frame_from_before_its_trigger_is_dropped() {
        let stale = Stamp::now();
        let mut asked = request("A");
        asked.received.monotonic = stale.monotonic + SOON;
        let mut fresh = stale;
        fresh.monotonic += SOON;
        let (mut gate, triggers, mut answers) = triggered(LONG, [frame(stale), frame(fresh)]);
        assert!(matches!(gate.next(SOON), Ok(SourceEvent::NotYet)), "no trigger yet");
        triggers.ask(asked);
        assert!(matches!(gate.next(SOON), Ok(SourceEvent::NotYet)), "the request has arrived");
        assert!(matches!(gate.next(SOON), Ok(SourceEvent::Passed(_))), "the stale one");
        let Ok(SourceEvent::Frame(frame)) = gate.next(SOON) else { panic!("the fresh one") };
        assert_eq!((frame.part_id.as_deref(), frame.meas_id.as_deref()), (Some("A"), Some("m")));
        assert_eq!(words(&mut answers), [], "not waiting for inspection yet");
        gate.handed_over();
        assert_eq!(words(&mut answers), [(Some("A".to_owned()), "accepted")]);
        drop(gate);
        assert_eq!(words(&mut answers), [], "one answer each");
    }

    #[test]
    fn every_trigger_gets_its_one_answer() {
        let (mut gate, triggers, mut answers) = triggered(LONG, []);
        triggers.ask(request("A"));
        triggers.ask(request("B"));
        triggers.refuse("no JSON".to_owned());
        gate.next(SOON).unwrap();
        drop(gate);
        triggers.ask(request("C"));
        let part = |name: &str| Some(name.to_owned());
        assert_eq!(
            words(&mut answers),
            [(part("B"), "busy"), (None, "refused"), (part("A"), "missed"), (part("C"), "missed")]
        );
        assert_eq!(triggers.counts(), [("accepted", 0), ("busy", 1), ("missed", 2), ("refused", 1)].into());
    }

    #[test]
    fn without_a_frame_in_time_the_trouble_is_the_reason() {
        let trouble = Trouble { kind: TroubleKind::Lost, reason: "camera: gone".to_owned() };
        let (mut gate, triggers, mut answers) = triggered(SOON, [SourceEvent::Trouble(trouble)]);
        triggers.ask(request("A"));
        gate.next(SOON).unwrap();
        std::thread::sleep(SOON);
        assert!(matches!(gate.next(SOON), Ok(SourceEvent::Trouble(_))), "reported to the station too");
        let reason = answers.try_recv().unwrap().reason.unwrap();
        assert_eq!(reason, "no frame within 1 ms of the trigger: camera: gone");
    }

    #[test]
    fn the_clock_of_an_interval_does_not_drift_and_skips_what_is_late() {
        let interval = Duration::from_millis(40);
        let schedule = IntervalClock { interval, due: None };
        let start = Instant::now();
        assert_eq!(schedule.after(start, start), start + interval);
        let year = 86_400 * 365 * 25; // of 40 ms
        let late = start + interval * year + interval / 3;
        assert_eq!(schedule.after(start, late), start + interval * (year + 1));
    }

    #[test]
    fn by_the_clock_frames_come_when_they_are_due() {
        let early = Stamp::now();
        std::thread::sleep(SOON);
        let late = || frame(Stamp { monotonic: Instant::now() + LONG, ..Stamp::now() });
        let source = Box::new(Prepared([frame(early), late(), late()].into()));
        let (mut gate, _) = TriggerGate::new(source, Trigger::Interval(LONG));
        assert!(matches!(gate.next(SOON), Ok(SourceEvent::Passed(_))), "exposed before it was due");
        assert!(matches!(gate.next(SOON), Ok(SourceEvent::Frame(_))));
        assert!(matches!(gate.next(SOON), Ok(SourceEvent::NotYet)), "the next is not due");
    }
}
