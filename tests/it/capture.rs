//! Tests of the sources of frames: folders on a real disk, and the simulator with its data set.

use std::fs;
use std::path::Path;
use std::time::Duration;

use certiscope::testing::capture::folder::{FolderSettings, FolderSource};
use certiscope::testing::capture::simulator::{DefectKind, Simulator, SimulatorSettings, simulate};
use certiscope::testing::capture::{BadFrame, CaptureError, Frame, FrameSource, Samples, SourceEvent};
use image::GrayImage;

fn write_picture(path: &Path, shade: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if path.extension().is_some_and(|name| name.to_ascii_lowercase().to_str().unwrap().starts_with("jp")) {
        let format = turbojpeg::PixelFormat::GRAY;
        let image =
            turbojpeg::Image { pixels: &[shade; 16 * 12][..], width: 16, pitch: 16, height: 12, format };
        fs::write(path, turbojpeg::compress(image, 100, turbojpeg::Subsamp::Gray).unwrap()).unwrap();
        return;
    }
    GrayImage::from_pixel(16, 12, [shade].into()).save(path).unwrap();
}

fn once(path: &Path) -> FolderSettings {
    FolderSettings { path: path.to_path_buf(), frames_per_second: None, repeat: false }
}

fn all(source: &mut dyn FrameSource) -> Vec<Frame> {
    std::iter::from_fn(|| match source.next(Duration::from_secs(5)).unwrap() {
        SourceEvent::Frame(frame) => Some(*frame),
        _ => None,
    })
    .collect()
}

fn names_and_kinds(path: &Path) -> Vec<(String, Option<String>)> {
    let frames = all(&mut FolderSource::open(once(path)).unwrap());
    let kind = |frame: &Frame| frame.truth.as_ref().map(|truth| truth.kind.clone());
    frames.iter().map(|frame| (frame.part_id.clone().unwrap(), kind(frame))).collect()
}

fn refusal(settings: FolderSettings) -> CaptureError {
    FolderSource::open(settings).err().expect("must be refused")
}

#[test]
fn a_plain_folder_gives_every_picture_once_sorted_and_without_truth() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b/2.png", "a.PNG", "b/10.Jpg", "c.bmp", "Z.jpeg"] {
        write_picture(&dir.path().join(name), 90);
    }
    fs::write(dir.path().join("notes.txt"), "not a picture").unwrap();
    let found = names_and_kinds(dir.path());
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Z.jpeg", "a.PNG", "b/10.Jpg", "b/2.png", "c.bmp"]);
    assert!(found.iter().all(|(_, kind)| kind.is_none()));
}

#[test]
fn class_folders_are_the_truth_from_the_root_and_from_a_split() {
    let dir = tempfile::tempdir().unwrap();
    let tree = ["train/good/0.png", "test/OK/1.png", "test/crack/0.png", "test/crack/deep/3.png"];
    for name in tree.iter().chain(&["ground_truth/crack/0_mask.png"]) {
        write_picture(&dir.path().join(name), 90);
    }
    let kind = |name: &str, kind: &str| (name.to_string(), Some(kind.to_string()));
    assert_eq!(
        names_and_kinds(dir.path()),
        [
            kind("test/OK/1.png", "good"),
            kind("test/crack/0.png", "crack"),
            kind("test/crack/deep/3.png", "crack"),
            kind("train/good/0.png", "good"),
        ]
    );
    let split = names_and_kinds(&dir.path().join("test"));
    assert_eq!(
        split,
        [kind("OK/1.png", "good"), kind("crack/0.png", "crack"), kind("crack/deep/3.png", "crack")]
    );
}

#[test]
fn a_frame_carries_the_files_bytes_and_its_decoded_picture() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("part.png");
    write_picture(&file, 77);
    let frame = all(&mut FolderSource::open(once(dir.path())).unwrap()).remove(0);
    assert_eq!(frame.encoded.as_deref(), Some(fs::read(&file).unwrap().as_slice()));
    assert_eq!(frame.picture.unwrap().samples, Samples::Eight(vec![77; 16 * 12]));
    assert_eq!(frame.source_seq, 1);
}

#[test]
fn each_frame_has_the_bytes_the_picture_and_the_name_of_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let shades = [("a.png", 10), ("b.png", 20), ("c/d.png", 30), ("e.png", 40)];
    for (name, shade) in shades {
        write_picture(&dir.path().join(name), shade);
    }
    let frames = all(&mut FolderSource::open(once(dir.path())).unwrap());
    assert_eq!(frames.len(), shades.len());
    for (frame, (name, shade)) in frames.into_iter().zip(shades) {
        assert_eq!(frame.part_id.as_deref(), Some(name));
        assert_eq!(
            frame.encoded.as_deref(),
            Some(fs::read(dir.path().join(name)).unwrap().as_slice()),
            "{name}"
        );
        assert_eq!(frame.picture.unwrap().samples, Samples::Eight(vec![shade; 16 * 12]), "{name}");
    }
}

#[test]
fn bad_files_are_frames_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["cut.png", "fine.png", "vanished.png"] {
        write_picture(&dir.path().join(name), 90);
    }
    let whole = fs::read(dir.path().join("cut.png")).unwrap();
    fs::write(dir.path().join("cut.png"), &whole[..whole.len() - 20]).unwrap();
    fs::write(dir.path().join("empty.jpg"), []).unwrap();
    fs::write(dir.path().join("text.png"), "a list of things to buy").unwrap();
    let mut source = FolderSource::open(once(dir.path())).unwrap();
    assert_eq!(source.len(), 5);
    fs::remove_file(dir.path().join("vanished.png")).unwrap();
    let frames = all(&mut source);
    let reasons: Vec<_> = frames.iter().map(|frame| frame.picture.as_ref().err()).collect();
    assert!(
        matches!(
            reasons[..],
            [
                Some(BadFrame::Truncated(_)),
                Some(BadFrame::Empty(_)),
                None,
                Some(BadFrame::Undecodable { .. }),
                Some(BadFrame::Unreadable { .. }),
            ]
        ),
        "{reasons:?}"
    );
    let vanished = frames[4].picture.as_ref().unwrap_err().to_string();
    assert!(vanished.contains("vanished.png"), "{vanished}");
}

