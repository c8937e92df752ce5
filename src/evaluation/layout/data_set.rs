//! What a data set holds: categories, labelled pictures, their masks, and what is left out with the reason.

use std::path::PathBuf;

/// The class of normal parts.
pub(crate) const GOOD: &str = "good";

/// A data set: its categories, and the folders that belong to none.
#[derive(Debug, PartialEq)]
pub(crate) struct DataSet {
    pub categories: Vec<Category>,
    pub left_out: Vec<LeftOut>,
}

/// One kind of product.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Category {
    pub name: String,
    pub pictures: Vec<LabelledPicture>,
    pub left_out: Vec<LeftOut>,
}

/// A picture with its label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelledPicture {
    /// Path below the data set, with `/`, on one line.
    pub name: String,
    pub path: PathBuf,
    /// [`GOOD`] or the kind of defect.
    pub kind: String,
    pub mask: Mask,
}

/// Where a picture's defects are marked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mask {
    /// A normal part without a mask: it has no defect to mark.
    Empty,
    /// One mask, or several that together mark the defects. Those of a normal part must mark nothing.
    Files(Vec<PathBuf>),
    /// The data set has masks, but none for this defect; with what would fit.
    Missing(String),
    /// The data set has no masks at all.
    Unknown,
}

/// A file or folder that is not evaluated, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// On one line.
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
    #[error("data: {path}: {why}")]
    Folder { path: String, why: String },
    #[error(
        "data: {path}: no labelled pictures; found: {found}; class folders such as good/ and scratch/ are needed, in this folder, in its test/ or test_public/, or in the test/ or test_public/ of its sub-folders; or the list split_csv/1cls.csv"
    )]
    Unknown { path: String, found: String },
    #[error("data: {path}: {what}: {why}; {allowed}")]
    List { path: String, what: String, why: String, allowed: &'static str },
}
