//! A log in memory with columns of any value, for the fuzz target `rows`: SQLite checks types only of columns that a program declared,
//! and a file may be damaged or made by something else.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use uuid::Uuid;

use super::identity::Origin;
use super::log::{Filter, Log, Order, Record};
use super::{inspection_row, migrations};
use crate::inspection::Inspection;

const TABLES: [&str; 4] = ["parameters", "boot", "inspection", "outbox"];

/// A log with one row in each table.
pub(crate) struct LooseLog {
    log: Log,
    /// The columns of each table, with the values of a sound row.
    sound: [Vec<Value>; TABLES.len()],
}

impl LooseLog {
    pub(crate) fn new(inspection: &Inspection) -> rusqlite::Result<Self> {
        let mut strict = Connection::open_in_memory()?;
        let transaction = strict.transaction()?;
        migrations::run(&transaction)?;
        let origin = Origin { boot_id: Uuid::nil(), station: "station1".into() };
        let parameters = inspection_row::parameters_row(&transaction, &inspection.parameters)?;
        transaction.execute(
            "INSERT INTO boot (boot_id, station, started_at_us, version, configuration, parameters_id) VALUES (?1, ?2, 0, '', '', ?3)",
            (origin.boot_id.to_string(), &*origin.station, parameters),
        )?;
        let row = inspection_row::insert(&transaction, &origin, 1, inspection, parameters)?;
        transaction.execute("INSERT INTO outbox VALUES (?1, 'json', 'station1', 1, 'no')", [row])?;
        transaction.commit()?;

        let loose = Connection::open_in_memory()?;
        let mut sound = [const { Vec::new() }; TABLES.len()];
        for (table, values) in TABLES.into_iter().zip(&mut sound) {
            let mut statement = strict.prepare(&format!("SELECT * FROM {table}"))?;
            let columns = statement.column_names().collect::<Vec<_>>().join(", ");
            loose.execute_batch(&format!("CREATE TABLE {table} ({columns})"))?;
            let count = statement.column_count();
            *values = statement.query_row([], |row| (0..count).map(|column| row.get(column)).collect())?;
        }
        // No change is ever kept, so nothing is written down for going back. An index made for one query takes longer than the query.
        loose.execute_batch(
            "CREATE TABLE output_message (inspection_id, output, payload);
             PRAGMA journal_mode = OFF; PRAGMA automatic_index = OFF; PRAGMA page_size = 1024; BEGIN",
        )?;
        Ok(Self { log: Log::in_memory(loose), sound })
    }

    /// Reads the log whose rows differ from sound ones as `data` says. A record of it goes to `see`. Returns the words of the error, if
    /// the log cannot be understood.
    pub(crate) fn read(&self, data: &[u8], see: impl Fn(&Record)) -> rusqlite::Result<Option<String>> {
        let mut rows = self.sound.clone();
        let mut changes = Changes(data);
        while let Some((table, column, value)) = changes.next() {
            let row = &mut rows[usize::from(table) % TABLES.len()];
            let column = usize::from(column) % row.len();
            row[column] = value;
        }
        let connection = self.log.connection();
        for (table, row) in TABLES.into_iter().zip(rows) {
            connection.prepare_cached(&format!("DELETE FROM {table}"))?.execute([])?;
            let marks = vec!["?"; row.len()].join(", ");
            connection
                .prepare_cached(&format!("INSERT INTO {table} VALUES ({marks})"))?
                .execute(params_from_iter(row))?;
        }
        // One way of reading for each input, so that each is quick.
        let order = match data.len() % 3 {
            0 => Order::NewestFirst,
            1 => Order::OldestFirst,
            _ => {
                return Ok(self
                    .log
                    .one("00000000", None, 1)
                    .map(|record| see(&record))
                    .err()
                    .map(|error| error.to_string()));
            }
        };
        let mut words = None;
        for record in self.log.records(Filter::default(), order) {
            match record {
                Ok(record) => see(&record),
                Err(error) => words = Some(error.to_string()),
            }
        }
        Ok(words)
    }

    /// Data that changes each column of each table to each kind of value.
    pub(crate) fn seeds(&self) -> Vec<Vec<u8>> {
        let mut seeds = vec![Vec::new()];
        for (table, row) in self.sound.iter().enumerate() {
            for (column, value) in row.iter().enumerate() {
                let place = [table as u8, column as u8];
                let sound = match ValueRef::from(value) {
                    ValueRef::Null => vec![0],
                    ValueRef::Integer(number) => [&[1][..], &number.to_le_bytes()].concat(),
                    ValueRef::Real(number) => [&[2][..], &number.to_le_bytes()].concat(),
                    ValueRef::Text(bytes) => [&[3, bytes.len() as u8][..], bytes].concat(),
                    ValueRef::Blob(bytes) => [&[4, bytes.len() as u8][..], bytes].concat(),
                };
                seeds.push([&place[..], &sound].concat());
                seeds.push([&place[..], &[0]].concat());
            }
        }
        seeds
    }
}

/// Changes of columns: table, column, kind of value, value.
struct Changes<'a>(&'a [u8]);

impl Changes<'_> {
    fn next(&mut self) -> Option<(u8, u8, Value)> {
        let [table, column, kind] = *self.take()?;
        let value = match kind % 5 {
            0 => Value::Null,
            1 => Value::Integer(i64::from_le_bytes(*self.take()?)),
            2 => Value::Real(f64::from_le_bytes(*self.take()?)),
            3 => Value::Text(String::from_utf8_lossy(self.some()?).into_owned()),
            _ => Value::Blob(self.some()?.to_vec()),
        };
        Some((table, column, value))
    }

    fn take<const N: usize>(&mut self) -> Option<&[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    fn some(&mut self) -> Option<&[u8]> {
        let [length] = *self.take()?;
        let (taken, rest) = self.0.split_at(self.0.len().min(length.into()));
        self.0 = rest;
        Some(taken)
    }
}
