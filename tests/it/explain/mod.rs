//! A stored verdict can be found, read and computed again, and everything that was changed since then is named.

mod reading;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::bundles::{BundleCopy, simulated};
use crate::support::faulty::Part;
use crate::support::line::Line;
use crate::support::program::{Ran, certiscope, run};

/// The state folder of a station that inspected parts of several kinds and stopped.
struct Inspected {
    state: TempDir,
    bundle: BundleCopy,
}

impl Inspected {
    fn parts() -> Self {
        let folder = TempDir::new().unwrap();
        simulated(&folder.path().join("pictures"), 1, 2);
        let good = folder.path().join("pictures/test/good");
        let whole = std::fs::read(good.join("0000.png")).unwrap();
        std::fs::write(good.join("empty.png"), []).unwrap();
        std::fs::write(good.join("cut.png"), &whole[..whole.len() / 3]).unwrap();
        let bundle = BundleCopy::new();
        // The draws of normal parts lie on both sides of this threshold, so some parts stay undecided.
        bundle.set("calibration", "threshold", NORMAL_SCORE);
        let broker = Broker::start();
        let config = folder.path().join("station.toml");
        std::fs::write(
            &config,
            format!(
                r#"
                [store]
                folder = "state"
                [evidence]
                keep = "flagged"
                [broker]
                host = "127.0.0.1"
                port = {}
                [[station]]
                name = "st1"
                bundle = {:?}
                [station.source]
                kind = "folder"
                path = "pictures/test"
                [station.model]
                threads = 2
                [station.smoothing]
                target_radius = 0.01
                max_draws = 48
                "#,
                broker.port,
                bundle.path()
            ),
        )
        .unwrap();
        run(certiscope("run").arg("--config").arg(&config)).succeeded();
        let state = TempDir::new().unwrap();
        copy(&folder.path().join("state"), state.path());
        Self { state, bundle }
    }

    /// A copy to be changed.
    fn copied(&self) -> State {
        let folder = TempDir::new().unwrap();
        copy(self.state.path(), folder.path());
        State { folder }
    }
}

/// Between the median scores of the two simulated normal parts by the demo's bundle, 4.8 and 5.2.
const NORMAL_SCORE: f64 = 5.0;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A state folder as the agent left it.
struct State {
    folder: TempDir,
}

impl State {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn sql(&self) -> Connection {
        Connection::open(self.path().join("certiscope.db")).unwrap()
    }

    fn change(&self, sql: &str) {
        assert!(self.sql().execute(sql, []).unwrap() > 0, "nothing was changed by {sql}");
    }

