//! Reads a mask: a picture that marks where the defect of another picture is.
//!
//! What a pixel means: in a picture of numbers or colours any value above 0 marks, because data sets number their defects. In a
//! JPEG, which blurs edges, any value above half of full scale. Where a picture is transparent nothing is marked, whatever colour
//! is hidden there. In a palette the number marks and not the colour: number 0 is the background, whatever it looks like. Two
//! kinds of palette are read by what they show: one with transparent pixels, and one of black and white only, unless it shows a
//! mask that marks nearly everything.
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

use crate::capture::decode::{DecodeLimits, is_tiff_with_alpha, tiff_numbers};
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
        share_of(&self.marked)
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

fn share_of(marked: &[bool]) -> f64 {
    marked.iter().filter(|&&marked| marked).count() as f64 / marked.len() as f64
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
            let decoder = BmpDecoder::new(Cursor::new(bytes))?;
            let marks = match decoder.get_palette() {
                Some(palette) => {
                    let colours: Vec<[u8; 4]> = palette.iter().map(|&[r, g, b]| [r, g, b, 255]).collect();
                    let (width, height) = decoder.dimensions();
                    numbered([width, height], &bmp_numbers(bytes)?, &colours)?
                }
                None if decoder.color_type().has_alpha() => layer(&DynamicImage::from_decoder(decoder)?),
                None => return Ok(None),
            };
            (marks, Orientation::NoTransforms)
        }
        // It is turned already.
        _ if is_tiff_with_alpha(bytes) => {
            return Err(
                "a TIFF with transparency, and what that hides is not known here; save the mask as PNG"
                    .into(),
            );
        }
        _ => match tiff_numbers(bytes, DecodeLimits::default()) {
            Some((Picture { width, height, samples: Samples::Eight(numbers), .. }, colours)) => {
                let colours: Vec<[u8; 4]> = colours.iter().map(|&[r, g, b]| [r, g, b, 255]).collect();
                (numbered([width, height], &numbers, &colours)?, Orientation::NoTransforms)
            }
            _ => return Ok(None),
        },
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

/// The numbers of a BMP with a palette: it is decoded with another palette, whose colours are the numbers. (The decoder's own way to
/// give numbers panics below 8 bits.)
fn bmp_numbers(bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    const FILE_HEADER: usize = 14;
    let mut bytes = bytes.to_vec();
    let number_at = |place: usize| -> Result<usize, Box<dyn Error>> {
        let four = bytes.get(place..place + 4).ok_or("its header is cut off")?;
        Ok(u32::from_le_bytes(four.try_into()?) as usize)
    };
    let (pixels, header) = (number_at(10)?, number_at(FILE_HEADER)?);
    // The header of OS/2 is short, and so are its colours.
    let colour_bytes = if header == 12 { 3 } else { 4 };
    let palette = bytes.get_mut(FILE_HEADER + header..pixels).ok_or("its palette is cut off")?;
    for (number, colour) in palette.chunks_exact_mut(colour_bytes).take(256).enumerate() {
        colour[..3].fill(number as u8);
    }
    let decoded = DynamicImage::from_decoder(BmpDecoder::new(Cursor::new(bytes))?)?;
    Ok(decoded.into_rgb8().into_raw().into_iter().step_by(3).collect())
}

