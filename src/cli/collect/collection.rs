//! The folder that `collect` fills: numbered pictures, and a list of where each came from.
//!
//! Guarantees: a picture appears whole or not at all, with its line in the list. No existing file is overwritten.
//! Costs: the parts are counted at the end, once (see `near_duplicates`).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use image::DynamicImage;

use crate::calibration::conformal::frames_needed;
use crate::capture::encode::png;
use crate::capture::file_names::on_one_line;
use crate::capture::folder::{FolderSettings, FolderSource};
use crate::capture::picture_files::is_picture;
use crate::capture::{Frame, FrameSource, SourceEvent};
use crate::cli::calibrate::{FALSE_ALARM_RATE, MAP_PARTS_NEEDED};
use crate::cli::frames::Fingerprints;
use crate::cli::output::{print_line, print_note};
use crate::cli::{progress_bar, whole_file};
use crate::hex;
use crate::near_duplicates::{Fingerprint, groups};
use crate::preprocess::FULL_SCALE;

/// The folder of the pictures below --out. Every reader of pictures takes `good` for normal parts.
const PICTURES: &str = "good";
/// Where each picture came from, beside that folder.
const LIST: &str = "collect.csv";
const COLUMNS: [&str; 6] = ["file", "sha256", "captured_at", "source", "source_seq", "part_id"];
/// The folder that is filled.
pub(super) struct Collection {
    folder: PathBuf,
    /// One line a picture.
    list: File,
    /// The length of the list after its last whole line.
    list_bytes: u64,
    /// Number of the newest picture.
    newest: u64,
    fingerprints: Vec<Fingerprint>,
    /// The part of the next picture, where its name tells it.
    next_part: Option<String>,
    /// The parts of the pictures written, where their names tell them.
    named_parts: HashSet<String>,
}

impl Collection {
    /// Opens a new or empty folder or, to append to it, one that an earlier `collect` filled.
    pub(super) fn open(folder: &Path, append: bool) -> anyhow::Result<Self> {
        let at = || folder.display().to_string();
        let list = folder.join(LIST);
        let empty = !folder.exists() || fs::read_dir(folder).with_context(at)?.next().is_none();
        let words = match (append, list.is_file()) {
            _ if empty => None,
            (true, true) => None,
            (false, _) => Some(
                "not empty; give a new or empty folder, or --append to go on in one that `collect` wrote",
            ),
            (true, false) => {
                Some("holds no collect.csv; --append goes on only in a folder that `collect` wrote")
            }
        };
        if let Some(words) = words {
            anyhow::bail!("--out {}: {words}", folder.display());
        }
        fs::create_dir_all(folder.join(PICTURES)).with_context(at)?;
        let newest = newest(&folder.join(PICTURES)).with_context(at)?;
        let list = File::options().create(true).append(true).open(list).with_context(at)?;
        let list_bytes = list.metadata().with_context(at)?.len();
        let mut collection = Self {
            folder: folder.to_path_buf(),
            list,
            list_bytes,
            newest,
            fingerprints: Vec::new(),
            next_part: None,
            named_parts: HashSet::new(),
        };
        if list_bytes == 0 {
            collection.write_line(&COLUMNS).with_context(at)?;
        }
        if newest > 0 {
            collection.read_fingerprints()?;
        }
        Ok(collection)
    }

    pub(super) fn pictures(&self) -> PathBuf {
        self.folder.join(PICTURES)
    }

    /// The fingerprints of the pictures written earlier.
    fn read_fingerprints(&mut self) -> anyhow::Result<()> {
        let settings = FolderSettings { path: self.pictures(), frames_per_second: None, repeat: false };
        let mut source = FolderSource::open(settings)?;
        let bar = progress_bar(source.len() as u64, "reading");
        // They are cut to the region already.
        let fingerprints = Fingerprints::new(None, FULL_SCALE);
        let mut unreadable = 0_u64;
        while let SourceEvent::Frame(frame) = source.next(Duration::ZERO)? {
            bar.inc(1);
            let read = frame.picture.map_err(anyhow::Error::from);
            match read.and_then(|picture| Ok(fingerprints.of(&picture)?)) {
                Ok(fingerprint) => self.fingerprints.push(fingerprint),
                Err(error) => {
                    unreadable += 1;
                    bar.suspend(|| tracing::warn!("not counted: {error:#}"));
                }
            }
        }
        bar.finish();
        if let Some(left_out) = source.left_out() {
            print_note!("{}: {left_out}", on_one_line(self.pictures()));
        }
        if unreadable > 0 {
            print_note!(
                "{}: {unreadable} pictures cannot be read; remove them",
                on_one_line(self.pictures())
            );
        }
        Ok(())
    }

