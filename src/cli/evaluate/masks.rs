//! The masks of a category: read before anything is scored, and each used or named with the reason.
//!
//! Guarantees: a mask that marks nearly all of its picture takes no part, and where most masks of a category are so, none does. Such
//! masks are inverted or lie on a coloured background, and the smaller ones among them cannot be told from right ones.
//! Costs: one byte for each pixel of the model input and each mask. Masks and maps are compared at the size of the model input, as
//! in anomalib: the mask is sampled at the centre of each pixel of the map.

use ndarray::Array2;

use crate::evaluation::layout::{GOOD, LabelledPicture, Mask};
use crate::evaluation::mask_file::{LARGEST_SHARE, MarkedPixels};

/// A mask at the size of the map.
struct ReadMask {
    size: [u32; 2],
    share: f64,
    small: Array2<bool>,
}

/// The masks of the pictures of a category, in their order.
pub(super) struct Masks {
    shape: [usize; 2],
    read: Vec<Option<Result<ReadMask, String>>>,
    /// Most masks mark nearly all of their pictures.
    inverted: bool,
}

impl Masks {
    /// Reads all masks. `None` if the data set has none.
    pub(super) fn read(pictures: &[LabelledPicture], shape: [usize; 2]) -> Option<Self> {
        let has_masks = |picture: &LabelledPicture| matches!(picture.mask, Mask::Files(_) | Mask::Missing(_));
        if !pictures.iter().any(has_masks) {
            return None;
        }
        let read = |picture: &LabelledPicture| match &picture.mask {
            Mask::Empty => None,
            Mask::Files(files) => Some(MarkedPixels::read(files).map(|marked| ReadMask {
                size: marked.size,
                share: marked.share(),
                small: marked.sampled(shape),
            })),
            Mask::Missing(why) => Some(Err(why.clone())),
            Mask::Unknown => Some(Err("missing mask".to_owned())),
        };
        let read: Vec<_> = pictures.iter().map(read).collect();
        let shares = || pictures.iter().zip(&read).filter(|(picture, _)| picture.kind != GOOD);
        let shares = || shares().filter_map(|(_, read)| Some(read.as_ref()?.as_ref().ok()?.share));
        let inverted = 2 * shares().filter(|&share| share > LARGEST_SHARE).count() > shares().count();
        Some(Self { shape, read, inverted })
    }

    /// The mask of a picture of this size, at the size of the map, or why it takes no part.
    pub(super) fn of(&self, index: usize, kind: &str, size: [u32; 2]) -> Result<Array2<bool>, String> {
        let nothing = || Array2::from_elem((self.shape[0], self.shape[1]), false);
        let mask = match &self.read[index] {
            None => return Ok(nothing()),
            Some(Err(why)) => return Err(why.clone()),
            Some(Ok(mask)) => mask,
        };
        let ([w, h], [mask_w, mask_h], share) = (size, mask.size, percent(mask.share));
        if mask.size != size {
            return Err(format!("mask of {mask_w}x{mask_h} for a picture of {w}x{h}: not its size"));
        }
        if kind == GOOD {
            return match mask.share > 0.0 {
                true => Err(format!("its mask marks {share} % of a normal part")),
                false => Ok(nothing()),
            };
        }
        let limit = percent(LARGEST_SHARE);
        let wanted = "a mask is black where the part is as it should be";
        if mask.share > LARGEST_SHARE {
            return Err(format!(
                "its mask marks {share} % of the picture, and more than {limit} % is not believed: inverted, or on a coloured background; {wanted}"
            ));
        }
        if self.inverted {
            return Err(format!(
                "most masks here mark more than {limit} % of their pictures and seem inverted, so this one is not believed either; {wanted}"
            ));
        }
        if !mask.small.iter().any(|&marked| marked) {
            let [height, width] = self.shape;
            return Err(match mask.share > 0.0 {
                true => format!("its defect is too small to be seen at {width}x{height}"),
                false => "empty mask: it marks no pixel".into(),
            });
        }
        Ok(mask.small.clone())
    }
}

/// A share in percent, to two digits that count.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent < 1.0 { format!("{percent:.2}") } else { format!("{percent:.0}") }
}