/// The marks of a picture of numbers into a palette.
fn numbered([width, height]: [u32; 2], numbers: &[u8], colours: &[[u8; 4]]) -> Result<GrayImage, String> {
    // A number without an entry is black, as decoders have it.
    let colour = |number: u8| colours.get(usize::from(number)).copied().unwrap_or([0, 0, 0, 255]);
    let black_and_white = colours.iter().all(|&[r, g, b, _]| [r, g, b] == [0; 3] || [r, g, b] == [255; 3]);
    let is_layer = numbers.iter().any(|&number| colour(number)[3] == 0);
    let shown = || numbers.iter().map(|&number| shows(colour(number))).collect::<Vec<_>>();
    let by_number = || numbers.iter().map(|&number| number > 0).collect::<Vec<_>>();
    let marked = match (is_layer, black_and_white) {
        (true, _) => shown(),
        (false, true) => {
            Some(shown()).filter(|marked| share_of(marked) <= LARGEST_SHARE).unwrap_or_else(by_number)
        }
        (false, false) => by_number(),
    };
    let values = marked.into_iter().map(|marked| if marked { 255 } else { 0 }).collect();
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

#[cfg(test)]
mod tests {
    use image::codecs::bmp::BmpEncoder;
    use image::{ExtendedColorType, Rgba};

    use super::*;

    const SIZE: [u32; 2] = [20, 10];

    /// The defect of these tests: a corner, a twentieth of the picture.
    fn is_defect(x: u32, y: u32) -> bool {
        x < 5 && y < 2
    }

    fn numbers(of: impl Fn(bool) -> u8) -> Vec<u8> {
        (0..SIZE[1])
            .flat_map(|y| (0..SIZE[0]).map(move |x| (x, y)))
            .map(|(x, y)| of(is_defect(x, y)))
            .collect()
    }

    /// A PNG of numbers into a palette, in so many bits, with the transparency of its first colours.
    fn png_of(numbers: &[u8], palette: &[[u8; 3]], alphas: &[u8], bits: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, SIZE[0], SIZE[1]);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::from_u8(bits as u8).unwrap());
        encoder.set_palette(palette.concat());
        if !alphas.is_empty() {
            encoder.set_trns(alphas.to_vec());
        }
        let mut packed = Vec::new();
        for row in numbers.chunks(SIZE[0] as usize) {
            let mut line = vec![0; (row.len() * bits).div_ceil(8)];
            row.iter()
                .enumerate()
                .for_each(|(x, number)| line[x * bits / 8] |= number << (8 - bits - x * bits % 8));
            packed.extend(line);
        }
        encoder.write_header().unwrap().write_image_data(&packed).unwrap();
        bytes
    }

    fn bmp_of(numbers: &[u8], palette: &[[u8; 3]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        BmpEncoder::new(&mut bytes)
            .encode_with_palette(numbers, SIZE[0], SIZE[1], ExtendedColorType::L8, Some(palette))
            .unwrap();
        bytes
    }

    /// A BMP of one bit a pixel, which no encoder here writes.
    fn bmp_of_bits(numbers: &[u8], palette: [[u8; 3]; 2]) -> Vec<u8> {
        let mut bytes = b"BM".to_vec();
        let rows: Vec<u8> = numbers
            .chunks(SIZE[0] as usize)
            .rev()
            .flat_map(|row| {
                let mut line = [0_u8; 4];
                row.iter().enumerate().for_each(|(x, number)| line[x / 8] |= number << (7 - x % 8));
                line
            })
            .collect();
        for value in [62 + rows.len() as u32, 0, 62, 40, SIZE[0], SIZE[1], 1 | 1 << 16, 0, 0, 0, 0, 2, 2] {
            bytes.extend(value.to_le_bytes());
        }
        palette.iter().for_each(|&[r, g, b]| bytes.extend([b, g, r, 0]));
        bytes.extend(rows);
        bytes
    }

    /// A TIFF of numbers, or with two samples a pixel, the second of which is alpha.
    fn tiff_of(samples: &[u8], palette: &[[u8; 3]]) -> Vec<u8> {
        const SHORT: u16 = 3;
        const LONG: u16 = 4;
        let per_pixel = samples.len() as u32 / (SIZE[0] * SIZE[1]);
        let (colours, pixels) = (134, 134 + 3 * 256 * 2);
        let tags: [(u16, u16, u32, u32); 10] = [
            (256, LONG, 1, SIZE[0]),
            (257, LONG, 1, SIZE[1]),
            (258, SHORT, 1, 8),
            (259, SHORT, 1, 1),
            (262, SHORT, 1, if per_pixel == 1 { 3 } else { 1 }),
            (273, LONG, 1, pixels),
            (277, SHORT, 1, per_pixel),
            (278, LONG, 1, SIZE[1]),
            (279, LONG, 1, samples.len() as u32),
            (320, SHORT, 3 * 256, colours),
        ];
        let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
        for (tag, kind, count, value) in tags {
            bytes.extend(tag.to_le_bytes().into_iter().chain(kind.to_le_bytes()));
            bytes.extend(count.to_le_bytes().into_iter().chain(value.to_le_bytes()));
        }
        bytes.extend([0; 4]);
        for channel in 0..3 {
            let value =
                |number: usize| 257 * palette.get(number).map_or(0, |colour| u16::from(colour[channel]));
            (0..256).for_each(|number| bytes.extend(value(number).to_le_bytes()));
        }
        bytes.extend(samples);
        bytes
    }

    fn layer_of(hidden: u8) -> Vec<u8> {
        let painted =
            |x, y| if is_defect(x, y) { Rgba([255, 0, 0, 255]) } else { Rgba([hidden, hidden, hidden, 0]) };
        let image = DynamicImage::ImageRgba8(image::RgbaImage::from_fn(SIZE[0], SIZE[1], painted));
        crate::capture::encode::png(&image)
    }

    fn marked(bytes: &[u8]) -> Vec<bool> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mask.png");
        std::fs::write(&file, bytes).unwrap();
        let read = MarkedPixels::read(&[file]).unwrap();
        assert_eq!(read.size, SIZE);
        read.marked
    }

    #[test]
    fn a_palette_marks_by_number_and_a_layer_where_it_is_painted() {
        let wanted: Vec<bool> = numbers(u8::from).into_iter().map(|number| number == 1).collect();
        let plain = numbers(u8::from);
        let (blue, yellow) = ([0, 0, 128], [255, 255, 0]);
        let (black, white, grey) = ([0; 3], [255; 3], [128; 3]);
        for bits in [1, 2, 4, 8] {
            assert_eq!(marked(&png_of(&plain, &[blue, yellow], &[], bits)), wanted, "{bits} bits");
        }
        for palette in [[black, yellow], [white, yellow], [grey, white], [black, white], [white, black]] {
            assert_eq!(marked(&png_of(&plain, &palette, &[], 8)), wanted, "{palette:?}");
            assert_eq!(marked(&bmp_of(&plain, &palette)), wanted, "BMP, {palette:?}");
            assert_eq!(marked(&bmp_of_bits(&plain, palette)), wanted, "BMP of bits, {palette:?}");
            assert_eq!(marked(&tiff_of(&plain, &palette)), wanted, "TIFF, {palette:?}");
        }
        // As a mask looks, but with black as number 1.
        let turned = numbers(|defect| u8::from(!defect));
        assert_eq!(marked(&png_of(&turned, &[white, black], &[], 1)), wanted);
        assert_eq!(marked(&bmp_of_bits(&turned, [white, black])), wanted);
        // A layer, quantised: the transparent number may be any.
        assert_eq!(marked(&png_of(&plain, &[white, yellow], &[0], 8)), wanted);
        assert_eq!(marked(&png_of(&turned, &[yellow, white], &[255, 0], 8)), wanted);
        assert_eq!(marked(&layer_of(0)), wanted);
        assert_eq!(marked(&layer_of(255)), wanted);
    }

    #[test]
    fn a_tiff_with_transparency_is_no_mask() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mask.tif");
        let samples: Vec<u8> = numbers(u8::from).into_iter().flat_map(|number| [255, 255 * number]).collect();
        std::fs::write(&file, tiff_of(&samples, &[])).unwrap();
        let refused = MarkedPixels::read(&[file]).unwrap_err();
        assert!(refused.contains("save the mask as PNG"), "{refused}");
    }

    #[test]
    fn masks_of_one_picture_are_joined_and_must_have_one_size() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, image: GrayImage| {
            let file = folder.path().join(name);
            image.save(&file).unwrap();
            file
        };
        let at = |place: u32| GrayImage::from_fn(8, 8, move |x, _| [u8::from(x == place) * 200].into());
        let files = [file("0.png", at(1)), file("1.png", at(6))];
        assert_eq!(MarkedPixels::read(&files).unwrap().share(), 0.25);
        let other = file("2.png", GrayImage::new(9, 8));
        let refused = MarkedPixels::read(&[files[0].clone(), other]).unwrap_err();
        assert_eq!(refused, "masks of 8x8 and of 9x8 for one picture");
    }
}
