//! All integration tests, in one crate, so that the libraries are linked once.
//!
//! The name of a file says what is tested; the name of a test is a sentence that the test shows to be true. Where a new
//! test belongs:
//!
//! | what the test shows | where it belongs |
//! |---|---|
//! | how one function computes | not here: `mod tests` in its source file |
//! | the statistics of the certificate | not here: `src/smoothing/soundness/`; the whole method: `method.rs` |
//! | a picture becomes an input | `preprocess.rs` |
//! | folders, the simulator, a camera in trouble, triggers | `capture.rs`, `simulator.rs`, `source.rs`, `trigger.rs` |
//! | the model goes wrong, in this process | `faulty_model.rs` |
//! | a model with all three maps, made for one timestep | `three_maps.rs` |
//! | the inspection log, and a year of it | `store.rs`, `year.rs` |
//! | what reaches the broker, with a real one | `delivery/` |
//! | the whole agent as its users run it | `agent.rs` |
//! | what the agent reports: `status`, metrics | `status.rs` |
//! | what the agent reports to systemd, and the watchdog | `service.rs` |
//! | a fault while the agent runs: disk, model, clock, process | `injected/` |
//! | what goes wrong for people who do this job | `field/` |
//! | many random faults; independent records are compared | `storm/` |
//! | bad pictures, bundles, libraries and settings | `bad_input/` |
//! | a command: what it prints, writes and exits with | `commands/`; the long ones: `collect.rs`, `calibrate.rs`, `evaluate.rs`, `bench.rs` |
//! | a stored verdict is found, read and computed again | `explain/` |
//! | what a package brings: units, man pages | `packaging.rs` |
//! | how source files may import each other | `layers/` |
//! | cameras, systemd and power cuts in a virtual machine | not here: `tests/vm/` |
//!
//! What tests share is in `support/`. A test waits for a state (`support::wait_until`), not for a time. A test that
//! cannot run on a machine ends with `support::skip`; `CERTISCOPE_REQUIRE_ALL=1` turns that into a failure.

mod agent;
mod bad_input;
mod bench;
mod calibrate;
mod capture;
mod collect;
mod commands;
mod delivery;
mod disk_probe;
mod docs;
mod evaluate;
mod explain;
mod faulty_model;
mod field;
mod injected;
mod layers;
mod method;
mod migration;
mod packaging;
mod preprocess;
mod service;
mod simulator;
mod source;
mod status;
mod stop_limits;
mod store;
mod storm;
mod support;
mod three_maps;
mod trigger;
mod year;
