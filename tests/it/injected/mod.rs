//! Faults injected into the running program. Each is reported as a state, never gives the verdict `normal`, and ends in
//! recovery. `scripts/test --test it injected -- --nocapture` prints the table.

mod clock;
mod disk;
mod model;
mod process;
