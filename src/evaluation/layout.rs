//! Finds the labelled pictures of a data set. The layout is detected from the folder structure; there is no option.
//!
//! Known layouts: MVTec AD, MVTec AD 2, VisA (raw with `split_csv/1cls.csv`, and prepared), BTAD, plain class folders,
//! and a root folder with one of these for each category. The folders `test` and `test_public` are evaluated; `train`
//! and `validation` are for training and thresholds and are not. The class of normal parts is called `good` or `ok`;
//! every other folder but `ground_truth` is a kind of defect. A mask is called like its picture, or with `_mask` after
//! the stem.
//!
//! Guarantees: the lists are sorted by name, so the same folders give the same lists. Everything that is missing or left
//! out is named: an empty class, a listed file that does not exist, a folder without a class, a missing mask.
//! Leaves out: opening pictures.
//! Costs: each folder is listed once.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::capture::picture_files::{is_good_folder, is_picture};

/// The class of normal parts.
pub(crate) const GOOD: &str = "good";
const SPLITS: [&str; 2] = ["test", "test_public"];
const UNLABELLED: [&str; 2] = ["test_private", "test_private_mixed"];
const GROUND_TRUTH: &str = "ground_truth";
const VISA_LIST: &str = "split_csv/1cls.csv";

/// A data set: its categories, and the folders that belong to none.
#[derive(Debug, PartialEq)]
pub(crate) struct DataSet {
    pub categories: Vec<Category>,
    pub left_out: Vec<LeftOut>,
}

/// One kind of product.
#[derive(Debug, PartialEq)]
pub(crate) struct Category {
    pub name: String,
    pub pictures: Vec<LabelledPicture>,
    pub left_out: Vec<LeftOut>,
}

/// A picture with its label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelledPicture {
    /// Path below the data set, with `/`.
    pub name: String,
    pub path: PathBuf,
    /// [`GOOD`] or the kind of defect.
    pub kind: String,
    pub mask: Mask,
}

/// Where a picture's defects are marked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mask {
    /// A normal part: it has no defect to mark.
    Empty,
    File(PathBuf),
    /// The data set has masks, but none for this defect.
    Missing,
    /// The data set has no masks at all.
    Unknown,
}

/// A file or folder that is not evaluated, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub name: String,
    pub why: String,
}

impl LeftOut {
    pub(crate) fn new(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), why: why.into() }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("data: {}: {why}", path.display())]
    Folder { path: PathBuf, why: String },
    #[error(
        "data: {}: no labelled pictures found; class folders such as good/ and scratch/ are needed, in this folder, in its test/ or test_public/, or in the test/ or test_public/ of its sub-folders; or the list split_csv/1cls.csv",
        .0.display()
    )]
    Unknown(PathBuf),
    #[error("data: {}: {what}: {why}; {allowed}", path.display())]
    List { path: PathBuf, what: String, why: String, allowed: &'static str },
}

/// Finds the categories of the data set in `root`.
pub(crate) fn find(root: &Path) -> Result<DataSet, LayoutError> {
    let list = root.join(VISA_LIST);
    if list.is_file() {
        return visa(root, &list);
    }
    if let Some(category) = category(root, &name_of(root), "")? {
        return Ok(DataSet { categories: vec![category], left_out: Vec::new() });
    }
    let (mut categories, mut left_out) = (Vec::new(), Vec::new());
    for folder in folders(root)? {
        let name = name_of(&folder);
        match category(&folder, &name, &format!("{name}/"))? {
            Some(category) => categories.push(category),
            None => left_out.push(LeftOut::new(name, "a folder without test or class folders")),
        }
    }
    if categories.is_empty() {
        return Err(LayoutError::Unknown(root.to_path_buf()));
    }
    Ok(DataSet { categories, left_out })
}

