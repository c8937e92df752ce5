//! TIFF: one page, grey, RGB or palette, 8 or 16 bits (1 and 4 too), not compressed or by LZW, Deflate or PackBits.
//!
//! Guarantees: a strip or tile that ends early is a fault, and so is a wrong checksum of Deflate: no bytes of a neighbour are read in
//! its place. What is not read is refused by name. The memory is that of the result, the list of strips and a row of one.
//! The `tiff` crate is not used: it reads on into the neighbour, compares no checksum, and reads no palette.
//! Leaves out: profiles and all tags that do not say what the samples are.

use std::io::{self, ErrorKind, Read};

use flate2::bufread::ZlibDecoder;

use super::fault::Fault;
use super::ifd::Ifd;
use super::limits::DecodeLimits;
use super::orientation::{Orientation, TAG as ORIENTATION, upright};
use super::samples::{Canvas, Meaning, Palette, Place, SampleForm};
use super::tiff_streams::{LzwReader, PackBitsReader};
use crate::capture::frame::{Channels, Picture, Samples};

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
const STRIP_OFFSETS: u16 = 273;
const SAMPLES_PER_PIXEL: u16 = 277;
const ROWS_PER_STRIP: u16 = 278;
const STRIP_BYTES: u16 = 279;
const PLANAR: u16 = 284;
const PREDICTOR: u16 = 317;
const COLOUR_MAP: u16 = 320;
const TILE_WIDTH: u16 = 322;
const TILE_HEIGHT: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_BYTES: u16 = 325;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;

pub(super) fn decode(bytes: &[u8], limits: DecodeLimits) -> Result<Picture, Fault> {
    let tags = Ifd::first(bytes).ok_or(Fault::Truncated)?;
    if tags.next.ok_or(Fault::Truncated)? != 0 {
        return Err(Fault::undecodable("is a TIFF of several pages, and exactly one is needed"));
    }
    let (width, height) = (size(&tags, WIDTH, "width")?, size(&tags, HEIGHT, "height")?);
    limits.check(width, height)?;
    let layout = TiffLayout::of(&tags, width, height, limits)?;
    let mut canvas = Canvas::new(width, height, layout.form, layout.meaning(&tags)?);
    layout.read(bytes, &mut canvas)?;
    Ok(upright(canvas.into_picture(), Orientation::from_number(tags.number(ORIENTATION))))
}

/// Colours of a palette.
type Colours = Vec<[u8; 3]>;

/// The numbers that the pixels have in the palette, as grey samples, and the colours of the palette. `None`: it has no palette.
pub(super) fn numbers(bytes: &[u8], limits: DecodeLimits) -> Result<Option<(Picture, Colours)>, Fault> {
    let tags = Ifd::first(bytes).ok_or(Fault::Truncated)?;
    let (width, height) = (size(&tags, WIDTH, "width")?, size(&tags, HEIGHT, "height")?);
    limits.check(width, height)?;
    let layout = TiffLayout::of(&tags, width, height, limits)?;
    let Meaning::Indices(palette) = layout.meaning(&tags)? else { return Ok(None) };
    let grey = Meaning::Colour { channels: Channels::Grey, dropped: 0 };
    let mut canvas = Canvas::new(width, height, layout.form, grey);
    layout.read(bytes, &mut canvas)?;
    let mut picture = upright(canvas.into_picture(), Orientation::from_number(tags.number(ORIENTATION)));
    if let Samples::Eight(values) = &mut picture.samples {
        // Fewer bits were spread to the whole range.
        let scale = 255 / ((1_u16 << layout.form.bits) - 1) as u8;
        values.iter_mut().for_each(|value| *value /= scale);
    }
    Ok(Some((picture, palette.into_colours())))
}

/// Whether pixels have one sample more than their colour needs.
pub(super) fn has_alpha(bytes: &[u8]) -> bool {
    Ifd::first(bytes)
        .and_then(|tags| tags.number(SAMPLES_PER_PIXEL))
        .is_some_and(|samples| samples == 2 || samples == 4)
}

