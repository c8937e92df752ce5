//! certiscope: streaming edge inspection whose verdicts carry a certified radius.
//!
//! This is a program and not a library: no interface is promised to other crates. Only [`main`] is public, and
//! [`testing`], which re-exports what the integration tests use.
//!
//! # Bird's eye
//!
//! A camera looks at parts. For each frame the agent makes noisy draws. A diffusion U-Net reconstructs each draw
//! and marks what looks like a defect, both in one call, and the result is scored. A sequential test decides what
//! the scores prove: `normal` or `anomalous` with a radius, or `abstain`. No change of the frame smaller than the
//! radius can bring the opposite verdict, but for a probability alpha. Verdicts are committed to SQLite, then
//! published over MQTT.
//!
//! A frame travels through the modules in this order:
//!
//! ```text
//! capture       Frame: a picture with its time, or the reason why there is none    thread `capture`
//!   trigger       each frame, one by the clock, or one when the line asks
//! agent         hand-over: bounded; newest wins, or every frame waits              thread `inference`
//! inference     the model's thread takes the frame with its station's inspector    thread `model`
//! preprocess    Input in [0,1], and the norm of the linear map that made it
//! picture_range whether the frame is like the pictures of the calibration; if not, the verdict is abstain
//! diffusion     noisy draw z -> x_k -> U-Net (ONNX Runtime) -> x0_hat, defect map, feature map
//! score         CertifiedScore of a draw; EmpiricalScore of a frame
//! smoothing     Certificate: side and radius
//! verdict       Normal | Anomalous | Abstain(reason)
//! certify         the loop around these: draw until certified
//! inspector       a frame becomes an inspection; a heat map where one is wanted
//! evidence      pictures of flagged parts, and of some normals                     thread `record`
//! store         ONE transaction: inspection, its messages, their outbox rows       thread `store`
//! publish       outbox -> MQTT; on PUBACK the row is deleted; cmd/trigger in       task on `network`
//! retention     the oldest evidence and rows are deleted, a few at a time          thread `retention`
//! ```
//!
//! Other modules: [`bundle`] (a model with all that belongs to it), [`detector`] (bundle, model and score as one),
//! [`inspection`] (the record of one part), [`calibration`] and [`evaluation`] (statistics of many parts),
//! [`verification`] (a stored verdict computed again), [`status`] (the state of a station, as one value), [`config`],
//! [`agent`] (process, stations and the supervisor that watches them), [`metrics`], [`cli`].
//!
//! # Invariants
//!
//! Each is listed with what keeps it true. "Tests" without a path are in `tests/it`.
//!
//! 1. A frame has one owner at a time. Stages pass it on through bounded queues and share no state. A stage reports to the
//!    supervisor only, which publishes the state of the station as one value. *Kept by* ownership, and by `agent::reports`.
//! 2. Schedule, score, bounds and verdict do no IO, read no clock, use no global generator, do not log.
//!    *Kept by* the test `layers::pure_modules_stay_pure`.
//! 3. The score of a draw cannot see the clean frame. `score::certified` takes a `Reconstruction`, which is made from a
//!    `NoisyDraw`, and a `NoisyDraw` gives no access to the `Input`. A certificate has one sigma, for the noise and for
//!    the radius.
//!    *Kept by* the types, with doc tests that must not compile in `diffusion::noise` and `score`.
//! 4. Only `diffusion::onnx` knows ort, only `publish` knows rumqttc, only `store` knows SQL, only `capture::camera` knows
//!    nokhwa and v4l. Types are serialised at the border only. No module imports a higher one, no two files import each other.
//!    *Kept by* the tests `layers`.
//! 5. Nothing is published that is not committed; an outbox row is deleted only on its PUBACK. *Kept by* the tests `delivery`
//!    and `storm`.
//! 6. No fault becomes `normal`. It becomes `abstain`, or it stops the station. *Kept by* the tests `injected`, `bad_input`
//!    and `faulty_model`.
//! 7. Each frame gets its time once, at capture, on both clocks; later stages pass it on. *Kept by* the type `capture::Stamp`, and the test
//!    `injected::clock`.
//! 8. Every drop, retry and fallback is counted and visible; no provider is replaced silently. *Kept by* the tests `status`,
//!    `source` and `faulty_model`.
//! 9. Every fault is a state with a name. No thread or task ends unnoticed: a panic ends the process, a stage that ends
//!    ends its station, and while a stage hangs the watchdog gets no sign of life. *Kept by* the tests `injected`, `service` and `disk_probe`.
//! 10. No lock is held over a system call or a line to the journal. *Kept by* the tests `disk_probe`, and by `agent::probe`.
//!
//! There are two traits, [`capture::FrameSource`] and [`diffusion::denoiser::Denoiser`], where hardware is attached.
//! Nothing else is a trait: tests use a real database, a real broker and real pictures.
//!
//! # Words
//!
//! `input` x: model input, CHW in \[0,1\]. `k`: diffusion timestep, 0-based. `sigma`: certification noise in
//! \[0,1\] units, at most `sigma_k`. `draw`: one noisy copy of the input with its reconstruction. `threshold`
//! tau: on the certified score, fixed before any frame is seen. `alpha`: failure probability of one verdict.
//! `radius`: l2, at the model input in \[0,1\] units unless called `frame_radius`. All others: docs/glossary.md.

// Lowest layer first: a module imports only modules above it (the order is checked by tests/it/layers).

mod hex;
mod machine;
mod percentiles;
mod plot;
mod state_folder;
mod sync;
mod tensors;

mod pulse;
mod stop;

mod capture;
mod near_duplicates;

mod heat_map;
mod preprocess;

mod picture_range;

mod diffusion;
mod score;

mod computation;
mod smoothing;
mod verdict;

mod bundle;
mod certify;
mod detector;
mod inference;
mod inspection;
mod inspector;

mod calibration;
mod evaluation;
mod evidence;

mod store;

mod retention;

mod status;
mod verification;

mod metrics;
mod publish;

mod config;

mod agent;

mod cli;

mod fuzz;

#[doc(hidden)]
pub mod testing;

pub use cli::main;
