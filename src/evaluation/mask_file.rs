//! Reads a mask: a picture that marks where the defect of another picture is.
//!
//! What a pixel means: in a picture of numbers or colours any value above 0 marks, because data sets number their defects. In a
//! JPEG, which blurs edges, any value above half of full scale. Where a picture is transparent nothing is marked, whatever colour
//! is hidden there. In a palette the number marks and not the colour: number 0 is the background, whatever it looks like. Two
//! palettes are read by what they show: one of black and white only, and one with transparent pixels.
//!
//! Guarantees: an orientation in the file turns the mask, as it turns pictures. The format is known by content. A mask that marks
//! more than [`LARGEST_SHARE`] of its picture can be told from others: it is an inverted one, or one on a coloured background.
//! Leaves out: judging the mask; finding it.

use std::error::Error;
use std::io::Cursor;
use std::path::Path;

use image::codecs::bmp::BmpDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, guess_format};
use ndarray::Array2;

use crate::capture::decode::DecodeLimits;
use crate::capture::folder::read_frame;
use crate::capture::{Picture, Samples};

/// A mask that marks a larger share of its picture is not believed. The largest true one in MVTec AD marks half of it (a transistor
/// that is missing), in the magnetic tiles 0.46.
pub(crate) const LARGEST_SHARE: f64 = 0.75;

/// Which pixels a mask marks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MarkedPixels {
    pub size: [u32; 2],
    /// In row order.
    marked: Vec<bool>,
}

impl MarkedPixels {
    /// Reads the masks of one picture: what any of them marks is marked. An error says what is wrong with which file.
    pub(crate) fn read(files: &[impl AsRef<Path>]) -> Result<Self, String> {
        let mut all: Option<Self> = None;
        for file in files {
            let next = read(file.as_ref())?;
            match &mut all {
                None => all = Some(next),
                Some(all) if all.size == next.size => {
                    all.marked.iter_mut().zip(next.marked).for_each(|(one, other)| *one |= other);
                }
                Some(all) => {
                    let ([w, h], [other_w, other_h]) = (all.size, next.size);
                    return Err(format!("masks of {w}x{h} and of {other_w}x{other_h} for one picture"));
                }
            }
        }
        all.ok_or_else(|| "no mask".into())
    }

    pub(crate) fn share(&self) -> f64 {
        self.marked.iter().filter(|&&marked| marked).count() as f64 / self.marked.len() as f64
    }

    /// The mask at another size, sampled at the centre of each of its pixels.
    pub(crate) fn sampled(&self, [height, width]: [usize; 2]) -> Array2<bool> {
        let [own_width, own_height] = self.size;
        let at = |place: usize, of: usize, length: u32| (2 * place + 1) * length as usize / (2 * of);
        Array2::from_shape_fn((height, width), |(y, x)| {
            self.marked[at(y, height, own_height) * own_width as usize + at(x, width, own_width)]
        })
    }
}

fn read(file: &Path) -> Result<MarkedPixels, String> {
    let frame = read_frame(file, 0, DecodeLimits::default());
    // Decoded as every picture is, so that a mask that is cut off or too large is refused.
    let picture = frame.picture.map_err(|error| format!("unreadable mask: {error}"))?;
    let bytes = frame.encoded.unwrap_or_default();
    let size = [picture.width, picture.height];
    let marked = match by_number_or_layer(&bytes) {
        Ok(None) => by_value(&picture, &bytes),
        Ok(Some(marks)) if [marks.width(), marks.height()] == size => {
            marks.into_raw().into_iter().map(|value| value > 0).collect()
        }
        Ok(Some(_)) => return Err("unreadable mask: it decodes to two sizes".into()),
        Err(error) => return Err(format!("unreadable mask: {error}")),
    };
    Ok(MarkedPixels { size, marked })
}

fn by_value(picture: &Picture, bytes: &[u8]) -> Vec<bool> {
    let smeared = guess_format(bytes).is_ok_and(|format| format == ImageFormat::Jpeg);
    let pixels = (picture.width * picture.height) as usize;
    fn above<T: PartialOrd + Copy>(samples: &[T], pixels: usize, limit: T) -> Vec<bool> {
        let depth = samples.len() / pixels;
        samples.chunks(depth).map(|pixel| pixel.iter().any(|&sample| sample > limit)).collect()
    }
    match &picture.samples {
        Samples::Eight(samples) => above(samples, pixels, if smeared { 127 } else { 0 }),
        Samples::Sixteen(samples) => above(samples, pixels, 0),
    }
}

