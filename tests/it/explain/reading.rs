//! Reading the inspection log: lists, exports and missing messages. The inspections are made up.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use certiscope::testing::publish::json_output::{JSON, encode};
use certiscope::testing::store::{Boot, Origin, RowId, Store};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use super::{State, lines};
use crate::support::inspections::{inspection, parameters};
use crate::support::program::{certiscope, run};
use crate::support::subscriber::verdict_schema;

/// The capture time of the made-up part `n`.
fn captured(n: u64) -> String {
    inspection(n, &Arc::new(parameters())).captured_at.to_string()
}

/// A log of made-up inspections, the first half of it at station `a`, the rest at `b`.
struct Made {
    state: State,
    boot: Uuid,
}

impl Made {
    fn with(count: u64) -> Self {
        let state = State { folder: TempDir::new().unwrap() };
        let parameters = Arc::new(parameters());
        let mut store = Store::open(&state.path().join("certiscope.db")).unwrap();
        let boot = Uuid::new_v4();
        let mut rows = Vec::new();
        for (station, parts) in [("a", 0..count / 2), ("b", count / 2..count)] {
            let origin = begin(&mut store, boot, station);
            rows.extend(
                parts.map(|n| store.commit(&origin, &inspection(n, &parameters), &encode).unwrap().row),
            );
        }
        store.acknowledged(JSON, &rows[1..]).unwrap();
        Self { state, boot }
    }

    fn inspections(&self, arguments: &[&str]) -> Vec<Value> {
        lines(&self.state.run("inspections", arguments).succeeded())
    }
}

fn begin(store: &mut Store, boot_id: Uuid, station: &str) -> Origin {
    let origin = Origin { boot_id, station: station.into() };
    let boot = Boot {
        started_at: jiff::Timestamp::UNIX_EPOCH,
        version: "0.1.0",
        configuration: "",
        bundle_folder: Path::new("/bundles/made-up"),
        parameters: &parameters(),
    };
    store.begin(&origin, &boot).unwrap();
    origin
}

/// The numbers of the parts in rows of `list` or `export`.
fn parts(rows: &[Value]) -> Vec<u64> {
    let number = |row: &Value| row["part_id"].as_str().unwrap().split('"').nth(1).unwrap().parse().unwrap();
    rows.iter().map(number).collect()
}

#[test]
fn what_is_asked_for_is_listed_and_exported() {
    let made = Made::with(600);
    let export =
        |filter: &[&str]| parts(&made.inspections(&[&["export", "--format", "jsonl"][..], filter].concat()));
    let every = |step: usize, first: u64| -> Vec<u64> { (first..600).step_by(step).collect() };
    assert_eq!(export(&[]), every(1, 0), "all of it, oldest first, over several pages");
    assert_eq!(export(&["--verdict", "normal"]), every(4, 0));
    assert_eq!(export(&["--verdict", "abstain"]).len(), 300);
    assert_eq!(export(&["--reason", "bad_frame"]), every(4, 3));
    assert_eq!(export(&["--station", "b"]), (300..600).collect::<Vec<_>>());
    assert!(export(&["--station", "c"]).is_empty());
    assert_eq!(export(&["--boot", &made.boot.to_string()[..5]]).len(), 600);
    assert!(export(&["--boot", "?"]).is_empty());
    assert_eq!(export(&["--from", &captured(590)]), (590..600).collect::<Vec<_>>());
    assert_eq!(export(&["--from", &captured(5), "--to", &captured(9)]), [5, 6, 7, 8]);
    assert_eq!(export(&["--limit", "300"]), (0..300).collect::<Vec<_>>());
    assert_eq!(export(&["--part", "tile \"7\" ü\\{}.png"]), [7]);
    assert_eq!(export(&["--part", "tile \"59*"]), [vec![59], (590..600).collect::<Vec<u64>>()].concat());
    assert!(export(&["--part", "til? *"]).is_empty(), "only * stands for others");
    assert_eq!(export(&["--part", "*ü*", "--station", "a", "--verdict", "anomalous"]).len(), 75);

    let newest = |more: &[&str]| {
        let listed = made.state.run("inspections", &[&["list", "--json"], more].concat()).succeeded();
        (parts(&lines(&listed)), listed.stderr)
    };
    let (listed, said) = newest(&[]);
    assert_eq!(listed, (550..600).rev().collect::<Vec<_>>(), "the newest 50, newest first");
    assert!(said.contains("only the newest 50"), "{said}");
    let (listed, said) = newest(&["--limit", "300", "--station", "a"]);
    assert_eq!((listed.len(), said.as_str()), (300, ""), "nothing is left out");
    let table = made.state.run("inspections", &["list", "--limit", "4"]).succeeded().stdout;
    let id = format!("{}-299", &made.boot.to_string()[..8]);
    assert!(table.lines().any(|line| line.contains(&id) && line.contains("abstain (undecided)")), "{table}");
    let none = made.state.run("inspections", &["list", "--station", "c"]).succeeded();
    assert!(none.stderr.contains("no inspection"), "{none:?}");
}

