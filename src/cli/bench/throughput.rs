//! Compares the throughput of the agent's pipeline with that of a bare loop of model calls, in turns, in one process.
//!
//! Guarantees: only one of them works at a time: the pipeline has committed everything it was given before the
//! bare loop begins. The pipeline's evaluations are counted from what it committed, between the first and the last
//! commit of its turn. The rounds alternate which one goes first (ABBA), so that a machine that gets slower is unfair to
//! neither.
//! Leaves out: the cost of a camera; frames are in memory, decoded, and are copied once.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use ndarray::{Array3, Array4};

use super::subject::{Subject, Watch};
use crate::agent::{Recorded, Stop};
use crate::capture::simulator::{Simulator, SimulatorSettings};
use crate::capture::{CaptureError, Frame, FrameSource, Picture, SourceEvent, Stamp};
use crate::cli::Failure;
use crate::cli::run::run_agent_on;
use crate::diffusion::denoiser::Denoiser;
use crate::diffusion::noise::NoisyDraw;
use crate::diffusion::onnx::{OnnxDenoiser, ProviderReport};
use crate::diffusion::schedule::Timestep;
use crate::diffusion::seed::FrameSeed;
use crate::inspection::Inspection;
use crate::preprocess::Input;
use crate::status::VerdictCounts;
use crate::sync::{lock, wait_while};

/// How many simulated parts are repeated: too many for a cache to hold.
const PICTURES: u64 = 64;
/// The target length of a turn: long enough for a few frames on a small machine, short enough for many turns a minute.
const TURN: Duration = Duration::from_secs(2);
/// A turn lasts at least this many commits, because the rate is measured between commits.
const LEAST_COMMITS: usize = 3;
/// How long a wait for the pipeline lasts before it checks whether the user wants to stop.
const WAIT: Duration = Duration::from_millis(50);

/// How the time is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    /// A round is one turn of the pipeline and one of the bare loop. The number is even, so that each begins equally often.
    pub(super) rounds: u64,
    pub(super) length: Duration,
}

impl Turns {
    pub(super) fn within(time: Duration) -> Self {
        let pairs = time.div_duration_f64(4 * TURN).round().max(1.0);
        let rounds = 2 * pairs as u64;
        Self { rounds, length: time / (2 * rounds as u32) }
    }
}

/// The results.
pub(super) struct Throughput {
    pub(super) turns: Turns,
    pub(super) rounds: Vec<Round>,
    pub(super) provider: ProviderReport,
    /// The verdicts of all inspections.
    pub(super) verdicts: VerdictCounts,
    /// One of the inspections, as a sample for the commits.
    pub(super) sample: Inspection,
}

pub(super) struct Round {
    pub(super) pipeline: TurnRate,
    /// Model evaluations a second.
    pub(super) bare: f64,
}

/// The rates of one turn of the pipeline, per second.
pub(super) struct TurnRate {
    pub(super) evaluations: f64,
    pub(super) frames: f64,
}

/// Runs the station on frames from memory, in turns with the bare loop.
pub(super) fn measure(
    subject: &Subject,
    scratch: &Path,
    turns: Turns,
    watch: &Watch<'_>,
) -> Result<Throughput, Failure> {
    watch.bar.set_message("evaluations");
    let mut bare = BareLoop::open(subject)?;
    let gate = Arc::new(TurnGate::default());
    let source = Box::new(FromMemory::new(Arc::clone(&gate))?);
    let config = subject.config(scratch)?;
    let (out, commits) = channel();
    std::thread::scope(|scope| {
        let agent = scope.spawn(move || {
            run_agent_on(&config, source, &Stop::default(), |recorded| {
                let _ = out.send(Commit::of(recorded)); // after an interruption the last ones have no receiver
            })
        });
        let mut pipeline =
            Pipeline { gate: &gate, commits, watch, verdicts: VerdictCounts::default(), sample: None };
        let rounds = take_turns(&mut pipeline, &mut bare, turns, watch);
        gate.turn_to(Turn::Over);
        let Pipeline { verdicts, sample, .. } = pipeline;
        // The agent's own error says more than the fact that it has ended.
        agent.join().map_err(|_| Failure::stopped(anyhow!("bench: the agent panicked")))??;
        let rounds = rounds?;
        let sample = sample.expect("each round committed some");
        Ok(Throughput { turns, rounds, provider: bare.model.provider().clone(), verdicts, sample })
    })
}

fn take_turns(
    pipeline: &mut Pipeline<'_>,
    bare: &mut BareLoop,
    turns: Turns,
    watch: &Watch<'_>,
) -> Result<Vec<Round>, Failure> {
    // Warm up: the first calls of a session allocate memory and choose kernels.
    pipeline.turn(Duration::ZERO)?;
    bare.turn(Duration::ZERO, watch)?;
    (0..turns.rounds)
        .map(|round| {
            let pipeline_first = round % 2 == 0;
            let earlier = if pipeline_first { None } else { Some(bare.turn(turns.length, watch)?) };
            watch.bar.inc(u64::from(earlier.is_some()));
            let pipeline = pipeline.turn(turns.length)?;
            watch.bar.inc(1);
            let bare = match earlier {
                Some(rate) => rate,
                None => bare.turn(turns.length, watch)?,
            };
            watch.bar.inc(u64::from(pipeline_first));
            Ok(Round { pipeline, bare })
        })
        .collect()
}

/// A separate session with the same settings, which gets the same batch again and again.
struct BareLoop {
    model: OnnxDenoiser,
    x_k: Array4<f32>,
    k: Timestep,
}

