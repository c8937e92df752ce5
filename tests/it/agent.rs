//! The whole agent as users run it: the program, a configuration file, real pictures, a real mosquitto.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use certiscope::testing::capture::simulator::{SimulatorSettings, simulate};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::broker::{Broker, PASSWORD, USER};
use crate::support::station_config::StationConfig;
use crate::support::subscriber::{Subscriber, key};
use crate::support::{skip, wait_until};

/// A station in a temporary folder, with the pictures that it inspects.
struct FolderStation {
    folder: tempfile::TempDir,
}

impl FolderStation {
    /// A station with pictures of simulated parts: `per_kind` good ones and as many of each kind of defect.
    fn with_pictures(per_kind: u64) -> Self {
        let station = Self { folder: tempfile::tempdir().unwrap() };
        let settings = SimulatorSettings::default();
        simulate(&station.path("pictures"), settings, 1, per_kind, &mut |_, _| {}).unwrap();
        station
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a configuration that inspects `source` with the demo's bundle and publishes to `broker`.
    fn configure(&self, broker: &str, source: &str) -> PathBuf {
        self.configure_with("demo-line", broker, source)
    }

    fn configure_with(&self, bundle: &str, broker: &str, source: &str) -> PathBuf {
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles").join(bundle);
        let config = StationConfig {
            evidence: "keep = \"flagged\"".to_owned(),
            broker: broker.to_owned(),
            sections: "[topics]\nline = \"test\"".to_owned(),
            station: "recipe = \"flange\"".to_owned(),
            smoothing: "target_radius = 0.01\nmax_draws = 48".to_owned(),
            ..StationConfig::new(&bundle, 0, source)
        };
        config.write(self.folder.path())
    }

    fn run(&self, config: &Path) -> Child {
        Command::new(crate::support::program::path())
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn database(&self) -> Connection {
        Connection::open(self.path("state/certiscope.db")).unwrap()
    }

    fn count(&self, table: &str) -> i64 {
        self.database().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// The number of rows; 0 while the agent has not created the table yet.
    fn count_or_zero(&self, table: &str) -> i64 {
        if !self.path("state/certiscope.db").is_file() {
            return 0;
        }
        let database = self.database();
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap_or(0)
    }
}

const FOLDER: &str = "kind = \"folder\"\npath = \"pictures/test\"";
const BELT: &str = "kind = \"simulator\"\nframes_per_second = 50.0";

/// Waits for the end of a program. Returns its exit code, and what it wrote to stdout and stderr.
fn end(mut child: Child) -> (Option<i32>, String, String) {
    let read = |pipe: Option<&mut dyn Read>| {
        let mut text = String::new();
        pipe.unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let out = read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read));
    let err = read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read));
    (child.wait().unwrap().code(), out, err)
}

fn signal(child: &Child, name: &str) {
    // The `kill` of the shell, since a bare Debian has no program of that name.
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status().unwrap();
    assert!(sent.success());
}

