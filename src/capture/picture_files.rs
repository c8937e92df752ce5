//! The names by which picture files and folders of good parts are recognised. No other file decides this.

use std::path::Path;

/// Extensions of the formats that `decode` reads. Capitals do not matter.
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "bmp"];
/// Names of the folder that holds pictures of good parts. Capitals do not matter.
const GOOD_FOLDERS: [&str; 2] = ["good", "ok"];

/// Whether the file's name is that of a picture. Its content is not looked at.
pub(crate) fn is_picture(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Whether a folder of this name holds pictures of good parts.
pub(crate) fn is_good_folder(name: &str) -> bool {
    GOOD_FOLDERS.iter().any(|good| name.eq_ignore_ascii_case(good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_good_folders_are_known_by_their_names_whatever_the_capitals() {
        for name in ["a.png", "a.PNG", "b.Jpg", "c.jpeg", "d.BMP", "e.f.png"] {
            assert!(is_picture(Path::new(name)), "{name}");
        }
        for name in ["png", ".png", "a.gif", "a.png.txt", "notes"] {
            assert!(!is_picture(Path::new(name)), "{name}");
        }
        assert!(["good", "Good", "ok", "OK"].into_iter().all(is_good_folder));
        assert!(!["goods", "okay", "bad", ""].into_iter().any(is_good_folder));
    }
}
