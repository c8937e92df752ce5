//! Reads the inspection log, also while an agent writes it.
//!
//! Guarantees: nothing is written. Rows are read in pages, and no transaction stays open between two pages, so the agent's
//! commits and checkpoints never wait for a reader. Only one page is in memory. All rows of a page are from the same point in
//! time; rows that are committed or deleted between two pages may or may not be seen.
//! Leaves out: creating a log (see [`super::Store`]), repairing one, and the files of the evidence.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, Params, Row, ToSql, named_params, params};
use uuid::Uuid;

use super::database::BUSY_TIMEOUT;
use super::encoder::OutputId;
use super::error::StoreError;
use super::stored_message::PAYLOAD;
use super::{inspection_row, migrations};
use crate::inspection::{Inspection, Parameters};

/// The number of rows of a page.
const PAGE: u32 = 256;

/// The log cannot be read, or what was asked for is not in it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("store: {}: no such file; give the state folder of a station that has run ([store] folder)", path.display())]
    Absent { path: PathBuf },
    #[error("store: {}: cannot be read: {why}; run this as a user who may read and write its folder", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error(
        "store: {}: written by an older certiscope (schema {found}; this version reads {known}); start the agent once, which brings it up to date",
        path.display()
    )]
    Older { path: PathBuf, found: u32, known: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("boot {boot}: not in this log; its newest boots are {}", listed(known))]
    UnknownBoot { boot: String, known: Vec<String> },
    #[error("boot {boot}: several boot ids begin with this: {}; give more characters", listed(candidates))]
    AmbiguousBoot { boot: String, candidates: Vec<String> },
    #[error("boot {boot}: it ran several stations: {}; choose one with --station", listed(stations))]
    AmbiguousStation { boot: String, stations: Vec<String> },
    #[error(
        "{boot}-{seq}: not in this log: retention has deleted it; the numbers of this boot go from 1 to {last}"
    )]
    Removed { boot: Uuid, seq: u64, last: u64 },
    #[error("{boot}-{seq}: no inspection ever had this number; the numbers of this boot go from 1 to {last}")]
    NeverGiven { boot: Uuid, seq: u64, last: u64 },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none (the log is empty)".to_owned() } else { names.join(", ") }
}

/// Which inspections to read. The default is all of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Captured at this time or later.
    pub from: Option<Timestamp>,
    /// Captured before this time.
    pub to: Option<Timestamp>,
    /// Words of the `verdict` message, such as `abstain` and `bad_frame`.
    pub verdict: Option<String>,
    pub reason: Option<String>,
    /// The name of a part; each `*` matches any characters.
    pub part: Option<String>,
    pub station: Option<String>,
    /// The first characters of a boot id, or all of it.
    pub boot: Option<String>,
}

/// The order of inspections, by the time of capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    NewestFirst,
    OldestFirst,
}

/// One inspection of the log with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct Record {
    pub boot_id: Uuid,
    pub station: String,
    pub seq: u64,
    pub inspection: Inspection,
    pub evidence_state: EvidenceKept,
    pub delivery: DeliveryState,
    /// The version of certiscope that made the inspection.
    pub version: String,
    /// The folder of the bundle at that time.
    pub bundle_folder: PathBuf,
}

impl Record {
    /// The `result_id` of the `verdict` message.
    pub fn result_id(&self) -> String {
        format!("{}-{}", self.boot_id, self.seq)
    }
}

/// Whether there is evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKept {
    Kept,
    /// None was kept: the part was normal and not chosen, or evidence could not be written.
    Never,
    /// It was kept, and retention has deleted it since.
    Removed,
}

/// Whether the broker has acknowledged the verdict; if several outputs send it, each of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryState {
    Acknowledged,
    Waiting,
    Refused { at: Option<Timestamp>, why: String },
}

/// One start of the agent at one station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootOnLog {
    pub boot_id: Uuid,
    pub station: String,
    /// The number of its newest inspection.
    pub last_seq: u64,
}