impl BareLoop {
    fn open(subject: &Subject) -> Result<Self, Failure> {
        let Subject { bundle, runtime, settings, batch, .. } = subject;
        let input = bundle.manifest.input_shape();
        let model =
            OnnxDenoiser::open(runtime, &bundle.model_file(), input, settings).map_err(Failure::refused)?;
        let [channels, height, width] = input;
        let grey = Input::from_unit_range(Array3::from_elem((channels, height, width), 0.5))
            .expect("grey is in the unit range");
        let mut x_k = Array4::zeros((*batch as usize, channels, height, width));
        for (index, mut slot) in x_k.outer_iter_mut().enumerate() {
            slot.assign(&NoisyDraw::of(&grey, bundle.level, FrameSeed([0; 32]), index as u32).x_k());
        }
        Ok(Self { model, x_k, k: bundle.level.k() })
    }

    /// Model evaluations a second.
    fn turn(&mut self, length: Duration, watch: &Watch<'_>) -> Result<f64, Failure> {
        let begun = Instant::now();
        let mut evaluations = 0;
        while evaluations == 0 || begun.elapsed() < length {
            watch.go_on()?;
            self.model.predict(self.x_k.view(), self.k).map_err(Failure::stopped)?;
            evaluations += self.x_k.len_of(ndarray::Axis(0));
        }
        Ok(evaluations as f64 / begun.elapsed().as_secs_f64())
    }
}

/// The running agent, from outside.
struct Pipeline<'a> {
    gate: &'a TurnGate,
    commits: Receiver<Commit>,
    watch: &'a Watch<'a>,
    verdicts: VerdictCounts,
    sample: Option<Inspection>,
}

/// An inspection that was committed.
struct Commit {
    at: Instant,
    inspection: Inspection,
}

impl Commit {
    fn of(recorded: &Recorded<'_>) -> Self {
        Self { at: Instant::now(), inspection: recorded.inspection.clone() }
    }

    fn evaluations(&self) -> usize {
        self.inspection.scores.len()
    }
}

impl Pipeline<'_> {
    /// Lets frames through for as long as the turn lasts, and waits until all of them are committed.
    fn turn(&mut self, length: Duration) -> Result<TurnRate, Failure> {
        let served_before = self.gate.turn_to(Turn::Pipeline);
        let end = Instant::now() + length;
        let mut commits = Vec::new();
        while commits.len() < LEAST_COMMITS || Instant::now() < end {
            commits.extend(self.next_commit()?);
        }
        let served = self.gate.turn_to(Turn::Bare) - served_before;
        while (commits.len() as u64) < served {
            commits.extend(self.next_commit()?);
        }
        let (first, rest) = commits.split_first().expect("there are LEAST_COMMITS");
        let last = rest.last().expect("there are LEAST_COMMITS");
        let seconds = (last.at - first.at).as_secs_f64();
        let evaluations: usize = rest.iter().map(Commit::evaluations).sum();
        let rate =
            TurnRate { evaluations: evaluations as f64 / seconds, frames: rest.len() as f64 / seconds };
        self.sample = commits.pop().map(|commit| commit.inspection);
        Ok(rate)
    }

    /// The next commit; `None` if there was none within `WAIT`.
    fn next_commit(&mut self) -> Result<Option<Commit>, Failure> {
        self.watch.go_on()?;
        match self.commits.recv_timeout(WAIT) {
            Ok(commit) => {
                self.verdicts.count(commit.inspection.verdict);
                Ok(Some(commit))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Failure::stopped(anyhow!("bench: the agent ended before its frames did")))
            }
        }
    }
}

/// Whose turn it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
    #[default]
    Bare,
    Pipeline,
    Over,
}

/// Lets frames through while it is the pipeline's turn.
#[derive(Debug, Default)]
struct TurnGate {
    state: Mutex<TurnGateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct TurnGateState {
    turn: Turn,
    /// Frames that were let through.
    served: u64,
}

impl TurnGate {
    /// Changes whose turn it is; returns the frames let through so far.
    fn turn_to(&self, turn: Turn) -> u64 {
        let mut state = lock(&self.state);
        state.turn = turn;
        self.changed.notify_all();
        state.served
    }
}

/// A source of simulated parts from memory, like a camera that costs no time.
struct FromMemory {
    pictures: Vec<Picture>,
    gate: Arc<TurnGate>,
}

impl FromMemory {
    fn new(gate: Arc<TurnGate>) -> Result<Self, Failure> {
        let settings = SimulatorSettings {
            parts_per_second: None,
            count: Some(PICTURES),
            ..SimulatorSettings::default()
        };
        let mut simulator = Simulator::new(settings).map_err(Failure::stopped)?;
        let mut pictures = Vec::new();
        while let SourceEvent::Frame(frame) = simulator.next(Duration::ZERO).map_err(Failure::stopped)? {
            pictures.push(frame.picture.map_err(Failure::stopped)?);
        }
        Ok(Self { pictures, gate })
    }
}

impl FrameSource for FromMemory {
    fn next(&mut self, wait: Duration) -> Result<SourceEvent, CaptureError> {
        let not_yet = |state: &mut TurnGateState| state.turn == Turn::Bare;
        let mut state = wait_while(&self.gate.changed, lock(&self.gate.state), wait, not_yet);
        match state.turn {
            Turn::Bare => return Ok(SourceEvent::NotYet),
            Turn::Over => return Ok(SourceEvent::End),
            Turn::Pipeline => state.served += 1,
        }
        let source_seq = state.served;
        drop(state);
        let picture = &self.pictures[source_seq as usize % self.pictures.len()];
        Ok(SourceEvent::Frame(Box::new(Frame {
            source_seq,
            captured_at: Stamp::now(),
            part_id: None,
            meas_id: None,
            picture: Ok(picture.clone()),
            encoded: None,
            truth: None,
        })))
    }

    fn describe(&self) -> String {
        format!("{} simulated parts from memory, over and over", self.pictures.len())
    }
}
