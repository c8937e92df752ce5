//! Writes simulated frames as a data set in the layout of MVTec AD: `train/good`, `test/good`,
//! `test/<kind>` and `ground_truth/<kind>` with a mask for each defective picture.
//!
//! Guarantees: no frame is written twice, so training and test pictures show different parts; a folder
//! that holds anything already is refused, never mixed into.

use std::fs;
use std::path::Path;

use image::{ExtendedColorType, ImageFormat};

use super::render::render;
use super::{DefectKind, SimulatorSettings};
use crate::capture::CaptureError;

/// Writes a data set into `out`: `train_good` normal parts to train on; `test_per_kind` normal parts and
/// as many of each kind of defect to test with. `progress` is told (written, total) after each picture.
/// Of the settings, the rates and the count have no meaning here.
pub fn simulate(
    out: &Path,
    settings: SimulatorSettings,
    train_good: u64,
    test_per_kind: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), CaptureError> {
    settings.check()?;
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(cannot_write(out, "not empty"));
    }
    let good = [("train", None, train_good), ("test", None, test_per_kind)];
    let defective = DefectKind::ALL.map(|kind| ("test", Some(kind), test_per_kind));
    let classes = || good.into_iter().chain(defective);
    let total = classes().map(|(_, _, count)| count).sum();
    let mut index = 0;
    for (split, kind, count) in classes() {
        let class = kind.map_or("good", DefectKind::word);
        for number in 0..count {
            index += 1;
            let rendered = render(&settings, index, kind);
            let file = out.join(split).join(class).join(format!("{number:04}.png"));
            write_png(&file, &settings, &rendered.pixels)?;
            if kind.is_some() {
                let name = format!("{number:04}_mask.png");
                write_png(&out.join("ground_truth").join(class).join(name), &settings, &rendered.mask)?;
            }
            progress(index, total);
        }
    }
    Ok(())
}

fn write_png(file: &Path, settings: &SimulatorSettings, grey: &[u8]) -> Result<(), CaptureError> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).map_err(|error| cannot_write(folder, error))?;
    let (width, height) = (settings.width, settings.height);
    image::save_buffer_with_format(file, grey, width, height, ExtendedColorType::L8, ImageFormat::Png)
        .map_err(|error| cannot_write(file, error))
}

fn cannot_write(path: &Path, why: impl ToString) -> CaptureError {
    CaptureError::Folder {
        path: path.display().to_string(),
        why: why.to_string(),
        allowed: "a new or empty folder that can be written to".into(),
    }
}
