//! The pictures of a calibration as one set: whether one camera can have made them all, and their range.
//!
//! Guarantees: pictures of several sizes, colours or depths are refused, with counts. So are 16-bit pictures that use a
//! fraction of their range, unless the value of white is given. The range is that of all pictures that were read.
//! Leaves out: what the pictures show (`doubts`).

use std::collections::BTreeMap;
use std::fmt::Display;

use anyhow::anyhow;

use super::super::Failure;
use super::super::frames::Labelled;
use crate::bundle::Bundle;
use crate::cli::full_scale::{FULL_SCALES, fitting};
use crate::picture_range::{Brightness, PictureFormat, PictureRange};

/// A picture of the set, for what is said about it.
pub(super) struct SetPicture {
    pub(super) name: String,
    pub(super) brightness: Brightness,
}

/// The pictures of --maps and --normal together.
pub(super) struct PictureSet {
    pub(super) pictures: Vec<SetPicture>,
    pub(super) range: Option<PictureRange>,
    /// In words, where the user insisted on several sizes.
    pub(super) mixed_sizes: Option<String>,
}

impl PictureSet {
    /// Refuses pictures that are not of one kind.
    pub(super) fn of(all: &[Labelled], bundle: &Bundle, mixed_sizes: bool) -> Result<Self, Failure> {
        let Some(first) = all.first() else {
            return Ok(Self { pictures: Vec::new(), range: None, mixed_sizes: None });
        };
        check_colours(all, bundle)?;
        if let Some(depths) = several(all, |format| format!("{} bits", format.bits)) {
            return Err(Failure::refused(anyhow!(
                "normal parts: {depths}: not from one camera; pictures of one depth are needed"
            )));
        }
        check_full_scale(all, bundle.manifest.input.full_scale)?;
        let sizes = several(all, |format| format!("{}x{}", format.width, format.height));
        if let (Some(sizes), false) = (&sizes, mixed_sizes) {
            return Err(Failure::refused(anyhow!(
                "normal parts: {sizes}: each is squashed to the model input in another way; pictures of one size are needed, or --mixed-sizes if the line really has several"
            )));
        }
        let pictures: Vec<SetPicture> = all
            .iter()
            .map(|it| SetPicture { name: it.name.clone(), brightness: Brightness::of(&it.input) })
            .collect();
        let brightness: Vec<Brightness> = pictures.iter().map(|it| it.brightness).collect();
        let PictureFormat { width, height, .. } = first.format;
        let size = sizes.is_none().then_some([width, height]);
        Ok(Self { range: PictureRange::of(first.format, size, &brightness), pictures, mixed_sizes: sizes })
    }
}

/// Refuses a mixture of grey and coloured pictures: one camera gives only one kind.
fn check_colours(all: &[Labelled], bundle: &Bundle) -> Result<(), Failure> {
    let find = |channels| all.iter().find(|picture| picture.format.channels == channels);
    match (find(1), find(3)) {
        (Some(grey), Some(coloured)) => Err(Failure::refused(anyhow!(
            "normal parts: {} is grey and {} is coloured: not from one camera; pictures of one kind are needed",
            grey.name,
            coloured.name
        ))),
        (Some(grey), None) if bundle.input_shape().channels == 3 => Err(Failure::refused(anyhow!(
            "normal parts: {} is grey, and the bundle's input is colour; coloured pictures are needed",
            grey.name
        ))),
        _ => Ok(()),
    }
}

/// Refuses 16-bit pictures that use a fraction of their range where nothing says that white lies there.
fn check_full_scale(all: &[Labelled], known: Option<u16>) -> Result<(), Failure> {
    let largest = all.iter().filter_map(|picture| picture.largest_sample).max();
    match (largest.and_then(fitting), known) {
        (Some(white), None) => Err(Failure::refused(anyhow!(
            "normal parts: 16-bit pictures whose largest sample is {}: they look black, because white is 65535; give --full-scale {white} if that is what the camera calls white ({FULL_SCALES}), or --full-scale 65535 if they really are so dark",
            largest.unwrap_or_default()
        ))),
        _ => Ok(()),
    }
}

/// The kinds of the pictures with their counts, the most frequent first, and the first picture of each rarer kind; `None` if
/// there is one kind.
fn several<K: Ord + Display>(all: &[Labelled], kind: impl Fn(&PictureFormat) -> K) -> Option<String> {
    const SHOWN: usize = 4;
    let mut kinds: BTreeMap<K, (usize, &str)> = BTreeMap::new();
    for picture in all {
        kinds.entry(kind(&picture.format)).or_insert((0, &picture.name)).0 += 1;
    }
    if kinds.len() < 2 {
        return None;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let words: Vec<String> = kinds
        .iter()
        .take(SHOWN)
        .map(|(kind, (count, first))| format!("{count} pictures of {kind} (such as {first})"))
        .collect();
    let more = match kinds.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(words.join(", ") + &more)
}
