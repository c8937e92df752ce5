//! Writes simulated frames as a data set in the layout of MVTec AD: `train/good`, `test/good`, `test/<kind>` and
//! `ground_truth/<kind>` with a mask for each defective picture.
//!
//! Guarantees: no frame is written twice, so training and test pictures show different parts. The test classes
//! alternate, so the drift of the lamp does not tell them apart. A folder that holds anything already is refused.

use std::path::Path;
use std::{fs, iter};

use image::{ExtendedColorType, ImageFormat};

use super::defect::DefectKind;
use super::render::render;
use super::settings::SimulatorSettings;
use crate::capture::CaptureError;

/// Writes a data set into `out`: `train_good` normal parts to train on; `test_per_kind` normal parts and
/// as many of each kind of defect to test with. `progress` gets (written, total) after each picture.
/// The rates and the count of the settings are not used.
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
    let classes = || iter::once(None).chain(DefectKind::ALL.map(Some));
    let train = (0..train_good).map(|number| ("train", None, number));
    let test = (0..test_per_kind).flat_map(|number| classes().map(move |kind| ("test", kind, number)));
    let total = train_good + test_per_kind * classes().count() as u64;
    for (index, (split, kind, number)) in (1..).zip(train.chain(test)) {
        let class = kind.map_or("good", DefectKind::word);
        let rendered = render(&settings, index, kind);
        let file = out.join(split).join(class).join(format!("{number:04}.png"));
        write_png(&file, &settings, &rendered.pixels)?;
        if kind.is_some() {
            let name = format!("{number:04}_mask.png");
            write_png(&out.join("ground_truth").join(class).join(name), &settings, &rendered.mask)?;
        }
        progress(index, total);
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
