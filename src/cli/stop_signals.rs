//! Signals that ask a command to stop.
//!
//! Guarantees: SIGTERM, SIGHUP and the first SIGINT ask for an ordered stop; sent again, they change nothing. So one stop that
//! arrives twice, as from `timeout`, npm or a kill of a whole process group, is one stop. Only a person who presses Ctrl-C again,
//! [`AGAIN`] or later, ends the program at once: nothing is committed from then on, and no library gets to clean up under
//! running threads. A signal that was ignored when the program started stays ignored (`nohup`, a background job of a script).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use super::exit_code::{Failure, INTERRUPTED};
use crate::agent::Stop;
use crate::cli::output::{flush_notes, note_at_once};
use crate::stop::end_at_once;

/// A SIGINT that comes sooner after the first one is the same request, sent twice.
const AGAIN: Duration = Duration::from_millis(500);

/// From now on a file that may grow no further (`ulimit -f`) is an error of its write, as a full disk is, and not the end of the
/// process.
pub(super) fn outlive_file_limits() {
    // Only that there is a handler matters. A failure leaves things as they were.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// From now on the signals request `stop`.
pub(super) fn stop_on_signals(stop: &Stop) -> Result<(), Failure> {
    let ignored = ignored_signals();
    if !ignored.contains(&SIGINT) {
        let stop = stop.clone();
        let mut first: Option<Instant> = None;
        ctrlc::set_handler(move || match first {
            Some(first) if first.elapsed() < AGAIN => {}
            Some(_) => interrupted(),
            None => {
                first = Some(Instant::now());
                stop.request();
                note_at_once(format_args!("certiscope: stopping; Ctrl-C again ends at once"));
            }
        })
        .map_err(Failure::stopped)?;
    }
    let mut signals = Signals::new([SIGTERM, SIGHUP].into_iter().filter(|signal| !ignored.contains(signal)))
        .context("signals: SIGTERM and SIGHUP cannot be handled")
        .map_err(Failure::stopped)?;
    let stop = stop.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                if !stop.requested() {
                    stop.request();
                    note_at_once(format_args!("certiscope: stopping"));
                }
            }
        })
        .context("thread signals: the system allows no more threads or memory")
        .map_err(Failure::stopped)?;
    Ok(())
}

fn interrupted() -> ! {
    end_at_once();
    note_at_once(format_args!("certiscope: ended at once; frames in hand are not inspected"));
    flush_notes();
    low_level::exit(INTERRUPTED.into())
}

/// The signals among those handled here that the parent of this process has had ignored.
fn ignored_signals() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| mask & (1 << (signal - 1)) != 0).collect()
}
