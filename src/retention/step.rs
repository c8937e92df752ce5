//! One step of retention: deletes a few folders of evidence, or a few rows.
//!
//! Guarantees: nothing that the broker has not acknowledged is deleted. By age only that is deleted which is too old. By size
//! nothing is deleted if all that may be deleted is too little. For a low disk nothing is deleted that does not help (see
//! `room`). Not by age, evidence of flagged parts goes last. Everything that is deleted is counted. Each [`Retention::step`] is
//! small, so that it delays no verdict. The caller passes the time and the free disk space, so that a test can run through a
//! year in a minute.
//! Leaves out: pausing new evidence when the disk is low on space (see `agent::record_stage`).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::deleted::{Deleted, DeletedAmount, Why};
use super::disks::{Disks, Limit};
use super::evidence_folders::{RetentionError, delete};
use super::plan::{Survey, next_folders};
use super::policy::{Moment, RetentionLimits};
use super::room::{self, Day, Held, Next, Room};
use crate::store::{KeptEvidence, RowId, StoreHandle, StoredAmount};

/// How much a step deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionStep {
    pub evidence: u64,
    pub rows: u64,
    /// Whether there is more to do at once.
    more: bool,
}

impl RetentionStep {
    /// Whether anything was done: then there may be more to do at once.
    pub fn did_something(self) -> bool {
        self.evidence > 0 || self.rows > 0 || self.more
    }
}

/// How many evidence folders are deleted in one step; each has a handful of files.
const EVIDENCE_STEP: usize = 20;
/// How many rows are looked at in one step: about a millisecond of the store's time.
const ROWS_STEP: usize = 200;
/// How many rows with evidence are looked at in one step.
const EVIDENCE_PAGE: usize = 500;
/// How long it is not looked again whether a limit of size can be reached.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often the free space in [`RetentionReport`] is made new while nothing else changes.
const REFRESH: Duration = Duration::from_secs(10);

/// What a station's status says about retention.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionReport {
    pub deleted: Deleted,
    /// While the disk has less room than the evidence's limit: the free space, and what is done about it, or why nothing.
    pub low_for_evidence: Option<(u64, String)>,
    /// The same for the limit of the log.
    pub low_for_rows: Option<(u64, String)>,
    /// Why there is more evidence than `evidence.max_mb`.
    pub evidence_over: Option<String>,
    /// Why the log is larger than `store.max_mb`.
    pub rows_over: Option<String>,
}

impl RetentionReport {
    /// The disk that is low on space, if one is: that of the log first.
    pub fn low(&self) -> Option<&(u64, String)> {
        self.low_for_rows.as_ref().or(self.low_for_evidence.as_ref())
    }
}

/// Keeps one agent's log and evidence within bounds.
pub struct Retention {
    pub store: StoreHandle,
    /// Has one folder for each station.
    pub evidence_folder: PathBuf,
    pub limits: RetentionLimits,
    deleted: Deleted,
    old_evidence: RowId,
    old_rows: RowId,
    evidence_size: EvidenceSize,
    rows_size: RowsPass,
    room: Room,
    room_rows: RowsPass,
    /// How often in a row deletion for disk space did not help.
    no_effect: u32,
    day: Option<Day>,
    low_since: Option<Instant>,
    report: RetentionReport,
}

/// What is done about evidence that is more than its limit.
enum EvidenceSize {
    Within,
    Survey(Survey),
    Work(VecDeque<KeptEvidence>),
    /// All that may be deleted is too little. Nothing is deleted before this time.
    Held(Instant),
}

/// A pass through the rows of the log, oldest first.
struct RowsPass {
    cursor: RowId,
    /// Whether this pass has deleted anything.
    deleted: bool,
    /// Nothing is deleted before this time.
    held: Option<Instant>,
}

impl Retention {
    pub fn new(store: StoreHandle, evidence_folder: PathBuf, limits: RetentionLimits) -> Self {
        Self {
            store,
            evidence_folder,
            limits,
            deleted: Deleted::default(),
            old_evidence: RowId::START,
            old_rows: RowId::START,
            evidence_size: EvidenceSize::Within,
            rows_size: RowsPass::default(),
            room: Room::Enough,
            room_rows: RowsPass::default(),
            no_effect: 0,
            day: None,
            low_since: None,
            report: RetentionReport::default(),
        }
    }

    /// What a station's status says about retention, as of the newest step.
    pub fn report(&self) -> &RetentionReport {
        &self.report
    }

