//! Finds the labelled pictures of a data set. The layout is detected from the folder structure; there is no option.
//!
//! Known layouts: MVTec AD, MVTec AD 2, MVTec LOCO AD, VisA (raw with `split_csv/1cls.csv`, and prepared), BTAD, plain class
//! folders, and a root folder with one of these for each category. The folders `test` and `test_public` are evaluated; `train`
//! and `validation` are for training and thresholds and are not. The class of normal parts is called `good` or `ok`;
//! every other folder is a kind of defect, but for `ground_truth`, which holds the masks ([`mask_folders`]).
//!
//! Guarantees: the lists are sorted by name, so the same folders give the same lists. Everything that is missing or left
//! out is named: an empty class, a listed file that does not exist, a folder without a class, a missing mask, a mask that fits no
//! picture.
//! Leaves out: opening pictures.
//! Costs: each folder is listed once.

mod class_folders;
mod data_set;
mod listing;
mod mask_folders;
mod visa;

use std::path::Path;

pub(crate) use data_set::{Category, DataSet, GOOD, LabelledPicture, LayoutError, LeftOut, Mask};
use listing::{contents_in_words, folders, name_of};
use visa::VISA_LIST;

use crate::capture::file_names::on_one_line;

/// Finds the categories of the data set in `root`.
pub(crate) fn find(root: &Path) -> Result<DataSet, LayoutError> {
    let list = root.join(VISA_LIST);
    if list.is_file() {
        return visa::read(root, &list);
    }
    if let Some(category) = class_folders::category(root, &name_of(root), "")? {
        return Ok(DataSet { categories: vec![category], left_out: Vec::new() });
    }
    let (mut categories, mut left_out) = (Vec::new(), Vec::new());
    for folder in folders(root)? {
        let name = name_of(&folder);
        match class_folders::category(&folder, &name, &format!("{name}/"))? {
            Some(category) => categories.push(category),
            None => left_out.push(LeftOut::new(name, "a folder without test or class folders")),
        }
    }
    if categories.is_empty() {
        return Err(LayoutError::Unknown { path: on_one_line(root), found: contents_in_words(root)? });
    }
    Ok(DataSet { categories, left_out })
}

#[cfg(test)]
mod tests {
    use std::fs;

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
            Mask::Files(files) => {
                let below =
                    |file: &std::path::PathBuf| file.strip_prefix(root.path()).unwrap().display().to_string();
                files.iter().map(below).collect::<Vec<_>>().join(" and ")
            }
            Mask::Missing(_) => "Missing".to_owned(),
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
