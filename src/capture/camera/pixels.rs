//! Converts the bytes of a raw frame to a [`Picture`].
//!
//! Guarantees: rows begin where the driver says (its stride). A pixel without chroma gets three equal samples. A buffer that
//! is too short is an error and is never filled up. Odd sides lose no pixel. YUV becomes RGB, GREY stays grey, RGB and
//! BGR keep their samples.
//! Assumes: BT.601 unless the driver says Rec. 709; limited range (16 to 235) unless it says full range or JPEG. These are
//! the defaults of V4L2. Chroma is taken from the pair or the block of four and not interpolated.

use v4l::format::{Colorspace, Quantization};

use super::motion_jpeg;
use super::pixel_format::PixelFormat;
use crate::capture::{Channels, Picture, Samples};

/// How the pixels of a frame are arranged in its buffer, as it was negotiated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Layout {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// Bytes from one row to the next; 0 if the driver does not say; then there is no padding.
    pub stride: u32,
    pub coding: Coding,
}

impl Layout {
    /// The picture in the buffer, or why there is none.
    pub(super) fn picture(&self, bytes: &[u8]) -> Result<Picture, String> {
        let Self { format, width, height, coding, .. } = *self;
        let (w, h) = (width as usize, height as usize);
        let pairs = w.div_ceil(2);
        let row = match format {
            PixelFormat::Mjpg => return motion_jpeg::picture(bytes, width, height),
            PixelFormat::Yuyv | PixelFormat::Uyvy => 4 * pairs,
            PixelFormat::Nv12 => 2 * pairs,
            PixelFormat::Grey => w,
            PixelFormat::Rgb3 | PixelFormat::Bgr3 => 3 * w,
        };
        let stride = row.max(self.stride as usize);
        // The last row of a driver with padding may end with its pixels.
        let needed = match format {
            PixelFormat::Nv12 => stride * (h + h.div_ceil(2) - 1) + row,
            _ => stride * (h - 1) + row,
        };
        if bytes.len() < needed {
            let had = bytes.len();
            return Err(format!(
                "short: {had} bytes came, {width}x{height} {format} with {stride} bytes a row needs {needed}"
            ));
        }
        let rows = (0..h).map(|y| &bytes[y * stride..y * stride + row]);
        let samples = match format {
            PixelFormat::Mjpg => unreachable!("a JPEG has no rows"),
            PixelFormat::Grey => rows.flatten().copied().collect(),
            PixelFormat::Rgb3 => rows.flatten().copied().collect(),
            PixelFormat::Bgr3 => {
                rows.flat_map(|row| row.as_chunks().0).flat_map(|&[b, g, r]| [r, g, b]).collect()
            }
            PixelFormat::Yuyv => coding.packed(rows, w, |[y0, u, y1, v]| (y0, y1, u, v)),
            PixelFormat::Uyvy => coding.packed(rows, w, |[u, y0, v, y1]| (y0, y1, u, v)),
            PixelFormat::Nv12 => {
                let chroma = &bytes[stride * h..];
                let chroma = (0..h).map(|y| &chroma[y / 2 * stride..y / 2 * stride + row]);
                coding.planar(rows.zip(chroma), w)
            }
        };
        let channels = if format == PixelFormat::Grey { Channels::Grey } else { Channels::Rgb };
        Ok(Picture { width, height, channels, samples: Samples::Eight(samples) })
    }
}

