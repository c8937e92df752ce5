//! Reads how a JPEG is put together, without its pixels: size, kind, scans, EXIF, end (ITU T.81, annex B).
//!
//! Guarantees: a file without its end marker is [`Fault::Truncated`]. What its scans leave out is damage: a component without a scan,
//! or a coefficient of a progressive file that is not refined to its last bit. libjpeg is silent about both and shows the rest.
//! Segments are skipped by their length, so the markers of a thumbnail do not count. Bytes after the end do no harm.
//! The data of the scans of a baseline file is read as far as is needed to know that it is whole (`jpeg_scan`).

use super::fault::Fault;
use super::jpeg_scan::{self, Codes, ScanComponent};
use super::limits::DecodeLimits;

/// A scan costs time, and almost no bytes. Encoders make about ten.
const SCANS_AT_MOST: usize = 100;
const COEFFICIENTS: usize = 64;
/// In place of the number of bits that a coefficient still lacks: no scan has begun it.
const NOT_BEGUN: u8 = u8::MAX;

/// What a whole JPEG holds.
#[derive(Debug)]
pub(super) struct Structure<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    /// The block of EXIF, if there is one.
    pub(super) exif: Option<&'a [u8]>,
    /// The file up to its end marker.
    pub(super) whole: &'a [u8],
}

/// The frame header and what the scans have brought so far.
struct FrameHeader {
    width: u32,
    height: u32,
    is_progressive: bool,
    /// Huffman codes, and every coefficient in one scan.
    is_baseline: bool,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// How many blocks of it lie side by side and one above the other, in relation to the other components.
    across: u32,
    down: u32,
    /// How many of its lowest bits each coefficient still lacks.
    lacks: [u8; COEFFICIENTS],
}

pub(super) fn read(bytes: &[u8], limits: DecodeLimits) -> Result<Structure<'_>, Fault> {
    let mut at = 2;
    let mut frame: Option<FrameHeader> = None;
    let mut exif = None;
    let mut scans = 0;
    let mut codes = Codes::standard();
    let mut restart_interval = 0;
    loop {
        let marker_at = next_marker(bytes, at).ok_or(Fault::Truncated)?;
        let marker = bytes[marker_at + 1];
        if marker == 0xD9 {
            let frame = frame.ok_or_else(|| Fault::damaged("no frame header before its end marker"))?;
            frame.check_complete()?;
            let FrameHeader { width, height, .. } = frame;
            return Ok(Structure { width, height, exif, whole: &bytes[..marker_at + 2] });
        }
        let length =
            bytes.get(marker_at + 2..).and_then(|rest| rest.first_chunk()).ok_or(Fault::Truncated)?;
        let end = marker_at + 2 + usize::from(u16::from_be_bytes(*length));
        let body = bytes.get(..end).ok_or(Fault::Truncated)?.get(marker_at + 4..).unwrap_or_default();
        match marker {
            0xE1 if exif.is_none() => exif = body.strip_prefix(b"Exif\0\0"),
            0xC4 => codes.define(body),
            0xCC => {}
            0xDD => {
                if let Some(interval) = body.first_chunk() {
                    restart_interval = u16::from_be_bytes(*interval).into();
                }
            }
            0xC0..=0xCF => {
                if frame.is_some() {
                    return Err(Fault::damaged("two frame headers in one picture"));
                }
                let header = FrameHeader::read(marker, body)?;
                limits.check(header.width, header.height)?;
                frame = Some(header);
            }
            0xDE => return Err(hierarchical()),
            0xDA => {
                let frame = frame.as_mut().ok_or_else(|| Fault::damaged("a scan before the frame header"))?;
                let components = frame.add_scan(body)?;
                scans += 1;
                if scans > SCANS_AT_MOST {
                    return Err(Fault::undecodable(format!("more than {SCANS_AT_MOST} scans")));
                }
                if frame.is_baseline {
                    let end_of_data = next_marker(bytes, end).ok_or(Fault::Truncated)?;
                    let (units, components) = frame.units(&components);
                    jpeg_scan::check(&bytes[end..end_of_data], &components, &codes, units, restart_interval)?;
                }
            }
            _ => {}
        }
        at = end;
    }
}

/// Where the next marker is that begins a segment or ends the file. In a scan, FF 00 is a data byte, a restart marker has no length,
/// and repeated FF bytes are padding; none of these counts.
fn next_marker(bytes: &[u8], from: usize) -> Option<usize> {
    let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0x01 | 0xD0..=0xD8 | 0xFF);
    Some(from + bytes.get(from..)?.windows(2).position(is_marker)?)
}

