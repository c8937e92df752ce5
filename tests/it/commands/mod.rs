//! Tests of the commands as a user types them: help, output, written files and exit codes.

mod measuring;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::broker::{Broker, PASSWORD, USER};
use crate::support::bundles::{BundleCopy, demo_line, simulated};
use crate::support::program::{Ran, certiscope, run};

/// Every command, with words that its help must contain.
const EXPLAINED: [(&str, &[&str]); 13] = [
    ("run", &["SIGTERM", "A second Ctrl-C", "see config/"]),
    ("demo", &["no camera, no broker", "evidence", "0 runs until Ctrl-C"]),
    ("inspect", &["cannot be read gets `abstain`", "half the bundle's sigma", "or-cpu"]),
    ("collect", &["Let only good parts pass", "--append goes on", "cut to its region"]),
    ("calibrate", &["Split conformal", "false-alarm-rate + beta + alpha", "must not exist"]),
    ("evaluate", &["bootstrap intervals over parts", "never sees the clean picture"]),
    ("cameras", &["by-id or by-path", "takes one picture", "such as 1280x720"]),
    ("check", &["78", "75", "not reachable now"]),
    ("bench", &["bare loop", "their ratio", "removed again"]),
    ("simulate", &["test/KIND_OF_DEFECT", "same seed writes the same pictures"]),
    ("inspections", &["in plain words", "works while the agent runs"]),
    ("export", &["mosquitto_pub", "marked as historical", "retention"]),
    ("verify", &["75: some evidence is missing", "bit for bit", "First names what has changed"]),
];

#[test]
fn the_help_of_every_command_explains_it() {
    let overview = run(&mut certiscope("--help")).succeeded().stdout;
    for words in ["Exit codes: 0 done", "78 refused to start", "certified radius", "RUST_LOG"] {
        assert!(overview.contains(words), "no {words:?} in {overview}");
    }
    let listed: BTreeSet<&str> = overview
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let taught = EXPLAINED.iter().map(|(command, _)| *command).chain(["help"]);
    assert_eq!(listed, taught.collect(), "a command without a test of its help");
    for (command, words) in EXPLAINED {
        let help = run(certiscope(command).arg("--help")).succeeded().stdout;
        let flowing = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in words {
            assert!(flowing.contains(words), "{command}: no {words:?} in {help}");
        }
        assert_eq!(unexplained(&help), Vec::<&str>::new(), "{command}: options without a word");
    }
}

/// Options of a help text that have no explanation, neither beside them nor, set in further, below them.
fn unexplained(help: &str) -> Vec<&str> {
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let option = |line: &str| ["  -", "      -"].iter().any(|start| line.starts_with(start));
    let beside = |line: &str| line.trim_start().contains("  ");
    let below = lines.iter().skip(1).chain(&[""]);
    lines
        .iter()
        .zip(below)
        .filter(|(line, below)| option(line) && !beside(line) && !below.starts_with("          "))
        .map(|(line, _)| *line)
        .collect()
}

#[test]
fn wrong_usage_is_told_apart_from_a_refusal() {
    for arguments in [
        &["inspect"][..],
        &["inspect", "--bundle", "b", "--batch", "0", "p.png"],
        &["evaluate", "--bundle", "b", "--data", "d", "--threads", "100000"],
        &["run"],
        &["fly"],
    ] {
        let ran = run(certiscope(arguments[0]).args(&arguments[1..]));
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
    }
}

/// A configuration in a temporary folder: one simulated part for the demo bundle.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(port: u16) -> Self {
        let site = Self { folder: TempDir::new().unwrap() };
        let text = format!(
            r#"
[store]
folder = "state"
[broker]
host = "127.0.0.1"
port = {port}
[[station]]
name = "st1"
bundle = "{}"
[station.source]
kind = "simulator"
count = 1
[station.smoothing]
target_radius = 0.03
max_draws = 200
"#,
            demo_line().display()
        );
        std::fs::write(site.path(), text).unwrap();
        site
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("station.toml")
    }

    /// Replaces a text that occurs once in the configuration.
    fn with(self, what: &str, by: &str) -> Self {
        let text = std::fs::read_to_string(self.path()).unwrap();
        assert_eq!(text.matches(what).count(), 1, "{what}");
        std::fs::write(self.path(), text.replace(what, by)).unwrap();
        self
    }

    fn run(&self, command: &str) -> Ran {
        run(certiscope(command).arg("--config").arg(self.path()))
    }

    /// Runs `check`, which must end with this exit code.
    fn check(&self, code: i32) -> Checked {
        let ran = self.run("check");
        assert_eq!(ran.code, code, "{ran:?}");
        Checked(ran.stdout)
    }
}

struct Checked(String);

impl Checked {
    /// Asserts that the line of `thing` begins with `word` ("right", "wrong" or "not there") and contains these words.
    fn says(&self, word: &str, thing: &str, words: &str) -> &Self {
        let line = self
            .0
            .lines()
            .find(|line| line.strip_prefix(word).is_some_and(|said| said.trim_start().starts_with(thing)));
        assert!(self.0.contains(words) && line.is_some(), "not {word} {thing}: {words} in\n{}", self.0);
        self
    }
}

