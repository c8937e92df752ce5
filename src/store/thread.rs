//! The thread that owns the [`Store`], and the handle through which all other threads use it.
//!
//! Guarantees: commands run one after another, in the order they were given. The queue is bounded, so a slow disk makes the
//! callers wait instead of filling the memory. A commit is announced to the publishers before its caller continues. When the
//! last handle is dropped, the thread closes the file and ends.
//! Leaves out: what to do about an error. The caller decides.

use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::database::Store;
use super::deletion::{DeletedRows, EvidencePage, StoredAmount};
use super::encoder::{EncodeMessages, OutputId};
use super::error::StoreError;
use super::identity::{Committed, Origin, RowId};
use super::outbox::{Backlog, OutboxRow};
use crate::inspection::Inspection;
use crate::pulse::Pulse;

/// How many commands the queue can have; when it is full, callers wait.
const QUEUE: usize = 64;

type StoreCommand = Box<dyn FnOnce(&mut Store) + Send>;

/// The store's thread. Join it once every [`StoreHandle`] is dropped.
#[derive(Debug)]
pub struct StoreThread(JoinHandle<()>);

/// Lets any thread use the store.
#[derive(Debug, Clone)]
pub struct StoreHandle {
    commands: mpsc::Sender<StoreCommand>,
    newest: watch::Sender<RowId>,
    pulse: Pulse,
}

impl StoreThread {
    /// Starts the thread `store`.
    pub fn start(mut store: Store) -> Result<(Self, StoreHandle), StoreError> {
        let (newest, _) = watch::channel(store.newest_row()?);
        let (commands, mut queue) = mpsc::channel::<StoreCommand>(QUEUE);
        let pulse = Pulse::default();
        let watched = pulse.clone();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                while let Some(command) = queue.blocking_recv() {
                    watched.at_work();
                    command(&mut store);
                    watched.idle();
                }
            })
            .map_err(StoreError::Thread)?;
        Ok((Self(thread), StoreHandle { commands, newest, pulse }))
    }

    /// Whether everything asked for is done, every handle is dropped and the file is closed.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until all commands are done and the file is closed.
    pub fn join(self) -> Result<(), StoreError> {
        self.0.join().map_err(|_| StoreError::Ended)
    }
}

impl StoreHandle {
    /// Commits one inspection with the messages that `encode` makes of it. Returns when it is on the disk. Blocks, so never
    /// call it from an async task.
    pub fn commit(
        &self,
        origin: &Origin,
        inspection: Arc<Inspection>,
        encode: Arc<EncodeMessages>,
    ) -> Result<Committed, StoreError> {
        let origin = origin.clone();
        let newest = self.newest.clone();
        self.ask_blocking(move |store| {
            let committed = store.commit(&origin, &inspection, &*encode)?;
            newest.send_replace(committed.row);
            Ok(committed)
        })
    }

    /// See [`Store::stored_amount`]. Blocks, like all methods here that ask the store and are not `async`.
    pub fn stored_amount(&self) -> Result<StoredAmount, StoreError> {
        self.ask_blocking(|store| store.stored_amount())
    }

    /// See [`Store::evidence_after`].
    pub fn evidence_after(&self, after: RowId, limit: usize) -> Result<EvidencePage, StoreError> {
        self.ask_blocking(move |store| store.evidence_after(after, limit))
    }

    /// See [`Store::evidence_removed`].
    pub fn evidence_removed(&self, rows: Vec<RowId>) -> Result<(), StoreError> {
        self.ask_blocking(move |store| store.evidence_removed(&rows))
    }

    /// See [`Store::delete_rows`].
    pub fn delete_rows(
        &self,
        after: RowId,
        limit: usize,
        captured_before: Option<Timestamp>,
    ) -> Result<DeletedRows, StoreError> {
        self.ask_blocking(move |store| store.delete_rows(after, limit, captured_before))
    }

    /// See [`Store::give_back_room`].
    pub fn give_back_room(&self) -> Result<(), StoreError> {
        self.ask_blocking(|store| store.give_back_room())
    }

    /// See [`Store::waiting_rows_reach`].
    pub fn waiting_rows_reach(&self, bytes: u64) -> Result<bool, StoreError> {
        self.ask_blocking(move |store| store.waiting_rows_reach(bytes))
    }

    /// See [`Store::unnamed`].
    pub fn unnamed(&self, station: &str, folders: Vec<String>) -> Result<Vec<String>, StoreError> {
        let station = station.to_owned();
        self.ask_blocking(move |store| store.unnamed(&station, folders))
    }

    /// Makes the thread's loop run once, so that its pulse shows whether it works. Does not wait; false if the thread has ended.
    pub fn ping(&self) -> bool {
        !matches!(self.commands.try_send(Box::new(|_| ())), Err(mpsc::error::TrySendError::Closed(_)))
    }

    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How many commands wait in the queue.
    pub fn queued(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }

    /// The newest committed row of all stations. When it changes, there may be something to send.
    pub fn newest_row(&self) -> watch::Receiver<RowId> {
        self.newest.subscribe()
    }

    /// See [`Store::acknowledged`].
    pub async fn acknowledged(&self, output: OutputId, rows: Vec<RowId>) -> Result<(), StoreError> {
        self.ask(move |store| store.acknowledged(output, &rows)).await
    }

    /// See [`Store::refused`].
    pub async fn refused(
        &self,
        output: OutputId,
        row: RowId,
        at: Timestamp,
        why: String,
    ) -> Result<(), StoreError> {
        self.ask(move |store| store.refused(output, row, at, &why)).await
    }

    /// See [`Store::outbox_between`].
    pub async fn outbox_between(
        &self,
        station: &Arc<str>,
        output: OutputId,
        after: RowId,
        until: RowId,
        limit: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let station = Arc::clone(station);
        self.ask(move |store| store.outbox_between(&station, output, after, until, limit)).await
    }

    /// See [`Store::longest_refused`].
    pub async fn longest_refused(
        &self,
        station: &Arc<str>,
        output: OutputId,
    ) -> Result<Option<OutboxRow>, StoreError> {
        let station = Arc::clone(station);
        self.ask(move |store| store.longest_refused(&station, output)).await
    }

    /// See [`Store::newest_message`].
    pub async fn newest_message(
        &self,
        station: &Arc<str>,
        output: OutputId,
    ) -> Result<Option<OutboxRow>, StoreError> {
        let station = Arc::clone(station);
        self.ask(move |store| store.newest_message(&station, output)).await
    }

    /// See [`Store::backlog`].
    pub async fn backlog(&self, station: &Arc<str>, output: OutputId) -> Result<Backlog, StoreError> {
        let station = Arc::clone(station);
        self.ask(move |store| store.backlog(&station, output)).await
    }

    fn ask_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (command, reply) = command(work);
        self.commands.blocking_send(command).map_err(|_| StoreError::Ended)?;
        reply.blocking_recv().unwrap_or(Err(StoreError::Ended))
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (command, reply) = command(work);
        self.commands.send(command).await.map_err(|_| StoreError::Ended)?;
        reply.await.unwrap_or(Err(StoreError::Ended))
    }
}

/// Makes a command of `work`, and the channel on which its result arrives.
fn command<T: Send + 'static>(
    work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
) -> (StoreCommand, oneshot::Receiver<Result<T, StoreError>>) {
    let (answer, reply) = oneshot::channel();
    let command = Box::new(move |store: &mut Store| {
        let result = work(store);
        // A caller that has ended (a pump that was stopped) needs no answer. The work is done nevertheless.
        let _ = answer.send(result);
    });
    (command, reply)
}
