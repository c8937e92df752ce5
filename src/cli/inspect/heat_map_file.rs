//! The files that `inspect` writes the heat maps to.
//!
//! Guarantees: each heat map of a run has another file, whatever the pictures are called, on any file system. No picture that
//! is inspected is overwritten. A heat map that cannot be written leaves no part of it behind.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use image::DynamicImage;

use crate::capture::encode::png;
use crate::capture::file_names::{on_one_line, text_of};
use crate::cli::whole_file;

const ENDING: &str = "-heatmap.png";
/// The longest name that a file can have, in bytes. Some file systems count characters instead, and allow as many.
const LONGEST: usize = 255;

/// A folder for heat maps.
pub(super) struct HeatMapFolder {
    folder: PathBuf,
    /// Names that are given away, in lower case: USB sticks do not tell capitals apart.
    given: HashSet<String>,
    /// The number that each stem, in lower case, had last.
    numbers: HashMap<String, u32>,
    /// The pictures of the run, as the file system knows them.
    pictures: HashSet<PathBuf>,
}

impl HeatMapFolder {
    pub(super) fn new<'a>(folder: &Path, pictures: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let pictures = pictures.into_iter().filter_map(|picture| fs::canonicalize(picture).ok()).collect();
        Self { folder: folder.to_path_buf(), given: HashSet::new(), numbers: HashMap::new(), pictures }
    }

    /// Writes the heat map of a picture. An error says which file could not be written, and why.
    pub(super) fn write(
        &mut self,
        picture: &Path,
        heat_map: impl Into<DynamicImage>,
    ) -> Result<PathBuf, String> {
        let file = self.file_for(picture);
        let written =
            fs::create_dir_all(&self.folder).and_then(|()| whole_file::write(&file, &png(&heat_map.into())));
        written.map_err(|error| format!("{}: cannot be written: {error}", on_one_line(&file)))?;
        Ok(file)
    }

    /// A file for the heat map of a picture, different from the files of the pictures before it and from all pictures.
    fn file_for(&mut self, picture: &Path) -> PathBuf {
        let stem = plain(&text_of(picture.file_stem().unwrap_or_default()));
        let name = |number: u32| match number {
            1 => format!("{}{ENDING}", cut(&stem, LONGEST - ENDING.len())),
            number => {
                let ending = format!("-{number}{ENDING}");
                format!("{}{ending}", cut(&stem, LONGEST - ending.len()))
            }
        };
        let is_free = |name: &String| {
            let is_picture =
                || fs::canonicalize(self.folder.join(name)).is_ok_and(|file| self.pictures.contains(&file));
            !self.given.contains(&name.to_lowercase()) && !is_picture()
        };
        let last = self.numbers.get(&stem.to_lowercase()).copied().unwrap_or(0);
        let (number, name) = (last + 1..)
            .map(|number| (number, name(number)))
            .find(|(_, name)| is_free(name))
            .expect("there are more numbers than pictures");
        self.numbers.insert(stem.to_lowercase(), number);
        self.given.insert(name.to_lowercase());
        self.folder.join(name)
    }
}

/// The stem without characters that a file system or a terminal may refuse.
fn plain(stem: &str) -> String {
    let refused =
        |c: char| c.is_control() || r#"\/:*?"<>|"#.contains(c) || on_one_line(c.to_string()) != c.to_string();
    stem.replace(refused, "_")
}

/// The beginning of a text, at most so many bytes of it.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn each_picture_has_a_heat_map_of_its_own_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let long = "ä".repeat(125);
        let pictures = [
            OsStr::new("p.png"),
            OsStr::new("p-2.png"),
            OsStr::new("sub/p.jpg"),
            OsStr::new("P.bmp"),
            OsStr::from_bytes(b"a\xff.png"),
            OsStr::from_bytes(b"a\xfe.png"),
            OsStr::new("a\nb\\c:d.png"),
            OsStr::new(&format!("{long}.png")).to_owned().leak(),
            OsStr::new(&format!("{long}.jpg")).to_owned().leak(),
            OsStr::new(".."),
        ]
        .map(PathBuf::from);
        let mut files = HeatMapFolder::new(folder.path(), &pictures);
        let names: Vec<String> = pictures
            .iter()
            .map(|picture| {
                let file = files.write(picture, image::RgbImage::new(8, 8)).unwrap();
                file.file_name().unwrap().to_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(
            names[..7],
            [
                "p-heatmap.png",
                "p-2-heatmap.png",
                "p-3-heatmap.png",
                "P-4-heatmap.png",
                "a_xff-heatmap.png",
                "a_xfe-heatmap.png",
                "a_b_c_d-heatmap.png"
            ]
        );
        assert!(names[7].len() <= LONGEST && names[8].ends_with("-2-heatmap.png"), "{names:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), pictures.len());
    }

    #[test]
    fn a_picture_that_is_called_like_a_heat_map_stays() {
        let folder = tempfile::tempdir().unwrap();
        let pictures = ["p.png", "p-heatmap.png"].map(|name| folder.path().join(name));
        pictures.iter().for_each(|picture| fs::write(picture, "the picture").unwrap());
        let mut files = HeatMapFolder::new(folder.path(), &pictures);
        let written = files.write(&pictures[0], image::RgbImage::new(8, 8)).unwrap();
        assert_eq!(written, folder.path().join("p-2-heatmap.png"));
        assert_eq!(fs::read(&pictures[1]).unwrap(), b"the picture");
    }
}
