//! What the program logs to standard error, and how it ends on a panic.

use std::io::{IsTerminal, Write};

/// Starts to log to standard error: what `RUST_LOG` asks for, else `usual`.
pub(in crate::cli) fn start_journal(usual: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // No colours into a file or a service's journal.
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    end_on_panic();
}

/// From now on a panic in any thread is logged and ends the process. A thread must not die unseen while the others go
/// on; systemd starts the service again.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        tracing::error!(thread = name, "panic: {panic}");
        // Printed a second time without the journal, because the journal may be what panicked.
        let _ = writeln!(std::io::stderr(), "certiscope: panic in thread {name}: {panic}");
        std::process::abort();
    }));
}
