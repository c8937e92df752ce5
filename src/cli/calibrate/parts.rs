//! Chooses one picture for each part, and what the part is used for: training maps or threshold.
//!
//! Guarantees: the first picture of a part is used, whatever its score. No part is used for both, even if two folders
//! show it. Every picture that is not used is counted, and named if that may surprise.

use std::path::Path;

use anyhow::anyhow;

use super::super::Failure;
use super::super::frames::{self, Labelled, PictureReader, Pictures};
use super::args::CalibrateArgs;
use super::picture_set::PictureSet;
use crate::bundle::Bundle;
use crate::capture::GroundTruth;
use crate::near_duplicates::{Fingerprint, first_of_each, groups, groups_by};
use crate::preprocess::Input;

/// A normal part, with the one picture of it that is used.
pub(super) struct NormalPart {
    /// Path below the folder.
    pub(super) name: String,
    pub(super) input: Input,
}

/// The parts of a calibration.
pub(super) struct NormalParts {
    pub(super) maps: Vec<Input>,
    pub(super) threshold: Vec<NormalPart>,
    /// All pictures that were read, from both folders together.
    pub(super) set: PictureSet,
    pub(super) unusable: usize,
    /// Pictures of --normal left out because --maps shows their parts too.
    pub(super) shared: Vec<String>,
}

impl NormalParts {
    pub(super) fn of(args: &CalibrateArgs, bundle: &Bundle) -> Result<Self, Failure> {
        let reader = PictureReader::new(bundle.input_shape(), bundle.full_scale());
        let maps = args.maps.as_deref().map(|folder| read_normal(folder, &reader)).transpose()?;
        let normal = read_normal(&args.normal, &reader)?;
        let unusable = normal.unusable.len() + maps.as_ref().map_or(0, |maps| maps.unusable.len());
        let own_maps = maps.is_some();
        // Pictures for the maps come first, so that a part that both folders show is used for the maps.
        let mut all = maps.map_or(Vec::new(), |maps| maps.pictures);
        let for_maps = all.len();
        all.extend(normal.pictures);
        let set = PictureSet::of(&all, bundle, args.mixed_sizes)?;

        let groups = if let Some(part_from) = &args.part_from {
            part_from.groups(all.iter().map(|it| it.name.as_str())).map_err(Failure::Refused)?
        } else if args.distinct_parts {
            groups_by(all.len(), |one, other| all[one].input == all[other].input)
        } else {
            let fingerprints: Vec<Fingerprint> = all.iter().map(|it| it.fingerprint.clone()).collect();
            groups(&fingerprints)
        };
        let firsts = first_of_each(&groups);
        let shared = (for_maps..all.len())
            .filter(|&picture| firsts[groups[picture]] < for_maps)
            .map(|picture| all[picture].name.clone())
            .collect();
        let mut parts = Self { maps: Vec::new(), threshold: Vec::new(), set, unusable, shared };
        for (part, &first) in firsts.iter().enumerate() {
            // Parts of one folder are used for maps and threshold alternately, so that drift over the day affects both.
            let is_for_maps = if own_maps { first < for_maps } else { part % 2 == 0 };
            let Labelled { name, input, .. } = &all[first];
            if is_for_maps {
                parts.maps.push(input.clone());
            } else {
                parts.threshold.push(NormalPart { name: name.clone(), input: input.clone() });
            }
        }
        Ok(parts)
    }

    /// A sentence that says what was read, what is used and what was left out.
    pub(super) fn in_words(&self) -> String {
        let shared = match self.shared.as_slice() {
            [] => String::new(),
            names => format!(
                "; left out of the threshold, since --maps shows the same parts: {} ({})",
                names.len(),
                some_of(names)
            ),
        };
        format!(
            "{} parts for the maps and {} for the threshold, of {} pictures, {} more unusable{shared}",
            self.maps.len(),
            self.threshold.len(),
            self.set.pictures.len(),
            self.unusable
        )
    }
}

/// Reads the pictures of a folder, each as a separate part for now. Refuses pictures of defects.
fn read_normal(folder: &Path, reader: &PictureReader) -> Result<Pictures, Failure> {
    let read = frames::read(folder, reader, true)?;
    match read.pictures.iter().find(|picture| picture.truth.as_ref().is_some_and(GroundTruth::is_defect)) {
        None => Ok(read),
        Some(defect) => Err(Failure::refused(anyhow!(
            "{}: {}: a picture of a defect; only pictures of normal parts are allowed",
            folder.display(),
            defect.name
        ))),
    }
}

/// The first few names, and how many there are beside them.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
