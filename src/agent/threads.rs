//! Starting a station's threads, and waiting for their ends.
//!
//! Guarantees: however a thread ends, the agent hears of it and why; none is waited for for ever.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::live::Live;
use super::{Stop, fault};

/// How long a stop waits for a thread that does not return.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// The threads of a station but the calling one.
pub(super) struct Threads<'a> {
    live: &'a Arc<Live>,
    stop: &'a Stop,
    started: Vec<(&'static str, JoinHandle<anyhow::Result<()>>)>,
}

impl<'a> Threads<'a> {
    pub(super) fn new(live: &'a Arc<Live>, stop: &'a Stop) -> Self {
        Self { live, stop, started: Vec::new() }
    }

    /// Starts a named thread. However it ends, the stages before it are told to stop, so that none waits for ever
    /// for one that is gone.
    pub(super) fn start(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&Live, &Stop) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        struct Ending(Arc<Live>, Stop);
        impl Drop for Ending {
            fn drop(&mut self) {
                self.1.request();
                self.0.handover.close();
            }
        }
        let ending = Ending(Arc::clone(self.live), self.stop.clone());
        let thread = Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&ending.0, &ending.1))
            .with_context(|| format!("thread {name}: the system allows no more threads or memory"))?;
        self.started.push((name, thread));
        Ok(())
    }

    /// Waits for all of them, but not for ever: one that hangs is left to the end of the process. Whether all have
    /// ended.
    pub(super) fn join(self) -> bool {
        let deadline = Instant::now() + JOIN_LIMIT;
        let mut all_ended = true;
        for (name, thread) in self.started {
            let known_to_hang = name == "inference" && self.live.inference_hangs();
            while !thread.is_finished() && !known_to_hang && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            if !thread.is_finished() {
                tracing::error!("thread {name}: does not return, and is left behind");
                all_ended = false;
                continue;
            }
            let ended = thread.join().unwrap_or_else(|_| Err(anyhow!("panicked; see the log")));
            if let Err(error) = ended {
                self.live.fail(fault(error.context(format!("thread {name}"))));
            }
        }
        all_ended
    }
}
