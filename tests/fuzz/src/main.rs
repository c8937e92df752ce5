//! One target of `certiscope::testing::fuzz`, run by libFuzzer. The target is chosen by `CERTISCOPE_FUZZ_TARGET`. With
//! `CERTISCOPE_FUZZ_SEEDS` the program first writes the target's seeds to that folder.

#![no_main]

use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use certiscope::testing::fuzz::{self, FuzzTarget};
use libfuzzer_sys::fuzz_target;

fn target() -> FuzzTarget {
    static TARGET: OnceLock<FuzzTarget> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let name = std::env::var("CERTISCOPE_FUZZ_TARGET").expect("CERTISCOPE_FUZZ_TARGET names a target");
        FuzzTarget::named(&name).unwrap_or_else(|| panic!("{name}: no such target"))
    })
}

fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("CERTISCOPE_FUZZ_SEEDS") {
            let mut seeds = fuzz::seeds(target());
            if target() == FuzzTarget::Picture {
                seeds.extend(golden_pictures());
            }
            for (index, seed) in seeds.into_iter().enumerate() {
                std::fs::write(std::path::Path::new(&folder).join(format!("seed-{index:03}")), seed)
                    .expect("the folder for seeds can be written");
            }
        }
    },
    |data: &[u8]| {
        let target = target();
        if target == FuzzTarget::Picture && data.first().is_some_and(|mode| mode & 1 == 1) {
            fuzz::run(target, &with_right_checksums(data));
        } else {
            fuzz::run(target, data);
        }
    }
);

/// The pictures of tests/golden, of every format. Half of those that are PNG are given with the wish for right checksums.
fn golden_pictures() -> Vec<Vec<u8>> {
    let list: serde_json::Value =
        serde_json::from_str(include_str!("../../golden/pictures.json")).expect("JSON");
    let files = list.as_array().expect("a list").iter().filter_map(|picture| picture["file"].as_str());
    files
        .enumerate()
        .map(|(index, file)| {
            let bytes = STANDARD.decode(file).expect("base64");
            [&[(index % 4) as u8][..], &bytes].concat()
        })
        .collect()
}

/// The same PNG with the checksum of each chunk as it must be: else nearly every change would be refused for its checksum.
fn with_right_checksums(data: &[u8]) -> Vec<u8> {
    const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    let mut fixed = data.to_vec();
    let png = &mut fixed[1..];
    if !png.starts_with(SIGNATURE) {
        return fixed;
    }
    let mut at = SIGNATURE.len();
    while let Some(head) = png.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(end) = at.checked_add(8 + length).filter(|end| end + 4 <= png.len()) else { break };
        let sum = crc32fast::hash(&png[at + 4..end]).to_be_bytes();
        png[end..end + 4].copy_from_slice(&sum);
        at = end + 4;
    }
    fixed
}