/// The inspection log, open for reading.
#[derive(Debug)]
pub struct Log {
    connection: Connection,
    path: PathBuf,
}

/// If several messages of an inspection are in the outbox, the one that was refused last is selected.
const SELECT: &str =
    "SELECT inspection.*, version, bundle_folder, outbox.inspection_id AS waiting, refused_at_us, refusal
     FROM inspection LEFT JOIN boot USING (boot_id, station)
     LEFT JOIN outbox ON outbox.inspection_id = inspection.id AND outbox.output =
         (SELECT output FROM outbox AS unacknowledged WHERE unacknowledged.inspection_id = inspection.id
          ORDER BY refused_at_us DESC NULLS LAST LIMIT 1)";

impl Log {
    pub fn open(path: &Path) -> Result<Self, LogError> {
        if !path.is_file() {
            return Err(LogError::Absent { path: path.to_path_buf() });
        }
        let connection = open_to_read(path).map_err(|error| unreadable(path, &error))?;
        let log = Self { connection, path: path.to_path_buf() };
        let found: u32 = log.read(|connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_query_value(None, "user_version", |row| row.get(0))
        })?;
        let known = migrations::VERSION;
        match found {
            _ if found < known => Err(LogError::Older { path: log.path, found, known }),
            _ if found > known => {
                Err(StoreError::Newer { path: path.display().to_string(), found, known }.into())
            }
            _ => Ok(log),
        }
    }

    /// For the fuzz target `rows`: a log in memory.
    pub(super) fn in_memory(connection: Connection) -> Self {
        Self { connection, path: PathBuf::new() }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// All inspections that pass `filter`.
    pub fn records(&self, filter: Filter, order: Order) -> Records<'_> {
        Records {
            log: self,
            filter,
            order,
            page: VecDeque::new(),
            parameters: HashMap::new(),
            next: PageStart::First,
        }
    }

    /// The inspection with this number.
    pub fn one(&self, boot: &str, station: Option<&str>, seq: u64) -> Result<Record, LogError> {
        let BootOnLog { boot_id, station, last_seq: last } = self.boot(boot, station)?;
        let sql = format!("{SELECT} WHERE inspection.boot_id = ?1 AND inspection.station = ?2 AND seq = ?3");
        let found =
            self.page(&sql, params![boot_id.to_string(), station, seq as i64], &mut HashMap::new())?.pop();
        found.map(|(_, record)| record).ok_or(match seq {
            1.. if seq <= last => LogError::Removed { boot: boot_id, seq, last },
            _ => LogError::NeverGiven { boot: boot_id, seq, last },
        })
    }

    /// The one start whose boot id begins with `boot`. `station` is needed if that start ran several.
    pub fn boot(&self, boot: &str, station: Option<&str>) -> Result<BootOnLog, LogError> {
        let starts: Vec<BootOnLog> = self.read(|connection| {
            connection
                .prepare("SELECT boot_id, station, last_seq FROM boot ORDER BY started_at_us DESC")?
                .query_map([], |row| {
                    Ok(BootOnLog {
                        boot_id: uuid(row)?,
                        station: row.get("station")?,
                        last_seq: row.get::<_, i64>("last_seq")? as u64,
                    })
                })?
                .collect()
        })?;
        let boot = boot.to_lowercase();
        let ids = |starts: &[BootOnLog]| -> Vec<String> {
            let mut ids: Vec<String> = starts.iter().map(|start| start.boot_id.to_string()).collect();
            ids.dedup();
            ids
        };
        let mut named: Vec<BootOnLog> =
            starts.iter().filter(|start| start.boot_id.to_string().starts_with(&boot)).cloned().collect();
        let candidates = ids(&named);
        named.retain(|start| station.is_none_or(|station| station == start.station));
        match (candidates.len(), named.len()) {
            (2.., _) => Err(LogError::AmbiguousBoot { boot, candidates }),
            (1, 1) => Ok(named.remove(0)),
            (1, 2..) => {
                let stations = named.into_iter().map(|start| start.station).collect();
                Err(LogError::AmbiguousStation { boot, stations })
            }
            _ => {
                const NAMED: usize = 5; // the newest ones
                let known = ids(&starts).into_iter().take(NAMED).collect();
                Err(LogError::UnknownBoot { boot, known })
            }
        }
    }

    /// Sequence numbers and messages of the boot's inspections from `from` to `to`, in order, at most a page of them. The
    /// messages are as their encoder made them.
    pub fn messages(
        &self,
        boot: &BootOnLog,
        output: OutputId,
        from: u64,
        to: u64,
    ) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT seq, payload FROM
                         (SELECT seq, {PAYLOAD} AS payload FROM inspection
                          WHERE boot_id = :boot AND station = :station AND seq BETWEEN :from AND :to)
                     WHERE payload IS NOT NULL ORDER BY seq LIMIT :page"
                ))?
                .query_map(
                    named_params! {
                        ":boot": boot.boot_id.to_string(),
                        ":station": boot.station,
                        ":output": output.name(),
                        ":from": from as i64,
                        ":to": to as i64,
                        ":page": PAGE,
                    },
                    |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)),
                )?
                .collect()
        })
    }

    /// The rows that `sql` selects, with their ids.
    fn page(
        &self,
        sql: &str,
        values: impl Params,
        known: &mut HashMap<i64, Arc<Parameters>>,
    ) -> Result<Vec<(i64, Record)>, LogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(values)?;
            let mut page = Vec::new();
            while let Some(row) = rows.next()? {
                let id: i64 = row.get("parameters_id")?;
                let parameters = match known.get(&id) {
                    Some(parameters) => Arc::clone(parameters),
                    None => {
                        let parameters = connection
                            .prepare_cached("SELECT * FROM parameters WHERE id = ?1")?
                            .query_row([id], inspection_row::parameters)?;
                        Arc::clone(known.entry(id).or_insert(Arc::new(parameters)))
                    }
                };
                page.push((row.get("id")?, record_of(row, parameters)?));
            }
            Ok(page)
        })
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LogError> {
        query(&self.connection).map_err(|error| unreadable(&self.path, &error))
    }
}

