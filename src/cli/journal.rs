//! What the program logs to standard error, and how it ends on a panic.
//!
//! Guarantees: a log that cannot be written, or that nobody reads, ends nothing (see `output`).

use std::io::{self, IsTerminal, Write};

use super::output::{flush_notes, never_wait, note_at_once, to_standard_error};

/// A line of the journal on its way to standard error.
struct JournalLine;

impl Write for JournalLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        to_standard_error(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts to log to standard error: what `RUST_LOG` asks for, else `usual`.
pub(in crate::cli) fn start_journal(usual: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| JournalLine)
        // It would print its own errors with `eprintln!`, which panics.
        .log_internal_errors(false)
        // No colours into a file or a service's journal.
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    end_on_panic();
}

/// From now on a panic in any thread is logged and ends the process. A thread must not die unseen while the others go
/// on; systemd starts the service again.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        never_wait();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        tracing::error!(thread = name, "panic: {panic}");
        // Printed a second time without the journal, because the journal may be what panicked.
        note_at_once(format_args!("certiscope: panic in thread {name}: {panic}"));
        flush_notes();
        std::process::abort();
    }));
}