#[test]
fn check_finds_all_right_and_the_broker_reachable_or_not() {
    let (broker, absent) = (Broker::start(), Broker::absent());
    let checked = Site::new(broker.port).check(0);
    for thing in
        ["configuration", "bundle", "onnxruntime", "model", "certificate", "source", "store", "broker"]
    {
        checked.says("right", &format!("{thing}: "), "");
    }
    assert_eq!(checked.0.lines().count(), 8, "{}", checked.0);
    let there = format!("127.0.0.1:{} lets this station in", broker.port);
    checked.says("right", "broker", &there);

    let address = format!("broker: 127.0.0.1:{}: cannot be reached", absent.port);
    Site::new(absent.port).check(75).says("not there", &address, "inspection would go on").says(
        "right",
        "certificate",
        "can be reached in",
    );
}

#[test]
fn check_says_everything_that_is_wrong() {
    let absent = Broker::absent();
    let site = Site::new(absent.port).with("count = 1", "cuont = 1").with("0.03", "-1.0");
    site.check(78)
        .says("wrong", "configuration", "2 problems")
        .says("wrong", "configuration", "cuont: unknown key; did you mean `count`?")
        .says("wrong", "configuration", "target_radius = -1: not a radius");
    site.run("run").refused("broken configuration", &["2 problems", "did you mean `count`?"]);

    let broken = BundleCopy::new();
    broken.remove("model.onnx");
    let demo_line = demo_line();
    let site = Site::new(absent.port)
        .with(demo_line.to_str().unwrap(), broken.path().to_str().unwrap())
        .with("kind = \"simulator\"\ncount = 1", "kind = \"folder\"\npath = \"nowhere\"")
        .with("\"state\"", "\"station.toml/state\"");
    site.check(78)
        .says("right", "onnxruntime", "")
        .says("wrong", "bundle", "model.onnx: No such file")
        .says("wrong", "source", "nowhere")
        .says("wrong", "store", "cannot be written")
        .says("not there", "broker", "start the broker");
    site.run("run").refused("broken bundle", &["model.onnx: No such file"]);
}

#[test]
fn check_tells_a_broker_that_refuses_from_one_that_is_not_there() {
    let broker = Broker::with_password();
    let refused = format!("broker: 127.0.0.1:{}: refused", broker.port);
    Site::new(broker.port).check(78).says("wrong", "broker", &refused);
    let named = |password: &str| {
        let site = Site::new(broker.port)
            .with("[broker]", &format!("[broker]\nusername = \"{USER}\"\npassword_file = \"password\""));
        std::fs::write(site.folder.path().join("password"), password).unwrap();
        site
    };
    named("wrong horse").check(78).says("wrong", "broker", &refused);
    named(&format!("{PASSWORD}\n")).check(0).says("right", "broker", "lets this station in");
}

/// The numbers that a refusal offers are accepted.
#[test]
fn a_radius_out_of_reach_is_refused_with_the_numbers_that_can_be_reached() {
    let number_after = |text: &str, words: &str| -> f64 {
        let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {text}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    let site = |radius: f64, draws: f64| {
        Site::new(Broker::absent().port)
            .with("0.03", &format!("{radius:?}"))
            .with("= 200", &format!("= {draws}"))
    };
    const OUT_OF_REACH: [&str; 2] = ["smoothing.target_radius = 0.9: out of reach", "at most "];
    let far = site(0.9, 200.0);
    let said = far.check(78);
    said.says("wrong", "certificate", OUT_OF_REACH[0]);
    let ran = far.run("run");
    ran.refused("out of reach", &OUT_OF_REACH);
    let reachable = number_after(&ran.stderr, "at most ");
    assert_eq!(number_after(&said.0, "at most "), reachable);

    // A radius nearly as large, for which thousands of draws are enough.
    let radius = 0.9 * reachable;
    let few = site(radius, 200.0).run("run");
    few.refused("too few draws", &["smoothing.max_draws = 200: too few", "at least "]);
    let draws = number_after(&few.stderr, "at least ");
    site(radius, draws).check(75).says("right", "certificate", &format!("can be reached in {draws} draws"));
    site(radius, draws - 1.0).run("run").refused("one too few", &["at least "]);
}

#[test]
fn inspect_writes_nothing_unless_it_is_told_where() {
    let folder = TempDir::new().unwrap();
    let (here, pictures) = (folder.path().join("here"), folder.path().join("pictures"));
    for folder in [&here, &pictures] {
        std::fs::create_dir(folder).unwrap();
    }
    let picture = pictures.join("grey.png");
    let set = TempDir::new().unwrap();
    simulated(set.path(), 1, 0);
    std::fs::copy(set.path().join("train/good/0000.png"), &picture).unwrap();
    let inspect = |more: &[&str]| {
        let mut command = certiscope("inspect");
        command.current_dir(&here).arg("--bundle").arg(demo_line()).args(["--max-draws", "40", "--json"]);
        run(command.args(more).arg(&picture)).succeeded().json()
    };
    let names = |folder: &Path| -> Vec<String> {
        let entries = folder.read_dir().unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let result = inspect(&[]);
    assert_eq!(names(&here), Vec::<String>::new(), "written without being asked");
    assert_eq!(names(&pictures), ["grey.png"]);
    assert_eq!(result[0]["heat_map"], serde_json::Value::Null);
    assert!(result[0]["verdict"].is_string());
    let result = inspect(&["--heat-maps", "heat"]);
    assert_eq!(names(&here), ["heat"]);
    assert_eq!(names(&here.join("heat")), ["grey-heatmap.png"]);
    assert_eq!(result[0]["heat_map"], "heat/grey-heatmap.png");
}