#[test]
fn a_repeating_folder_starts_over_and_counts_on() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        write_picture(&dir.path().join(name), 90);
    }
    let mut source = FolderSource::open(FolderSettings { repeat: true, ..once(dir.path()) }).unwrap();
    let frames: Vec<_> = (0..5)
        .map(|_| match source.next(Duration::ZERO).unwrap() {
            SourceEvent::Frame(frame) => (frame.source_seq, frame.part_id.unwrap()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [(1, "a.png"), (2, "b.png"), (3, "a.png"), (4, "b.png"), (5, "a.png")];
    assert_eq!(frames, expected.map(|(seq, name)| (seq, name.to_string())));
}

#[test]
fn a_paced_source_is_not_early_and_says_not_yet() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        write_picture(&dir.path().join(name), 90);
    }
    let paced = FolderSettings { frames_per_second: Some(20.0), ..once(dir.path()) };
    let mut source = FolderSource::open(paced).unwrap();
    let SourceEvent::Frame(first) = source.next(Duration::ZERO).unwrap() else { panic!("due at once") };
    assert!(matches!(source.next(Duration::from_millis(1)).unwrap(), SourceEvent::NotYet));
    let SourceEvent::Frame(second) = source.next(Duration::from_secs(5)).unwrap() else {
        panic!("due by now")
    };
    let apart = second.captured_at.monotonic - first.captured_at.monotonic;
    assert!(apart > Duration::from_millis(40), "{apart:?} apart at 20 a second");
    assert!(matches!(source.next(Duration::ZERO).unwrap(), SourceEvent::End));
}

#[test]
fn what_is_not_a_folder_of_pictures_is_refused_with_what_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file.txt");
    fs::write(&file, "text").unwrap();
    for path in [&dir.path().join("missing"), &file, &dir.path().to_path_buf()] {
        let error = refusal(once(path));
        let words = error.to_string();
        assert!(matches!(error, CaptureError::Folder { .. }));
        assert!(words.contains(path.to_str().unwrap()) && words.contains("a folder with PNG"), "{words}");
    }
    write_picture(&dir.path().join("a.png"), 90);
    let error = refusal(FolderSettings { frames_per_second: Some(-1.0), ..once(dir.path()) });
    assert!(error.to_string().contains("folder.frames_per_second = -1"), "{error}");
}

#[cfg(unix)]
#[test]
fn folders_linked_in_a_circle_are_walked_once_and_dead_links_are_frames() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    write_picture(&dir.path().join("a/part.png"), 90);
    symlink(dir.path(), dir.path().join("a/up")).unwrap();
    symlink(dir.path().join("a"), dir.path().join("b")).unwrap();
    symlink(dir.path().join("nowhere"), dir.path().join("dead.png")).unwrap();
    let frames = all(&mut FolderSource::open(once(dir.path())).unwrap());
    let names: Vec<_> = frames.iter().map(|frame| frame.part_id.as_deref().unwrap()).collect();
    assert_eq!(names, ["a/part.png", "dead.png"]);
    assert!(matches!(frames[1].picture, Err(BadFrame::Unreadable { .. })));
}

#[test]
fn a_simulated_data_set_is_read_back_with_its_truth_and_masks() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    let settings = SimulatorSettings { width: 64, height: 48, ..SimulatorSettings::default() };
    let mut told = Vec::new();
    simulate(&out, settings.clone(), 3, 2, &mut |done, of| {
        told.push((done, of));
    })
    .unwrap();
    let total = 3 + 2 + 2 * DefectKind::ALL.len() as u64;
    assert_eq!(told, (1..=total).map(|done| (done, total)).collect::<Vec<_>>());

    let mut distinct = std::collections::HashSet::new();
    for frame in all(&mut FolderSource::open(once(&out)).unwrap()) {
        let name = frame.part_id.unwrap();
        let kind = frame.truth.unwrap().kind;
        assert!(name.contains(&format!("/{kind}/")), "{name}: {kind}");
        let Samples::Eight(pixels) = frame.picture.unwrap().samples else { panic!("{name}: not 8 bits") };
        assert!(distinct.insert(pixels), "{name}: the same picture twice");
        if kind != "good" {
            let mask = out.join(name.replace("test/", "ground_truth/").replace(".png", "_mask.png"));
            let mask = image::open(mask).unwrap().into_luma8();
            assert_eq!(mask.dimensions(), (64, 48));
            assert!(mask.pixels().all(|p| matches!(p.0, [0] | [255])) && mask.pixels().any(|p| p.0 == [255]));
        }
    }
    assert_eq!(distinct.len() as u64, total);

    let again = simulate(&out, settings, 1, 1, &mut |_, _| {}).unwrap_err();
    assert!(again.to_string().contains("not empty"), "{again}");
}

#[test]
fn a_simulated_line_ends_after_its_count() {
    let settings = SimulatorSettings {
        count: Some(2),
        width: 32,
        height: 32,
        parts_per_second: None,
        ..SimulatorSettings::default()
    };
    let mut line = Simulator::new(settings).unwrap();
    assert_eq!(all(&mut line).len(), 2);
    assert!(matches!(line.next(Duration::ZERO).unwrap(), SourceEvent::End));
}
