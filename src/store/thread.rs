//! The one thread that owns the [`Store`], and the handle by which everybody else reaches it.
//!
//! Guarantees: requests run one after another in the order they were made; the queue is bounded, so a slow
//! disk slows its callers down instead of filling the memory; every commit is announced to the pumps
//! before its caller goes on. The thread ends, and closes the file, when the last handle is gone.
//! Leaves out: what to do about an error, which is the caller's.

use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Backlog, Committed, Forgotten, Holding, Kept, Message, Origin, RowId, Store, StoreError};
use crate::inspection::Inspection;
use crate::pulse::Pulse;

/// Requests that may wait; beyond it, callers wait.
const QUEUE: usize = 64;

type Request = Box<dyn FnOnce(&mut Store) + Send>;

/// The store's thread, to be joined once every [`StoreHandle`] is dropped.
#[derive(Debug)]
pub struct StoreThread(JoinHandle<()>);

/// The way to the store from any thread.
#[derive(Debug, Clone)]
pub struct StoreHandle {
    requests: mpsc::Sender<Request>,
    newest: watch::Sender<RowId>,
    pulse: Pulse,
}

impl StoreThread {
    /// Starts the thread `store`.
    pub fn start(mut store: Store) -> Result<(Self, StoreHandle), StoreError> {
        let (newest, _) = watch::channel(store.newest_row()?);
        let (requests, mut queue) = mpsc::channel::<Request>(QUEUE);
        let pulse = Pulse::default();
        let beaten = pulse.clone();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                while let Some(request) = queue.blocking_recv() {
                    beaten.at_work();
                    request(&mut store);
                    beaten.idle();
                }
            })
            .map_err(StoreError::Thread)?;
        Ok((Self(thread), StoreHandle { requests, newest, pulse }))
    }

    /// Waits until everything asked for is done and the file is closed.
    pub fn join(self) -> Result<(), StoreError> {
        self.0.join().map_err(|_| StoreError::Ended)
    }
}

impl StoreHandle {
    /// Commits one inspection; returns when it is on the disk. Blocks: for OS threads, never for a task.
    pub fn commit(&self, origin: &Origin, inspection: Arc<Inspection>) -> Result<Committed, StoreError> {
        let origin = origin.clone();
        let newest = self.newest.clone();
        self.ask_blocking(move |store| {
            let committed = store.commit(&origin, &inspection)?;
            newest.send_replace(committed.row);
            Ok(committed)
        })
    }

    /// See [`Store::holding`]. Blocks, as all of these do that are no `async fn`.
    pub fn holding(&self) -> Result<Holding, StoreError> {
        self.ask_blocking(|store| store.holding())
    }

    /// See [`Store::oldest_evidence`].
    pub fn oldest_evidence(&self, limit: usize) -> Result<Vec<Kept>, StoreError> {
        self.ask_blocking(move |store| store.oldest_evidence(limit))
    }

    /// See [`Store::evidence_removed`].
    pub fn evidence_removed(&self, rows: Vec<RowId>) -> Result<(), StoreError> {
        self.ask_blocking(move |store| store.evidence_removed(&rows))
    }

    /// See [`Store::forget_rows`].
    pub fn forget_rows(&self, after: RowId, limit: usize) -> Result<Forgotten, StoreError> {
        self.ask_blocking(move |store| store.forget_rows(after, limit))
    }

    /// See [`Store::unnamed`].
    pub fn unnamed(&self, station: &str, folders: Vec<String>) -> Result<Vec<String>, StoreError> {
        let station = station.to_owned();
        self.ask_blocking(move |store| store.unnamed(&station, folders))
    }

    /// Gives the thread a turn, without waiting for it; false when it has ended.
    pub fn ping(&self) -> bool {
        !matches!(self.requests.try_send(Box::new(|_| ())), Err(mpsc::error::TrySendError::Closed(_)))
    }

    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Requests that wait for the thread.
    pub fn queued(&self) -> usize {
        self.requests.max_capacity() - self.requests.capacity()
    }

    /// The newest committed row of any station: changes when there may be something to send.
    pub fn newest_row(&self) -> watch::Receiver<RowId> {
        self.newest.subscribe()
    }

    /// See [`Store::acknowledged`].
    pub async fn acknowledged(&self, rows: Vec<RowId>) -> Result<(), StoreError> {
        self.ask(move |store| store.acknowledged(&rows)).await
    }

    /// See [`Store::refused`].
    pub async fn refused(&self, row: RowId, at: Timestamp, why: String) -> Result<(), StoreError> {
        self.ask(move |store| store.refused(row, at, &why)).await
    }

    /// See [`Store::outbox_between`].
    pub async fn outbox_between(
        &self,
        station: &Arc<str>,
        after: RowId,
        until: RowId,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let station = Arc::clone(station);
        self.ask(move |store| store.outbox_between(&station, after, until, limit)).await
    }

    /// See [`Store::longest_refused`].
    pub async fn longest_refused(&self, station: &Arc<str>) -> Result<Option<Message>, StoreError> {
        let station = Arc::clone(station);
        self.ask(move |store| store.longest_refused(&station)).await
    }

    /// See [`Store::newest_message`].
    pub async fn newest_message(&self, station: &Arc<str>) -> Result<Option<Message>, StoreError> {
        let station = Arc::clone(station);
        self.ask(move |store| store.newest_message(&station)).await
    }

    /// See [`Store::backlog`].
    pub async fn backlog(&self, station: &Arc<str>) -> Result<Backlog, StoreError> {
        let station = Arc::clone(station);
        self.ask(move |store| store.backlog(&station)).await
    }

    fn ask_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (request, reply) = request(work);
        self.requests.blocking_send(request).map_err(|_| StoreError::Ended)?;
        reply.blocking_recv().unwrap_or(Err(StoreError::Ended))
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (request, reply) = request(work);
        self.requests.send(request).await.map_err(|_| StoreError::Ended)?;
        reply.await.unwrap_or(Err(StoreError::Ended))
    }
}

/// Work for the store's thread, and where its answer will come.
fn request<T: Send + 'static>(
    work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
) -> (Request, oneshot::Receiver<Result<T, StoreError>>) {
    let (answer, reply) = oneshot::channel();
    let request = Box::new(move |store: &mut Store| {
        let result = work(store);
        // An asker that went away (a pump that was stopped) needs no answer; the work is done all the same.
        let _ = answer.send(result);
    });
    (request, reply)
}
