//! When a frame is taken from a source: each as it comes, one by the clock, or one when the line asks for it.
//!
//! A [`Gate`] stands in front of the source; [`Triggers`] is the way from the line to it, [`Answers`] the way back.
//! While no frame is wanted, the gate lets the source pass frames, so that none of them is stale when one is wanted.
//! Guarantees: every trigger gets exactly one answer, however the source fares and whenever the station stops;
//! `accepted` means that its frame waits for inspection and that a verdict follows; under the name of a triggered
//! part goes only a frame that was captured after its trigger came; the clock of `interval` does not drift.
//! Leaves out: MQTT (see `publish`); what "captured" means to a camera, which is the source's.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{CaptureError, Frame, FrameSource, Next, Stamp};

/// When frames are taken from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Each as it comes.
    Free,
    /// One in each of these, counted from the start; those that come too late are skipped.
    Interval(Duration),
    /// One for each request of the line; none within `limit`: the request is missed.
    Triggered { limit: Duration },
}

/// What the line asks for: a look at this part, now.
#[derive(Debug, Clone)]
pub struct Request {
    pub part_id: Option<String>,
    pub meas_id: Option<String>,
    pub received: Stamp,
}

/// What became of a request. The words are part of the contract (`ack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ack {
    /// A frame was taken; its verdict follows.
    Accepted,
    /// An earlier request has no frame yet, or there is no room for it.
    Busy,
    /// No frame could be taken.
    Missed,
    /// It was no request that could be understood.
    Refused,
}

impl Ack {
    const ALL: [Self; 4] = [Self::Accepted, Self::Busy, Self::Missed, Self::Refused];

    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Busy => "busy",
            Self::Missed => "missed",
            Self::Refused => "refused",
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub part_id: Option<String>,
    pub meas_id: Option<String>,
    pub received_at: jiff::Timestamp,
    pub ack: Ack,
    /// For the person who must act; `None` for an accepted one.
    pub reason: Option<String>,
}

/// Answers on their way to the line.
pub type Answers = mpsc::Receiver<Answer>;

/// Answers that may wait for the line. More can only come of a line that asks without listening.
const ANSWERS: usize = 64;

/// The line's way to the gate: one request at a time.
#[derive(Debug, Clone)]
pub struct Triggers(Arc<Inbox>);

#[derive(Debug)]
struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
    answers: mpsc::Sender<Answer>,
}

#[derive(Debug)]
struct State {
    slot: Slot,
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// From its arrival until its frame waits for inspection.
    Taken(Request),
    /// Nobody takes frames any more.
    Closed,
}

impl Triggers {
    fn new() -> (Self, Answers) {
        let (answers, receiver) = mpsc::channel(ANSWERS);
        let counts = Ack::ALL.map(|ack| (ack.word(), 0)).into();
        let state = Mutex::new(State { slot: Slot::Free, counts });
        (Self(Arc::new(Inbox { state, arrived: Condvar::new(), answers })), receiver)
    }

    /// Asks for a frame of this part. Never waits; the answer comes when its fate is known.
    pub fn ask(&self, request: Request) {
        let mut state = self.state();
        match &state.slot {
            Slot::Free => {
                state.slot = Slot::Taken(request);
                self.0.arrived.notify_all();
            }
            Slot::Taken(earlier) => {
                let part = earlier.part_id.as_deref().unwrap_or("without a name");
                let reason = format!("part {part}, triggered before it, is not taken over yet");
                self.answer(&mut state, Some(&request), Ack::Busy, Some(reason));
            }
            Slot::Closed => {
                self.answer(&mut state, Some(&request), Ack::Missed, Some(STOPS.to_owned()));
            }
        }
    }

    /// Answers what could not be understood.
    pub fn refuse(&self, why: String) {
        self.answer(&mut self.state(), None, Ack::Refused, Some(why));
    }

    /// Answers since the start, by their words.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// Waits for a request, at most `limit`.
    fn wait(&self, limit: Duration) {
        let nothing = |state: &mut State| matches!(state.slot, Slot::Free);
        let _ = self.0.arrived.wait_timeout_while(self.state(), limit, nothing);
    }

    fn pending(&self) -> Option<Request> {
        match &self.state().slot {
            Slot::Taken(request) => Some(request.clone()),
            Slot::Free | Slot::Closed => None,
        }
    }

    /// Answers the pending request, where there is one, and makes room for the next.
    fn settle(&self, ack: Ack, reason: Option<String>) {
        self.leave(Slot::Free, ack, reason);
    }

    fn close(&self) {
        self.leave(Slot::Closed, Ack::Missed, Some(STOPS.to_owned()));
    }