fn size(tags: &Ifd<'_>, tag: u16, what: &str) -> Result<u32, Fault> {
    let number = tags.number(tag).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| Fault::damaged(format!("its {what} is missing or not whole")))
}

#[derive(Debug, Clone, Copy)]
enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
}

/// How the samples lie in the file.
struct TiffLayout {
    width: usize,
    height: usize,
    form: SampleForm,
    photometric: u64,
    samples_per_pixel: usize,
    /// 1, or as many as there are samples in a pixel.
    planes: usize,
    compression: Compression,
    is_predicted: bool,
    /// Of a strip or tile. A strip is as wide as the picture.
    part_width: usize,
    part_height: usize,
    /// Offset and length of each strip or tile.
    parts: Vec<(u64, u64)>,
}

impl TiffLayout {
    fn of(tags: &Ifd<'_>, width: u32, height: u32, limits: DecodeLimits) -> Result<Self, Fault> {
        let or = |tag, default| if tags.has(tag) { tags.number(tag) } else { Some(default) };
        let odd = |what: &str| Fault::damaged(format!("its {what} cannot be read"));
        let samples_per_pixel = or(SAMPLES_PER_PIXEL, 1).ok_or_else(|| odd("number of samples"))?;

        let depths = if tags.has(BITS) { tags.numbers(BITS).ok_or_else(|| odd("bits"))? } else { vec![1] };
        let bits = *depths.first().ok_or_else(|| odd("bits"))?;
        if depths.iter().any(|depth| *depth != bits) {
            return Err(Fault::undecodable("is a TIFF whose samples have different bits"));
        }
        let formats = if tags.has(SAMPLE_FORMAT) {
            tags.numbers(SAMPLE_FORMAT).ok_or_else(|| odd("sample format"))?
        } else {
            vec![1]
        };
        for format in formats {
            match format {
                1 | 4 => {}
                2 => return Err(Fault::undecodable("is a TIFF of signed numbers, which is not read")),
                3 => {
                    return Err(Fault::undecodable("is a TIFF of floating point numbers, which is not read"));
                }
                _ => return Err(Fault::undecodable("is a TIFF of complex numbers, which is not read")),
            }
        }
        if !matches!(bits, 1 | 2 | 4 | 8 | 16) {
            return Err(Fault::undecodable(format!(
                "is a TIFF of {bits} bits a sample; 1, 2, 4, 8 and 16 are read"
            )));
        }
        let compression = match or(COMPRESSION, 1).ok_or_else(|| odd("compression"))? {
            1 => Compression::None,
            5 => Compression::Lzw,
            8 | 32_946 => Compression::Deflate,
            32_773 => Compression::PackBits,
            other => {
                let name = match other {
                    2..=4 => "fax compression",
                    6 | 7 => "JPEG compression",
                    50_000 => "Zstandard compression",
                    50_001 => "WebP compression",
                    _ => "unknown compression",
                };
                return Err(Fault::undecodable(format!(
                    "is a TIFF with {name} ({other}); none, LZW, Deflate and PackBits are read"
                )));
            }
        };
        let is_predicted = match or(PREDICTOR, 1).ok_or_else(|| odd("predictor"))? {
            1 => false,
            2 if bits >= 8 => true,
            other => {
                return Err(Fault::undecodable(format!("is a TIFF with predictor {other} at {bits} bits")));
            }
        };
        if or(FILL_ORDER, 1) != Some(1) {
            return Err(Fault::undecodable("is a TIFF with reversed bits (fill order 2), which is not read"));
        }
        let planes = match or(PLANAR, 1) {
            Some(2) => samples_per_pixel,
            _ => 1,
        };

        let is_tiled = tags.has(TILE_OFFSETS);
        let (offsets, lengths) =
            if is_tiled { (TILE_OFFSETS, TILE_BYTES) } else { (STRIP_OFFSETS, STRIP_BYTES) };
        let list = || Fault::damaged("its list of strips or tiles is not whole");
        let offsets = tags.numbers(offsets).ok_or_else(list)?;
        let lengths = tags.numbers(lengths).ok_or_else(list)?;
        let (part_width, part_height) = if is_tiled {
            (size(tags, TILE_WIDTH, "tile width")?, size(tags, TILE_HEIGHT, "tile height")?)
        } else {
            let rows =
                or(ROWS_PER_STRIP, u64::from(height)).ok_or_else(|| odd("number of rows in a strip"))?;
            (width, rows.min(u64::from(height)) as u32)
        };
        let area = u64::from(part_width) * u64::from(part_height);
        if area == 0 || area > limits.pixels {
            return Err(Fault::undecodable(format!(
                "is a TIFF with strips or tiles of {part_width}x{part_height} pixels"
            )));
        }
        let wanted = u64::from(width.div_ceil(part_width)) * u64::from(height.div_ceil(part_height)) * planes;
        if offsets.len() != lengths.len() || offsets.len() as u64 != wanted {
            let (there, lengths) = (offsets.len(), lengths.len());
            return Err(Fault::damaged(format!(
                "it lists {there} strips or tiles with {lengths} lengths, and has {wanted}"
            )));
        }
        Ok(Self {
            width: width as usize,
            height: height as usize,
            form: SampleForm { bits: bits as usize, big_endian: tags.form().big_endian },
            photometric: tags.number(PHOTOMETRIC).ok_or_else(|| odd("photometric interpretation"))?,
            samples_per_pixel: samples_per_pixel as usize,
            planes: planes as usize,
            compression,
            is_predicted,
            part_width: part_width as usize,
            part_height: part_height as usize,
            parts: offsets.into_iter().zip(lengths).collect(),
        })
    }