    /// Deletes a little, if there is too much. Evidence that cannot be deleted is an error, and the log keeps its row.
    pub fn step(&mut self, moment: &Moment) -> Result<RetentionStep, RetentionError> {
        let before = self.deleted;
        let more = self.delete_a_little(moment);
        self.make_report(moment);
        let DeletedAmount { evidence, rows, .. } = self.deleted.since(&before).sum();
        Ok(RetentionStep { evidence, rows, more: more? })
    }

    fn delete_a_little(&mut self, moment: &Moment) -> Result<bool, RetentionError> {
        let stored = self.store.stored_amount()?;
        if self.day.as_ref().is_none_or(|day| day.is_over(moment.at)) {
            self.day = Some(Day::new(moment.at, &stored, self.deleted.sum().evidence_bytes));
        }
        Ok(self.old_evidence(moment, &stored)?
            || self.old_rows(moment, &stored)?
            || self.too_much_evidence(moment, &stored)?
            || self.too_many_rows(moment, &stored)?
            || self.make_room(moment, &stored)?)
    }

    fn old_evidence(&mut self, moment: &Moment, stored: &StoredAmount) -> Result<bool, RetentionError> {
        let Some(before) = too_old(moment.oldest_kept(&self.limits.evidence), stored.oldest_evidence) else {
            self.old_evidence = RowId::START;
            return Ok(false);
        };
        let before_us = before.as_microsecond();
        let page = self.store.evidence_after(self.old_evidence, EVIDENCE_PAGE)?;
        let old: Vec<_> = page
            .deletable
            .into_iter()
            .filter(|kept| kept.captured_at_us < before_us)
            .take(EVIDENCE_STEP)
            .collect();
        if old.is_empty() {
            // What is old on this page waits for the broker. Where nothing is old, the pass is over.
            let has_old = page.oldest_us.is_some_and(|oldest| oldest < before_us);
            self.old_evidence = page.next.filter(|_| has_old).unwrap_or(RowId::START);
            return Ok(false);
        }
        self.remove(old, Why::Age)?;
        Ok(true)
    }

    fn old_rows(&mut self, moment: &Moment, stored: &StoredAmount) -> Result<bool, RetentionError> {
        let Some(before) = too_old(moment.oldest_kept(&self.limits.rows), stored.oldest_row) else {
            self.old_rows = RowId::START;
            return Ok(false);
        };
        let deleted = self.store.delete_rows(self.old_rows, ROWS_STEP, Some(before))?;
        self.count_rows(deleted.rows, Why::Age);
        let removed = self.remove(deleted.held_by_evidence, Why::Age)?;
        if !removed {
            // Rows whose evidence has just been removed can be deleted in the next step. Where nothing is old, the pass is over.
            self.old_rows = deleted.next.filter(|_| deleted.any_wanted).unwrap_or(RowId::START);
        }
        Ok(removed || deleted.rows > 0)
    }

    fn too_much_evidence(&mut self, moment: &Moment, stored: &StoredAmount) -> Result<bool, RetentionError> {
        let over = stored.evidence_bytes.saturating_sub(self.limits.evidence.bytes);
        if over == 0 {
            self.evidence_size = EvidenceSize::Within;
            self.report.evidence_over = None;
            return Ok(false);
        }
        match &mut self.evidence_size {
            EvidenceSize::Held(until) if moment.at < *until => return Ok(false),
            EvidenceSize::Within | EvidenceSize::Held(_) => {
                self.evidence_size = EvidenceSize::Survey(Survey::new(over));
            }
            EvidenceSize::Survey(survey) => {
                let page = self.store.evidence_after(survey.cursor(), EVIDENCE_PAGE)?;
                match survey.take(page) {
                    None => {}
                    Some(plan) if plan.found >= over => {
                        self.evidence_size = EvidenceSize::Work(plan.evidence);
                    }
                    Some(_) => {
                        self.report.evidence_over = Some(format!(
                            "there are {} MB of evidence, evidence.max_mb = {}, and most of it waits for the broker to acknowledge \
                             its verdict, so nothing is deleted",
                            mb(stored.evidence_bytes),
                            mb(self.limits.evidence.bytes)
                        ));
                        self.evidence_size = EvidenceSize::Held(moment.at + LOOK_AGAIN);
                        return Ok(false);
                    }
                }
            }
            EvidenceSize::Work(plan) => {
                let folders = next_folders(plan, EVIDENCE_STEP, over);
                if !self.remove(folders, Why::Size)? {
                    self.evidence_size = EvidenceSize::Within;
                }
            }
        }
        Ok(true)
    }

