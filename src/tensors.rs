//! Named f32 tensors in a safetensors file: golden vectors, training maps, kept model inputs, kept score maps.
//!
//! Guarantees: a tensor that [`Tensors::get`] returns is f32, finite, and has the shape asked for. The file is
//! little-endian on every machine. Errors name the file and the problem only; callers add what the file belongs to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, ArrayViewD};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// What is wrong with a file of tensors.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TensorError {
    #[error("{}: {why}", path.display())]
    Read { path: PathBuf, why: String },
    #[error("{}: cannot be written: {why}", path.display())]
    Write { path: PathBuf, why: String },
    /// The file is not a safetensors file of f32 tensors.
    #[error("{}: {what}", path.display())]
    Format { path: PathBuf, what: String },
    /// A tensor is missing, of another shape, or not finite.
    #[error("{}: {what}", path.display())]
    Tensor { path: PathBuf, what: String },
}

/// All tensors of one file.
#[derive(Debug, Clone)]
pub(crate) struct Tensors {
    path: PathBuf,
    by_name: BTreeMap<String, ArrayD<f32>>,
}

impl Tensors {
    pub(crate) fn read(path: &Path) -> Result<Self, TensorError> {
        let bytes = std::fs::read(path)
            .map_err(|e| TensorError::Read { path: path.to_path_buf(), why: e.to_string() })?;
        Self::parse(path, &bytes)
    }

    /// The tensors of a file with this content; `path` is what errors call it.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, TensorError> {
        let refused = |what: String| TensorError::Format { path: path.to_path_buf(), what };
        let file = SafeTensors::deserialize(bytes).map_err(|e| refused(e.to_string()))?;
        let mut by_name = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(refused(format!("tensor `{name}` is {:?}", view.dtype())));
            }
            let values =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let array = ArrayD::from_shape_vec(view.shape(), values)
                .map_err(|e| refused(format!("`{name}`: {e}")))?;
            by_name.insert(name, array);
        }
        Ok(Self { path: path.to_path_buf(), by_name })
    }

    /// The tensor `name`. An error if it is missing, has another shape, or has a value that is not finite.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<ArrayD<f32>, TensorError> {
        let array = self.by_name.get(name).ok_or_else(|| self.refused(format!("no tensor `{name}`")))?;
        if array.shape() != shape {
            let what = format!("tensor `{name}` has shape {:?} where {shape:?} is needed", array.shape());
            return Err(self.refused(what));
        }
        if array.iter().any(|value| !value.is_finite()) {
            return Err(self.refused(format!("tensor `{name}` holds values that are not numbers")));
        }
        Ok(array.clone())
    }

    /// The shape of a tensor; `None` if there is no such tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.by_name.get(name).map(|array| array.shape())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn refused(&self, what: String) -> TensorError {
        TensorError::Tensor { path: self.path.clone(), what }
    }
}

/// Writes named tensors as a safetensors file.
pub fn write(path: &Path, tensors: &[(&str, ArrayViewD<'_, f32>)]) -> Result<(), TensorError> {
    let failed = |why: String| TensorError::Write { path: path.to_path_buf(), why };
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, array)| array.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, array), bytes)| {
            let view = TensorView::new(Dtype::F32, array.shape().to_vec(), bytes);
            view.map(|view| (*name, view)).map_err(|e| failed(e.to_string()))
        })
        .collect::<Result<_, _>>()?;
    let file = safetensors::serialize(views, None).map_err(|e| failed(e.to_string()))?;
    std::fs::write(path, file).map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_and_nothing_else() {
        let values = ndarray::arr1(&[1.0_f32]);
        let refused = write(Path::new("/dev/full"), &[("input", values.view().into_dyn())]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "/dev/full: cannot be written: No space left on device (os error 28)"
        );
    }
}
