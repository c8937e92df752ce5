//! Masks mark what their author marked, or are named. A count of nought has one meaning.

use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, Luma, LumaA, Rgba, RgbaImage};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::bundles::{demo_line, simulated};
use crate::support::program::{Ran, certiscope, run};

const KINDS: [&str; 6] = ["chip", "crack", "dent", "missing_hole", "scratch", "stain"];

/// Simulated parts with masks that a test changes, and the folder that keeps their scores.
struct MaskedParts {
    folder: TempDir,
}

impl MaskedParts {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        simulated(&folder.path().join("set"), 1, 2);
        Self { folder }
    }

    fn set(&self) -> PathBuf {
        self.folder.path().join("set")
    }

    fn masks(&self) -> PathBuf {
        self.set().join("ground_truth")
    }

    /// Each mask's file and what it marks.
    fn each(&self) -> Vec<(PathBuf, GrayImage)> {
        let files = KINDS.iter().flat_map(|kind| {
            let names = ["0000_mask.png", "0001_mask.png"];
            names.map(|name| self.masks().join(kind).join(name))
        });
        files.map(|file| (file.clone(), image::open(file).unwrap().into_luma8())).collect()
    }

    /// The masks in another form, as each would be saved by its author.
    fn as_form(&self, form: impl Fn(&GrayImage) -> DynamicImage) -> Self {
        let other = Self::new();
        other.each().iter().for_each(|(file, mask)| form(mask).save(file).unwrap());
        other
    }

    fn evaluate(&self) -> (Ran, Value) {
        let out = self.folder.path().join("out");
        let mut evaluate = certiscope("evaluate");
        evaluate.arg("--bundle").arg(demo_line()).arg("--data").arg(self.set()).arg("--out").arg(&out);
        let ran = run(evaluate.args(["--draws", "16", "--threads", "1"])).succeeded();
        let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
        let category = report["categories"][0].clone();
        // What is left out is named in the table, in the report and on the page.
        let page = std::fs::read_to_string(out.join("report.html")).unwrap();
        for (name, why) in left_out(&category) {
            assert!(ran.stdout.contains(&format!("left out: {name}: {why}")), "{name} in {}", ran.stdout);
            assert!(page.contains(&name), "{name} on the page");
        }
        (ran, category)
    }

    fn pixel(&self) -> Value {
        self.evaluate().1["pixel"].clone()
    }
}

fn left_out(category: &Value) -> Vec<(String, String)> {
    let words = |left: &Value, key: &str| left[key].as_str().unwrap().to_owned();
    let left = category["left_out"].as_array().unwrap();
    left.iter().map(|left| (words(left, "name"), words(left, "why"))).collect()
}

fn inverted(mask: &GrayImage) -> GrayImage {
    let mut mask = mask.clone();
    image::imageops::invert(&mut mask);
    mask
}

#[test]
fn a_layer_and_a_palette_mark_what_they_are_painted_with() {
    let plain = MaskedParts::new();
    let wanted = plain.pixel();
    assert_eq!((wanted["masks"].as_u64(), wanted["masks_unusable"].as_u64()), (Some(12), Some(0)));
    let layer = |mask: &GrayImage| -> DynamicImage {
        let pixel = |x, y| match mask.get_pixel(x, y).0 {
            [0] => Rgba([255, 255, 255, 0]),
            _ => Rgba([255, 0, 0, 255]),
        };
        RgbaImage::from_fn(mask.width(), mask.height(), pixel).into()
    };
    let grey_layer = |mask: &GrayImage| -> DynamicImage {
        let pixel = |x, y| LumaA([200, mask.get_pixel(x, y).0[0]]);
        image::GrayAlphaImage::from_fn(mask.width(), mask.height(), pixel).into()
    };
    assert_eq!(plain.as_form(layer).pixel(), wanted, "white is hidden below the layer");
    assert_eq!(plain.as_form(grey_layer).pixel(), wanted, "grey is hidden below the layer");

    let palettes = MaskedParts::new();
    for (file, mask) in palettes.each() {
        let bytes = std::fs::File::create(file).unwrap();
        let mut png = png::Encoder::new(bytes, mask.width(), mask.height());
        png.set_color(png::ColorType::Indexed);
        png.set_palette([[0, 0, 128], [255, 255, 0]].concat());
        let numbers: Vec<u8> = mask.iter().map(|&value| u8::from(value > 0)).collect();
        png.write_header().unwrap().write_image_data(&numbers).unwrap();
    }
    assert_eq!(palettes.pixel(), wanted, "the background of the palette is blue");
}

#[test]
fn inverted_masks_are_named_and_have_no_part() {
    let parts = MaskedParts::new().as_form(|mask| inverted(mask).into());
    let (ran, category) = parts.evaluate();
    let left = left_out(&category);
    assert!(left.len() == 12 && left.iter().all(|left| left.1.contains("inverted")), "{left:?}");
    assert!(category["pixel"].is_null());
    let none = "no pixel figures: 0 of 12 defective pictures have a mask that can be used";
    assert!(ran.stdout.contains(none), "{}", ran.stdout);

    // A large defect, inverted, marks less than the limit. Where most masks are inverted it is not believed either.
    let half = GrayImage::from_fn(64, 64, |x, _| Luma([if x < 40 { 255 } else { 0 }]));
    half.save(parts.masks().join("stain/0001_mask.png")).unwrap();
    let left = left_out(&parts.evaluate().1);
    let large = left.iter().find(|left| left.0 == "test/stain/0001.png").expect("the large defect");
    assert!(large.1.contains("most masks here mark more than 75 %"), "{large:?}");

    // Alone it is a mask like any other.
    let parts = MaskedParts::new();
    half.save(parts.masks().join("stain/0001_mask.png")).unwrap();
    let (_, category) = parts.evaluate();
    assert_eq!((category["pixel"]["masks"].as_u64(), left_out(&category).len()), (Some(12), 0));
}

