//! Every file of a folder is read or counted, by every command.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::bundles::{demo_line, simulated};
use crate::support::program::{Ran, certiscope, run};
use crate::support::station_config::StationConfig;

/// What is said of the folder that [`mixed`] makes.
const LEFT_OUT: &str = "5 files left out: 2 .webp, 1 .txt, 1 not an ordinary file, 1 without extension";

/// Two pictures, one under the name that Windows gives to a JPEG at times; files that are none; hidden files.
fn mixed(folder: &Path) {
    std::fs::create_dir_all(folder.join("more")).unwrap();
    let made = TempDir::new().unwrap();
    simulated(&made.path().join("set"), 2, 0);
    // The content decides what it is.
    for (number, name) in ["a.png", "more/b.JFIF"].into_iter().enumerate() {
        std::fs::copy(made.path().join(format!("set/train/good/{number:04}.png")), folder.join(name))
            .unwrap();
    }
    for name in ["c.webp", "more/d.WebP", "notes.txt", "more/README", "._a.png", ".hidden/e.png"] {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), "no picture").unwrap();
    }
    assert!(Command::new("mkfifo").arg(folder.join("pipe.png")).status().unwrap().success());
}

fn all_words(ran: &Ran) -> String {
    format!("{}{}", ran.stdout, ran.stderr)
}

#[test]
fn every_command_that_reads_a_folder_says_once_what_it_left_out() {
    let site = TempDir::new().unwrap();
    let pictures = site.path().join("pictures");
    mixed(&pictures);
    let broker = Broker::start();
    let source = format!("kind = \"folder\"\npath = {pictures:?}");
    let config = StationConfig::new(&demo_line(), broker.port, &source).write(site.path());
    let out = site.path().join("collected");
    let commands = [
        ("check", run(certiscope("check").arg("--config").arg(&config))),
        ("run", run(certiscope("run").arg("--config").arg(&config))),
        ("collect", {
            let mut collect = certiscope("collect");
            run(collect.arg("--source").arg(&pictures).args(["--count", "2", "--out"]).arg(&out))
        }),
        ("inspect", {
            let mut inspect = certiscope("inspect");
            run(inspect.arg("--bundle").arg(demo_line()).args(["--max-draws", "40"]).arg(&pictures))
        }),
    ];
    for (command, ran) in commands {
        let words = all_words(&ran);
        assert_eq!(ran.code, 0, "{command}: {words}");
        assert_eq!(words.matches(LEFT_OUT).count(), 1, "{command}: {words}");
    }
    // Two pictures are too few for it, but first it says what it saw.
    let calibrated =
        run(certiscope("calibrate").arg("--bundle").arg(demo_line()).arg("--normal").arg(&pictures));
    assert!(calibrated.stderr.contains(LEFT_OUT), "{calibrated:?}");
    assert!(calibrated.stderr.contains("of 2 pictures"), "{calibrated:?}");
}

#[test]
fn a_folder_without_pictures_says_what_it_holds_instead() {
    let site = TempDir::new().unwrap();
    let collect = |folder: &Path| {
        let mut collect = certiscope("collect");
        run(collect.arg("--source").arg(folder).args(["--count", "2", "--out"]).arg(site.path().join("out")))
    };
    let folder = |name: &str, files: &[&str]| {
        let folder = site.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        for file in files {
            std::fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            std::fs::write(folder.join(file), "").unwrap();
        }
        folder
    };
    let others = folder("others", &["a.webp", "b.webp", "c.heic", "ground_truth/0.png", ".d.png"]);
    let found = "no pictures; found: 3 files left out: 2 .webp, 1 .heic, 1 hidden, the masks in ground_truth";
    collect(&others).refused("others", &[found, ".jfif, .bmp, .dib, .tif"]);
    let empty = folder("empty", &[]);
    collect(&empty).refused("empty", &["no pictures; no file is in it or below it"]);

    let classes = folder("classes", &["normal/a.png", "abnormal/b.png", "list.csv"]);
    let mut evaluate = certiscope("evaluate");
    let evaluated = run(evaluate.arg("--bundle").arg(demo_line()).arg("--data").arg(&classes));
    let found = "no labelled pictures; found: the folders abnormal, normal, 1 file left out: 1 .csv";
    evaluated.refused("no class is called good", &[found]);
}

/// Names that a part may have on a disk: each is one row of the list, under a name of its own.
#[test]
fn odd_names_and_links_give_each_picture_its_own_row() {
    let site = TempDir::new().unwrap();
    let (pictures, out) = (site.path().join("pictures"), site.path().join("out"));
    simulated(&site.path().join("set"), 9, 1);
    let names: [&[u8]; 7] = [
        b"a\xff.png",
        b"a\xfe.png",
        b"line\nbreak.png",
        b"\x1b[2Jcolour.png",
        b"quote\",comma.png",
        b"=SUM(A1).png",
        b"linked/in.png",
    ];
    std::fs::create_dir(&pictures).unwrap();
    std::fs::create_dir(site.path().join("elsewhere")).unwrap();
    symlink(site.path().join("elsewhere"), pictures.join("linked")).unwrap();
    symlink(&pictures, pictures.join("circle")).unwrap();
    for (number, name) in names.iter().enumerate() {
        let from = site.path().join(format!("set/train/good/{number:04}.png"));
        std::fs::copy(from, pictures.join(OsStr::from_bytes(name))).unwrap();
    }
    symlink("nowhere", pictures.join("dead.png")).unwrap();
    let mut collect = certiscope("collect");
    let ran =
        run(collect.arg("--source").arg(&pictures).args(["--count", "7", "--out"]).arg(&out)).succeeded();
    assert!(ran.stderr.contains("dead.png: left out"), "{ran:?}");
    assert!(!all_words(&ran).contains('\x1b'), "{ran:?}");
    let mut list = csv::Reader::from_path(out.join("collect.csv")).unwrap();
    let parts: BTreeSet<String> = list.records().map(|row| row.unwrap()[5].to_owned()).collect();
    let wanted = [
        "a\\xff.png",
        "a\\xfe.png",
        "line\nbreak.png",
        "\x1b[2Jcolour.png",
        "quote\",comma.png",
        "=SUM(A1).png",
        "linked/in.png",
    ];
    assert_eq!(parts, wanted.map(str::to_owned).into());

    // A stray file that is called like a large number or is no picture does not stop the next one.
    std::fs::copy(out.join("good/000001.png"), out.join("good/18446744073709551615.png")).unwrap();
    std::fs::write(out.join("good/notes.png"), "no picture").unwrap();
    let mut more = certiscope("collect");
    more.args(["--source", "simulator", "--count", "1", "--append", "--out"]).arg(&out);
    let ran = run(&mut more).succeeded();
    assert!(ran.stderr.contains("1 pictures cannot be read; remove them"), "{ran:?}");
    assert!(out.join("good/000008.png").exists(), "{ran:?}");
}
