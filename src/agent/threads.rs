//! Starts threads, and waits for their end.
//!
//! Guarantees: if a thread ends with an error or a panic, this is reported with its reason. Waiting has a limit.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::error::{AgentError, FirstFault};

/// How long the agent waits at its end for threads that do not return.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// Threads that are joined together.
pub(super) struct Threads {
    fault: FirstFault,
    started: Vec<(String, JoinHandle<anyhow::Result<()>>)>,
}

impl Threads {
    pub(super) fn new(fault: FirstFault) -> Self {
        Self { fault, started: Vec::new() }
    }

    /// Starts a named thread. `at_end` is called however the thread ends, also by a panic.
    pub(super) fn start(
        &mut self,
        name: &str,
        at_end: impl FnOnce() + Send + 'static,
        work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        struct AtEnd<F: FnOnce()>(Option<F>);
        impl<F: FnOnce()> Drop for AtEnd<F> {
            fn drop(&mut self) {
                if let Some(at_end) = self.0.take() {
                    at_end();
                }
            }
        }
        let at_end = AtEnd(Some(at_end));
        let thread = Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _at_end = at_end;
                work()
            })
            .with_context(|| format!("thread {name}: the system allows no more threads or memory"))?;
        self.started.push((name.to_owned(), thread));
        Ok(())
    }

    /// Adds a thread that was started elsewhere.
    pub(super) fn add(&mut self, name: &str, thread: JoinHandle<anyhow::Result<()>>) {
        self.started.push((name.to_owned(), thread));
    }

    /// Waits for all threads, at most [`JOIN_LIMIT`]. A thread that hangs ends with the process. `hangs` returns true for a
    /// thread that is known to hang: it is not waited for.
    pub(super) fn join(self, hangs: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + JOIN_LIMIT;
        for (name, thread) in self.started {
            while !thread.is_finished() && !hangs(&name) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            if !thread.is_finished() {
                tracing::error!(
                    "thread {name}: does not return and is no longer waited for; it ends with the process"
                );
                continue;
            }
            let ended = thread.join().unwrap_or_else(|_| Err(anyhow!("panicked; see the journal")));
            if let Err(error) = ended {
                self.fault.report(AgentError::while_running(error.context(format!("thread {name}"))));
            }
        }
    }
}