fn hierarchical() -> Fault {
    Fault::undecodable("is a hierarchical JPEG, which is not read")
}

impl FrameHeader {
    fn read(marker: u8, body: &[u8]) -> Result<Self, Fault> {
        let short = || Fault::damaged("its frame header is too short");
        let (&[precision, h0, h1, w0, w1, count], rest) = body.split_first_chunk().ok_or_else(short)?;
        match marker {
            0xC3 | 0xCB => return Err(Fault::undecodable("is a lossless JPEG, which is not read")),
            0xC5..=0xC7 | 0xCD..=0xCF => return Err(hierarchical()),
            0xC8 => return Err(Fault::undecodable("is a JPEG of a reserved kind")),
            _ => {}
        }
        if precision != 8 {
            return Err(Fault::undecodable(format!("is a JPEG of {precision} bits, and only 8 are read")));
        }
        let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
        if height == 0 {
            return Err(Fault::undecodable(
                "its height is 0, to be told after the pixels (DNL), which is not read",
            ));
        }
        let listed = rest.as_chunks::<3>().0.get(..usize::from(count)).ok_or_else(short)?;
        let component = |[id, sampling, _]: &[u8; 3]| Component {
            id: *id,
            across: u32::from(sampling >> 4),
            down: u32::from(sampling & 0x0F),
            lacks: [NOT_BEGUN; COEFFICIENTS],
        };
        let components: Vec<_> = listed.iter().map(component).collect();
        if components
            .iter()
            .any(|component| !(1..=4).contains(&component.across) || !(1..=4).contains(&component.down))
        {
            return Err(Fault::damaged("its sampling factors are not 1 to 4"));
        }
        Ok(Self {
            width: width.into(),
            height: height.into(),
            is_progressive: matches!(marker, 0xC2 | 0xCA),
            is_baseline: matches!(marker, 0xC0 | 0xC1),
            components,
        })
    }

    /// Takes the header of a scan; returns which components it holds, each with the numbers of its tables.
    fn add_scan(&mut self, body: &[u8]) -> Result<Vec<(usize, u8)>, Fault> {
        let short = || Fault::damaged("a scan header is too short");
        let (&count, rest) = body.split_first().ok_or_else(short)?;
        let (listed, parameters) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(short)?;
        let &[first, last, bits, ..] = parameters else { return Err(short()) };
        let range =
            if self.is_progressive { usize::from(first)..usize::from(last) + 1 } else { 0..COEFFICIENTS };
        let mut held = Vec::new();
        for [id, codes] in listed.as_chunks().0 {
            let at = self.components.iter().position(|component| component.id == *id);
            let at = at.ok_or_else(|| Fault::damaged("a scan of a component that is not there"))?;
            held.push((at, *codes));
            let lacks = self.components[at].lacks.get_mut(range.clone());
            let lacks = lacks.ok_or_else(|| Fault::damaged("a scan of coefficients that do not exist"))?;
            if !self.is_progressive && lacks[0] != NOT_BEGUN {
                return Err(Fault::damaged("two scans of one component"));
            }
            lacks.fill(if self.is_progressive { bits & 0x0F } else { 0 });
        }
        Ok(held)
    }

    /// How many units a scan of these components has, and the blocks of each component in a unit. Of one component alone a unit is a
    /// block, and only the blocks that the picture needs are there.
    fn units(&self, held: &[(usize, u8)]) -> (u32, Vec<ScanComponent>) {
        let most = |side: fn(&Component) -> u32| self.components.iter().map(side).max().unwrap_or(1);
        let (across, down) = (most(|component| component.across), most(|component| component.down));
        if let [(at, codes)] = *held {
            let component = &self.components[at];
            let columns = (self.width * component.across).div_ceil(across).div_ceil(8);
            let rows = (self.height * component.down).div_ceil(down).div_ceil(8);
            return (columns * rows, vec![ScanComponent { blocks: 1, codes }]);
        }
        let units = self.width.div_ceil(8 * across) * self.height.div_ceil(8 * down);
        let component = |&(at, codes): &(usize, u8)| {
            let Component { across, down, .. } = self.components[at];
            ScanComponent { blocks: across * down, codes }
        };
        (units, held.iter().map(component).collect())
    }

    fn check_complete(&self) -> Result<(), Fault> {
        for (index, component) in self.components.iter().enumerate() {
            let lacking = component.lacks.iter().filter(|lacks| **lacks > 0).count();
            if lacking > 0 {
                let number = index + 1;
                return Err(Fault::damaged(format!(
                    "its scans are incomplete: {lacking} of {COEFFICIENTS} coefficients of component {number} are missing or coarse"
                )));
            }
        }
        Ok(())
    }
}
