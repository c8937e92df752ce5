//! From the outbox to the broker and back: one task, one connection, one client id, one will per station.
//!
//! Guarantees: after any fault a new connection starts from the outbox again (capped backoff with jitter; changes of
//! state are logged, not tries). A broker that takes messages and acknowledges none is left after
//! [`Timing::acknowledge_limit`](super::Timing). At shutdown the outbox is drained and `stopped` is sent; each step of
//! that has a limit, whatever broker and store do. A store that does not answer stops neither this task nor `status`.
//! Leaves out: what is sent on a connection (see `session`).
//! Costs: one sync of the disk for each batch of acknowledgements; after a crash their messages are sent again.

use tokio::time::{sleep, timeout};

use super::context::{Progress, PublishContext, shutdown_requested, with_pulse};
use super::json_output::JSON;
use super::last_will;
use super::link::{Link, LinkEvent};
use super::session::{Session, SessionEnd};
use super::settle::{STORE_LIMIT, STORE_LIMIT_AT_END, settle_within};
use crate::store::StoreError;

/// One station's way to the broker. [`Pump::run`] is its task.
pub struct Pump {
    context: PublishContext,
}

impl Pump {
    pub fn new(context: PublishContext) -> Self {
        Self { context }
    }

    /// Runs until `shutdown`, then drains, sends `stopped` and leaves. Ends early only when the store does.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut progress = Progress::new(self.context.timing, self.context.broker.backlog_per_second);
        loop {
            self.context.pulse.idle();
            let ended = self.connect(&mut progress).await;
            let limit = if *self.context.shutdown.borrow() { STORE_LIMIT_AT_END } else { STORE_LIMIT };
            settle_within(limit, &self.context.store, &mut progress).await?;
            match ended {
                Ok(()) => return Ok(()),
                Err(SessionEnd::Store(error)) => return Err(error),
                Err(SessionEnd::Broker(fault)) => self.context.disconnected(fault),
            }
            let jittered = progress.wait.mul_f64(rand::random_range(0.5..1.0));
            progress.wait = (progress.wait * 2).min(self.context.timing.longest_wait);
            tokio::select! {
                () = with_pulse(&self.context.pulse, sleep(jittered)) => {}
                () = shutdown_requested(&mut self.context.shutdown) => return Ok(()),
            }
        }
    }

    /// One connection from its first to its last packet; `Ok` when it ended as asked.
    async fn connect(&mut self, progress: &mut Progress) -> Result<(), SessionEnd> {
        let context = &mut self.context;
        let backlog = timeout(STORE_LIMIT, context.store.backlog(&context.origin.station, JSON)).await;
        if let Ok(backlog) = backlog {
            context.outbox.send_replace(backlog?);
        }
        let mut link =
            Link::open(&context.broker, context.timing.connect_limit, Some(last_will::will(context)));
        let limits = loop {
            tokio::select! {
                event = with_pulse(&context.pulse, link.next()) => if let LinkEvent::Connected(limits) = event? {
                    break limits;
                },
                () = async {
                    shutdown_requested(&mut context.shutdown).await;
                    sleep(context.timing.drain_limit).await;
                } => return Ok(()),
            }
        };
        Session::new(context, progress, link, limits).run().await
    }
}
