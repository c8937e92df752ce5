//! Which format a file has, by its first bytes.

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    Jpeg,
    Bmp,
    Tiff,
    /// A format that is not read, by its name.
    Other(&'static str),
    Unknown,
}

impl Format {
    pub(super) fn of(bytes: &[u8]) -> Self {
        const KNOWN: [(&[u8], Format); 21] = [
            (b"\x89PNG\r\n\x1a\n", Format::Png),
            (b"\xFF\xD8\xFF", Format::Jpeg),
            (b"BM", Format::Bmp),
            (b"II*\0", Format::Tiff),
            (b"MM\0*", Format::Tiff),
            (b"II+\0", Format::Tiff),
            (b"MM\0+", Format::Tiff),
            (b"GIF8", Format::Other("GIF")),
            (b"\0\0\0\x0CjP  ", Format::Other("JPEG 2000")),
            (b"\xFF\x4F\xFF\x51", Format::Other("JPEG 2000")),
            (b"\xFF\x0A", Format::Other("JPEG XL")),
            (b"\0\0\0\x0CJXL ", Format::Other("JPEG XL")),
            (b"II\xBC", Format::Other("JPEG XR")),
            (b"8BPS", Format::Other("Photoshop")),
            (b"qoif", Format::Other("QOI")),
            (b"v/1\x01", Format::Other("OpenEXR")),
            (b"DDS ", Format::Other("DDS")),
            (b"\0\0\x01\0", Format::Other("a Windows icon")),
            (b"%PDF", Format::Other("PDF")),
            (b"PK\x03\x04", Format::Other("ZIP")),
            (b"\x1F\x8B", Format::Other("gzip")),
        ];
        if let Some((_, format)) = KNOWN.iter().find(|(mark, _)| bytes.starts_with(mark)) {
            return *format;
        }
        match (bytes.first_chunk(), bytes.get(4..12)) {
            (Some(b"RIFF"), Some([.., b'W', b'E', b'B', b'P'])) => Self::Other("WebP"),
            (_, Some(b"ftypavif" | b"ftypavis")) => Self::Other("AVIF"),
            (_, Some(b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftypmsf1")) => Self::Other("HEIF"),
            (_, Some([b'f', b't', b'y', b'p', ..])) => Self::Other("a video"),
            (Some([b'P', b'1'..=b'7', b'\n' | b' ' | b'\r' | b'\t', _]), _) => Self::Other("PNM"),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_are_not_read_have_names() {
        let named: [(&[u8], &str); 6] = [
            (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
            (b"GIF89a      ", "GIF"),
            (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIF"),
            (b"P5\n4 4 255\n    ", "PNM"),
            (b"%PDF-1.7", "PDF"),
        ];
        for (bytes, name) in named {
            assert_eq!(Format::of(bytes), Format::Other(name));
        }
        for unknown in [&b""[..], b"B", b"RIFF\x10\0\0\0WAVE", b"Bolts, washers", b"P5", b"\xFF\xD8"] {
            assert_eq!(Format::of(unknown), Format::Unknown, "{unknown:?}");
        }
    }
}
