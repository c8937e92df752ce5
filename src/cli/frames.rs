//! Reading a folder of pictures for calibration, and one picture for evaluation: every file is used or named.

use std::path::Path;
use std::time::Duration;

use super::{Failure, progress_bar};
use crate::calibration::groups::{Fingerprint, THUMBNAIL_PX, groups};
use crate::capture::folder::{FolderSettings, FolderSource};
use crate::capture::{Frame, FrameSource, Next, Picture, Truth};
use crate::preprocess::{Input, InputShape, PreprocessError, Preprocessor};

/// The model inputs of a folder.
pub(super) struct Pictures {
    pub(super) pictures: Vec<Labelled>,
    /// Files that gave no input, in words.
    pub(super) unusable: Vec<String>,
}

/// One picture, ready for the model.
pub(super) struct Labelled {
    /// Path below the folder.
    pub(super) name: String,
    pub(super) truth: Option<Truth>,
    pub(super) input: Input,
    /// Pictures of one group show the same part (near-duplicates).
    pub(super) group: usize,
}

/// Reads all pictures below `folder` in its order. With `distinct` each is a part of its own; otherwise
/// near-duplicates share a group.
pub(super) fn read(folder: &Path, shape: InputShape, distinct: bool) -> Result<Pictures, Failure> {
    let reader = Reader::new(shape);
    let settings = FolderSettings { path: folder.to_path_buf(), frames_per_second: None, repeat: false };
    let mut source = FolderSource::open(settings).map_err(Failure::refused)?;
    let bar = progress_bar(source.len() as u64, "reading");
    let (mut pictures, mut fingerprints, mut unusable) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let frame = match source.next(Duration::from_secs(1)).map_err(Failure::stopped)? {
            Next::Frame(frame) => frame,
            Next::NotYet => continue,
            Next::End => break,
        };
        bar.inc(1);
        let name = name_of(&frame);
        let prepared =
            frame.picture.map_err(anyhow::Error::from).and_then(|picture| Ok(reader.read(&picture)?));
        match prepared {
            Ok((input, fingerprint)) => {
                pictures.push(Labelled { name, truth: frame.truth, input, group: pictures.len() });
                fingerprints.push(fingerprint);
            }
            Err(error) => unusable.push(error.to_string()),
        }
    }
    bar.finish();
    for words in &unusable {
        tracing::warn!("left out: {words}");
    }
    if !distinct {
        for (picture, group) in pictures.iter_mut().zip(groups(&fingerprints)) {
            picture.group = group;
        }
    }
    Ok(Pictures { pictures, unusable })
}

/// Makes of a picture what the model sees, and what tells near-duplicates.
pub(super) struct Reader {
    inputs: Preprocessor,
    thumbnails: Preprocessor,
}

impl Reader {
    pub(super) fn new(shape: InputShape) -> Self {
        let thumbnail = InputShape { channels: 1, height: THUMBNAIL_PX, width: THUMBNAIL_PX };
        Self { inputs: Preprocessor::new(shape, None), thumbnails: Preprocessor::new(thumbnail, None) }
    }

    pub(super) fn read(&self, picture: &Picture) -> Result<(Input, Fingerprint), PreprocessError> {
        let thumbnail = self.thumbnails.apply(picture)?.input;
        let pixels: Vec<f32> = thumbnail.view().iter().copied().collect();
        let pixels = pixels.as_slice().try_into().expect("the thumbnail has the size that was asked for");
        Ok((self.inputs.apply(picture)?.input, Fingerprint::of(pixels)))
    }
}

/// What a frame is called: its part, or its place in the source.
fn name_of(frame: &Frame) -> String {
    frame.part_id.clone().unwrap_or_else(|| frame.source_seq.to_string())
}