    fn too_many_rows(&mut self, moment: &Moment, stored: &StoredAmount) -> Result<bool, RetentionError> {
        let limit = self.limits.rows.bytes;
        if stored.rows_bytes <= limit {
            self.rows_size = RowsPass::default();
            self.report.rows_over = None;
            return Ok(false);
        }
        if self.rows_size.is_held(moment.at) {
            return Ok(false);
        }
        let is_new = self.rows_size.cursor == RowId::START;
        let out_of_reach = is_new && self.store.waiting_rows_reach(limit)?;
        if out_of_reach || !self.rows_pass(Why::Size)? {
            self.report.rows_over = Some(format!(
                "the log has {} MB, store.max_mb = {}, and nothing more of it may be deleted: its rows wait for the broker to \
                 acknowledge them, or it has none",
                mb(stored.rows_bytes),
                mb(limit)
            ));
            self.rows_size = RowsPass { held: Some(moment.at + LOOK_AGAIN), ..RowsPass::default() };
            return Ok(false);
        }
        Ok(true)
    }

    /// Deletes a few rows, those that follow the ones before. False when a whole pass through the log has deleted nothing.
    fn rows_pass(&mut self, why: Why) -> Result<bool, RetentionError> {
        let pass = if why == Why::Size { &mut self.rows_size } else { &mut self.room_rows };
        let deleted = self.store.delete_rows(pass.cursor, ROWS_STEP, None)?;
        pass.deleted |= deleted.rows > 0 || !deleted.held_by_evidence.is_empty();
        let goes_on = deleted.next.is_some() || pass.deleted;
        if deleted.held_by_evidence.is_empty() {
            // Rows whose evidence is removed now can be deleted in the next step.
            pass.cursor = deleted.next.unwrap_or(RowId::START);
            pass.deleted &= deleted.next.is_some();
        }
        self.count_rows(deleted.rows, why);
        self.remove(deleted.held_by_evidence, why)?;
        Ok(goes_on)
    }

    fn make_room(&mut self, moment: &Moment, stored: &StoredAmount) -> Result<bool, RetentionError> {
        let disks = Disks::new(self.limits, &moment.disks);
        // What was begun goes on until it has made a little more room than the limit.
        let goes_on = matches!(&self.room, Room::Work(work) if disks.free(work.limit).is_some_and(|free| free < work.goal));
        if !disks.misses_a_limit() && !goes_on {
            if let Room::Work(_) = self.room {
                self.no_effect = 0;
            }
            self.room = Room::Enough;
            return Ok(false);
        }
        // The disk is too small for one limit. When the other is missed too, all is looked at anew.
        if matches!(self.room, Room::Held { why: Held::DiskTooSmall, .. })
            && disks.misses_a_limit_it_could_keep()
        {
            self.room = Room::Enough;
        }
        match &mut self.room {
            Room::Held { until, .. } if moment.at < *until => Ok(false),
            // Free pages that are given back cost nothing. But if they are too few to help, the log keeps them for its next rows.
            Room::Enough | Room::Held { .. }
                if disks.missing_for_rows().is_some_and(|missing| stored.free_pages_bytes >= missing) =>
            {
                self.room = Room::GiveBack { last: u64::MAX };
                Ok(true)
            }
            Room::GiveBack { last } if (1..*last).contains(&stored.free_pages_bytes) => {
                *last = stored.free_pages_bytes;
                self.store.give_back_room()?;
                Ok(true)
            }
            Room::Enough | Room::Held { .. } | Room::GiveBack { .. } => {
                let deleted = self.deleted.sum().evidence_bytes;
                let held = self.day.as_ref().and_then(|day| day.held(stored, deleted));
                let goes_on = held.is_none();
                let survey = || Room::Survey(Survey::new(disks.most_missing()));
                self.room = held.unwrap_or_else(survey);
                Ok(goes_on)
            }
            Room::Survey(survey) => {
                let page = self.store.evidence_after(survey.cursor(), EVIDENCE_PAGE)?;
                if let Some(plan) = survey.take(page) {
                    let rows_left = self.day.as_ref().map_or(0, |day| day.rows_left(stored));
                    self.room = room::decide(&disks, plan, stored, rows_left, moment.at);
                    self.room_rows = RowsPass::default();
                }
                Ok(!matches!(self.room, Room::Held { .. }))
            }
            Room::Work(work) => {
                match disks.free(work.limit).map_or(Next::Done, |free| work.next(free, moment.at)) {
                    Next::Wait => Ok(false),
                    Next::Done => {
                        self.no_effect = 0;
                        self.room = Room::Enough;
                        Ok(false)
                    }
                    Next::NoEffect => {
                        self.no_effect += 1;
                        let until = moment.at + room::wait_after_no_effect(self.no_effect);
                        self.room = Room::Held { until, why: Held::NoEffect { bytes: work.deleted } };
                        Ok(false)
                    }
                    Next::Delete => self.delete_for_room(&disks, moment.at, stored),
                }
            }
        }
    }