#[test]
fn an_export_holds_every_column_of_every_row() {
    let made = Made::with(8);
    let file = made.state.path().join("log.csv");
    made.state.run("inspections", &["export", "--out", file.to_str().unwrap()]).succeeded();
    let mut csv = csv::Reader::from_path(&file).unwrap();
    let names: Vec<String> = csv.headers().unwrap().iter().map(str::to_owned).collect();
    let rows = made.inspections(&["export", "--format", "jsonl"]);
    let help = run(certiscope("inspections").args(["export", "--help"])).succeeded().stdout;
    for (record, row) in csv.records().zip(&rows) {
        let record = record.unwrap();
        let keys: Vec<&String> = row.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), names.len());
        for (name, field) in names.iter().zip(record.iter()) {
            let value = match &row[name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                other => panic!("{name}: {other}"),
            };
            let number = |text: &str| text.parse::<f64>().ok();
            assert!(field == value || number(field) == number(&value), "{name}: {field} and {value}");
        }
    }
    let wanted = inspection(1, &Arc::new(parameters()));
    let certificate = wanted.certificate.unwrap();
    let row = &rows[1];
    assert_eq!(row["radius"].as_f64(), Some(certificate.radius));
    assert_eq!(row["scores"], "1.1 NaN 0.05");
    assert_eq!((&row["batches"], &row["seed"]), (&"2 1".into(), &wanted.seed.to_hex().into()));
    assert_eq!((&row["broker"], &rows[0]["broker"]), (&"acknowledged".into(), &"waiting".into()));
    assert_eq!(
        (&row["verdict"], &row["evidence"], &row["model"]),
        (&"anomalous".into(), &"never".into(), &"made-up@3".into())
    );
    assert!(rows[2]["radius"].is_null() && rows[3]["draws"].is_null(), "nothing certified, nothing drawn");
    let flowing = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for name in ["result_id", "frame_radius", "not_a_number", "bundle_sha256", "batches", "cpu"] {
        assert!(names.iter().any(|known| known == name) && flowing.contains(name), "{name}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let made = Made::with(600);
    for arguments in [&["inspections", "export"][..], &["inspections", "export", "--format", "jsonl"]] {
        let mut program = Command::new(crate::support::program::path())
            .args(arguments)
            .arg("--store")
            .arg(made.state.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let output = program.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_gap_is_closed_with_the_very_messages_of_the_wire() {
    let made = Made::with(20);
    let boot = made.boot.to_string();
    let schema = verdict_schema();
    let export =
        |more: &[&str]| made.state.run("export", &[&["--boot", &boot[..9], "--station", "a"], more].concat());
    let seqs = |ran: &crate::support::program::Ran| -> Vec<u64> {
        lines(ran).iter().map(|message| message["seq"].as_u64().unwrap()).collect()
    };
    let ran = export(&["--from", "4"]).succeeded();
    assert_eq!(seqs(&ran), (4..=10).collect::<Vec<_>>());
    assert!(ran.stderr.contains("7 verdicts"), "{ran:?}");
    let stored: String = made
        .state
        .sql()
        .query_row(
            "SELECT CAST(payload AS TEXT) || ',\"historical\":false}'
             FROM inspection JOIN output_message ON inspection_id = id WHERE station = 'a' AND seq = 4",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let mut expected: Value = serde_json::from_str(&stored).unwrap();
    expected["historical"] = true.into();
    assert_eq!(lines(&ran)[0], expected);
    for message in lines(&ran) {
        schema.validate(&message).unwrap_or_else(|error| panic!("{error}\nin {message}"));
        assert_eq!(message["historical"], true);
    }

    made.state
        .sql()
        .execute_batch("DELETE FROM outbox; DELETE FROM inspection WHERE station = 'a' AND seq IN (1, 2, 6);")
        .unwrap();
    let ran = export(&["--from", "1", "--to", "12"]);
    assert_eq!((ran.code, seqs(&ran)), (1, vec![3, 4, 5, 7, 8, 9, 10]));
    assert!(ran.stderr.contains("seq 1 to 2, 6, 11 to 12;"), "{}", ran.stderr);
    assert_eq!(seqs(&export(&["--from", "7", "--to", "9"]).succeeded()), [7, 8, 9]);
    let removed = made.state.run("inspections", &["show", &boot, "6", "--station", "a"]);
    removed.refused("removed", &["retention has deleted it", "1 to 10"]);
}

/// Lists and exports run while the agent commits.
#[test]
fn the_log_is_read_while_it_is_written() {
    let state = State { folder: TempDir::new().unwrap() };
    let mut store = Store::open(&state.path().join("certiscope.db")).unwrap();
    let origin = begin(&mut store, Uuid::new_v4(), "a");
    let parameters = Arc::new(parameters());
    store.commit(&origin, &inspection(0, &parameters), &encode).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                store
                    .commit(&origin, &inspection(n, &parameters), &encode)
                    .expect("a reader must not disturb the agent");
            }
            store.newest_message("a", JSON).unwrap().map(|message| message.row)
        });
        let mut seen = 0;
        for _ in 0..5 {
            let rows = lines(&state.run("inspections", &["export", "--format", "jsonl"]).succeeded());
            let seqs: Vec<u64> = rows.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "whole, in order");
            assert!(seqs.len() >= seen, "the log does not shrink");
            seen = seqs.len();
            state.run("inspections", &["list"]).succeeded();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(writer.join().unwrap() > Some(RowId::START));
        assert!(seen > 1, "nothing was written meanwhile");
    });
}

