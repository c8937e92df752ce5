//! The bytes of a strip or tile of a TIFF that is compressed by LZW or PackBits.
//!
//! Guarantees: never reads beyond the strip. The memory is that of the tables, whatever the strip holds.

use std::io::{self, ErrorKind, Read};

use weezl::decode::Decoder;
use weezl::{BitOrder, LzwStatus};

pub(super) struct LzwReader<'a> {
    decoder: Decoder,
    rest: &'a [u8],
}

impl<'a> LzwReader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { decoder: Decoder::with_tiff_size_switch(BitOrder::Msb, 8), rest }
    }
}

impl Read for LzwReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = self.decoder.decode_bytes(self.rest, out);
            self.rest = &self.rest[result.consumed_in..];
            match result.status {
                Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
                Ok(LzwStatus::Ok) if result.consumed_out == 0 && !out.is_empty() => {}
                Ok(_) => return Ok(result.consumed_out),
            }
        }
    }
}

/// Runs of bytes: a count from 0 to 127 and so many bytes plus one, or a count from -1 to -127 and one byte, repeated.
pub(super) struct PackBitsReader<'a> {
    rest: &'a [u8],
    /// How many bytes of the run are still to come.
    left: usize,
    /// The byte that is repeated; `None`: they are copied.
    repeated: Option<u8>,
}

impl<'a> PackBitsReader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest, left: 0, repeated: None }
    }

    fn begin_run(&mut self) {
        while let (0, Some((&count, rest))) = (self.left, self.rest.split_first()) {
            self.rest = rest;
            match count as i8 {
                0.. => (self.left, self.repeated) = (usize::from(count) + 1, None),
                -128 => {}
                negative => {
                    let Some((&byte, rest)) = rest.split_first() else { return };
                    self.rest = rest;
                    (self.left, self.repeated) = (usize::from(negative.unsigned_abs()) + 1, Some(byte));
                }
            }
        }
    }
}

impl Read for PackBitsReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.begin_run();
        let mut length = self.left.min(out.len());
        match self.repeated {
            Some(byte) => out[..length].fill(byte),
            None => {
                length = length.min(self.rest.len());
                let (copied, rest) = self.rest.split_at(length);
                out[..length].copy_from_slice(copied);
                self.rest = rest;
            }
        }
        self.left -= length;
        Ok(length)
    }
}
