//! Reads pictures for calibration and evaluation: each file of a folder gives a model input or is named with the reason.

use std::path::Path;
use std::time::Duration;

use super::{Failure, progress_bar};
use crate::capture::file_names::on_one_line;
use crate::capture::folder::{FolderSettings, FolderSource};
use crate::capture::{Channels, Frame, FrameSource, GroundTruth, Picture, SourceEvent, Trouble, TroubleKind};
use crate::cli::output::print_note;
use crate::near_duplicates::{Fingerprint, THUMBNAIL_PX, groups};
use crate::preprocess::{Input, InputShape, PreprocessError, Preprocessor, Region};

/// The model inputs of a folder.
pub(super) struct Pictures {
    pub(super) pictures: Vec<Labelled>,
    /// Why other files gave no input.
    pub(super) unusable: Vec<String>,
}

/// One picture, ready for the model.
pub(super) struct Labelled {
    /// Path below the folder.
    pub(super) name: String,
    pub(super) truth: Option<GroundTruth>,
    pub(super) input: Input,
    /// Of the picture as it was decoded.
    pub(super) channels: Channels,
    pub(super) fingerprint: Fingerprint,
    /// Pictures of one group show the same part (near-duplicates).
    pub(super) group: usize,
}

/// Reads all pictures below `folder` in its order. With `distinct` each picture is a separate part; otherwise
/// near-duplicates share a group.
pub(super) fn read(folder: &Path, shape: InputShape, distinct: bool) -> Result<Pictures, Failure> {
    let reader = PictureReader::new(shape);
    let settings = FolderSettings { path: folder.to_path_buf(), frames_per_second: None, repeat: false };
    let mut source = FolderSource::open(settings).map_err(Failure::refused)?;
    if let Some(left_out) = source.left_out() {
        print_note!("{}: {left_out}", on_one_line(folder));
    }
    let bar = progress_bar(source.len() as u64, "reading");
    let mut troubles = TroubleReporter::default();
    let (mut pictures, mut unusable) = (Vec::<Labelled>::new(), Vec::new());
    loop {
        let frame = match source.next(Duration::from_secs(1)).map_err(Failure::stopped)? {
            SourceEvent::Frame(frame) => frame,
            SourceEvent::NotYet | SourceEvent::Passed(_) => continue,
            SourceEvent::Trouble(trouble) => {
                bar.suspend(|| troubles.report(&trouble));
                continue;
            }
            SourceEvent::End => break,
        };
        bar.inc(1);
        let name = name_of(&frame);
        let prepared = frame
            .picture
            .map_err(anyhow::Error::from)
            .and_then(|picture| Ok((picture.channels, reader.read(&picture)?)));
        match prepared {
            Ok((channels, (input, fingerprint))) => {
                let (truth, group) = (frame.truth, pictures.len());
                pictures.push(Labelled { name, truth, input, channels, fingerprint, group });
            }
            Err(error) => unusable.push(error.to_string()),
        }
    }
    bar.finish();
    for words in &unusable {
        tracing::warn!("left out: {words}");
    }
    if !distinct {
        let fingerprints: Vec<Fingerprint> = pictures.iter().map(|p| p.fingerprint.clone()).collect();
        for (picture, group) in pictures.iter_mut().zip(groups(&fingerprints)) {
            picture.group = group;
        }
    }
    Ok(Pictures { pictures, unusable })
}

/// Logs the trouble of a source when it begins and when its kind changes, not for each call.
#[derive(Default)]
pub(super) struct TroubleReporter(Option<TroubleKind>);

impl TroubleReporter {
    pub(super) fn report(&mut self, trouble: &Trouble) {
        if self.0.replace(trouble.kind) != Some(trouble.kind) {
            tracing::warn!("{}", trouble.reason);
        }
    }
}

/// Makes the model input of a picture, and the fingerprint by which near-duplicates are found.
pub(super) struct PictureReader {
    inputs: Preprocessor,
    fingerprints: Fingerprints,
}

impl PictureReader {
    pub(super) fn new(shape: InputShape) -> Self {
        Self { inputs: Preprocessor::new(shape, None), fingerprints: Fingerprints::new(None) }
    }

    pub(super) fn read(&self, picture: &Picture) -> Result<(Input, Fingerprint), PreprocessError> {
        Ok((self.inputs.apply(picture)?.input, self.fingerprints.of(picture)?))
    }
}

/// Makes the fingerprints of decoded pictures.
pub(super) struct Fingerprints(Preprocessor);

impl Fingerprints {
    /// `region` is the part of the frame that is inspected; `None` for the whole frame.
    pub(super) fn new(region: Option<Region>) -> Self {
        let thumbnail = InputShape { channels: 1, height: THUMBNAIL_PX, width: THUMBNAIL_PX };
        Self(Preprocessor::new(thumbnail, region))
    }

    pub(super) fn of(&self, picture: &Picture) -> Result<Fingerprint, PreprocessError> {
        let thumbnail = self.0.apply(picture)?.input;
        let pixels: Vec<f32> = thumbnail.view().iter().copied().collect();
        let pixels = pixels.as_slice().try_into().expect("the thumbnail has the size that was asked for");
        Ok(Fingerprint::of(pixels))
    }
}

/// The name of a frame, on one line: its part, or its number in the source.
pub(super) fn name_of(frame: &Frame) -> String {
    frame.part_id.as_ref().map_or_else(|| frame.source_seq.to_string(), on_one_line)
}