/// The category in `folder`; names of its pictures begin with `prefix`. `None` if it holds no class folders.
fn category(folder: &Path, name: &str, prefix: &str) -> Result<Option<Category>, LayoutError> {
    let splits: Vec<&str> = SPLITS.into_iter().filter(|split| folder.join(split).is_dir()).collect();
    let mut category = Category { name: name.to_owned(), pictures: Vec::new(), left_out: Vec::new() };
    for split in UNLABELLED.into_iter().filter(|split| folder.join(split).is_dir()) {
        category.left_out.push(LeftOut::new(format!("{prefix}{split}"), "a split without labels"));
    }
    if splits.is_empty() {
        let classes = classes(folder)?;
        if !classes.iter().any(|class| is_good_folder(&name_of(class))) {
            return Ok(None);
        }
        category.read(folder, prefix, &[folder.join(GROUND_TRUTH)])?;
    }
    for split in splits {
        let within = folder.join(split);
        let masks = [within.join(GROUND_TRUTH), folder.join(GROUND_TRUTH)];
        category.read(&within, &format!("{prefix}{split}/"), &masks)?;
    }
    Ok(Some(category))
}

impl Category {
    /// Reads the class folders in `folder`; `masks` are the places where their masks may lie.
    fn read(&mut self, folder: &Path, prefix: &str, masks: &[PathBuf]) -> Result<(), LayoutError> {
        let masked = masks.iter().any(|place| place.is_dir());
        for class in classes(folder)? {
            let class_name = name_of(&class);
            let kind = if is_good_folder(&class_name) { GOOD.to_owned() } else { class_name.clone() };
            let before = self.pictures.len();
            for entry in entries(&class)? {
                let name = format!("{prefix}{class_name}/{}", name_of(&entry));
                if entry.is_dir() {
                    self.left_out.push(LeftOut::new(name, "a folder inside a class folder"));
                    continue;
                }
                if !is_picture(&entry) {
                    self.left_out.push(LeftOut::new(name, "no name of a png, bmp or jpg picture"));
                    continue;
                }
                let mask = match (kind == GOOD, masked) {
                    (true, _) => Mask::Empty,
                    (false, false) => Mask::Unknown,
                    (false, true) => mask_of(&entry, &class_name, masks).map_or(Mask::Missing, Mask::File),
                };
                self.pictures.push(LabelledPicture { name, path: entry, kind: kind.clone(), mask });
            }
            if self.pictures.len() == before {
                let why = "an empty class: no picture in its folder";
                self.left_out.push(LeftOut::new(format!("{prefix}{class_name}"), why));
            }
        }
        Ok(())
    }
}

/// The mask of `picture`, by stem or stem_mask, with any extension of a picture in any case.
fn mask_of(picture: &Path, class: &str, places: &[PathBuf]) -> Option<PathBuf> {
    let stem = picture.file_stem()?.to_string_lossy().into_owned();
    let wanted = [stem.clone(), format!("{stem}_mask")];
    places.iter().find_map(|place| {
        let files = entries(&place.join(class)).ok()?;
        files.into_iter().find(|file| {
            is_picture(file) && file.file_stem().is_some_and(|s| wanted.iter().any(|w| s == w.as_str()))
        })
    })
}

#[derive(Deserialize)]
struct VisaRow {
    object: String,
    split: String,
    label: String,
    image: String,
    #[serde(default)]
    mask: Option<String>,
}