    fn meaning(&self, tags: &Ifd<'_>) -> Result<Meaning, Fault> {
        let colours = match self.photometric {
            0 | 1 | 3 => 1,
            2 => 3,
            other => {
                let name = match other {
                    4 => "a mask",
                    5 => "CMYK",
                    6 => "YCbCr",
                    8..=10 => "Lab",
                    32_803 => "a raw colour filter array",
                    _ => "of an unknown kind",
                };
                return Err(Fault::undecodable(format!(
                    "is a TIFF whose colours are {name} ({other}); grey, RGB and palette are read"
                )));
            }
        };
        let dropped = match self.samples_per_pixel.checked_sub(colours) {
            Some(dropped @ (0 | 1)) => dropped,
            _ => {
                let samples = self.samples_per_pixel;
                return Err(Fault::undecodable(format!(
                    "is a TIFF of {samples} samples a pixel; {colours} and one of alpha are read"
                )));
            }
        };
        if dropped == 1 && tags.numbers(EXTRA_SAMPLES).is_some_and(|kinds| kinds.first() == Some(&1)) {
            return Err(Fault::undecodable(
                "is a TIFF whose colours are multiplied with its alpha, which is not read",
            ));
        }
        match self.photometric {
            0 => Ok(Meaning::Inverted { dropped }),
            1 => Ok(Meaning::Colour { channels: Channels::Grey, dropped }),
            2 => Ok(Meaning::Colour { channels: Channels::Rgb, dropped }),
            _ if dropped > 0 || self.form.bits > 8 => {
                Err(Fault::undecodable("is a TIFF with a palette and alpha, or with a palette of 16 bits"))
            }
            _ => Ok(Meaning::Indices(palette(tags, self.form.bits)?)),
        }
    }