/// Pictures, some of them broken: each file gives one verdict, which is committed and arrives once.
#[test]
fn every_file_gives_exactly_one_verdict() {
    let station = FolderStation::with_pictures(2);
    let whole = std::fs::read(station.path("pictures/test/good/0000.png")).unwrap();
    for (name, bytes) in
        [("empty.png", &[][..]), ("cut.png", &whole[..whole.len() / 3]), ("text.png", b"no picture")]
    {
        std::fs::write(station.path("pictures/test/good").join(name), bytes).unwrap();
    }
    let broker = Broker::start();
    let subscriber = Subscriber::at(broker.port);
    let config = station.configure(&format!("port = {}", broker.port), FOLDER);
    let (code, out, err) = end(station.run(&config));
    assert_eq!(code, Some(0), "{out}{err}");

    let files = 2 * 7 + 3;
    subscriber.wait_heard("status", "the agent has stopped", |heard| heard.message["state"] == "stopped");
    let verdicts: Vec<Value> = subscriber.heard("verdict").into_iter().map(|heard| heard.message).collect();
    assert_eq!(verdicts.len(), files, "{out}{err}");
    let parts: BTreeSet<&str> = verdicts.iter().map(|verdict| verdict["part_id"].as_str().unwrap()).collect();
    assert_eq!(parts.len(), files, "a part was named twice");
    let boot = verdicts[0]["boot_id"].clone();
    let expected: Vec<_> = (1..=files as u64).map(|seq| (boot.as_str().unwrap().to_owned(), seq)).collect();
    assert_eq!(verdicts.iter().map(key).collect::<Vec<_>>(), expected, "in order, without a gap");
    assert_eq!((station.count("inspection"), station.count("outbox")), (files as i64, 0));

    for verdict in &verdicts {
        let part = verdict["part_id"].as_str().unwrap();
        let broken = ["empty.png", "cut.png", "text.png"].iter().any(|name| part.ends_with(name));
        assert_eq!(verdict["reason"] == "bad_frame", broken, "{verdict}");
        assert_eq!(verdict["recipe"], "flange");
        assert_eq!(verdict["historical"], false);
        if broken {
            assert_eq!((&verdict["verdict"], &verdict["pass"]), (&"abstain".into(), &2.into()));
            assert!(verdict["radius"].is_null() && verdict["frame_radius"].is_null());
        }
    }
    let last = subscriber.heard("last").pop().unwrap().message;
    assert_eq!(last["seq"], files as u64);
}

/// Real photographs of a real product, inspected with the model that was trained on other photographs of it. They are not part
/// of the repository: `CERTISCOPE_SHARED_DATA` is the folder that contains `magnetic-tile`.
#[test]
fn real_photographs_are_inspected() {
    let Some(data) = std::env::var_os("CERTISCOPE_SHARED_DATA") else {
        skip("photographs", "CERTISCOPE_SHARED_DATA is not set");
        return;
    };
    let station = FolderStation { folder: tempfile::tempdir().unwrap() };
    let kinds = ["good", "blowhole", "break", "crack", "fray", "uneven"];
    for kind in kinds {
        let folder = Path::new(&data).join("magnetic-tile/test").join(kind);
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        std::fs::create_dir_all(station.path("pictures/test").join(kind)).unwrap();
        for file in &files[..2] {
            std::fs::copy(file, station.path("pictures/test").join(kind).join(file.file_name().unwrap()))
                .unwrap();
        }
    }
    let broker = Broker::start();
    let subscriber = Subscriber::at(broker.port);
    let config = station.configure_with("magnetic-tile", &format!("port = {}", broker.port), FOLDER);
    let (code, out, err) = end(station.run(&config));
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(subscriber.verdicts().values().all(|&times| times == 1));
    let verdicts: Vec<Value> = subscriber.heard("verdict").into_iter().map(|heard| heard.message).collect();
    assert_eq!(verdicts.len(), 2 * kinds.len(), "{out}{err}");
    for verdict in verdicts {
        assert_eq!(verdict["input"], serde_json::json!([1, 128, 128]));
        assert_ne!(verdict["reason"], "model_fault", "{verdict}");
        assert_ne!(verdict["reason"], "bad_frame", "{verdict}");
        // These pictures are larger than the model input, so their radius is larger than that of the input.
        if let Some(radius) = verdict["radius"].as_f64() {
            assert!(verdict["frame_radius"].as_f64().unwrap() > radius, "{verdict}");
        }
    }
}

