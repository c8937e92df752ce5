//! Reads the Huffman codes of a scan without making pixels of them, to see whether its data is whole.
//!
//! Guarantees: in a baseline file, every restart interval holds its blocks and nothing more: no byte is left over, no block goes beyond
//! its 64 coefficients, no code is unknown. libjpeg is silent about up to seven bytes that are left over, and about blocks that are too long.
//! Leaves out: progressive files and arithmetic coding, where libjpeg's own warnings are all there is.
//! Costs: about as much as the decoding.

use super::fault::Fault;
use super::jpeg_standard_codes::STANDARD_CODES;

/// Codes up to this length are found by one look.
const LOOK: u32 = 9;

/// One Huffman table.
#[derive(Clone)]
pub(super) struct Code {
    /// For each beginning of `LOOK` bits: the length of its code and its symbol. Length 0: the code is longer.
    short: [(u8, u8); 1 << LOOK],
    /// For each length: the first number, left-aligned in 16 bits, that is no code of this length or a shorter one.
    beyond: [u32; 17],
    /// For each length: what to add to a code to find its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

/// The tables that are defined so far: of DC and of AC, four each.
pub(super) struct Codes([[Option<Code>; 4]; 2]);

impl Codes {
    /// The standard's tables, which a file may leave out.
    pub(super) fn standard() -> Self {
        let mut codes = Self(Default::default());
        codes.define(&STANDARD_CODES);
        codes
    }

    /// Takes the tables of a segment. One that makes no sense is left out: libjpeg refuses it.
    pub(super) fn define(&mut self, mut body: &[u8]) {
        while let Some((&[which, ref counts @ ..], rest)) = body.split_first_chunk::<17>() {
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let Some((symbols, rest)) = rest.split_at_checked(total) else { return };
            let (class, number) = (usize::from(which >> 4), usize::from(which & 0x0F));
            if let Some(slot) = self.0.get_mut(class).and_then(|class| class.get_mut(number)) {
                *slot = Code::new(counts, symbols);
            }
            body = rest;
        }
    }

    /// The tables of DC and AC that a scan names.
    fn pair(&self, numbers: u8) -> Option<(&Code, &Code)> {
        let [dc, ac] = &self.0;
        Some((dc.get(usize::from(numbers >> 4))?.as_ref()?, ac.get(usize::from(numbers & 0x0F))?.as_ref()?))
    }
}

impl Code {
    fn new(counts: &[u8], symbols: &[u8]) -> Option<Self> {
        let mut code =
            Self { short: [(0, 0); 1 << LOOK], beyond: [0; 17], offset: [0; 17], symbols: symbols.to_vec() };
        let (mut next, mut used) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = u32::from(counts[length as usize - 1]);
            code.offset[length as usize] = used as i32 - next as i32;
            for number in next..next + count {
                if length <= LOOK {
                    let first = (number << (LOOK - length)) as usize;
                    let symbol = symbols[used + (number - next) as usize];
                    code.short.get_mut(first..first + (1 << (LOOK - length)))?.fill((length as u8, symbol));
                }
            }
            used += count as usize;
            next += count;
            if next > 1 << length {
                return None;
            }
            code.beyond[length as usize] = next << (16 - length);
            next <<= 1;
        }
        Some(code)
    }
}

/// A component as the scan has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanComponent {
    /// Blocks of it in one unit of the scan.
    pub(super) blocks: u32,
    /// The numbers of its tables, as the scan header has them.
    pub(super) codes: u8,
}

/// Whether `data`, up to the marker that ends the scan, holds `units` units and nothing more. `interval` of them are between two
/// restart markers; 0: there are none.
pub(super) fn check(
    data: &[u8],
    components: &[ScanComponent],
    codes: &Codes,
    units: u32,
    interval: u32,
) -> Result<(), Fault> {
    let tables = components.iter().map(|component| Some((component.blocks, codes.pair(component.codes)?)));
    // A table that is not there: libjpeg says so.
    let Some(tables) = tables.collect::<Option<Vec<_>>>() else { return Ok(()) };
    let mut bits = Bits { rest: data, held: 0, count: 0 };
    let mut left = units;
    while left > 0 {
        let here = if interval == 0 { left } else { interval.min(left) };
        for _ in 0..here {
            for &(blocks, (dc, ac)) in &tables {
                for _ in 0..blocks {
                    bits.block(dc, ac)?;
                }
            }
        }
        left -= here;
        bits.end_interval(left == 0)?;
    }
    Ok(())
}

/// The bits of the scan, without the bytes that are put in after each FF.
struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits, from the highest on.
    held: u64,
    count: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match *self.rest {
                [0xFF, 0, ref rest @ ..] => {
                    self.rest = rest;
                    0xFF
                }
                // Padding before a marker or before a byte that is put in.
                [0xFF, 0xFF, ..] => {
                    self.rest = &self.rest[1..];
                    continue;
                }
                [0xFF, ..] | [] => return,
                [byte, ref rest @ ..] => {
                    self.rest = rest;
                    byte
                }
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn skip(&mut self, length: u32) -> Result<(), Fault> {
        if length > self.count {
            return Err(Fault::damaged("a scan ends before its last block"));
        }
        self.held <<= length;
        self.count -= length;
        Ok(())
    }

    fn symbol(&mut self, code: &Code) -> Result<u8, Fault> {
        let (length, symbol) = code.short[(self.held >> (64 - LOOK)) as usize];
        if length > 0 {
            self.skip(length.into())?;
            return Ok(symbol);
        }
        let ahead = (self.held >> 48) as u32;
        for length in LOOK + 1..=16 {
            if ahead < code.beyond[length as usize] {
                self.skip(length)?;
                let number = (ahead >> (16 - length)) as i32 + code.offset[length as usize];
                let symbol = usize::try_from(number).ok().and_then(|number| code.symbols.get(number));
                return symbol.copied().ok_or_else(|| Fault::damaged("a scan has an unknown Huffman code"));
            }
        }
        Err(Fault::damaged(if self.count < 16 {
            "a scan ends before its last block"
        } else {
            "a scan has an unknown Huffman code"
        }))
    }

    /// Reads the 64 coefficients of a block. At most 32 bits are taken between two fillings.
    fn block(&mut self, dc: &Code, ac: &Code) -> Result<(), Fault> {
        self.fill();
        let size = self.symbol(dc)?;
        self.skip(size.min(16).into())?;
        let mut at = 1;
        while at < 64 {
            if self.count < 32 {
                self.fill();
            }
            let symbol = self.symbol(ac)?;
            let (zeros, size) = (symbol >> 4, symbol & 0x0F);
            match (zeros, size) {
                (15, 0) => at += 16,
                (_, 0) => return Ok(()),
                _ => {
                    at += zeros + 1;
                    self.skip(size.into())?;
                }
            }
        }
        if at > 64 {
            return Err(Fault::damaged("a scan has a block of more than 64 coefficients"));
        }
        Ok(())
    }

    /// After the last block of an interval: only the rest of its last byte may be left, then the next restart marker.
    fn end_interval(&mut self, is_last: bool) -> Result<(), Fault> {
        self.fill();
        if self.count >= 8 {
            return Err(Fault::damaged("a scan has bytes left over after its last block"));
        }
        (self.held, self.count) = (0, 0);
        match *self.rest {
            [0xFF, 0xD0..=0xD7, ref rest @ ..] if !is_last => {
                self.rest = rest;
                Ok(())
            }
            [] if is_last => Ok(()),
            _ => Err(Fault::damaged("a scan has a restart marker too many or too few")),
        }
    }
}