    fn read(&self, bytes: &[u8], canvas: &mut Canvas) -> Result<(), Fault> {
        let per_plane = self.parts.len() / self.planes;
        let across = self.width.div_ceil(self.part_width);
        let mut row = vec![0; self.row_bytes()];
        for (index, &(offset, length)) in self.parts.iter().enumerate() {
            let plane = (self.planes > 1).then_some(index / per_plane);
            let (x, first) =
                (index % per_plane % across * self.part_width, index % per_plane / across * self.part_height);
            let whole = |bound: u64| usize::try_from(bound).ok();
            let (begin, end) = (whole(offset), offset.checked_add(length).and_then(whole));
            let part =
                begin.zip(end).and_then(|(begin, end)| bytes.get(begin..end)).ok_or(Fault::Truncated)?;
            let mut reader = self.reader(part);
            let early = |error: io::Error| {
                Fault::Damaged(match error.kind() {
                    ErrorKind::UnexpectedEof => format!("strip or tile {index} ends early"),
                    _ => format!("strip or tile {index}: {error}"),
                })
            };
            let rows = self.part_height.min(self.height - first);
            for y in first..first + rows {
                reader.read_exact(&mut row).map_err(early)?;
                if self.is_predicted {
                    self.add_differences(&mut row);
                }
                canvas.row(&row, Place { x, y, step: 1, pixels: self.part_width, plane })?;
            }
            if matches!(self.compression, Compression::Deflate) {
                // On to the checksum. The last strip may have all its rows, also those below the picture.
                let below = ((self.part_height - rows) * row.len()) as u64;
                if io::copy(&mut reader.take(below + 1), &mut io::sink()).map_err(early)? > below {
                    return Err(Fault::Damaged(format!("strip or tile {index} has too many bytes")));
                }
            }
        }
        Ok(())
    }

    fn reader<'a>(&self, part: &'a [u8]) -> Box<dyn Read + 'a> {
        match self.compression {
            Compression::None => Box::new(part),
            Compression::Lzw => Box::new(LzwReader::new(part)),
            Compression::Deflate => Box::new(ZlibDecoder::new(part)),
            Compression::PackBits => Box::new(PackBitsReader::new(part)),
        }
    }

    /// Bytes of one row of a strip or tile.
    fn row_bytes(&self) -> usize {
        (self.part_width * self.samples_per_pixel / self.planes * self.form.bits).div_ceil(8)
    }

    /// Undoes the horizontal predictor: each sample is stored as its difference to that of the pixel before.
    fn add_differences(&self, row: &mut [u8]) {
        let before = self.samples_per_pixel / self.planes;
        if self.form.bits == 8 {
            for at in before..row.len() {
                row[at] = row[at].wrapping_add(row[at - before]);
            }
            return;
        }
        let (from, to) = if self.form.big_endian {
            (u16::from_be_bytes as fn([u8; 2]) -> u16, u16::to_be_bytes as fn(u16) -> [u8; 2])
        } else {
            (u16::from_le_bytes as fn([u8; 2]) -> u16, u16::to_le_bytes as fn(u16) -> [u8; 2])
        };
        let samples = row.as_chunks_mut().0;
        for at in before..samples.len() {
            samples[at] = to(from(samples[at]).wrapping_add(from(samples[at - before])));
        }
    }
}

/// The colours are stored with 16 bits. Some old writers put 8 bits there, which libtiff notices as it is done here.
fn palette(tags: &Ifd<'_>, bits: usize) -> Result<Palette, Fault> {
    let values = tags.numbers(COLOUR_MAP).unwrap_or_default();
    let count = 1 << bits;
    if values.len() != 3 * count {
        let length = values.len();
        return Err(Fault::Damaged(format!("its palette has {length} values, and {} are needed", 3 * count)));
    }
    let shift = if values.iter().all(|value| *value < 256) { 0 } else { 8 };
    let colour = |index: usize| [0, 1, 2].map(|channel| (values[channel * count + index] >> shift) as u8);
    Ok(Palette::new((0..count).map(colour).collect()))
}