    fn leave(&self, slot: Slot, ack: Ack, reason: Option<String>) {
        let mut state = self.state();
        if let Slot::Taken(request) = std::mem::replace(&mut state.slot, slot) {
            self.answer(&mut state, Some(&request), ack, reason);
        }
    }

    fn answer(&self, state: &mut State, request: Option<&Request>, ack: Ack, reason: Option<String>) {
        *state.counts.entry(ack.word()).or_default() += 1;
        let answer = Answer {
            part_id: request.and_then(|request| request.part_id.clone()),
            meas_id: request.and_then(|request| request.meas_id.clone()),
            received_at: request.map_or_else(jiff::Timestamp::now, |request| request.received.wall),
            ack,
            reason,
        };
        if let Some(reason) = &answer.reason {
            tracing::warn!(part = answer.part_id, "trigger {}: {reason}", ack.word());
        }
        if self.0.answers.try_send(answer).is_err() {
            tracing::warn!("an answer to a trigger is dropped: {ANSWERS} of them wait for the line");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request is told that comes too late.
const STOPS: &str = "the station stops";

/// A source that gives frames only when one is wanted.
pub struct Gate {
    source: Box<dyn FrameSource>,
    wanted: Wanted,
}

enum Wanted {
    Always,
    Each(Schedule),
    Asked(Requests),
}

impl Gate {
    /// With the line's way to it where the line triggers.
    pub fn new(source: Box<dyn FrameSource>, trigger: Trigger) -> (Self, Option<(Triggers, Answers)>) {
        let (wanted, line) = match trigger {
            Trigger::Free => (Wanted::Always, None),
            Trigger::Interval(interval) => (Wanted::Each(Schedule { interval, due: None }), None),
            Trigger::Triggered { limit } => {
                let (triggers, answers) = Triggers::new();
                let requests = Requests { limit, triggers: triggers.clone(), pending: None };
                (Wanted::Asked(requests), Some((triggers, answers)))
            }
        };
        (Self { source, wanted }, line)
    }

    /// The next wanted frame, waiting at most `wait` for it.
    pub fn next(&mut self, wait: Duration) -> Result<Next, CaptureError> {
        let source = &mut *self.source;
        match &mut self.wanted {
            Wanted::Always => source.next(wait),
            Wanted::Each(schedule) => schedule.next(source, wait),
            Wanted::Asked(requests) => requests.next(source, wait),
        }
    }

    /// The frame that was given last waits for inspection.
    pub fn handed_over(&mut self) {
        if let Wanted::Asked(requests) = &mut self.wanted {
            requests.pending = None;
            requests.triggers.settle(Ack::Accepted, None);
        }
    }

    pub fn source(&self) -> &dyn FrameSource {
        &*self.source
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Wanted::Asked(requests) = &self.wanted {
            requests.triggers.close();
        }
    }
}

/// By the clock.
struct Schedule {
    interval: Duration,
    /// The next one; the first when it is asked for.
    due: Option<Instant>,
}

impl Schedule {
    fn next(&mut self, source: &mut dyn FrameSource, wait: Duration) -> Result<Next, CaptureError> {
        let now = Instant::now();
        let due = *self.due.get_or_insert(now);
        if now < due {
            return pass(source, wait.min(due - now), std::thread::sleep);
        }
        source.not_before(due);
        let next = captured_since(due, source.next(wait)?);
        if matches!(next, Next::Frame(_)) {
            self.due = Some(self.after(due, Instant::now()));
        }
        Ok(next)
    }

    /// The first moment after `now` that is a whole number of intervals after `due`.
    fn after(&self, due: Instant, now: Instant) -> Instant {
        let into_interval = now.duration_since(due).as_nanos() % self.interval.as_nanos();
        now + self.interval - Duration::from_nanos(into_interval as u64)
    }
}

/// At the line's request.
struct Requests {
    limit: Duration,
    triggers: Triggers,
    pending: Option<Pending>,
}

/// A request whose frame is awaited.
struct Pending {
    request: Request,
    /// What the source said last.
    trouble: Option<String>,
}

impl Requests {
    fn next(&mut self, source: &mut dyn FrameSource, wait: Duration) -> Result<Next, CaptureError> {
        let Some(pending) = &mut self.pending else {
            let passed = pass(source, wait, |rest| self.triggers.wait(rest))?;
            self.pending = self.triggers.pending().map(|request| Pending { request, trouble: None });
            if let Some(pending) = &self.pending {
                source.not_before(pending.request.received.monotonic);
            }
            return Ok(passed);
        };
        let asked = pending.request.received.monotonic;
        let left = (asked + self.limit).saturating_duration_since(Instant::now());
        let next = source.next(wait.min(left)).map(|next| captured_since(asked, next));
        match &next {
            Ok(Next::Frame(_)) => return next.map(|next| pending.name(next)),
            Ok(Next::End) => return next, // the gate goes, and with it the request
            Ok(Next::Trouble(trouble)) => pending.trouble = Some(trouble.reason.clone()),
            Ok(Next::Passed(_) | Next::NotYet) => {}
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

impl Pending {
    /// Names the frame as the line does, whatever the source calls it.
    fn name(&self, next: Next) -> Next {
        let Next::Frame(frame) = next else { return next };
        let Request { part_id, meas_id, .. } = self.request.clone();
        Next::Frame(Box::new(Frame { part_id, meas_id, ..*frame }))
    }
}

/// Spends `wait` while no frame is wanted, by `rest` where the source does not need it; less when a frame passed.
fn pass(
    source: &mut dyn FrameSource,
    wait: Duration,
    rest: impl FnOnce(Duration),
) -> Result<Next, CaptureError> {
    let start = Instant::now();
    let passed = source.pass(wait);
    if !matches!(passed, Ok(Next::Passed(_))) {
        rest(wait.saturating_sub(start.elapsed()));
    }
    passed
}

/// A frame from before `moment` is nobody's: whatever the source promises, it must not go under a wrong name.
fn captured_since(moment: Instant, next: Next) -> Next {
    match next {
        Next::Frame(frame) if frame.captured_at.monotonic < moment => Next::Passed(frame.captured_at),
        next => next,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::capture::{BadFrame, Trouble, TroubleKind};

    /// Gives these one after the other, then nothing; passes nothing.
    struct Prepared(VecDeque<Next>);

    impl FrameSource for Prepared {
        fn next(&mut self, _: Duration) -> Result<Next, CaptureError> {
            Ok(self.0.pop_front().unwrap_or(Next::NotYet))
        }

        fn describe(&self) -> String {
            "prepared".to_owned()
        }
    }

    fn frame(captured_at: Stamp) -> Next {
        let (part_id, meas_id) = (Some("file.png".to_owned()), None);
        let picture = Err(BadFrame::Empty("test".to_owned()));
        Next::Frame(Box::new(Frame {
            source_seq: 1,
            captured_at,
            part_id,
            meas_id,
            picture,
            encoded: None,
            truth: None,
        }))
    }

    fn request(part_id: &str) -> Request {
        let (part_id, meas_id) = (Some(part_id.to_owned()), Some("m".to_owned()));
        Request { part_id, meas_id, received: Stamp::now() }
    }

    fn triggered(limit: Duration, nexts: impl IntoIterator<Item = Next>) -> (Gate, Triggers, Answers) {
        let source = Box::new(Prepared(nexts.into_iter().collect()));
        let (gate, line) = Gate::new(source, Trigger::Triggered { limit });
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
    fn a_frame_from_before_its_trigger_is_nobodys() {
        let stale = Stamp::now();
        let mut asked = request("A");
        asked.received.monotonic = stale.monotonic + SOON;
        let mut fresh = stale;
        fresh.monotonic += SOON;
        let (mut gate, triggers, mut answers) = triggered(LONG, [frame(stale), frame(fresh)]);
        assert!(matches!(gate.next(SOON), Ok(Next::NotYet)), "nobody has asked");
        triggers.ask(asked);
        assert!(matches!(gate.next(SOON), Ok(Next::NotYet)), "it hears the request");
        assert!(matches!(gate.next(SOON), Ok(Next::Passed(_))), "the stale one");
        let Ok(Next::Frame(frame)) = gate.next(SOON) else { panic!("the fresh one") };
        assert_eq!((frame.part_id.as_deref(), frame.meas_id.as_deref()), (Some("A"), Some("m")));
        assert_eq!(words(&mut answers), [], "not taken over yet");
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
        let (mut gate, triggers, mut answers) = triggered(SOON, [Next::Trouble(trouble)]);
        triggers.ask(request("A"));
        gate.next(SOON).unwrap();
        std::thread::sleep(SOON);
        assert!(matches!(gate.next(SOON), Ok(Next::Trouble(_))), "the station hears of it too");
        let reason = answers.try_recv().unwrap().reason.unwrap();
        assert_eq!(reason, "no frame within 1 ms of the trigger: camera: gone");
    }

    #[test]
    fn the_clock_of_an_interval_does_not_drift_and_skips_what_is_late() {
        let interval = Duration::from_millis(40);
        let schedule = Schedule { interval, due: None };
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
        let (mut gate, _) = Gate::new(source, Trigger::Interval(LONG));
        assert!(matches!(gate.next(SOON), Ok(Next::Passed(_))), "exposed before it was due");
        assert!(matches!(gate.next(SOON), Ok(Next::Frame(_))));
        assert!(matches!(gate.next(SOON), Ok(Next::NotYet)), "the next is not due");
    }
}