    /// Ids of the rows for which an SQL condition is true.
    fn ids(&self, condition: &str) -> Vec<String> {
        let sql = format!("SELECT boot_id || '-' || seq FROM inspection WHERE {condition} ORDER BY seq");
        self.sql()
            .prepare(&sql)
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    fn id(&self, condition: &str) -> String {
        self.ids(condition).into_iter().next().unwrap_or_else(|| panic!("no row is {condition}"))
    }

    /// The folder of an inspection's evidence.
    fn evidence(&self, id: &str) -> PathBuf {
        let seq = id.rsplit('-').next().unwrap();
        let sql = format!("SELECT evidence FROM inspection WHERE seq = {seq}");
        let folder: String = self.sql().query_row(&sql, [], |row| row.get(0)).unwrap();
        self.path().join("evidence/st1").join(folder)
    }

    fn scores(&self, seq: &str) -> Vec<u8> {
        let sql = format!("SELECT scores FROM inspection WHERE seq = {seq}");
        self.sql().query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Ran {
        run(certiscope(command).args(arguments).arg("--store").arg(self.path()))
    }

    fn verify(&self, id: &str, more: &[&str]) -> Ran {
        self.run("verify", &[&[id], more].concat())
    }
}

const ANOMALOUS: &str = "verdict = 'anomalous'";

#[test]
fn every_kept_verdict_comes_out_again_bit_for_bit() {
    let inspected = Inspected::parts();
    let state = inspected.copied();
    for kind in [ANOMALOUS, "reason = 'undecided'", "reason = 'bad_frame'"] {
        assert!(!state.ids(kind).is_empty(), "no inspection of this test is {kind}");
    }
    for id in state.ids("evidence IS NOT NULL") {
        let ran = state.verify(&id, &["--json"]).succeeded();
        let said = ran.json();
        assert_eq!((&said["outcome"], &said["result_id"]), (&"bits".into(), &id.as_str().into()), "{said}");
        assert_eq!(said["not_as_it_was"], serde_json::json!([]), "{said}");
        let steps = said["steps"].as_array().unwrap().len();
        assert_eq!(steps, if said["reason"] == "bad_frame" { 1 } else { 5 }, "{said}");
    }
    let id = state.id(ANOMALOUS);
    let (boot, seq) = id.rsplit_once('-').unwrap();
    let said = state.verify(&boot[..6], &[seq]).succeeded().stdout;
    assert!(
        said.contains("recomputed bit for bit") && said.contains("the target radius was reached"),
        "{said}"
    );

    // Another number of threads is named, and its result is compared with the tolerance.
    let other = state.verify(&id, &["--threads", "1"]).succeeded();
    assert!(other.stderr.contains("not as it was: threads: 2 then, 1 now"), "{other:?}");
    state.change("UPDATE parameters SET cpu = 'abacus', onnxruntime = ''");
    let other = state.verify(&id, &[]).succeeded();
    assert!(other.stderr.contains("processor: abacus then"), "{other:?}");
    assert!(other.stderr.contains("ONNX Runtime: not recorded then"), "{other:?}");
}

/// When a defective part was delivered, its verdict was `normal`. With `keep = "all"` every one of these can be computed
/// again. A verdict whose model call hung can be explained too.
#[test]
fn normals_that_were_kept_and_a_call_that_hung_are_explained() {
    let mut line = Line::new();
    line.model = "call_limit_ms = 1000".to_owned();
    let agent = line.start();
    line.show(Part::Hang);
    agent.end();
    let verdicts = line.reader.heard("verdict");
    let (normal, hung) = (&verdicts[0].message, &verdicts.last().unwrap().message);
    assert_eq!((&normal["verdict"], &hung["reason"]), (&"normal".into(), &"model_fault".into()));
    for (verdict, said) in [(normal, "recomputed bit for bit"), (hung, "a call has not returned")] {
        let id = verdict["result_id"].as_str().unwrap();
        let ran = run(certiscope("verify").arg(id).arg("--store").arg(&line.state)).succeeded();
        assert!(ran.stdout.contains(said), "{ran:?}");
    }
}

/// Changes of the row, of the evidence and of the bundle.
#[test]
fn whatever_was_changed_since_is_named() {
    let inspected = Inspected::parts();
    let id = inspected.copied().id(ANOMALOUS);
    let seq = id.rsplit('-').next().unwrap().to_owned();
    let update = |set: &str| format!("UPDATE inspection SET {set} WHERE seq = {seq}");
    let cases: [(&str, String); 8] = [
        ("input to scores               DIFFERENT", update("seed = zeroblob(32)")),
        ("radius: 0.5 in the log", update("radius = 0.5")),
        ("frame_radius: 0.5 in the log", update("frame_radius = 0.5")),
        ("side: Normal in the log", update("side = 'normal'")),
        ("verdict: Normal in the log", update("verdict = 'normal'")),
        ("score_upper: 1.0 in the log", update("score_upper = 1.0")),
        ("threshold is 4.3 in the log", "UPDATE parameters SET threshold = 4.3".to_owned()),
        ("a model call of 16 draws after 0; the rule makes one of 8", update("batches = x'10000000'")),
    ];
    let says = |state: &State, words: &str| {
        let ran = state.verify(&id, &[]);
        assert_eq!(ran.code, 1, "{words}: {ran:?}");
        assert!(
            ran.stdout.contains(words) && ran.stdout.contains("does NOT hold"),
            "{words}: {}",
            ran.stdout
        );
    };
    for (words, change) in cases {
        let state = inspected.copied();
        state.change(&change);
        says(&state, words);
    }
    let state = inspected.copied();
    let mut scores = state.scores(&seq);
    scores[5] ^= 0x40; // of the mantissa of the second score: two thousandths of it
    let update = "UPDATE inspection SET scores = ?1 WHERE seq = ?2";
    state.sql().execute(update, rusqlite::params![scores, seq]).unwrap();
    says(&state, &format!("1 of {} scores, first draw 2: ", scores.len() / 4));

    let state = inspected.copied();
    let frame = state.evidence(&id).join("frame.png");
    let mut picture = image::open(&frame).unwrap().into_rgb8();
    picture.get_pixel_mut(20, 20).0[0] ^= 1;
    picture.save(&frame).unwrap();
    says(&state, "frame to input                DIFFERENT");
    says(&state, "input to scores               ok");

    let state = inspected.copied();
    let input = state.evidence(&id).join("input.safetensors");
    let mut bytes = std::fs::read(&input).unwrap();
    let last = bytes.len() - 2; // of the mantissa of the last value
    bytes[last] ^= 0x40;
    std::fs::write(&input, bytes).unwrap();
    says(&state, "1 of 4096 values of the kept input");
    says(&state, "input to scores               DIFFERENT");
    std::fs::write(&input, "no tensors").unwrap();
    says(&state, "the kept input is damaged");

    // The broken picture is replaced by a good one; then the log names another fault than the picture has.
    let state = inspected.copied();
    let bad = state.id("fault LIKE '%cut off%'");
    std::fs::copy(&frame, state.evidence(&bad).join("frame.png")).unwrap();
    let ran = state.verify(&bad, &[]);
    assert!(ran.code == 1 && ran.stdout.contains("here the frame can be inspected"), "{ran:?}");
    let state = inspected.copied();
    state.change("UPDATE inspection SET fault = 'frame: a: empty file' WHERE fault LIKE '%cut off%'");
    let ran = state.verify(&bad, &[]);
    assert!(ran.code == 1 && ran.stdout.contains("here `cut off before its end marker"), "{ran:?}");
    let state = inspected.copied();
    state.change("UPDATE inspection SET scores = zeroblob(4) WHERE fault LIKE '%cut off%'");
    let ran = state.verify(&bad, &[]);
    assert!(ran.code == 1 && ran.stdout.contains("has draws in the log"), "{ran:?}");
}

/// A deadline and a passing fault cannot be computed again, so they are read from the log, and the rest follows from
/// them.
#[test]
fn a_deadline_and_a_fault_are_explained_by_the_draws_before_them() {
    let inspected = Inspected::parts();
    let state = inspected.copied();
    let id = state.id(ANOMALOUS);
    let seq = id.rsplit('-').next().unwrap();
    let scores = state.scores(seq);
    let mut first: Vec<f32> =
        scores[..32].chunks(4).map(|score| f32::from_le_bytes(score.try_into().unwrap())).collect();
    first.sort_unstable_by(f32::total_cmp);
    let median = 0.5 * first[3] + 0.5 * first[4];
    // As if the deadline had passed after the first call of 8 draws, which certify nothing at this alpha.
    state.change("UPDATE parameters SET deadline_ms = 40");
    state.change(&format!(
        "UPDATE inspection SET verdict = 'abstain', reason = 'deadline', side = NULL, radius = 0, frame_radius = NULL,
         scores = substr(scores, 1, 32), batches = x'08000000', draws = 8, above = 8, score = {median},
         score_lower = NULL, score_upper = NULL WHERE seq = {seq}"
    ));
    let said = state.verify(&id, &[]).succeeded().stdout;
    assert!(said.contains("ended after 8 draws at the deadline of 40 ms"), "{said}");
    state.change("UPDATE parameters SET deadline_ms = NULL");
    let ran = state.verify(&id, &[]);
    assert!(ran.code == 1 && ran.stdout.contains("there was no deadline"), "{ran:?}");
    state.change(&format!(
        "UPDATE inspection SET reason = 'model_fault', fault = 'model: gone' WHERE seq = {seq}"
    ));
    let said = state.verify(&id, &[]).succeeded().stdout;
    assert!(
        said.contains("ended after 8 draws by a fault of the model") && said.contains("model: gone"),
        "{said}"
    );
}

#[test]
fn only_the_bundle_that_decided_can_decide_again() {
    let inspected = Inspected::parts();
    let state = inspected.copied();
    let id = state.id(ANOMALOUS);
    let hash = certiscope::testing::bundle::sha256_of(&inspected.bundle.file("bundle.toml")).unwrap();
    let there = inspected.bundle.path().to_str().unwrap().to_owned();
    let another = BundleCopy::new();
    let other = another.path().to_str().unwrap();
    state
        .verify(&id, &["--bundle", other])
        .refused("another threshold", &["is another bundle", &hash, other]);
    // The bundle has moved.
    state.change("UPDATE boot SET bundle_folder = '/nowhere/at/all'");
    state.verify(&id, &[]).refused("moved", &["/nowhere/at/all", &hash, "--bundle"]);
    state.verify(&id, &["--bundle", &there]).succeeded();
    // A bad frame needs no bundle.
    state.verify(&state.id("reason = 'bad_frame'"), &[]).succeeded();
    // The bundle was calibrated in place, so its hash differs.
    inspected.bundle.set("calibration", "threshold", 4.0);
    state.verify(&id, &["--bundle", &there]).refused("changed in place", &["is another bundle", &hash]);
}

#[test]
fn without_evidence_the_numbers_are_still_followed() {
    let inspected = Inspected::parts();
    let state = inspected.copied();
    let id = state.id(ANOMALOUS);
    let folder = state.evidence(&id);
    let show = |state: &State| state.run("inspections", &["show", &id]).succeeded().stdout;
    assert!(show(&state).contains("heatmap.png"));

    std::fs::remove_file(folder.join("frame.png")).unwrap();
    let ran = state.verify(&id, &[]);
    assert!(ran.code == 75 && ran.stdout.contains("no frame is kept"), "{ran:?}");
    assert!(ran.stdout.contains("input to scores               ok"), "{}", ran.stdout);
    std::fs::remove_file(folder.join("input.safetensors")).unwrap();
    let ran = state.verify(&id, &[]);
    assert!(ran.code == 75 && ran.stdout.contains("stored scores to verdict      ok"), "{ran:?}");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(state.verify(&id, &["--json"]).json()["outcome"], "gone");
    assert!(show(&state).contains("something else than retention removed it"));
    state.change("UPDATE inspection SET evidence = NULL, evidence_bytes = 0");
    assert!(show(&state).contains("retention has removed it"));
    state.change("UPDATE inspection SET evidence_bytes = NULL");
    let said = show(&state);
    assert!(said.contains("the disk was low") && said.contains("stand nevertheless"), "{said}");
    let ran = state.verify(&id, &[]);
    assert!(ran.code == 75 && ran.stdout.contains("what is there holds"), "{ran:?}");
    state.change("UPDATE inspection SET above = above - 1 WHERE draws > 0");
    assert_eq!(state.verify(&id, &[]).code, 1, "the numbers contradict each other");

    // Only the input is missing: the one computed from the frame is used instead.
    let state = inspected.copied();
    std::fs::remove_file(state.evidence(&id).join("input.safetensors")).unwrap();
    let ran = state.verify(&id, &[]);
    assert!(ran.code == 75 && ran.stdout.contains("the frame's is used instead"), "{ran:?}");
    assert!(ran.stdout.contains("recomputed scores to verdict  ok"), "{}", ran.stdout);
}

#[test]
fn show_says_in_plain_words_what_the_row_holds() {
    let inspected = Inspected::parts();
    let state = inspected.copied();
    let id = state.id(ANOMALOUS);
    let pictures = state.path().join("for the night shift");
    let said =
        state.run("inspections", &["show", &id, "--pictures", pictures.to_str().unwrap()]).succeeded().stdout;
    for words in [
        &id,
        "ANOMALOUS",
        "cannot turn the verdict into normal, except with a probability of at most 0.001",
        "against threshold 5:",
        "draws (48 allowed)",
        "The broker has acknowledged it",
        "demo-line@",
        "on cpu (fp32, 2 threads)",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    for name in ["frame.png", "heatmap.png"] {
        let copy = std::fs::read(pictures.join(format!("{id}-{name}"))).unwrap();
        assert_eq!(copy, std::fs::read(state.evidence(&id).join(name)).unwrap());
    }
    let bad = state.run("inspections", &["show", &state.id("reason = 'bad_frame'")]).succeeded().stdout;
    assert!(bad.contains("ABSTAIN (bad_frame)") && bad.contains("treats this as a reject"), "{bad}");
    let undecided = state.run("inspections", &["show", &state.id("reason = 'undecided'")]).succeeded().stdout;
    assert!(undecided.contains("neither side could be certified"), "{undecided}");
    state.change("UPDATE inspection SET part_id = char(27) || '[2Jpart'");
    let said = state.run("inspections", &["show", &id]).succeeded().stdout;
    assert!(!said.contains('\x1b'), "a part's name must not steer the terminal");
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
