//! Local times: which zone they are in is said, and a zone that cannot be found is no silent UTC.

use std::process::Command;

use crate::support::line::Line;
use crate::support::program::{self, Ran, certiscope, run};
use crate::support::skip;

/// The log of a station that has inspected something.
fn line() -> Line {
    let line = Line::new();
    line.start().stop();
    line
}

fn list(line: &Line, zone: &str, more: &[&str]) -> Ran {
    let mut command = certiscope("inspections");
    run(command.arg("list").arg("--store").arg(&line.state).args(more).env("TZ", zone)).succeeded()
}

/// The head of a table, and the time of its first row.
fn head_and_time(table: &str) -> (&str, &str) {
    let mut lines = table.lines();
    (lines.next().unwrap(), &lines.next().unwrap()[..19])
}

#[test]
fn the_table_names_its_zone_and_a_zone_that_is_not_found_is_said() {
    let line = line();
    let utc = list(&line, "UTC", &[]);
    for (zone, named) in [
        ("Europe/Berlin", "Europe/Berlin"),
        (":Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("CET-1", "CET-1"),
        ("CET-1CEST", "CET-1CEST"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "CET-1CEST,M3.5.0,M10.5.0/3"),
    ] {
        let ran = list(&line, zone, &[]);
        let (head, time) = head_and_time(&ran.stdout);
        assert!(head.starts_with(&format!("captured ({named}) ")), "{zone}: {head}");
        assert_ne!(time, head_and_time(&utc.stdout).1, "{zone}: shown in UTC");
        assert_eq!(ran.stderr, "", "{zone}");
    }
    for zone in ["Europe/Berlni", "MEZ", "+01:00"] {
        let ran = list(&line, zone, &[]);
        assert!(head_and_time(&ran.stdout).0.starts_with("captured (UTC) "), "{zone}: {}", ran.stdout);
        let said = format!("TZ = {zone:?}: no such time zone; times are shown and read as UTC");
        assert_eq!(ran.stderr.matches(&said).count(), 1, "{zone}: {}", ran.stderr);
    }
    assert!(head_and_time(&list(&line, "", &[]).stdout).0.starts_with("captured (UTC) "));

    let id = list(&line, "UTC", &["--json"]).stdout.lines().next().unwrap().to_owned();
    let id: serde_json::Value = serde_json::from_str(&id).unwrap();
    let mut show = certiscope("inspections");
    show.args(["show", id["result_id"].as_str().unwrap()]).arg("--store").arg(&line.state);
    let shown = run(show.env("TZ", "Asia/Kolkata")).succeeded().stdout;
    assert!(shown.contains(" Asia/Kolkata ("), "{shown}");
}

#[test]
fn a_container_without_a_list_of_zones_shows_the_right_time() {
    let line = line();
    let here = list(&line, "Asia/Kolkata", &[]);
    let listing = "mount -t tmpfs none /usr/share/zoneinfo && exec \"$0\" inspections list --store \"$1\"";
    let inside = Command::new("unshare")
        .args(["-m", "sh", "-c", listing, program::path()])
        .arg(&line.state)
        .env("TZ", "Asia/Kolkata")
        .output()
        .unwrap();
    if !inside.status.success() {
        return skip("mount", &String::from_utf8_lossy(&inside.stderr));
    }
    assert_eq!(String::from_utf8_lossy(&inside.stdout), here.stdout);
    assert_eq!(String::from_utf8_lossy(&inside.stderr), "");
}

#[test]
fn what_does_not_match_is_said_with_the_times_as_they_were_understood() {
    let line = line();
    let none = |command: &str| {
        let mut program = certiscope("inspections");
        program.arg(command).arg("--store").arg(&line.state).env("TZ", "Asia/Kolkata");
        run(program.args(["--from", "2001-02-03 06:00", "--to", "2001-02-04"])).succeeded().stderr
    };
    for command in ["list", "export"] {
        let said = none(command);
        let times =
            "from 2001-02-03 06:00:00 (2001-02-03T00:30:00Z) to 2001-02-04 00:00:00 (2001-02-03T18:30:00Z)";
        assert!(said.contains(times) && said.contains("Asia/Kolkata"), "{command}: {said}");
    }
}

#[test]
fn a_time_that_the_clocks_skip_or_repeat_is_refused_with_those_it_may_mean() {
    for (time, words) in [
        ("2026-10-25 02:30", ["comes twice", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]),
        ("2026-03-29 02:30", ["does not exist", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]),
    ] {
        let mut command = certiscope("inspections");
        command.args(["list", "--store", "nowhere", "--from", time]);
        let ran = run(command.env("TZ", "Europe/Berlin"));
        assert_eq!(ran.code, 2, "{time}: {ran:?}");
        for words in words {
            assert!(ran.stderr.contains(words), "{time}: no {words:?} in {}", ran.stderr);
        }
    }
}
