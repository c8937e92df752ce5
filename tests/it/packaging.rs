//! The files of a package beside the program: unit files, an example configuration, man pages, completions.
//!
//! Leaves out: whether the service runs under its hardening. tests/vm/ns/run tests that with a real systemd.

use std::path::Path;
use std::process::Command;

use certiscope::testing::config::Config;
use tempfile::TempDir;

use crate::support::bundles::{contents, demo_line};
use crate::support::program::{certiscope, run};
use crate::support::station_config::StationConfig;
use crate::support::{say, skip};

/// The highest exposure that is allowed, in tenths on systemd's scale from 0 (locked down) to 10 (exposed).
const EXPOSURE: &str = "--threshold=15";

fn shipped(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// A copy of the units that starts the program of this build.
struct Units {
    folder: TempDir,
}

impl Units {
    fn new() -> Self {
        let units = Self { folder: TempDir::new().unwrap() };
        let folder = units.folder.path();
        for name in ["certiscope.service", "certiscope@.service"] {
            let unit = shipped(&format!("systemd/{name}"));
            assert!(unit.contains("ExecStart=/usr/bin/certiscope run"), "{unit}");
            let unit = unit.replace("/usr/bin/certiscope", crate::support::program::path());
            std::fs::write(folder.join(name), unit).unwrap();
            std::fs::create_dir(folder.join(format!("{name}.d"))).unwrap();
        }
        units
    }

    fn add_gpu(&self, directive: &str) {
        for name in ["certiscope.service.d", "certiscope@.service.d"] {
            let drop_in = shipped("systemd/gpu.conf") + directive;
            std::fs::write(self.folder.path().join(name).join("gpu.conf"), drop_in).unwrap();
        }
    }

    /// The output of systemd-analyze for each unit, and whether it succeeded. `None` without systemd; then the test is skipped.
    fn analyze(&self, arguments: &[&str]) -> Option<Vec<(bool, String)>> {
        let analyze = |unit: &str| {
            let output = Command::new("systemd-analyze")
                .args(arguments)
                .arg(self.folder.path().join(unit))
                .env("SYSTEMD_PAGER", "cat")
                .env("SYSTEMD_LOG_LEVEL", "warning")
                .output()
                .map_err(|error| skip("systemd-analyze", &error.to_string()))
                .ok()?;
            let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
            Some((output.status.success(), text))
        };
        ["certiscope.service", "certiscope@line1.service"].into_iter().map(analyze).collect()
    }

    /// systemd-analyze succeeds even if it warns, for instance of a misspelt key: any output is a failure.
    fn verify(&self) -> Option<Vec<(bool, String)>> {
        // The man page is not installed where tests run.
        self.analyze(&["verify", "--man=no"])
    }
}

#[test]
fn systemd_accepts_the_units_without_a_warning() {
    let units = Units::new();
    let Some(said) = units.verify() else { return };
    assert_eq!(said, [(true, String::new()), (true, String::new())]);
    units.add_gpu("");
    assert_eq!(units.verify().unwrap(), said, "with gpu.conf");
    units.add_gpu("ProtectSystme=strict\n");
    for (_, said) in units.verify().unwrap() {
        assert!(said.contains("ProtectSystme"), "the check does not see a misspelt key: {said:?}");
    }
}

#[test]
fn the_service_is_hardened() {
    let Some(said) = Units::new().analyze(&["security", "--offline=true", "--no-pager", EXPOSURE]) else {
        return;
    };
    for (within, said) in said {
        let overall = said.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
        say(&format!("systemd-analyze security:{}", overall.trim_start_matches('→')));
        assert!(within && !overall.is_empty(), "{said}");
    }
}

/// The directives of a unit, without comments and instance names.
fn directives(unit: &str) -> Vec<String> {
    let lines = unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.replace(" %i", "").replace("%i", "station")).collect()
}

#[test]
fn the_template_is_the_service_under_another_name() {
    let [service, template] =
        ["systemd/certiscope.service", "systemd/certiscope@.service"].map(|file| directives(&shipped(file)));
    assert_eq!(service, template);
    // A station of the template and the single service write to different folders.
    assert!(service.contains(&"StateDirectory=certiscope/station".to_owned()), "{service:?}");
}

#[test]
fn the_example_is_a_whole_configuration_for_the_service() {
    let text = shipped("packaging/example.toml");
    let config =
        Config::parse(&text, Path::new("/etc/certiscope/station.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.state_folder, Path::new("/var/lib/certiscope/station"));
    assert!(config.station.call_limit.as_secs() < 60, "the watchdog would come first");

    // The keys in its comments must be right, too.
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("credentials")).unwrap();
    std::fs::write(folder.path().join("credentials/broker"), "secret").unwrap();
    let offered = |line: &str| line.starts_with('[') || line.contains(" = ");
    let whole: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|line| offered(line)).unwrap_or(line))
        .collect();
    assert!(whole.contains(&"[metrics]"), "{whole:?}");
    let config = Config::parse(&whole.join("\n"), &folder.path().join("station.toml"));
    assert!(config.unwrap_or_else(|e| panic!("{e}")).station.broker.credentials.is_some());
}

#[test]
fn a_password_comes_from_systemd_under_the_name_of_its_file() {
    let folder = TempDir::new().unwrap();
    let credentials = TempDir::new().unwrap();
    let usual = StationConfig::new(&demo_line(), 1, "kind = \"simulator\"");
    let password = "username = \"station1\"\npassword_file = \"credentials/broker\"";
    let config = StationConfig {
        broker: format!("{}\n{password}", usual.broker),
        smoothing: "target_radius = 0.024".to_owned(),
        ..usual
    };
    let config = config.write(folder.path());
    let check = |credentials: &Path| {
        run(certiscope("check").arg("--config").arg(&config).env("CREDENTIALS_DIRECTORY", credentials))
    };
    let nowhere = check(credentials.path());
    let file = folder.path().join("credentials/broker");
    assert!(nowhere.stdout.contains(&format!("{}: cannot be read", file.display())), "{}", nowhere.stdout);
    std::fs::write(credentials.path().join("credentials_broker"), "secret\n").unwrap();
    let loaded = check(credentials.path());
    assert_eq!(loaded.code, 75, "only the broker is not there: {}", loaded.stdout);
    // Without systemd the file is read.
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "secret\n").unwrap();
    let read = run(certiscope("check").arg("--config").arg(&config).env_remove("CREDENTIALS_DIRECTORY"));
    assert_eq!(read.code, 75, "{}", read.stdout);
}

#[test]
fn man_pages_and_completions_are_the_command_line_s_own() {
    let folder = TempDir::new().unwrap();
    let written = ["first", "second"].map(|name| {
        let folder = folder.path().join(name);
        run(certiscope("generate").arg(&folder)).succeeded();
        ["man", "completions"].map(|kind| contents(&folder.join(kind)))
    });
    assert_eq!(written[0], written[1], "not the same bytes each time");
    let [man, completions] = &written[0];
    let page = |name: &str| String::from_utf8_lossy(&man[name]).into_owned();
    assert!(page("certiscope.1").contains("78 refused to start"));
    assert!(page("certiscope-run.1").contains("\\-\\-config"));
    assert!(page("certiscope-inspections-show.1").contains("\\-\\-store"));
    assert!(!man.contains_key("certiscope-generate.1") && !page("certiscope.1").contains("generate"));
    assert_eq!(completions.keys().collect::<Vec<_>>(), ["_certiscope", "certiscope.bash", "certiscope.fish"]);
    for (shell, text) in completions {
        assert!(String::from_utf8_lossy(text).contains("inspections"), "{shell}");
    }
}
