//! Copies of the shipped demo bundle, which a test may change, and simulated parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use certiscope::testing::bundle::sha256_of;
use certiscope::testing::capture::simulator::{SimulatorSettings, simulate};
use certiscope::testing::tensors;
use ndarray::ArrayD;
use safetensors::SafeTensors;
use tempfile::TempDir;

/// The folder of the shipped demo bundle. Tests must not write to it.
pub(crate) fn demo_line() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/demo-line")
}

/// Writes simulated parts of the size that the demo bundle was calibrated with, in the layout of MVTec AD.
pub(crate) fn simulated(folder: &Path, train_good: u64, test_per_kind: u64) {
    let settings = SimulatorSettings::default();
    simulate(folder, settings, train_good, test_per_kind, &mut |_, _| ()).unwrap();
}

/// Every file of a folder by its name.
pub(crate) fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A temporary copy of a bundle, by default of the demo bundle.
pub(crate) struct BundleCopy {
    folder: TempDir,
}

impl BundleCopy {
    pub(crate) fn new() -> Self {
        Self::of(&demo_line())
    }

    pub(crate) fn of(bundle: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, bytes) in contents(bundle) {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
    }

    /// Changes bytes of a file, but not its hash in `bundle.toml`.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.file(name)).unwrap();
        change(&mut bytes);
        std::fs::write(self.file(name), bytes).unwrap();
    }

    pub(crate) fn edit(&self, change: impl FnOnce(&mut toml::Table)) {
        let text = std::fs::read_to_string(self.file("bundle.toml")).unwrap();
        let mut table = text.parse().unwrap();
        change(&mut table);
        std::fs::write(self.file("bundle.toml"), table.to_string()).unwrap();
    }

    /// Sets a key of a section of `bundle.toml`.
    pub(crate) fn set(&self, section: &str, key: &str, value: impl Into<toml::Value>) {
        self.edit(|table| {
            let section = table[section].as_table_mut().unwrap();
            section.insert(key.to_owned(), value.into());
        });
    }

    /// Changes bytes of a file and its hash in `bundle.toml`.
    pub(crate) fn forge(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        self.tamper(name, change);
        self.adopt(name);
    }

    /// Replaces the tensors of a file, and its hash.
    pub(crate) fn forge_tensors(&self, name: &str, change: impl Fn(&str, ArrayD<f32>) -> ArrayD<f32>) {
        self.forge_some_tensors(name, |name, tensor| Some(change(name, tensor)));
    }

    /// Takes all other tensors out of a file, and updates its hash.
    pub(crate) fn keep_tensors(&self, name: &str, keep: impl Fn(&str) -> bool) {
        self.forge_some_tensors(name, |name, tensor| keep(name).then_some(tensor));
    }

    fn forge_some_tensors(&self, name: &str, change: impl Fn(&str, ArrayD<f32>) -> Option<ArrayD<f32>>) {
        let bytes = std::fs::read(self.file(name)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let changed: Vec<(String, ArrayD<f32>)> = file
            .tensors()
            .into_iter()
            .filter_map(|(name, view)| {
                let values =
                    view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
                let tensor = ArrayD::from_shape_vec(view.shape(), values.collect()).unwrap();
                let tensor = change(&name, tensor)?;
                Some((name, tensor))
            })
            .collect();
        let views: Vec<_> = changed.iter().map(|(name, tensor)| (name.as_str(), tensor.view())).collect();
        tensors::write(&self.file(name), &views).unwrap();
        self.adopt(name);
    }

    /// Writes the present hash of a file to `bundle.toml`.
    fn adopt(&self, name: &str) {
        let (section, key) = match name {
            "model.onnx" => ("model", "sha256"),
            "golden.safetensors" => ("golden", "sha256"),
            "maps.safetensors" => ("calibration", "maps_sha256"),
            _ => panic!("{name}: no file with a hash"),
        };
        self.set(section, key, sha256_of(&self.file(name)).unwrap());
    }
}