#[test]
fn what_cannot_be_found_or_read_is_refused_with_the_way_out() {
    let made = Made::with(6);
    let boot = made.boot.to_string();
    let show = |arguments: &[&str]| made.state.run("inspections", &[&["show"], arguments].concat());
    show(&["ffff", "1"]).refused("unknown boot", &["boot ffff: not in this log", &boot]);
    show(&[&boot, "1"]).refused("two stations", &["several stations: a, b", "--station"]);
    show(&[&boot, "1", "--station", "a"]).succeeded();
    show(&[&format!("{boot}-1"), "--station", "b"]).succeeded();
    show(&[&boot, "4", "--station", "a"])
        .refused("beyond", &["no inspection ever had this number", "1 to 3"]);
    show(&[&boot, "0", "--station", "a"]).refused("zero", &["no inspection ever had this number"]);
    show(&[&boot, "1", "--station", "c"]).refused("no such station", &["not in this log"]);
    show(&["part-x"]).refused("no id", &["BOOT and SEQ, or a result_id"]);
    let second = Uuid::parse_str(&format!("{}{}", &boot[..8], "-0000-4000-8000-000000000000")).unwrap();
    begin(&mut Store::open(&made.state.path().join("certiscope.db")).unwrap(), second, "a");
    show(&[&boot[..8], "1"])
        .refused("ambiguous", &["several boot ids begin with this", &boot, &second.to_string()]);
    made.state.run("export", &["--boot", "ffff", "--from", "1"]).refused("no boot", &["not in this log"]);

    let folder = TempDir::new().unwrap();
    let list = |store: &Path| run(certiscope("inspections").arg("list").arg("--store").arg(store));
    list(folder.path()).refused("no log", &["certiscope.db: no such file", "has run"]);
    let file = folder.path().join("certiscope.db");
    std::fs::write(
        &file,
        "no database, but long enough to be taken for the header of one, or so it seems".repeat(9),
    )
    .unwrap();
    list(folder.path()).refused("no database", &["not a sound database"]);
    std::fs::remove_file(&file).unwrap();
    let sql = rusqlite::Connection::open(&file).unwrap();
    sql.execute_batch(include_str!("../../../src/store/migrations/0001_inspection_log.sql")).unwrap();
    sql.pragma_update(None, "user_version", 1).unwrap();
    list(folder.path()).refused("older", &["schema 1", "start the agent once"]);
    sql.pragma_update(None, "user_version", 99).unwrap();
    list(folder.path()).refused("newer", &["newer certiscope", "schema 99"]);

    let config = folder.path().join("absent.toml");
    let config = config.to_str().unwrap();
    run(certiscope("inspections").args(["list", "--config", config])).refused("no file", &["cannot be read"]);
    for wrong in [
        &["inspections", "list"][..],
        &["inspections", "list", "--store", "s", "--config", "c"],
        &["inspections", "list", "--store", "s", "--from", "yesterday"],
        &["inspections", "list", "--store", "s", "--to", "14:03"],
        &["inspections", "list", "--store", "s", "--verdict", "fine"],
        &["inspections", "list", "--store", "s", "--limit", "0"],
        &["inspections", "show", "--store", "s"],
        &["inspections", "show", "b", "one", "--store", "s"],
        &["inspections", "export", "--store", "s", "--format", "xml"],
        &["export", "--store", "s", "--boot", "b"],
        &["export", "--store", "s", "--boot", "b", "--from", "0"],
        &["verify", "b", "1"],
        &["verify", "b", "1", "--store", "s", "--threads", "0"],
    ] {
        let ran = run(certiscope(wrong[0]).args(&wrong[1..]));
        assert_eq!(ran.code, 2, "{wrong:?}: {ran:?}");
    }
}