/// For every part that is not normal there are the bytes as captured, the input and a heat map as files, and the seed and the
/// scores in the inspection log.
#[test]
fn flagged_parts_keep_their_evidence() {
    let station = FolderStation::with_pictures(1);
    std::fs::write(station.path("pictures/test/good/empty.png"), []).unwrap();
    let broker = Broker::start();
    let config = station.configure(&format!("port = {}", broker.port), FOLDER);
    let (code, out, err) = end(station.run(&config));
    assert_eq!(code, Some(0), "{out}{err}");

    let database = station.database();
    let mut rows = database
        .prepare("SELECT verdict, part_id, evidence, length(seed), draws, length(scores) FROM inspection")
        .unwrap();
    let mut rows = rows.query([]).unwrap();
    let mut flagged = 0;
    while let Some(row) = rows.next().unwrap() {
        let (verdict, part): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        let evidence: Option<String> = row.get(2).unwrap();
        assert_eq!(evidence.is_some(), verdict != "normal", "{part} is {verdict}");
        assert_eq!(row.get::<_, u32>(3).unwrap(), 32, "the seed");
        let (draws, bytes): (Option<u32>, u32) = (row.get(4).unwrap(), row.get(5).unwrap());
        assert_eq!(bytes, 4 * draws.unwrap_or(0), "one f32 for each draw");
        let Some(evidence) = evidence else { continue };
        flagged += 1;
        let folder = station.path("state/evidence/station1").join(evidence);
        let captured = std::fs::read(station.path("pictures/test").join(&part)).unwrap();
        let kept = ["frame.png", "frame.bin"].iter().find_map(|name| std::fs::read(folder.join(name)).ok());
        assert_eq!(kept.unwrap(), captured, "{part}: the bytes as captured");
        let read_picture = !part.ends_with("empty.png");
        assert_eq!(folder.join("heatmap.png").is_file(), read_picture);
        assert_eq!(folder.join("input.safetensors").is_file(), read_picture);
        if read_picture {
            assert_eq!(image::open(folder.join("heatmap.png")).unwrap().height(), 384);
        }
    }
    assert!(flagged >= 1, "the empty file at the least");
}

/// The broker is not there at first: inspection continues, and the verdicts of that time are sent later, marked as historical.
#[test]
fn inspection_goes_on_without_a_broker() {
    let station = FolderStation::with_pictures(1);
    let mut broker = Broker::absent();
    let config = station.configure(&format!("port = {}", broker.port), BELT);
    let agent = station.run(&config);
    wait_until("the agent inspects without a broker", || {
        station.path("state/certiscope.db").is_file() && station.count_or_zero("inspection") >= 5
    });
    broker.come_up();
    let subscriber = Subscriber::at(broker.port);
    subscriber.wait_heard("verdict", "a verdict from before comes, marked as historical", |heard| {
        heard.message["historical"] == true
    });
    subscriber
        .wait_heard("verdict", "a verdict from now comes", |heard| heard.message["historical"] == false);
    signal(&agent, "TERM");
    let (code, out, err) = end(agent);
    assert_eq!(code, Some(0), "{out}{err}");
    // The broker has acknowledged the last one; the reader may get it a little later.
    wait_until("every row has arrived", || subscriber.verdicts().len() as i64 == station.count("inspection"));
    assert_eq!(station.count("outbox"), 0);
}

/// A broker that refuses the agent does not stop inspection either; the rows wait in the outbox.
#[test]
fn a_broker_that_refuses_stops_nothing() {
    let station = FolderStation::with_pictures(1);
    let broker = Broker::with_password();
    std::fs::write(station.path("password"), "wrong\n").unwrap();
    let refused = format!("port = {}\nusername = \"{USER}\"\npassword_file = \"password\"", broker.port);
    let (code, out, err) = end(station.run(&station.configure(&refused, FOLDER)));
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(err.contains("refused"), "{err}");
    assert_eq!((station.count("inspection"), station.count("outbox")), (7, 7));

    // The next start, with the right password, delivers what waited.
    std::fs::write(station.path("password"), PASSWORD).unwrap();
    let (code, out, err) = end(station.run(&station.configure(&refused, FOLDER)));
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!((station.count("inspection"), station.count("outbox")), (14, 0));
}
