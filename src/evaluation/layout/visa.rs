//! The layout of VisA as it is downloaded: one list for all objects.

use std::path::Path;

use serde::Deserialize;

use super::data_set::{Category, DataSet, GOOD, LabelledPicture, LayoutError, LeftOut, Mask};
use crate::capture::file_names::on_one_line;

pub(super) const VISA_LIST: &str = "split_csv/1cls.csv";

#[derive(Deserialize)]
struct VisaRow {
    object: String,
    split: String,
    label: String,
    image: String,
    #[serde(default)]
    mask: Option<String>,
}

/// The categories of the list.
pub(super) fn read(root: &Path, list: &Path) -> Result<DataSet, LayoutError> {
    let refused = |what: String, why: String, allowed| LayoutError::List {
        path: on_one_line(list),
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
            categories.push(Category { name: row.object, ..Category::default() });
            categories.len() - 1
        });
        let category = &mut categories[at];
        let (name, path) = (on_one_line(&row.image), root.join(&row.image));
        if !path.is_file() {
            category.left_out.push(LeftOut::new(name, format!("{line} of the list: no such file")));
            continue;
        }
        let mask = match row.mask.filter(|mask| !mask.is_empty()) {
            Some(mask) if root.join(&mask).is_file() => Mask::Files(vec![root.join(mask)]),
            Some(mask) => {
                Mask::Missing(format!("missing mask: {line} of the list: no file {}", on_one_line(mask)))
            }
            None if kind == GOOD => Mask::Empty,
            None => Mask::Unknown,
        };
        category.pictures.push(LabelledPicture { name, path, kind: kind.to_owned(), mask });
    }
    if categories.is_empty() {
        return Err(refused("list".into(), "no row of split test".into(), COLUMNS));
    }
    for pictures in categories.iter_mut().map(|category| &mut category.pictures) {
        if pictures.iter().any(|picture| matches!(picture.mask, Mask::Files(_) | Mask::Missing(_))) {
            for picture in pictures.iter_mut().filter(|picture| picture.mask == Mask::Unknown) {
                picture.mask = Mask::Missing("missing mask: the list names none".into());
            }
        }
    }
    categories.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(DataSet { categories, left_out: Vec::new() })
}
