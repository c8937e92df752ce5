//! The running agent: a process with its station, and the order in which they start and stop.
//!
//! `process` has what exists once: the threads `store`, `retention`, `supervisor` and `network`. `station` has what exists for
//! each station: the threads `capture`, `inference`, `record` and `model`. Frames go from stage to stage through bounded
//! queues. Each stage reports its state to the supervisor through a channel, and the supervisor passes the state of the whole
//! station to MQTT, metrics and the service manager. Capture waits for inference only if every frame must be inspected;
//! inference never waits for the network.
//! If a thread ends with an error, its station ends and reports the reason. If a thread hangs, the service manager gets no
//! more signs of life.

mod bundle_watch;
mod capture_stage;
mod error;
mod handover;
mod inference_stage;
mod network;
mod probe;
mod process;
mod record_queue;
mod record_stage;
mod reports;
mod retention_thread;
mod service_manager;
mod source;
mod station;
mod station_status;
mod supervisor;
mod threads;
mod timing;
mod wall_clock;
mod watchdog;

pub use error::AgentError;
pub use probe::DiskProbe;
pub(crate) use process::{Recorded, run};
pub use process::{Summary, run_on, run_with};
pub(crate) use source::{decode_limits, open_source};
pub(crate) use station::inspector_settings;

pub use crate::stop::Stop;