/// Moves each mask to where `to` says, given its kind and the stem of its picture.
fn moved(to: impl Fn(&str, &str) -> String) -> MaskedParts {
    let parts = MaskedParts::new();
    for (file, _) in parts.each() {
        let kind = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let stem = &file.file_name().unwrap().to_str().unwrap()[..4];
        let to = parts.masks().join(to(kind, stem));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::rename(&file, to).unwrap();
    }
    parts
}

#[test]
fn masks_of_other_data_sets_are_found_and_those_that_fit_nothing_are_named() {
    let wanted = MaskedParts::new().pixel();
    let loco = moved(|kind, stem| format!("{kind}/{stem}/000.png"));
    assert_eq!(loco.pixel(), wanted, "a folder a picture, as in MVTec LOCO AD");
    let marked = moved(|kind, stem| format!("{kind}/{stem}_GT.png"));
    assert_eq!(marked.pixel(), wanted, "_GT after the stem");

    let (ran, category) = moved(|kind, stem| format!("{kind}/mask-{stem}.png")).evaluate();
    let left = left_out(&category);
    assert_eq!(left.len(), 24, "each picture and each mask: {left:?}");
    let of = |name: &str| &left.iter().find(|left| left.0 == name).expect(name).1;
    let would_fit = "ground_truth/chip/ holds none of 0000.png, 0000_mask.png and 0000_GT.png (or another format), and no folder 0000/";
    assert!(of("test/chip/0000.png").contains(would_fit), "{left:?}");
    assert!(of("ground_truth/chip/mask-0000.png").contains("fits no picture"), "{left:?}");
    assert!(ran.stdout.contains("no pixel figures: 0 of 12"), "{}", ran.stdout);

    // Not pictures, and not in the folder of a class.
    let parts = MaskedParts::new();
    std::fs::rename(parts.masks().join("chip/0000_mask.png"), parts.masks().join("0000_mask.png")).unwrap();
    std::fs::rename(parts.masks().join("chip/0001_mask.png"), parts.masks().join("chip/0001.npy")).unwrap();
    let (ran, category) = parts.evaluate();
    let left = left_out(&category);
    let of = |name: &str| &left.iter().find(|left| left.0 == name).expect(name).1;
    assert!(of("ground_truth/0000_mask.png").contains("lies in no folder of a class"), "{left:?}");
    assert_eq!(of("ground_truth/chip"), "1 file left out: 1 .npy");
    assert_eq!((&category["pixel"]["masks"], &category["pixel"]["masks_unusable"]), (&10.into(), &2.into()));
    assert!(
        ran.stdout.contains("10 masks: ") && ran.stdout.contains("; 2 more defective pictures have no mask")
    );
}

#[test]
fn a_set_without_masks_says_so_and_folders_that_look_like_masks_are_no_defects() {
    let parts = MaskedParts::new();
    std::fs::rename(parts.masks(), parts.set().join("masks")).unwrap();
    let (ran, category) = parts.evaluate();
    assert!(ran.stdout.contains("no pixel figures: the data set has no masks"), "{}", ran.stdout);
    let left = left_out(&category);
    assert!(left.len() == 1 && left[0].0 == "masks" && left[0].1.contains("called ground_truth"), "{left:?}");

    // The same as class folders without `test`: masks are no kind of defect.
    let flat = TempDir::new().unwrap();
    std::fs::rename(parts.set().join("test"), flat.path().join("set")).unwrap();
    let parts = MaskedParts { folder: flat };
    copy_of(Path::new(&parts.set().join("chip")), &parts.set().join("Masks"));
    let (_, category) = parts.evaluate();
    assert_eq!(category["defective"], 12, "{category}");
    assert!(category["image"]["Masks"].is_null());
}

fn copy_of(folder: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_mask_of_a_normal_part_must_mark_nothing() {
    let parts = MaskedParts::new();
    let good = parts.masks().join("good");
    std::fs::create_dir(&good).unwrap();
    GrayImage::new(64, 64).save(good.join("0000_mask.png")).unwrap();
    GrayImage::from_fn(64, 64, |x, _| Luma([u8::from(x == 0)])).save(good.join("0001_mask.png")).unwrap();
    let (_, category) = parts.evaluate();
    let left = left_out(&category);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(
        left[0].0 == "test/good/0001.png" && left[0].1.contains("marks 2 % of a normal part"),
        "{left:?}"
    );
    assert_eq!(category["pixel"]["masks"], 12);
}

/// What cannot be written beside the table costs no figure.
#[test]
fn a_folder_that_takes_no_files_costs_no_figures() {
    let parts = MaskedParts::new();
    let out = parts.folder.path().join("out");
    std::fs::create_dir_all(&out).unwrap();
    std::os::unix::fs::symlink("/dev/full", out.join("report.json")).unwrap();
    // A folder in which nobody can make a file.
    std::os::unix::fs::symlink("/proc", out.join("maps")).unwrap();
    let mut evaluate = certiscope("evaluate");
    evaluate.arg("--bundle").arg(demo_line()).arg("--data").arg(parts.set()).arg("--out").arg(&out);
    let ran = run(evaluate.args(["--draws", "16", "--threads", "1"]));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("12 masks: AUROC"), "{ran:?}");
    assert!(ran.stderr.contains("the scores of 14 pictures could not be kept"), "{ran:?}");
    assert!(ran.stderr.contains("report.json: cannot be written: No space left"), "{ran:?}");
    assert!(out.join("report.html").exists(), "{ran:?}");
}