    fn delete_for_room(
        &mut self,
        disks: &Disks,
        at: Instant,
        stored: &StoredAmount,
    ) -> Result<bool, RetentionError> {
        let Room::Work(work) = &mut self.room else { return Ok(false) };
        let Some(free) = disks.free(work.limit) else { return Ok(false) };
        let wanted = work.left.min(work.goal - free);
        let folders = next_folders(&mut work.evidence, EVIDENCE_STEP, wanted);
        let rows_left = work.rows_left;
        let evidence_bytes = folders.iter().map(|kept| kept.bytes).sum();
        let (mut rows_bytes, mut goes_on) = (0, true);
        if !self.remove(folders, Why::DiskSpace)? {
            goes_on = rows_left > 0 && self.rows_pass(Why::DiskSpace)?;
            self.store.give_back_room()?;
            rows_bytes = stored.rows_bytes.saturating_sub(self.store.stored_amount()?.rows_bytes);
        }
        if let Some(day) = &mut self.day {
            day.count(evidence_bytes, rows_bytes);
        }
        let Room::Work(work) = &mut self.room else { return Ok(false) };
        work.rows_left = work.rows_left.saturating_sub(rows_bytes);
        work.deleted(evidence_bytes + rows_bytes, free, at);
        if !goes_on {
            // Nothing is left that may be deleted.
            self.room = Room::out_of_reach(at, stored);
        }
        Ok(goes_on)
    }

    fn make_report(&mut self, moment: &Moment) {
        self.report.deleted = self.deleted;
        let disks = Disks::new(self.limits, &moment.disks);
        let low = |limit| disks.missed_free(limit).zip(self.room.in_words(disks.too_small(limit)));
        let (evidence, rows) = (low(Limit::Evidence), low(Limit::Rows));
        let same = |before: &Option<(u64, String)>, now: &Option<(u64, String)>| match (before, now) {
            (Some((_, before)), Some((_, now))) => before == now,
            (before, now) => before.is_none() && now.is_none(),
        };
        let is_old = self.low_since.is_none_or(|since| moment.at.duration_since(since) >= REFRESH);
        if is_old
            || !same(&self.report.low_for_evidence, &evidence)
            || !same(&self.report.low_for_rows, &rows)
        {
            self.report.low_for_evidence = evidence;
            self.report.low_for_rows = rows;
            self.low_since = Some(moment.at);
        }
    }

    /// Deletes these folders, and records it. False if there is none.
    fn remove(&mut self, evidence: Vec<KeptEvidence>, why: Why) -> Result<bool, RetentionError> {
        if evidence.is_empty() {
            return Ok(false);
        }
        let mut tally = DeletedAmount::default();
        let mut failed = None;
        let mut rows = Vec::new();
        for kept in &evidence {
            if let Err(error) = delete(&self.evidence_folder, &kept.station, &kept.folder) {
                failed = Some(error);
                break;
            }
            rows.push(kept.row);
            tally.evidence += 1;
            tally.flagged += u64::from(kept.flagged);
            tally.evidence_bytes += kept.bytes;
        }
        // Those before the one that failed are gone: the log and the counts say so.
        self.deleted.count(why, tally);
        self.store.evidence_removed(rows)?;
        failed.map_or(Ok(true), Err)
    }

    fn count_rows(&mut self, rows: usize, why: Why) {
        self.deleted.count(why, DeletedAmount { rows: rows as u64, ..DeletedAmount::default() });
    }
}

impl Default for RowsPass {
    fn default() -> Self {
        Self { cursor: RowId::START, deleted: false, held: None }
    }
}

impl RowsPass {
    fn is_held(&self, at: Instant) -> bool {
        self.held.is_some_and(|until| at < until)
    }
}

/// The time before which things are too old, if the oldest is.
fn too_old(oldest_kept: Option<Timestamp>, oldest: Option<Timestamp>) -> Option<Timestamp> {
    oldest_kept.filter(|before| oldest.is_some_and(|oldest| oldest < *before))
}

fn mb(bytes: u64) -> u64 {
    bytes / 1_000_000
}
