//! Reads a directory of tags: of a TIFF file, and of the EXIF in a JPEG or PNG, which has the same form.
//!
//! Guarantees: never reads beyond the bytes, and allocates no more than the tags that are asked for.

/// Tags with more values than this are not read: the strips of the largest picture are fewer.
const MAX_VALUES: u64 = 1 << 21;

/// The tags of one directory.
#[derive(Debug)]
pub(super) struct Ifd<'a> {
    bytes: &'a [u8],
    form: NumberForm,
    entries: Vec<Entry>,
    /// Where the next directory is; 0: this is the last. `None`: the bytes end before that, as some writers of EXIF let them.
    pub(super) next: Option<u64>,
}

/// How the numbers of a file are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumberForm {
    pub(super) big_endian: bool,
    /// 64-bit offsets.
    big: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    /// Where the value or its offset is.
    at: usize,
}

impl<'a> Ifd<'a> {
    /// The first directory of a file, or of a block of EXIF. `None`: there is no whole one.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let (big_endian, big) = match bytes.first_chunk()? {
            b"II*\0" => (false, false),
            b"MM\0*" => (true, false),
            b"II+\0" => (false, true),
            b"MM\0+" => (true, true),
            _ => return None,
        };
        let form = NumberForm { big_endian, big };
        let offset = if big {
            // The size of an offset, and a filler.
            (form.number(bytes, 4, 4)? == if big_endian { 8 << 16 } else { 8 }).then_some(())?;
            form.number(bytes, 8, 8)?
        } else {
            form.number(bytes, 4, 4)?
        };
        Self::at(bytes, form, offset)
    }

    fn at(bytes: &'a [u8], form: NumberForm, offset: u64) -> Option<Self> {
        let offset = usize::try_from(offset).ok()?;
        let (count_bytes, entry_bytes, wide) = if form.big { (8, 20, 8) } else { (2, 12, 4) };
        let count = usize::try_from(form.number(bytes, offset, count_bytes)?).ok()?;
        let begin = offset.checked_add(count_bytes)?;
        let end = count.checked_mul(entry_bytes).and_then(|length| begin.checked_add(length))?;
        let list = bytes.get(begin..end)?;
        let entries = (0..list.len() / entry_bytes).map(|index| {
            let at = begin + index * entry_bytes;
            Some(Entry {
                tag: form.number(bytes, at, 2)? as u16,
                kind: form.number(bytes, at + 2, 2)? as u16,
                count: form.number(bytes, at + 4, wide)?,
                at: at + 4 + wide,
            })
        });
        let entries = entries.collect::<Option<_>>()?;
        let next = form.number(bytes, end, wide);
        Some(Self { bytes, form, entries, next })
    }

    pub(super) fn form(&self) -> NumberForm {
        self.form
    }

    pub(super) fn has(&self, tag: u16) -> bool {
        self.entries.iter().any(|entry| entry.tag == tag)
    }

    /// The whole numbers of a tag. `None`: the tag is not there, or it is not whole, or of another type.
    pub(super) fn numbers(&self, tag: u16) -> Option<Vec<u64>> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag)?;
        let size = match entry.kind {
            1 => 1,
            3 => 2,
            4 | 13 => 4,
            16 | 18 => 8,
            _ => return None,
        };
        if entry.count > MAX_VALUES {
            return None;
        }
        let length = usize::try_from(entry.count).ok()? * size;
        let wide = if self.form.big { 8 } else { 4 };
        let begin = if length <= wide {
            entry.at
        } else {
            usize::try_from(self.form.number(self.bytes, entry.at, wide)?).ok()?
        };
        let values = self.bytes.get(begin..begin.checked_add(length)?)?;
        values.chunks_exact(size).map(|value| self.form.number(value, 0, size)).collect()
    }

    /// The only number of a tag.
    pub(super) fn number(&self, tag: u16) -> Option<u64> {
        match self.numbers(tag)?[..] {
            [number] => Some(number),
            _ => None,
        }
    }
}

impl NumberForm {
    fn number(self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let digits = bytes.get(at..at.checked_add(size)?)?;
        let add = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
        Some(if self.big_endian { digits.iter().fold(0, add) } else { digits.iter().rev().fold(0, add) })
    }
}
