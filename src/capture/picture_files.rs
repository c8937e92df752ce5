//! The names by which picture files and folders of good parts are recognised, and the count of the files that are left out.
//! No other file decides this. The trainer has the same rule (`models/certiscope_models/preprocess.py`).
//!
//! Guarantees: a file of a folder is read, or hidden, or counted in [`LeftOutFiles`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::file_names::on_one_line;

/// Extensions of the formats that `decode` reads. Capitals do not matter.
const EXTENSIONS: [&str; 9] = ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "dib", "tif", "tiff"];
/// The same in words.
pub(crate) const PICTURE_NAMES: &str =
    "the name of a picture ends in .png, .jpg, .jpeg, .jpe, .jfif, .bmp, .dib, .tif or .tiff";
/// Names of the folder that holds pictures of good parts. Capitals do not matter.
const GOOD_FOLDERS: [&str; 2] = ["good", "ok"];

/// Whether the file's name is that of a picture. Its content is not looked at.
pub(crate) fn is_picture(path: &Path) -> bool {
    !path.file_name().is_none_or(is_hidden)
        && path
            .extension()
            .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Whether a file or folder is hidden: its name begins with a dot. Such files belong to programs, as the `._0001.png` that macOS
/// writes beside each picture on a USB stick.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// Whether a folder of this name holds pictures of good parts.
pub(crate) fn is_good_folder(name: &str) -> bool {
    GOOD_FOLDERS.iter().any(|good| name.eq_ignore_ascii_case(good))
}

/// How many files of a folder are not read, by extension. Hidden files are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeftOutFiles {
    /// Counts by what is printed.
    kinds: BTreeMap<String, u64>,
}

impl LeftOutFiles {
    /// How many kinds are named. The files of all others are counted together.
    const NAMED: usize = 8;
    /// An extension is cut after so many characters: a name may have a dot in the middle of a sentence.
    const EXTENSION: usize = 16;

    /// Counts a file that has no name of a picture.
    pub(crate) fn add(&mut self, path: &Path) {
        let kind = match path.extension().filter(|extension| !extension.is_empty()) {
            None => "without extension".to_owned(),
            Some(extension) => {
                let extension = on_one_line(extension.to_ascii_lowercase());
                let cut: String = extension.chars().take(Self::EXTENSION).collect();
                let more = if cut.len() < extension.len() { "..." } else { "" };
                format!(".{}{more}", cut.trim_end())
            }
        };
        self.count(kind);
    }

    /// Counts a pipe, a socket or a device: opening it could wait for ever.
    pub(crate) fn add_special(&mut self) {
        self.count("not an ordinary file".to_owned());
    }

    fn count(&mut self, kind: String) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

/// `4 files left out: 2 .webp, 1 .txt, 1 without extension`.
impl fmt::Display for LeftOutFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<(&str, u64)> =
            self.kinds.iter().map(|(kind, &count)| (kind.as_str(), count)).collect();
        kinds.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let total: u64 = self.kinds.values().sum();
        write!(f, "{total} {} left out", if total == 1 { "file" } else { "files" })?;
        for (at, (kind, count)) in kinds.iter().take(Self::NAMED).enumerate() {
            write!(f, "{}{count} {kind}", if at == 0 { ": " } else { ", " })?;
        }
        match kinds.iter().skip(Self::NAMED).map(|(_, count)| count).sum() {
            0 => Ok(()),
            others => write!(f, ", {others} others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_good_folders_are_known_by_their_names_whatever_the_capitals() {
        for name in
            ["a.png", "a.PNG", "b.Jpg", "c.jpeg", "d.BMP", "e.f.png", "g.jfif", "h.JPE", "i.dib", "j.TIFF"]
        {
            assert!(is_picture(Path::new(name)), "{name}");
        }
        for name in
            ["png", ".png", "._a.png", "/p/._a.png", "a.gif", "a.png.txt", "a.png ", "a.png~", "notes", ".."]
        {
            assert!(!is_picture(Path::new(name)), "{name}");
        }
        assert!(["good", "Good", "ok", "OK"].into_iter().all(is_good_folder));
        assert!(!["goods", "okay", "bad", ""].into_iter().any(is_good_folder));
        for known in EXTENSIONS {
            assert!(PICTURE_NAMES.contains(&format!(".{known}")), "{known}");
        }
    }

    #[test]
    fn files_left_out_are_counted_by_extension_in_a_line_that_stays_short() {
        let words = |names: &[&str]| {
            let mut left = LeftOutFiles::default();
            names.iter().for_each(|name| left.add(Path::new(name)));
            left.to_string()
        };
        assert_eq!(
            words(&["a.webp", "b.WebP", "c.txt", "README"]),
            "4 files left out: 2 .webp, 1 .txt, 1 without extension"
        );
        assert_eq!(words(&["a."]), "1 file left out: 1 without extension");
        assert_eq!(words(&["a.x\n\x1b"]), "1 file left out: 1 .x\\n\\u{1b}");
        assert_eq!(words(&["Good. We keep it for later"]), "1 file left out: 1 . we keep it for...");
        let numbered: Vec<String> = (0..100_000).map(|number| format!("frame.{number:06}")).collect();
        let words = words(&numbered.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(words.len() < 200 && words.ends_with(", 99992 others"), "{words}");
    }
}
