//! Sends the outbox of a station to the broker: one task, one connection, one client id and one will per station.
//!
//! Guarantees: after any fault a new connection starts from the outbox again. The wait between tries doubles up to a limit,
//! with jitter, and starts anew after a connection that has lived for a while (see `losses`); changes of state are logged, tries
//! are not. If the broker does not acknowledge a message within
//! [`Timing::acknowledge_limit`](super::Timing), the connection is ended. At shutdown the outbox is sent, then `stopped`;
//! each of these steps has a time limit, whatever broker and store do. A store that does not answer stops neither this task
//! nor `status`.
//! Leaves out: what is sent on a connection (see `session`).
//! Costs: one sync of the disk for each batch of acknowledgements. After a crash the messages of the last batch are sent again.

use tokio::time::{Instant, sleep, timeout};

use super::broker::BrokerFault;
use super::context::{Progress, PublishContext, shutdown_requested, with_pulse};
use super::json_output::JSON;
use super::last_will;
use super::link::{Link, LinkEvent};
use super::session::{Session, SessionEnd};
use super::settle::{STORE_LIMIT, STORE_LIMIT_AT_END, settle_within};
use crate::store::StoreError;

/// Sends the outbox of one station. [`Pump::run`] is its task.
pub struct Pump {
    context: PublishContext,
}

impl Pump {
    pub fn new(context: PublishContext) -> Self {
        Self { context }
    }

    /// Runs until `shutdown`, then sends the rest of the outbox and `stopped`, and disconnects. Ends earlier only if the
    /// store's thread ends.
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
                Err(SessionEnd::Broker(fault)) => self.ended(fault, &mut progress),
            }
            let jittered = progress.wait.mul_f64(rand::random_range(0.5..1.0));
            progress.wait = (progress.wait * 2).min(self.context.timing.longest_wait);
            tokio::select! {
                () = with_pulse(&self.context.pulse, sleep(jittered)) => {}
                () = shutdown_requested(&mut self.context.shutdown) => return Ok(()),
            }
        }
    }

    /// A connection has ended, or none was accepted.
    fn ended(&self, fault: BrokerFault, progress: &mut Progress) {
        let timing = &self.context.timing;
        let now = Instant::now();
        if matches!(fault, BrokerFault::TooLargeToRead { .. }) {
            progress.subscribe_after = Some(now + timing.subscribe_pause);
        }
        let (fault, anew) = progress.losses.ended(now, fault, &self.context.broker.client_id);
        if anew {
            progress.wait = timing.first_wait;
        }
        self.context.disconnected(fault, progress);
    }

    /// Opens one connection and uses it until it ends. `Ok` if it ended because a shutdown was requested.
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
        progress.losses.accepted(Instant::now());
        Session::new(context, progress, link, limits).run().await
    }
}