/// The marks of a picture that has a palette or transparency, which a decoded [`Picture`] no longer has; `None` for any other.
fn by_number_or_layer(bytes: &[u8]) -> Result<Option<GrayImage>, Box<dyn Error>> {
    let (marks, orientation) = match guess_format(bytes)? {
        ImageFormat::Png => {
            let mut decoder = PngDecoder::new(Cursor::new(bytes))?;
            let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
            let has_alpha = decoder.color_type().has_alpha();
            let marks = match png_palette(bytes)? {
                Some(marks) => marks,
                None if has_alpha => layer(&DynamicImage::from_decoder(decoder)?),
                None => return Ok(None),
            };
            (marks, orientation)
        }
        ImageFormat::Bmp => {
            let mut decoder = BmpDecoder::new(Cursor::new(bytes))?;
            let marks = match decoder.get_palette().map(<[_]>::to_vec) {
                Some(palette) => {
                    decoder.set_indexed_color(true);
                    let (width, height) = decoder.dimensions();
                    let mut numbers = vec![0; usize::try_from(decoder.total_bytes())?];
                    decoder.read_image(&mut numbers)?;
                    let colours: Vec<[u8; 4]> = palette.iter().map(|&[r, g, b]| [r, g, b, 255]).collect();
                    numbered([width, height], &numbers, &colours)?
                }
                None if decoder.color_type().has_alpha() => layer(&DynamicImage::from_decoder(decoder)?),
                None => return Ok(None),
            };
            (marks, Orientation::NoTransforms)
        }
        _ => return Ok(None),
    };
    let mut turned = DynamicImage::ImageLuma8(marks);
    turned.apply_orientation(orientation);
    Ok(Some(turned.into_luma8()))
}

/// The marks of a PNG with a palette; `None` for any other.
fn png_palette(bytes: &[u8]) -> Result<Option<GrayImage>, Box<dyn Error>> {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info()?;
    let info = reader.info();
    let Some(palette) = info.palette.as_ref().filter(|_| info.color_type == png::ColorType::Indexed) else {
        return Ok(None);
    };
    let alphas = info.trns.as_deref().unwrap_or_default();
    let colours: Vec<[u8; 4]> = palette
        .chunks_exact(3)
        .enumerate()
        .map(|(number, colour)| [colour[0], colour[1], colour[2], alphas.get(number).copied().unwrap_or(255)])
        .collect();
    let (size, bits) = ([info.width, info.height], info.bit_depth as usize);
    let mut packed = vec![0; reader.output_buffer_size().ok_or("too large")?];
    let row = reader.next_frame(&mut packed)?.line_size;
    let highest = ((1_u16 << bits) - 1) as u8;
    let number = |row: &[u8], x: usize| (row[x * bits / 8] >> (8 - bits - x * bits % 8)) & highest;
    let numbers: Vec<u8> =
        packed.chunks(row).flat_map(|row| (0..size[0] as usize).map(move |x| number(row, x))).collect();
    Ok(Some(numbered(size, &numbers, &colours)?))
}

/// The marks of a picture of numbers into a palette.
fn numbered([width, height]: [u32; 2], numbers: &[u8], colours: &[[u8; 4]]) -> Result<GrayImage, String> {
    // A number without an entry is black, as decoders have it.
    let colour = |number: u8| colours.get(usize::from(number)).copied().unwrap_or([0, 0, 0, 255]);
    let black_and_white = colours.iter().all(|&[r, g, b, _]| [r, g, b] == [0; 3] || [r, g, b] == [255; 3]);
    let is_layer = numbers.iter().any(|&number| colour(number)[3] == 0);
    let marks = |number: u8| if black_and_white || is_layer { shows(colour(number)) } else { number > 0 };
    let values = numbers.iter().map(|&number| if marks(number) { 255 } else { 0 }).collect();
    GrayImage::from_raw(width, height, values).ok_or_else(|| "fewer numbers than pixels".to_owned())
}

/// The marks of a picture with transparency.
fn layer(image: &DynamicImage) -> GrayImage {
    let rgba = image.to_rgba16();
    let value = |pixel: &image::Rgba<u16>| if shows(pixel.0) { [255] } else { [0] };
    GrayImage::from_fn(rgba.width(), rgba.height(), |x, y| value(rgba.get_pixel(x, y)).into())
}

/// Whether a pixel shows a colour: it is neither transparent nor black.
fn shows<T: Default + PartialEq>([red, green, blue, alpha]: [T; 4]) -> bool {
    let nothing = T::default();
    alpha != nothing && [red, green, blue].iter().any(|value| *value != nothing)
}
