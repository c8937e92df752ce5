//! certiscope: streaming edge inspection whose verdicts carry a certified radius.
//!
//! # Bird's eye
//!
//! A camera looks at parts. For each frame the agent makes noisy draws of it, lets a diffusion U-Net
//! reconstruct each draw and mark what looks like a defect in one call, scores both, and asks a sequential
//! test what the scores prove: `normal` or `anomalous` with a radius inside which no change of the frame can
//! bring the opposite verdict (but for a probability alpha), or `abstain`. Verdicts are committed to SQLite,
//! then published over MQTT.
//!
//! A frame travels through the modules in this order:
//!
//! ```text
//! capture     Frame: a picture with its time, or the reason why there is none   thread `capture`
//!               its `gate`: each frame, one by the clock, or one when the line asks
//! agent         hand-over: bounded; newest wins, or every frame waits
//! preprocess  Input in [0,1], and the norm of the linear map that made it       thread `inference`
//! diffusion   noisy draw z -> x_k -> U-Net (ONNX Runtime) -> x0_hat, defect map
//! score       CertifiedScore of a draw; EmpiricalScore of a frame
//! smoothing   Certificate: side and radius
//! verdict     Normal | Anomalous | Abstain(reason)
//! inspector     the loop around these: draw until certified
//! evidence    pictures of flagged parts, and of some normals                    calling thread
//! store       ONE transaction: inspection + outbox row                          thread `store`
//! publish     outbox -> MQTT; PUBACK -> row leaves the outbox; cmd/trigger in    task on `network`
//! retention   the oldest evidence and rows go, a few at a time                  thread `retention`
//! ```
//!
//! Beside the way: [`bundle`] (model with everything that belongs to it), [`detector`] (bundle, model and
//! score as one), [`inspection`] (the record of one part), [`calibration`] and [`evaluation`] (statistics of
//! many parts), [`verification`] (a stored verdict computed again), [`config`], [`agent`] (threads, and the
//! `supervisor` that watches them), [`health`] (the pulse of a stage), [`metrics`], [`machine`] (what the system
//! says of itself), [`plot`] (charts as SVG), [`cli`].
//!
//! # Invariants
//!
//! 1. A frame has one owner at a time; stages share channels, never state.
//! 2. Schedule, score, bounds and verdict do no IO, read no clock, use no global generator, do not log.
//! 3. The score of a draw cannot see the clean frame: `score::certified` takes a `Reconstruction`, which
//!    is made from a `NoisyDraw`, which gives nothing of the `Input` away. One sigma per certificate
//!    ([`diffusion::schedule::NoiseLevel`]), used for the noise and for the radius.
//! 4. Only `diffusion::onnx` knows ort, only `publish` knows rumqttc, only `store` knows SQL, only
//!    `capture::camera` knows nokhwa and v4l. Domain types are not serialised; wire types stand at the border.
//! 5. Nothing is published that is not committed; a row leaves the outbox only on its PUBACK.
//! 6. No fault becomes `Normal`. It becomes `Abstain`, or it stops the process.
//! 7. Time is data: stamped once, at capture, on both clocks.
//! 8. Every drop, retry and fallback is counted and visible; no provider is replaced in silence.
//! 9. What goes wrong is a state with a name. No thread dies unseen: a panic ends the process, and a stage that ends
//!    or hangs ends the agent.
//!
//! There are two seams, [`capture::FrameSource`] and [`diffusion::denoiser::Denoiser`], where hardware comes
//! in. Nothing else is a trait: tests use a real database, a real broker and real pictures.
//!
//! # Words
//!
//! `input` x: model input, CHW in \[0,1\]. `k`: diffusion timestep, 0-based. `sigma`: certification noise in
//! \[0,1\] units, at most `sigma_k`. `draw`: one noisy copy of the input with its reconstruction. `threshold`
//! tau: on the certified score, fixed before any frame is seen. `alpha`: failure probability of one verdict.
//! `radius`: l2, at the model input in \[0,1\] units unless called `frame_radius`.

pub mod capture;
pub mod preprocess;

pub mod diffusion;
pub mod score;
pub mod smoothing;
pub mod verdict;

pub mod bundle;
pub mod detector;
pub mod inspection;
pub mod inspector;

pub mod evidence;
pub mod publish;
pub mod retention;
pub mod state_folder;
pub mod store;

pub mod calibration;
pub mod evaluation;
pub mod verification;

pub mod agent;
pub mod cli;
pub mod config;
pub mod health;
pub mod machine;
pub mod metrics;
pub mod percentiles;
pub mod plot;
