//! Layouts in which a folder is a class: MVTec AD, MVTec AD 2, MVTec LOCO AD, VisA prepared, BTAD, plain class folders.

use std::path::{Path, PathBuf};

use super::data_set::{Category, GOOD, LabelledPicture, LayoutError, LeftOut, Mask};
use super::listing::{entries, folders, is_picture_file, name_of};
use super::mask_folders::{GROUND_TRUTH, MaskFolders};
use crate::capture::picture_files::{PICTURE_NAMES, is_good_folder, is_picture};

const SPLITS: [&str; 2] = ["test", "test_public"];
const UNLABELLED: [&str; 2] = ["test_private", "test_private_mixed"];
/// Names of folders that people give to masks and that are not read, in lower case.
const OTHER_MASK_FOLDERS: [&str; 8] =
    ["ground_truth", "ground-truth", "ground truth", "groundtruth", "gt", "mask", "masks", "labels"];

/// The category in `folder`; names of its pictures begin with `prefix`. `None` if it holds no class folders.
pub(super) fn category(folder: &Path, name: &str, prefix: &str) -> Result<Option<Category>, LayoutError> {
    let splits: Vec<&str> = SPLITS.into_iter().filter(|split| folder.join(split).is_dir()).collect();
    let mut category = Category { name: name.to_owned(), ..Category::default() };
    for split in UNLABELLED.into_iter().filter(|split| folder.join(split).is_dir()) {
        category.left_out.push(LeftOut::new(format!("{prefix}{split}"), "a split without labels"));
    }
    if splits.is_empty() && !classes(folder)?.iter().any(|class| is_good_folder(&name_of(class))) {
        return Ok(None);
    }
    for other in folders(folder)?.into_iter().map(|folder| name_of(&folder)).filter(|name| holds_masks(name))
    {
        let why =
            format!("taken for masks, and not read; masks are read from a folder called {GROUND_TRUTH}");
        category.left_out.push(LeftOut::new(format!("{prefix}{other}"), why));
    }
    let within =
        |split: &str| (folder.join(split).join(GROUND_TRUTH), format!("{prefix}{split}/{GROUND_TRUTH}"));
    let mut places: Vec<(PathBuf, String)> = splits.iter().map(|split| within(split)).collect();
    places.push((folder.join(GROUND_TRUTH), format!("{prefix}{GROUND_TRUTH}")));
    let mut masks = MaskFolders::read(&places)?;
    if splits.is_empty() {
        read(&mut category, folder, prefix, &mut masks)?;
    }
    for split in splits {
        read(&mut category, &folder.join(split), &format!("{prefix}{split}/"), &mut masks)?;
    }
    category.left_out.extend(masks.unused());
    Ok(Some(category))
}

/// Reads the class folders in `folder`.
fn read(
    category: &mut Category,
    folder: &Path,
    prefix: &str,
    masks: &mut MaskFolders,
) -> Result<(), LayoutError> {
    let in_no_class =
        entries(folder)?.iter().filter(|entry| !entry.is_dir() && is_picture_file(entry)).count();
    if in_no_class > 0 {
        let why = format!("{in_no_class} pictures in no class folder");
        let name = if prefix.is_empty() { "." } else { prefix.trim_end_matches('/') };
        category.left_out.push(LeftOut::new(name, why));
    }
    for class in classes(folder)? {
        let class_name = name_of(&class);
        let kind = if is_good_folder(&class_name) { GOOD.to_owned() } else { class_name.clone() };
        let before = category.pictures.len();
        for entry in entries(&class)? {
            let name = format!("{prefix}{class_name}/{}", name_of(&entry));
            if entry.is_dir() {
                category.left_out.push(LeftOut::new(name, "a folder inside a class folder"));
                continue;
            }
            if !is_picture_file(&entry) {
                let why = if is_picture(&entry) {
                    "not an ordinary file".to_owned()
                } else {
                    format!("no picture by its name; {PICTURE_NAMES}")
                };
                category.left_out.push(LeftOut::new(name, why));
                continue;
            }
            let mask = match masks.of(&entry, &class) {
                Ok(files) => Mask::Files(files),
                Err(_) if kind == GOOD => Mask::Empty,
                Err(_) if !masks.exist => Mask::Unknown,
                Err(why) => Mask::Missing(why),
            };
            category.pictures.push(LabelledPicture { name, path: entry, kind: kind.clone(), mask });
        }
        if category.pictures.len() == before {
            let why = "an empty class: no picture in its folder";
            category.left_out.push(LeftOut::new(format!("{prefix}{class_name}"), why));
        }
    }
    Ok(())
}

fn classes(folder: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    let is_class = |name: &str| name != GROUND_TRUTH && !holds_masks(name);
    Ok(folders(folder)?.into_iter().filter(|class| is_class(&name_of(class))).collect())
}

/// Whether a folder of this name is no class and no place where masks are read, but what people call their masks.
fn holds_masks(name: &str) -> bool {
    name != GROUND_TRUTH && OTHER_MASK_FOLDERS.contains(&name.to_lowercase().as_str())
}
