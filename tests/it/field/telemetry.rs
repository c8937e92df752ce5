//! Nothing leaves the station but what the configuration asks for, whichever command is run and however it is started.
//!
//! Each command runs in a network namespace of its own, with an empty home, under strace. The environment says that ONNX Runtime
//! may report: the program must know better.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::bundles::demo_line;
use crate::support::faulty::{Part, faulty};
use crate::support::program;
use crate::support::skip;
use crate::support::station_config::StationConfig;

/// A folder to work in, a home that must stay empty, and the traces.
struct Cage {
    folder: TempDir,
}

impl Cage {
    /// `None` if this machine cannot watch a program or give it a network of its own.
    fn new() -> Option<Self> {
        let works = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).output().is_ok_and(|ran| ran.status.success())
        };
        if !works("strace", &["-f", "-o", "/dev/null", "true"]) {
            skip(
                "strace",
                "a program cannot be watched here (apt-get install strace; ptrace must be allowed)",
            );
            return None;
        }
        if !works("unshare", &["-n", "ip", "link", "set", "lo", "up"]) {
            skip("mount", "no network namespace can be made here (root and iproute2 are needed)");
            return None;
        }
        let folder = TempDir::new().unwrap();
        for name in ["work", "home", "xdg"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Some(Self { folder })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command of the program; checks that it tried to reach nobody and left nothing in the home.
    fn run(&self, arguments: &[&str]) -> Output {
        let library = std::env::var_os("ORT_DYLIB_PATH").unwrap_or_default();
        let mut command = Command::new("unshare");
        command
            .args(["-n", "sh", "-c", "ip link set lo up && exec strace -f -qq -s 200 -o \"$0\" \"$@\""])
            .arg(self.at("trace"))
            .args(["-e", "trace=connect,sendto,sendmsg,sendmmsg", program::path()])
            .args(arguments)
            .current_dir(self.at("work"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.at("home"))
            .env("ORT_DYLIB_PATH", library)
            .env("ORT_DISABLE_TELEMETRY", "0");
        for of in ["CACHE", "CONFIG", "DATA", "STATE"] {
            command.env(format!("XDG_{of}_HOME"), self.at("xdg"));
        }
        let ran = command.output().unwrap();
        let trace = std::fs::read_to_string(self.at("trace")).unwrap();
        let tried: Vec<&str> = trace.lines().filter(|line| leaves(line)).collect();
        assert_eq!(tried, Vec::<&str>::new(), "{arguments:?}");
        for home in ["home", "xdg"] {
            assert_eq!(files(&self.at(home)), Vec::<PathBuf>::new(), "{arguments:?}: left behind");
        }
        ran
    }

    /// The same for a command that must succeed.
    fn succeeds(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments:?}: {}: {said}", ran.status);
        String::from_utf8(ran.stdout).unwrap()
    }

    /// The commands that a help text lists.
    fn commands(&self, of: &[&str]) -> BTreeSet<String> {
        let help = self.succeeds(&[of, &["--help"]].concat());
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names =
            listed.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
        names.map(str::to_owned).collect()
    }
}

/// Whether a line of the trace is a try to reach somebody outside this machine, or to look a name up.
fn leaves(line: &str) -> bool {
    let outside = |address: &str| {
        line.contains(address) && !line.contains("\"127.0.0.1\"") && !line.contains("\"::1\"")
    };
    let looks_up = ["htons(53)", "nscd", "resolve", "avahi"].iter().any(|sign| line.contains(sign));
    outside("AF_INET,") || outside("AF_INET6,") || looks_up
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn no_command_reaches_out_or_writes_into_the_home() {
    let Some(cage) = Cage::new() else { return };
    let (demo, faulty) = (demo_line(), faulty());
    let (demo, faulty) = (demo.to_str().unwrap(), faulty.to_str().unwrap());
    let picture = Part::Normal.write(&cage.at("work"), "part.png");
    let picture = picture.to_str().unwrap();
    // Without a broker: a connection to one that is not there is tried again and again, and to nobody else. The library's
    // first report comes within seconds.
    let source = "kind = \"simulator\"\nframes_per_second = 2.0\ncount = 16";
    let config = StationConfig::new(Path::new(demo), 1, source).write(&cage.at("work"));
    let config = config.to_str().unwrap();

    let mut untested = cage.commands(&[]);
    let inspections = cage.commands(&["inspections"]);
    assert_eq!(inspections, ["export", "help", "list", "show"].map(str::to_owned).into(), "not tested here");
    let mut test = |command: &str, arguments: &[&str]| {
        untested.remove(command);
        cage.succeeds(&[&[command], arguments].concat())
    };
    test("simulate", &["--out", "set", "--train", "30", "--test-per-kind", "1"]);
    test("collect", &["--source", "simulator", "--count", "3", "--out", "collected"]);
    test("inspect", &["--bundle", faulty, picture]);
    test("evaluate", &["--bundle", demo, "--data", "set", "--out", "report", "--draws", "2"]);
    test("run", &["--config", config]);
    test("inspections", &["list", "--config", config]);
    let rows = test("inspections", &["export", "--config", config, "--format", "jsonl"]);
    let row: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    let id = row["result_id"].as_str().unwrap();
    test("inspections", &["show", id, "--config", config]);
    test("export", &["--config", config, "--boot", row["boot_id"].as_str().unwrap(), "--from", "1"]);
    test("bench", &["--seconds", "3"]);
    test("demo", &["--seconds", "8"]);
    // These may find something wrong with the station, with the machine or with so few pictures.
    let calibrate =
        ["--bundle", demo, "--normal", "set/train/good", "--out", "new", "--false-alarm-rate", "0.2"];
    for (command, arguments) in [
        ("calibrate", &calibrate[..]),
        ("cameras", &[]),
        ("check", &["--config", config]),
        ("verify", &[id, "--config", config]),
        ("help", &[]),
    ] {
        untested.remove(command);
        let ran = cage.run(&[&[command], arguments].concat());
        assert!([0, 1, 75, 78].map(Some).contains(&ran.status.code()), "{command}: {ran:?}");
    }
    cage.succeeds(&["generate", "pages"]);
    assert_eq!(untested, BTreeSet::new(), "a command that this test does not run");
}