/// The categories of VisA as it is downloaded, with one list for all objects.
fn visa(root: &Path, list: &Path) -> Result<DataSet, LayoutError> {
    let refused = |what: String, why: String, allowed| LayoutError::List {
        path: list.to_path_buf(),
        what,
        why,
        allowed,
    };
    const COLUMNS: &str = "the columns object,split,label,image,mask are needed";
    let mut reader =
        csv::Reader::from_path(list).map_err(|error| refused("list".into(), error.to_string(), COLUMNS))?;
    let mut categories: Vec<Category> = Vec::new();
    for (number, row) in reader.deserialize::<VisaRow>().enumerate() {
        let line = format!("line {}", number + 2);
        let row = row.map_err(|error| refused(line.clone(), error.to_string(), COLUMNS))?;
        let kind = match row.label.as_str() {
            "normal" => GOOD,
            "anomaly" => "anomaly",
            other => {
                let what = format!("{line}: label = {other}");
                return Err(refused(what, "unknown".into(), "normal or anomaly is allowed"));
            }
        };
        match row.split.as_str() {
            "test" => {}
            "train" => continue,
            other => {
                let what = format!("{line}: split = {other}");
                return Err(refused(what, "unknown".into(), "train or test is allowed"));
            }
        }
        let at = categories.iter().position(|category| category.name == row.object).unwrap_or_else(|| {
            categories.push(Category { name: row.object, pictures: Vec::new(), left_out: Vec::new() });
            categories.len() - 1
        });
        let category = &mut categories[at];
        let path = root.join(&row.image);
        if !path.is_file() {
            category.left_out.push(LeftOut::new(row.image, format!("{line} of the list: no such file")));
            continue;
        }
        let mask = match row.mask.filter(|mask| !mask.is_empty()).map(|mask| root.join(mask)) {
            _ if kind == GOOD => Mask::Empty,
            Some(mask) if mask.is_file() => Mask::File(mask),
            _ => Mask::Missing,
        };
        category.pictures.push(LabelledPicture { name: row.image, path, kind: kind.to_owned(), mask });
    }
    if categories.is_empty() {
        return Err(refused("list".into(), "no row of split test".into(), COLUMNS));
    }
    categories.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(DataSet { categories, left_out: Vec::new() })
}

fn classes(folder: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    Ok(folders(folder)?.into_iter().filter(|class| name_of(class) != GROUND_TRUTH).collect())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    let visible = |path: &PathBuf| path.is_dir() && !name_of(path).starts_with('.');
    Ok(entries(folder)?.into_iter().filter(visible).collect())
}