    /// Says which part the next picture shows, for a source whose names tell it.
    pub(super) fn tell_part(&mut self, part: &str) {
        self.next_part = Some(part.to_owned());
    }

    /// Writes the next picture and its line. If one fails, neither is kept.
    pub(super) fn add(
        &mut self,
        image: &DynamicImage,
        fingerprint: Fingerprint,
        frame: &Frame,
        source: &str,
    ) -> anyhow::Result<()> {
        let name = format!("{PICTURES}/{:06}.png", self.newest + 1);
        let file = self.folder.join(&name);
        let bytes = png(image);
        let sha256 = hex::sha256(&bytes);
        let kept = whole_file::write_new(&file, &bytes).and_then(|()| {
            let captured_at = frame.captured_at.wall.to_string();
            let (seq, part) = (frame.source_seq.to_string(), frame.part_id.as_deref().unwrap_or_default());
            self.write_line(&[&name, &sha256, &captured_at, source, &seq, part]).inspect_err(|_| {
                let _ = fs::remove_file(&file); // a disk that refused the line may refuse this too
            })
        });
        kept.with_context(|| {
            format!(
                "{}: cannot be written; the {} pictures before it are kept, and --append goes on when there is room",
                file.display(),
                self.fingerprints.len()
            )
        })?;
        self.newest += 1;
        self.named_parts.extend(self.next_part.take());
        self.fingerprints.push(fingerprint);
        Ok(())
    }

    /// Appends a line to the list, whole or not at all.
    fn write_line(&mut self, cells: &[&str]) -> io::Result<()> {
        let mut line = csv::Writer::from_writer(Vec::new());
        line.write_record(cells)?;
        let line = line.into_inner().map_err(|error| error.into_error())?;
        let written = self.list.write_all(&line).and_then(|()| self.list.sync_data());
        match &written {
            Ok(()) => self.list_bytes += line.len() as u64,
            Err(_) => self.list.set_len(self.list_bytes)?,
        }
        written
    }

    /// Prints how many parts there are, and whether they are enough.
    pub(super) fn report(&self) {
        let pictures = self.fingerprints.len();
        let parts = match self.named_parts.len() {
            0 => groups(&self.fingerprints).into_iter().max().map_or(0, |last| last + 1),
            named => named,
        };
        print_line!("{} holds {pictures} pictures of {parts} different parts", on_one_line(&self.folder));
        if parts < pictures && self.named_parts.is_empty() {
            print_line!(
                "pictures that are near-identical count as one part; where their names tell the part, give `calibrate` the option --part-from, and --distinct-parts if each of them shows another part"
            );
        }
        let needed = frames_needed(FALSE_ALARM_RATE);
        let missing = match needed.saturating_sub(parts) {
            0 => "enough".to_owned(),
            missing => format!("{missing} more are needed"),
        };
        print_line!(
            "`calibrate` needs {needed} different parts for its default of {} % false alarms, none of them used for training ({} where --maps is left out): {missing}",
            100.0 * FALSE_ALARM_RATE,
            2 * needed.max(MAP_PARTS_NEEDED)
        );
    }
}

/// The highest number that a picture of the folder has; 0 for none. A number that `collect` would not reach is somebody's own name.
fn newest(pictures: &Path) -> io::Result<u64> {
    const REACHED: u64 = 1_000_000_000_000;
    fs::read_dir(pictures)?.try_fold(0, |newest, entry| {
        let name = PathBuf::from(entry?.file_name());
        let stem = name.file_stem().filter(|_| is_picture(&name));
        let number = stem.and_then(|stem| stem.to_str()?.parse().ok());
        Ok(number.filter(|&number| number < REACHED).unwrap_or(0).max(newest))
    })
}
