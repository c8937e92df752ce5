//! Reads pictures for calibration and evaluation: each file of a folder gives a model input or is named with the reason.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;

use super::{Failure, progress_bar};
use crate::capture::file_names::on_one_line;
use crate::capture::folder::{FolderSettings, FolderSource};
use crate::capture::{Frame, FrameSource, GroundTruth, Picture, SourceEvent, Trouble, TroubleKind};
use crate::cli::output::print_note;
use crate::near_duplicates::{Fingerprint, THUMBNAIL_PX, groups};
use crate::picture_range::PictureFormat;
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
    pub(super) format: PictureFormat,
    /// Of a picture of 16 bits.
    pub(super) largest_sample: Option<u16>,
    pub(super) fingerprint: Fingerprint,
    /// Pictures of one group show the same part (near-duplicates).
    pub(super) group: usize,
}

/// Reads all pictures below `folder` in its order. With `distinct` each picture is a separate part; otherwise
/// near-duplicates share a group.
pub(super) fn read(folder: &Path, reader: &PictureReader, distinct: bool) -> Result<Pictures, Failure> {
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
        let prepared = match frame.picture {
            Err(bad) => Err(bad.to_string()),
            Ok(picture) => match reader.read(&picture) {
                // The user said what white is, and it is not so: that is no fault of one picture.
                Err(error @ PreprocessError::FullScale { .. }) => {
                    return Err(Failure::refused(anyhow!("{name}: {error}")));
                }
                Err(error) => Err(error.to_string()),
                Ok(read) => Ok((read, picture)),
            },
        };
        match prepared {
            Ok(((input, fingerprint), picture)) => {
                let (truth, group) = (frame.truth, pictures.len());
                let format = PictureFormat::of(&picture, None);
                let largest_sample = picture.largest_of_sixteen_bits();
                pictures.push(Labelled { name, truth, input, format, largest_sample, fingerprint, group });
            }
            Err(words) => unusable.push(words),
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
    /// `full_scale` is the value of white in 16-bit pictures.
    pub(super) fn new(shape: InputShape, full_scale: u16) -> Self {
        Self {
            inputs: Preprocessor::new(shape, None).with_full_scale(full_scale),
            fingerprints: Fingerprints::new(None, full_scale),
        }
    }

    pub(super) fn read(&self, picture: &Picture) -> Result<(Input, Fingerprint), PreprocessError> {
        Ok((self.inputs.apply(picture)?.input, self.fingerprints.of(picture)?))
    }
}

/// Makes the fingerprints of decoded pictures.
pub(super) struct Fingerprints(Preprocessor);

impl Fingerprints {
    /// `region` is the part of the frame that is inspected; `None` for the whole frame. `full_scale` is the value of white in
    /// 16-bit pictures.
    pub(super) fn new(region: Option<Region>, full_scale: u16) -> Self {
        let thumbnail = InputShape { channels: 1, height: THUMBNAIL_PX, width: THUMBNAIL_PX };
        Self(Preprocessor::new(thumbnail, region).with_full_scale(full_scale))
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