/// The entries of a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    let failed =
        |error: std::io::Error| LayoutError::Folder { path: folder.to_path_buf(), why: error.to_string() };
    let listed = fs::read_dir(folder).map_err(failed)?;
    let mut paths =
        listed.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    let named = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    // `.` and `..` have a name only once they are resolved.
    named(path).or_else(|| named(&fs::canonicalize(path).ok()?)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Empty files at these paths.
    fn tree(files: &[&str]) -> TempDir {
        let root = TempDir::new().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    /// Each picture as `name kind mask`, the mask below the root.
    fn said(category: &Category, root: &TempDir) -> Vec<String> {
        let mask = |mask: &Mask| match mask {
            Mask::File(path) => path.strip_prefix(root.path()).unwrap().display().to_string(),
            other => format!("{other:?}"),
        };
        category.pictures.iter().map(|p| format!("{} {} {}", p.name, p.kind, mask(&p.mask))).collect()
    }

    fn one(root: &TempDir) -> Category {
        let mut found = find(root.path()).unwrap();
        assert_eq!(found.categories.len(), 1, "{found:?}");
        found.categories.remove(0)
    }

    #[test]
    fn mvtec_ad() {
        let root = tree(&[
            "train/good/0.png",
            "test/good/0.png",
            "test/crack/1.PNG",
            "test/crack/2.png",
            "ground_truth/crack/1_mask.png",
        ]);
        let wanted = [
            "test/crack/1.PNG crack ground_truth/crack/1_mask.png",
            "test/crack/2.png crack Missing",
            "test/good/0.png good Empty",
        ];
        assert_eq!(said(&one(&root), &root), wanted);
    }

    #[test]
    fn mvtec_ad_2_with_masks_inside_the_split_and_private_splits_named() {
        let root = tree(&[
            "train/good/a.png",
            "validation/good/b.png",
            "test_private/c.png",
            "test_public/good/000_regular.png",
            "test_public/bad/000_regular.png",
            "test_public/ground_truth/bad/000_regular_mask.png",
        ]);
        let found = one(&root);
        let wanted = [
            "test_public/bad/000_regular.png bad test_public/ground_truth/bad/000_regular_mask.png",
            "test_public/good/000_regular.png good Empty",
        ];
        assert_eq!(said(&found, &root), wanted);
        assert_eq!(found.left_out, [LeftOut::new("test_private", "a split without labels")]);
    }

    #[test]
    fn btad_with_another_extension_of_the_mask() {
        let root =
            tree(&["01/test/ok/1.bmp", "01/test/ko/2.bmp", "01/ground_truth/ko/2.png", "01/train/ok/3.bmp"]);
        let found = find(root.path()).unwrap();
        assert_eq!(found.categories[0].name, "01");
        let wanted = ["01/test/ko/2.bmp ko 01/ground_truth/ko/2.png", "01/test/ok/1.bmp good Empty"];
        assert_eq!(said(&found.categories[0], &root), wanted);
    }

    #[test]
    fn visa_raw_by_its_list_and_prepared_by_its_folders() {
        let root = tree(&["pcb1/n.JPG", "pcb1/a.JPG", "pcb1/a.png", "candle/n.JPG"]);
        fs::create_dir(root.path().join("split_csv")).unwrap();
        let list = "object,split,label,image,mask\npcb1,test,normal,pcb1/n.JPG,\npcb1,test,anomaly,pcb1/a.JPG,pcb1/a.png\n\
                    pcb1,train,normal,pcb1/t.JPG,\ncandle,test,normal,candle/n.JPG,\ncandle,test,anomaly,candle/gone.JPG,\n";
        fs::write(root.path().join(VISA_LIST), list).unwrap();
        let found = find(root.path()).unwrap();
        let names: Vec<_> = found.categories.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["candle", "pcb1"]);
        assert_eq!(
            said(&found.categories[1], &root),
            ["pcb1/n.JPG good Empty", "pcb1/a.JPG anomaly pcb1/a.png"]
        );
        let gone = LeftOut::new("candle/gone.JPG", "line 6 of the list: no such file");
        assert_eq!(found.categories[0].left_out, [gone]);

        for (from, to, words) in [
            ("test,anomaly", "test,odd", "line 3: label = odd: unknown; normal or anomaly is allowed"),
            ("pcb1,train", "pcb1,trian", "line 4: split = trian: unknown; train or test is allowed"),
            ("label,", "labels,", "object,split,label,image,mask"),
        ] {
            fs::write(root.path().join(VISA_LIST), list.replacen(from, to, 1)).unwrap();
            let refused = find(root.path()).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }

        let root = tree(&["pcb1/test/good/n.JPG", "pcb1/test/bad/a.JPG", "pcb1/ground_truth/bad/a.png"]);
        let found = find(root.path()).unwrap();
        let wanted =
            ["pcb1/test/bad/a.JPG bad pcb1/ground_truth/bad/a.png", "pcb1/test/good/n.JPG good Empty"];
        assert_eq!(said(&found.categories[0], &root), wanted);
    }

    #[test]
    fn plain_folders_and_what_is_odd_in_them() {
        let root = tree(&["Good/a.jpeg", "bad/b.bmp", "bad/notes.txt", "bad/more/c.png"]);
        fs::create_dir(root.path().join("worn")).unwrap();
        let found = one(&root);
        assert_eq!(said(&found, &root), ["Good/a.jpeg good Empty", "bad/b.bmp bad Unknown"]);
        let left: Vec<_> = found.left_out.iter().map(|left| left.name.as_str()).collect();
        assert_eq!(left, ["bad/more", "bad/notes.txt", "worn"]);
        assert!(found.left_out[2].why.starts_with("an empty class"));
    }

    #[test]
    fn a_root_of_categories_names_what_is_none() {
        let root = tree(&["a/test/good/1.png", "b/good/1.png", "papers/readme.txt"]);
        let found = find(root.path()).unwrap();
        let names: Vec<_> = found.categories.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(found.left_out[0].name, "papers");
        let refused = find(&root.path().join("papers")).unwrap_err().to_string();
        assert!(refused.contains("good/ and scratch/ are needed"), "{refused}");
        assert!(matches!(find(&root.path().join("nowhere")), Err(LayoutError::Folder { .. })));
    }
}
