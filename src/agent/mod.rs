//! The running agent: a process with its station, started in order, stopped in order.
//!
//! What there is once is in `process`: the store's thread, `retention`, `supervisor`, the `network` thread. What there is for
//! each station is in `station`: `capture`, `inference`, `record`, and the model's thread. Frames go from stage to stage
//! through bounded queues; what a stage reports of itself goes to the supervisor, through a channel of the stage, and from there
//! as one value to MQTT, metrics and the service manager. Capture waits for inference only where every frame must be inspected;
//! inference never waits for the network.
//! A thread that dies ends its station with a reason; one that hangs ends the signs of life to the service manager.

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
mod supervisor;
mod threads;
mod timing;
mod wall_clock;
mod watchdog;

pub use error::AgentError;
pub use probe::DiskProbe;
pub(crate) use process::{Recorded, run};
pub use process::{Summary, run_on, run_with};
pub(crate) use source::open_source;
pub(crate) use station::inspector_settings;

pub use crate::stop::Stop;
