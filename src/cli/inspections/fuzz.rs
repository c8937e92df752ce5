//! What `inspections` prints of a record, for the fuzz target `rows`.

use super::export_table::{TableFormat, write};
use super::{list, show};
use crate::store::{LogError, Record};

/// In how many ways a record is looked at.
const WAYS: usize = 3;

/// What `list`, `show` and `export` make of a record, one of them for each `way`. No line may be broken or the terminal be controlled by
/// what is in the log, and what is exported must be readable.
pub(crate) fn printed(record: &Record, way: usize) {
    match way % WAYS {
        0 => {
            let mut table = Vec::new();
            list::as_table(&mut table, std::slice::from_ref(record)).expect("memory can be written");
            let table = String::from_utf8(table).expect("a table is text");
            assert_eq!(table.lines().count(), 2, "{table:?}");
            for text in table.lines().map(str::to_owned).chain(show::words(record)) {
                assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
            }
        }
        1 => {
            let line = exported(record, TableFormat::Jsonl);
            let line: serde_json::Value = serde_json::from_slice(&line).expect("a line is JSON");
            assert_eq!(line["seq"], record.seq);
        }
        _ => {
            let csv = exported(record, TableFormat::Csv);
            let row = csv::Reader::from_reader(&*csv)
                .into_records()
                .next()
                .expect("one row")
                .expect("a row is CSV");
            assert_eq!(row.get(1), Some(&*record.station), "{row:?}");
        }
    }
}

fn exported(record: &Record, format: TableFormat) -> Vec<u8> {
    let mut out = Vec::new();
    let records = std::iter::once(Ok::<_, LogError>(record.clone()));
    assert!(write(&mut out, format, records).is_ok());
    out
}
