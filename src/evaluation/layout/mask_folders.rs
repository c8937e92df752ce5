//! Finds the mask of each picture in the folders `ground_truth`.
//!
//! The masks of a class lie in a folder of its name. A mask is called like its picture, or with `_mask` or `_GT` after the stem,
//! with any extension of a picture. Or a folder is called like the picture and holds several masks, as in MVTec LOCO AD.
//!
//! Guarantees: each file is the mask of a picture, or it is named with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::data_set::{LayoutError, LeftOut};
use super::listing::{counted, entries, folders, is_picture_file, name_of};
use crate::capture::file_names::{on_one_line, text_of};

/// The folder of the masks.
pub(super) const GROUND_TRUTH: &str = "ground_truth";
/// What may follow the stem of the picture in the name of its mask.
const ENDINGS: [&str; 4] = ["", "_mask", "_GT", "_gt"];

/// Class and stem.
type Place = (String, String);

/// The masks of a category.
#[derive(Debug, Default)]
pub(super) struct MaskFolders {
    /// Whether there is a folder for masks at all.
    pub(super) exist: bool,
    /// Single files by class and stem.
    files: BTreeMap<Place, Vec<PathBuf>>,
    /// Folders of masks, by class and name.
    folders: BTreeMap<Place, Vec<PathBuf>>,
    /// What each mask is called where it is named.
    names: BTreeMap<PathBuf, String>,
    /// The masks that a picture has, and which one.
    taken: BTreeMap<PathBuf, String>,
    /// Stems of pictures whose mask was looked for.
    asked: BTreeSet<Place>,
    left_out: Vec<LeftOut>,
}

impl MaskFolders {
    /// Lists the masks in these folders, each with the name by which its files are named.
    pub(super) fn read(places: &[(PathBuf, String)]) -> Result<Self, LayoutError> {
        let mut masks = Self::default();
        for (place, called) in places.iter().filter(|(place, _)| place.is_dir()) {
            masks.exist = true;
            let stray: Vec<PathBuf> = entries(place)?.into_iter().filter(|entry| !entry.is_dir()).collect();
            let why = "lies in no folder of a class; a mask lies in a folder that is called like the class of its picture";
            for file in stray.iter().filter(|file| is_picture_file(file)) {
                masks.left_out.push(LeftOut::new(format!("{called}/{}", name_of(file)), why));
            }
            masks.count(called, &stray);
            for class in folders(place)? {
                masks.class(&class, &format!("{called}/{}", name_of(&class)))?;
            }
        }
        Ok(masks)
    }

    fn class(&mut self, class: &Path, called: &str) -> Result<(), LayoutError> {
        let class_name = text_of(class.file_name().unwrap_or_default());
        let listed = entries(class)?;
        for entry in &listed {
            let name = format!("{called}/{}", name_of(entry));
            if entry.is_dir() {
                let within = entries(entry)?;
                let place = (class_name.clone(), text_of(entry.file_name().unwrap_or_default()));
                for file in within.iter().filter(|file| is_picture_file(file)) {
                    self.names.insert(file.clone(), format!("{name}/{}", name_of(file)));
                    self.folders.entry(place.clone()).or_default().push(file.clone());
                }
                self.count(&name, &within);
            } else if is_picture_file(entry) {
                let place = (class_name.clone(), text_of(entry.file_stem().unwrap_or_default()));
                self.names.insert(entry.clone(), name);
                self.files.entry(place).or_default().push(entry.clone());
            }
        }
        self.count(called, &listed);
        Ok(())
    }

    /// Names the files of a folder that are no pictures.
    fn count(&mut self, called: &str, entries: &[PathBuf]) {
        let others = counted(entries.iter().filter(|entry| !is_picture_file(entry)));
        if !others.is_empty() {
            self.left_out.push(LeftOut::new(called, others.to_string()));
        }
    }

    /// The masks of a picture of this class; an error says what would fit.
    pub(super) fn of(&mut self, picture: &Path, class: &Path) -> Result<Vec<PathBuf>, String> {
        let class = text_of(class.file_name().unwrap_or_default());
        let stem = text_of(picture.file_stem().unwrap_or_default());
        let named = ENDINGS.iter().find_map(|ending| {
            let file = self.files.get(&(class.clone(), format!("{stem}{ending}")))?.first()?;
            Some(vec![file.clone()])
        });
        let found = named.or_else(|| self.folders.get(&(class.clone(), stem.clone())).cloned());
        self.asked.insert((class.clone(), stem.clone()));
        match found {
            Some(files) => {
                self.taken.extend(files.iter().map(|file| (file.clone(), name_of(picture))));
                Ok(files)
            }
            None => Err(format!(
                "missing mask: {GROUND_TRUTH}/{class}/ holds none of {stem}.png, {stem}_mask.png and {stem}_GT.png (or another format), and no folder {stem}/ of masks",
                class = on_one_line(&class),
                stem = on_one_line(&stem)
            )),
        }
    }

    /// Everything that is no mask of a picture, after all pictures were asked for.
    pub(super) fn unused(mut self) -> Vec<LeftOut> {
        let ended = ENDINGS.iter().rev();
        for ((class, stem), files) in self.files.iter().chain(&self.folders) {
            for file in files.iter().filter(|file| !self.taken.contains_key(*file)) {
                let owner = ended.clone().filter_map(|ending| stem.strip_suffix(ending));
                let owned =
                    owner.into_iter().any(|stem| self.asked.contains(&(class.clone(), stem.to_owned())));
                let why = if owned {
                    "not used: its picture has another mask".to_owned()
                } else {
                    format!(
                        "fits no picture: a mask is called like its picture, or with _mask or _GT after the stem, or lies in a folder of that name; {} holds no such picture",
                        on_one_line(class)
                    )
                };
                self.left_out.push(LeftOut::new(&self.names[file], why));
            }
        }
        self.left_out
    }
}