/// Opens the database read-only. Without write permission SQLite cannot create the -shm file, which readers and writers
/// share. If there is no such file, no agent writes the database, and it is opened as immutable. An agent that starts right
/// then is not noticed.
fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let probe = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Path::new(&name).exists()
    };
    match probe.map_err(|error| (error.sqlite_error_code(), error)) {
        Err((Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen), _)) if !beside("-wal") && !beside("-shm") => {
            let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
        }
        _ => Ok(connection), // any other error is reported by the next read
    }
}

/// The error for a reader: "cannot be written" becomes "cannot be read".
fn unreadable(path: &Path, error: &rusqlite::Error) -> LogError {
    match StoreError::new(path, error) {
        StoreError::Unwritable { why, .. } => LogError::Unreadable { path: path.to_path_buf(), why },
        other => other.into(),
    }
}

fn record_of(row: &Row<'_>, parameters: Arc<Parameters>) -> rusqlite::Result<Record> {
    let inspection = inspection_row::inspection(row, parameters)?;
    let (waiting, refusal): (Option<i64>, Option<String>) = (row.get("waiting")?, row.get("refusal")?);
    let refused_at: Option<i64> = row.get("refused_at_us")?;
    Ok(Record {
        boot_id: uuid(row)?,
        station: row.get("station")?,
        seq: row.get::<_, i64>("seq")? as u64,
        evidence_state: match (&inspection.evidence, row.get::<_, Option<i64>>("evidence_bytes")?) {
            (Some(_), _) => EvidenceKept::Kept,
            (None, None) => EvidenceKept::Never,
            (None, Some(_)) => EvidenceKept::Removed,
        },
        inspection,
        delivery: match (waiting, refusal) {
            (None, _) => DeliveryState::Acknowledged,
            (Some(_), None) => DeliveryState::Waiting,
            (Some(_), Some(why)) => DeliveryState::Refused {
                at: refused_at.and_then(|at| Timestamp::from_microsecond(at).ok()),
                why,
            },
        },
        version: row.get("version")?,
        bundle_folder: row.get::<_, String>("bundle_folder")?.into(),
    })
}

