//! The fuzz targets accept what our own encoders write, and hold on inputs that they once failed on. `scripts/fuzz` looks for more.

use std::path::{Path, PathBuf};

use certiscope::testing::fuzz::{FuzzTarget, run, seeds};

/// The inputs that are kept of a target.
fn regressions(target: FuzzTarget) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions").join(target.word());
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_target_holds_on_its_seeds_and_on_what_it_once_failed_on() {
    for target in FuzzTarget::ALL {
        let seeds = seeds(target);
        assert!(run(target, &seeds[0]), "{target:?} refuses what our own encoder writes");
        for seed in &seeds {
            run(target, seed);
        }
        for file in regressions(target) {
            run(target, &std::fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_target_refuses_what_is_not_meant_for_it() {
    for target in FuzzTarget::ALL {
        // Changes of the log's first column, which is the key that the row's parameters are found by.
        let changed = if target == FuzzTarget::Rows { &[2, 0, 3, 1, b'x'][..] } else { &[0, 1, 2, 3] };
        assert!(!run(target, changed), "{target:?}");
    }
}
