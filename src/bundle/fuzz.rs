//! A bundle in memory, for the fuzz target `bundle`.

use std::path::Path;

use super::error::BundleError;
use super::folder::{calibrated, noise_level};
use super::golden::GoldenVectors;
use super::manifest::Manifest;
use crate::tensors::Tensors;

/// Reads the parts of a bundle as [`super::Bundle::load`] does, but for the hashes. A manifest that is read must be the same when it
/// is written and read again.
pub(crate) fn read_parts(manifest: &str, maps: &[u8], golden: &[u8]) -> Result<(), BundleError> {
    let file = Path::new("bundle.toml");
    let manifest = Manifest::parse(file, manifest)?;
    let text = manifest.text();
    let again = Manifest::parse(file, &text).expect("what is written can be read");
    assert_eq!(again.text(), text);
    let weights = [manifest.score.head_weight, manifest.score.feature_weight];
    assert!(weights.iter().all(|weight| *weight >= 0.0) && weights.iter().sum::<f32>() <= 1.0, "{weights:?}");
    noise_level(&manifest)?;
    let [channels, height, width] = manifest.input_shape();
    GoldenVectors::of(&Tensors::parse(Path::new("golden"), golden)?, [channels, height, width])?;
    if let Some(calibration) = &manifest.calibration {
        let maps = Tensors::parse(Path::new("maps"), maps)?;
        let found = calibrated(calibration, &maps, [height, width])?;
        for maps in [&found.maps, &found.empirical_maps] {
            let kinds = [Some(&maps.residual), maps.defect.as_ref(), maps.feature.as_ref()];
            let mut stds = kinds.into_iter().flatten().flat_map(|kind| &kind.std);
            assert!(stds.all(|std| *std > 0.0), "a spread divides");
        }
    }
    Ok(())
}