fn uuid(row: &Row<'_>) -> rusqlite::Result<Uuid> {
    let id: String = row.get("boot_id")?;
    Uuid::parse_str(&id).map_err(|error| inspection_row::refused(row, "boot_id", error))
}

/// Inspections in the order of their capture time, read a page at a time.
#[derive(Debug)]
pub struct Records<'a> {
    log: &'a Log,
    filter: Filter,
    order: Order,
    page: VecDeque<(i64, Record)>,
    parameters: HashMap<i64, Arc<Parameters>>,
    next: PageStart,
}

/// Where the next page begins.
#[derive(Debug, Clone, Copy)]
enum PageStart {
    First,
    /// After the row of this time and id.
    After(i64, i64),
    End,
}

impl Records<'_> {
    fn read_next_page(&mut self) -> Result<(), LogError> {
        // A plus before a column keeps SQLite from using the index of that column. With that index it would have to sort
        // all matching rows for each page; the index of the times has the rows in order already.
        let mut conditions = vec!["TRUE"];
        let mut values: Vec<(&str, Value)> = vec![(":page", PAGE.into())];
        let mut only = |condition, name, value: Option<Value>| {
            if let Some(value) = value {
                conditions.push(condition);
                values.push((name, value));
            }
        };
        let Filter { from, to, verdict, reason, part, station, boot } = &self.filter;
        only("captured_at_us >= :from", ":from", from.map(|from| from.as_microsecond().into()));
        only("captured_at_us < :to", ":to", to.map(|to| to.as_microsecond().into()));
        only("verdict = :verdict", ":verdict", verdict.clone().map(Value::from));
        only("reason = :reason", ":reason", reason.clone().map(Value::from));
        only("+inspection.station = :station", ":station", station.clone().map(Value::from));
        let boot = boot.as_deref().map(|boot| format!("{}*", glob(&boot.to_lowercase())));
        only("+inspection.boot_id GLOB :boot", ":boot", boot.map(Value::from));
        match part {
            Some(part) if part.contains('*') => only("+part_id GLOB :part", ":part", Some(glob(part).into())),
            part => only("part_id = :part", ":part", part.clone().map(Value::from)),
        }
        let (beyond, direction) = match self.order {
            Order::OldestFirst => ("(captured_at_us, id) > (:time, :id)", "ASC"),
            Order::NewestFirst => ("(captured_at_us, id) < (:time, :id)", "DESC"),
        };
        if let PageStart::After(time, id) = self.next {
            only(beyond, ":time", Some(time.into()));
            values.push((":id", id.into()));
        }
        let sql = format!(
            "{SELECT} WHERE {} ORDER BY captured_at_us {direction}, id {direction} LIMIT :page",
            conditions.join(" AND ")
        );
        let values: Vec<(&str, &dyn ToSql)> =
            values.iter().map(|(name, value)| (*name, value as &dyn ToSql)).collect();
        self.page = self.log.page(&sql, values.as_slice(), &mut self.parameters)?.into();
        self.next = match self.page.back() {
            Some((id, record)) if self.page.len() == PAGE as usize => {
                PageStart::After(record.inspection.captured_at.as_microsecond(), *id)
            }
            _ => PageStart::End,
        };
        Ok(())
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !matches!(self.next, PageStart::End)
            && let Err(error) = self.read_next_page()
        {
            self.next = PageStart::End;
            return Some(Err(error));
        }
        self.page.pop_front().map(|(_, record)| Ok(record))
    }
}

/// A pattern for SQLite's GLOB in which only `*` is special.
fn glob(part: &str) -> String {
    part.replace('[', "[[]").replace('?', "[?]")
}
