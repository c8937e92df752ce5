//! Checks that a PNG or a JPEG is complete: the file must reach its end marker.
//!
//! Decoders accept a JPEG that was cut off and fill the rest with grey, so the marker is searched before decoding.
//! Guarantees: never reads beyond the bytes; markers inside a thumbnail do not count.

/// Whether the chunks of a PNG are all within the file and end with `IEND`.
pub(super) fn png_ends(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(8..).unwrap_or_default();
    loop {
        let Some((&[l0, l1, l2, l3, t0, t1, t2, t3], body)) = rest.split_first_chunk() else {
            return false;
        };
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        // The chunk's data and its checksum.
        let Some(after) = body.get(length.saturating_add(4)..) else {
            return false;
        };
        if [t0, t1, t2, t3] == *b"IEND" {
            return true;
        }
        rest = after;
    }
}

/// Whether a JPEG's segments and scans reach the end-of-image marker (ITU T.81, annex B). Segments are
/// skipped by their length, so the marker of a thumbnail in the header does not count; bytes after the
/// marker do no harm.
pub(super) fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    // In a scan, FF 00 is a data byte, a restart marker has no length, and repeated FF bytes are padding. None of these
    // ends the scan.
    let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0x01 | 0xD0..=0xD8 | 0xFF);
    while let Some(at) = rest.windows(2).position(is_marker) {
        const END_OF_IMAGE: u8 = 0xD9;
        if rest[at + 1] == END_OF_IMAGE {
            return true;
        }
        let Some(length) = rest.get(at + 2..).and_then(<[u8]>::first_chunk) else {
            return false;
        };
        let Some(after) = rest.get(at + 2 + usize::from(u16::from_be_bytes(*length))..) else {
            return false;
        };
        rest = after;
    }
    false
}
