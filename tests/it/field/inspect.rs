//! One odd file name ends or mixes up no result of `inspect`, and what it writes beside the results ends none.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::bundles::{demo_line, simulated};
use crate::support::program::{Ran, certiscope, path, run};
use crate::support::wait_until;

/// Writes a picture of a good part, of the kind that the demo's bundle was calibrated with.
fn write_part(file: &Path) {
    static PART: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let made = TempDir::new().unwrap();
        simulated(&made.path().join("set"), 1, 0);
        std::fs::read(made.path().join("set/train/good/0000.png")).unwrap()
    });
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, &*PART).unwrap();
}

fn inspect(pictures: &[PathBuf], more: &[&str]) -> Ran {
    let mut inspect = certiscope("inspect");
    inspect.arg("--bundle").arg(demo_line()).args(["--max-draws", "24", "--threads", "1"]);
    run(inspect.args(more).args(pictures))
}

fn results(ran: &Ran) -> Vec<Value> {
    ran.json().as_array().unwrap().clone()
}

#[test]
fn every_name_gets_its_verdict_and_a_heat_map_of_its_own() {
    let site = TempDir::new().unwrap();
    let long = "p".repeat(251);
    let names: [&[u8]; 8] = [
        b"same.png",
        b"sub/same.jpg",
        b"same-2.png",
        b"not\xffutf8.png",
        b"new\nline.png",
        b"\x1b]0;title\x07.png",
        b"-option.png",
        &[long.as_bytes(), b".png"].concat(),
    ];
    let place = |name: &&[u8]| site.path().join(OsString::from_vec(name.to_vec()));
    let pictures: Vec<PathBuf> = names.iter().map(place).collect();
    pictures.iter().for_each(|file| write_part(file));
    let heat = site.path().join("heat");
    let ran = inspect(&pictures, &["--json", "--heat-maps", heat.to_str().unwrap()]).succeeded();
    let found = results(&ran);
    assert_eq!(found.len(), names.len());
    let maps: BTreeSet<&str> = found.iter().map(|result| result["heat_map"].as_str().unwrap()).collect();
    assert_eq!(maps.len(), names.len(), "{maps:?}");
    assert!(maps.iter().all(|map| image::open(map).is_ok()));
    assert!(found[3]["picture"].as_str().unwrap().ends_with("not\\xffutf8.png"), "{}", found[3]);
    let text = inspect(&pictures, &[]).succeeded().stdout;
    assert_eq!(text.lines().filter(|line| line.starts_with('/')).count(), names.len(), "{text}");
    assert!(text.contains("new\\nline.png: ") && !text.contains(['\x1b', '\x07']), "{text:?}");
}

#[test]
fn a_picture_that_is_called_like_a_heat_map_is_inspected_and_stays() {
    let site = TempDir::new().unwrap();
    let pictures = ["p.png", "p-heatmap.png"].map(|name| site.path().join(name));
    pictures.iter().for_each(|file| write_part(file));
    let before = std::fs::read(&pictures[1]).unwrap();
    let folder = site.path().to_str().unwrap();
    inspect(&pictures, &["--heat-maps", folder]).succeeded();
    assert_eq!(std::fs::read(&pictures[1]).unwrap(), before, "a picture was overwritten");
}

#[test]
fn heat_maps_that_cannot_be_written_cost_no_verdict() {
    let site = TempDir::new().unwrap();
    let pictures = ["a.png", "b.png", "c.png"].map(|name| site.path().join(name));
    pictures.iter().for_each(|file| write_part(file));
    // One heat map has no room, then all have no folder.
    let heat = site.path().join("heat");
    std::fs::create_dir(&heat).unwrap();
    std::os::unix::fs::symlink("/dev/full", heat.join("b-heatmap.png")).unwrap();
    let ran = inspect(&pictures, &["--heat-maps", heat.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for picture in &pictures {
        assert!(ran.stdout.contains(&format!("{}: ", picture.display())), "{ran:?}");
    }
    assert!(ran.stdout.contains("no heat map: ") && heat.join("c-heatmap.png").exists(), "{ran:?}");
    assert!(ran.stderr.contains("the heat maps of 1 of 3 pictures could not be written"), "{ran:?}");
    assert!(ran.stderr.contains("b-heatmap.png: cannot be written: No space left"), "{ran:?}");

    let file = site.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let ran = inspect(&pictures, &["--json", "--heat-maps", file.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let found = results(&ran);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|result| result["verdict"].is_string() && result["heat_map"].is_null()));
    assert!(found[0]["heat_map_fault"].as_str().unwrap().contains("cannot be written"), "{}", found[0]);
}

#[test]
fn a_folder_gives_its_pictures_and_one_that_gives_none_ends_nothing() {
    let site = TempDir::new().unwrap();
    for name in ["set/a.png", "set/good/b.png", "c.png"] {
        write_part(&site.path().join(name));
    }
    let named = ["set", "nothing", "c.png"].map(|name| site.path().join(name));
    std::fs::create_dir(&named[1]).unwrap();
    let ran = inspect(&named, &["--json"]);
    let found = results(&ran);
    let picture = |result: &Value| result["picture"].as_str().unwrap().to_owned();
    let wanted =
        ["set/a.png", "set/good/b.png", "c.png"].map(|name| site.path().join(name).display().to_string());
    assert_eq!(found.iter().map(picture).collect::<Vec<_>>(), wanted);
    assert!(
        found.iter().all(|result| result["reason"].is_null() || result["reason"] == "undecided"),
        "{ran:?}"
    );
    assert!(ran.code == 1 && ran.stderr.contains("nothing: no pictures"), "{ran:?}");
}

/// A program that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `inspect --json` on a picture and on a pipe that nobody has written to yet.
fn on_a_pipe(site: &TempDir) -> (Killed, PathBuf) {
    let (picture, pipe) = (site.path().join("a.png"), site.path().join("pipe.png"));
    write_part(&picture);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut inspect = Command::new(path());
    inspect.arg("inspect").arg("--bundle").arg(demo_line()).args(["--max-draws", "24", "--json"]);
    let child =
        inspect.arg(&picture).arg(&pipe).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    (Killed(child), pipe)
}

#[test]
fn each_result_is_printed_as_it_comes_also_as_json() {
    let site = TempDir::new().unwrap();
    let (mut child, pipe) = on_a_pipe(&site);
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let (line_to, line_from) = mpsc::channel();
    let reader = std::thread::spawn(move || lines.for_each(|line| line_to.send(line.unwrap()).unwrap()));
    // The second picture is not there yet, and the first result is.
    let mut text = String::new();
    while !text.contains("\"verdict\"") {
        let line = line_from.recv_timeout(Duration::from_secs(60));
        text += &line.unwrap_or_else(|_| panic!("no result of the first picture, only {text:?}"));
    }
    std::fs::copy(site.path().join("a.png"), site.path().join("copy.png")).unwrap();
    std::fs::write(&pipe, std::fs::read(site.path().join("copy.png")).unwrap()).unwrap();
    assert!(child.0.wait().unwrap().success());
    reader.join().unwrap();
    text.extend(line_from);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 2, "{text}");
}

#[test]
fn it_ends_when_nobody_reads_the_results_any_more() {
    let site = TempDir::new().unwrap();
    let (mut child, _) = on_a_pipe(&site);
    drop(child.0.stdout.take());
    // It would wait for ever for somebody who writes the second picture.
    let mut ended = None;
    wait_until("inspect ended", || {
        ended = child.0.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success(), "{ended:?}");
}