/// The matrix that converts luma and chroma to RGB, in units of 2^-16.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Coding {
    black: i32,
    luma: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Coding {
    pub(super) fn of(colorspace: Colorspace, quantization: Quantization) -> Self {
        let full = match quantization {
            Quantization::FullRange => true,
            Quantization::LimitedRange => false,
            Quantization::Default => matches!(colorspace, Colorspace::JPEG),
        };
        // The shares of red and of blue in luma.
        let (kr, kb) = match colorspace {
            Colorspace::Rec709 => (0.2126, 0.0722),
            _ => (0.299, 0.114),
        };
        let (black, luma, chroma) = if full { (0, 1.0, 1.0) } else { (16, 255.0 / 219.0, 255.0 / 224.0) };
        let kg = 1.0 - kr - kb;
        let fixed = |factor: f64| (factor * 65536.0).round() as i32;
        Self {
            black,
            luma: fixed(luma),
            red_v: fixed(2.0 * (1.0 - kr) * chroma),
            green_u: fixed(-2.0 * (1.0 - kb) * kb / kg * chroma),
            green_v: fixed(-2.0 * (1.0 - kr) * kr / kg * chroma),
            blue_u: fixed(2.0 * (1.0 - kb) * chroma),
        }
    }

    fn rgb(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let y = (i32::from(y) - self.black) * self.luma + (1 << 15);
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        [self.red_v * v, self.green_u * u + self.green_v * v, self.blue_u * u]
            .map(|chroma| ((y + chroma) >> 16).clamp(0, 255) as u8)
    }

    /// Pairs of pixels that share their chroma. The last pixel of an odd row has no partner.
    fn packed<'a>(
        &self,
        rows: impl Iterator<Item = &'a [u8]>,
        width: usize,
        pair: impl Fn([u8; 4]) -> (u8, u8, u8, u8),
    ) -> Vec<u8> {
        let mut samples = Vec::with_capacity(rows.size_hint().0 * width * 3);
        for row in rows {
            let end = samples.len() + 3 * width;
            for &four in row.as_chunks().0 {
                let (y0, y1, u, v) = pair(four);
                samples.extend(self.rgb(y0, u, v));
                samples.extend(self.rgb(y1, u, v));
            }
            samples.truncate(end);
        }
        samples
    }

    /// Rows of luma beside the row of chroma that two of them share.
    fn planar<'a>(&self, rows: impl Iterator<Item = (&'a [u8], &'a [u8])>, width: usize) -> Vec<u8> {
        let mut samples = Vec::with_capacity(rows.size_hint().0 * width * 3);
        for (luma, chroma) in rows {
            let end = samples.len() + 3 * width;
            for (&[y0, y1], &[u, v]) in luma.as_chunks().0.iter().zip(chroma.as_chunks().0) {
                samples.extend(self.rgb(y0, u, v));
                samples.extend(self.rgb(y1, u, v));
            }
            samples.truncate(end);
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITED: (Colorspace, Quantization) = (Colorspace::Default, Quantization::Default);

    fn layout(format: PixelFormat, width: u32, height: u32, stride: u32) -> Layout {
        Layout { format, width, height, stride, coding: Coding::of(LIMITED.0, LIMITED.1) }
    }

    fn samples(layout: Layout, bytes: &[u8]) -> Vec<u8> {
        match layout.picture(bytes).unwrap().samples {
            Samples::Eight(samples) => samples,
            Samples::Sixteen(_) => unreachable!(),
        }
    }

    /// ITU-R BT.601 and BT.709 in floating point, as the recommendations write them.
    fn reference(kr: f64, kb: f64, full: bool, [y, u, v]: [u8; 3]) -> [f64; 3] {
        let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
        let (y, u, v) =
            if full { (y / 255.0, u / 255.0, v / 255.0) } else { ((y - 16.0) / 219.0, u / 224.0, v / 224.0) };
        let (r, b) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
        let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
        [r, g, b].map(|value| (255.0 * value).clamp(0.0, 255.0))
    }

    #[test]
    fn every_colour_is_within_one_level_of_the_recommendations() {
        let codings = [
            (Colorspace::Default, Quantization::Default, 0.299, 0.114, false),
            (Colorspace::SRGB, Quantization::FullRange, 0.299, 0.114, true),
            (Colorspace::JPEG, Quantization::Default, 0.299, 0.114, true),
            (Colorspace::JPEG, Quantization::LimitedRange, 0.299, 0.114, false),
            (Colorspace::Rec709, Quantization::Default, 0.2126, 0.0722, false),
        ];
        for (colorspace, quantization, kr, kb, full) in codings {
            let coding = Coding::of(colorspace, quantization);
            for code in (0..1 << 24).step_by(997) {
                let [_, y, u, v] = u32::to_be_bytes(code);
                let wanted = reference(kr, kb, full, [y, u, v]);
                let got = coding.rgb(y, u, v);
                let worst =
                    got.iter().zip(wanted).map(|(&g, w)| (f64::from(g) - w).abs()).fold(0.0, f64::max);
                assert!(worst <= 0.51, "{colorspace} {quantization} {y} {u} {v}: {got:?}, not {wanted:?}");
            }
        }
    }

    #[test]
    fn known_colours_of_limited_bt601() {
        let coding = Coding::of(LIMITED.0, LIMITED.1);
        let known = [
            ([16, 128, 128], [0, 0, 0]),
            ([235, 128, 128], [255, 255, 255]),
            ([81, 90, 240], [254, 0, 0]),
            ([145, 54, 34], [0, 255, 1]),
            ([41, 240, 110], [0, 0, 255]),
        ];
        for ([y, u, v], rgb) in known {
            assert_eq!(coding.rgb(y, u, v), rgb);
        }
    }

    #[test]
    fn without_chroma_the_three_samples_are_equal() {
        for quantization in [Quantization::LimitedRange, Quantization::FullRange] {
            for y in 0..=255 {
                let [r, g, b] = Coding::of(Colorspace::Default, quantization).rgb(y, 128, 128);
                assert!(r == g && g == b, "{y}: {r} {g} {b}");
            }
        }
    }

    /// The luma of a picture with odd sides. Every pixel has a different value.
    fn luma(x: u32, y: u32) -> u8 {
        (16 + 9 * x + 40 * y) as u8
    }

    fn wanted(width: u32, height: u32) -> Vec<u8> {
        let coding = Coding::of(LIMITED.0, LIMITED.1);
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        pixels.flat_map(|(x, y)| coding.rgb(luma(x, y), 100 + (x / 2) as u8, 150 - (y / 2) as u8)).collect()
    }

    #[test]
    fn odd_sides_and_padded_rows_lose_nothing() {
        for (width, height, stride) in [(6, 4, 12), (5, 3, 12), (5, 3, 20), (6, 4, 0), (7, 5, 64)] {
            let chroma = |x: u32, y: u32| (100 + (x / 2) as u8, 150 - (y / 2) as u8);
            for format in [PixelFormat::Yuyv, PixelFormat::Uyvy] {
                let mut bytes = Vec::new();
                for y in 0..height {
                    let begin = bytes.len();
                    for x in (0..width).step_by(2) {
                        // Both packed formats have separate chroma in every row.
                        let (u, v) = chroma(x, y);
                        let (y0, y1) = (luma(x, y), luma(x + 1, y));
                        bytes.extend(if format == PixelFormat::Yuyv {
                            [y0, u, y1, v]
                        } else {
                            [u, y0, v, y1]
                        });
                    }
                    bytes.resize(begin + (bytes.len() - begin).max(stride as usize), 77);
                }
                let got = samples(layout(format, width, height, stride), &bytes);
                assert_eq!(got, wanted(width, height), "{format} {width}x{height} stride {stride}");
            }
            let row = (2 * width.div_ceil(2)).max(stride) as usize;
            let mut bytes = Vec::new();
            for y in 0..height {
                let begin = bytes.len();
                bytes.extend((0..width).map(|x| luma(x, y)));
                bytes.resize(begin + row, 77);
            }
            for y in (0..height).step_by(2) {
                let begin = bytes.len();
                bytes.extend((0..width).step_by(2).flat_map(|x| <[u8; 2]>::from(chroma(x, y))));
                bytes.resize(begin + row, 77);
            }
            let got = samples(layout(PixelFormat::Nv12, width, height, stride), &bytes);
            assert_eq!(got, wanted(width, height), "NV12 {width}x{height} stride {stride}");
        }
    }

    #[test]
    fn samples_without_chroma_stay_as_they_are() {
        let bytes: Vec<u8> = (0..60).collect();
        let grey = layout(PixelFormat::Grey, 3, 4, 5).picture(&bytes).unwrap();
        assert_eq!(grey.channels, Channels::Grey);
        assert_eq!(grey.samples, Samples::Eight(vec![0, 1, 2, 5, 6, 7, 10, 11, 12, 15, 16, 17]));
        assert_eq!(
            samples(layout(PixelFormat::Rgb3, 2, 2, 8), &bytes),
            [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]
        );
        assert_eq!(
            samples(layout(PixelFormat::Bgr3, 2, 2, 8), &bytes),
            [2, 1, 0, 5, 4, 3, 10, 9, 8, 13, 12, 11]
        );
    }

    #[test]
    fn a_short_buffer_is_refused_and_a_last_row_without_padding_is_not_short() {
        for format in [
            PixelFormat::Yuyv,
            PixelFormat::Uyvy,
            PixelFormat::Nv12,
            PixelFormat::Grey,
            PixelFormat::Rgb3,
            PixelFormat::Bgr3,
        ] {
            for (width, height) in [(8, 6), (7, 5)] {
                let layout = layout(format, width, height, 40);
                let bytes = vec![128; 10_000];
                let enough =
                    (0..bytes.len()).find(|&length| layout.picture(&bytes[..length]).is_ok()).unwrap();
                let rows =
                    if format == PixelFormat::Nv12 { height + height.div_ceil(2) } else { height } as usize;
                assert!(enough > 40 * (rows - 1) && enough < 40 * rows, "{format}: {enough}");
                let error = layout.picture(&bytes[..enough - 1]).unwrap_err();
                assert!(error.contains(&format!("needs {enough}")), "{error}");
            }
        }
    }
}
