//! Faults injected into the running program: each has a state with a name, an effect on verdicts that is never
//! `normal`, and a recovery. `scripts/test --test it injected -- --nocapture` prints the table.

mod clock;
mod disk;
mod model;
mod process;
