//! `source.json`: the note that says which camera gave the pictures in a folder.
//!
//! `collect` writes it and `calibrate` reads it, so that a detector is not used behind a camera with other pixels.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::whole_file;
use crate::bundle::manifest::CameraFormat;
use crate::capture::CameraInfo;

const FILE: &str = "source.json";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SourceNote {
    device: String,
    driver: String,
    format: String,
    width_px: u32,
    height_px: u32,
    frames_per_second: f64,
}

impl SourceNote {
    fn format(self) -> CameraFormat {
        CameraFormat { format: self.format, width: self.width_px, height: self.height_px }
    }
}

/// Writes the note into the folder. Refuses a camera with another format or size than that of the pictures there.
pub(super) fn write(folder: &Path, camera: &CameraInfo) -> anyhow::Result<()> {
    let file = folder.join(FILE);
    let note = SourceNote {
        device: camera.device.clone(),
        driver: camera.driver.clone(),
        format: camera.format.clone(),
        width_px: camera.width,
        height_px: camera.height,
        frames_per_second: camera.frames_per_second,
    };
    let text = serde_json::to_string_pretty(&note)?;
    let now = note.format();
    match read(&file)? {
        Some(before) if before != now => {
            bail!(
                "{}: the pictures there are {before}, but the camera gives {now} now; give another folder",
                file.display()
            )
        }
        Some(_) => Ok(()),
        None => {
            whole_file::write(&file, (text + "\n").as_bytes()).with_context(|| file.display().to_string())
        }
    }
}

/// The camera that gave the pictures of this folder. The note is in the folder or, as `collect` writes it, beside it.
pub(super) fn of_pictures(pictures: &Path) -> anyhow::Result<Option<CameraFormat>> {
    let at = || pictures.display().to_string();
    let folder = pictures.canonicalize().with_context(at)?;
    match read(&folder.join(FILE))? {
        None => folder.parent().map_or(Ok(None), |parent| read(&parent.join(FILE))),
        found => Ok(found),
    }
}

fn read(file: &Path) -> anyhow::Result<Option<CameraFormat>> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| file.display().to_string())?,
    };
    let note: SourceNote = serde_json::from_str(&text)
        .with_context(|| format!("{}: not a note that `collect` wrote; move it elsewhere", file.display()))?;
    Ok(Some(note.format()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(format: &str, width: u32) -> CameraInfo {
        CameraInfo {
            device: "/dev/v4l/by-id/usb-x".into(),
            path: "/dev/video0".into(),
            driver: "uvcvideo".into(),
            format: format.into(),
            width,
            height: 480,
            frames_per_second: 29.97,
            controls_drifted: Vec::new(),
        }
    }

    #[test]
    fn the_note_of_a_folder_is_found_from_its_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good");
        fs::create_dir(&good).unwrap();
        assert_eq!(of_pictures(&good).unwrap(), None);
        write(folder.path(), &camera("YUYV", 640)).unwrap();
        let noted = Some(CameraFormat { format: "YUYV".into(), width: 640, height: 480 });
        assert_eq!(of_pictures(&good).unwrap(), noted);
        assert_eq!(of_pictures(folder.path()).unwrap(), noted);
    }

    #[test]
    fn other_pixels_do_not_go_into_the_same_folder() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &camera("YUYV", 640)).unwrap();
        write(folder.path(), &camera("YUYV", 640)).unwrap();
        for other in [camera("MJPG", 640), camera("YUYV", 1280)] {
            let error = write(folder.path(), &other).unwrap_err().to_string();
            assert!(error.contains("YUYV 640x480") && error.contains(&other.format), "{error}");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_not_taken_for_a_note() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{}").unwrap();
        let error = format!("{:#}", of_pictures(folder.path()).unwrap_err());
        assert!(error.contains("not a note that `collect` wrote"), "{error}");
    }
}
