//! Bytes and sha256 hashes in hexadecimal, for manifests, logs and file names.

use std::fmt::Write;
use std::io::Read;

use sha2::{Digest, Sha256};

/// The bytes as text, with two lower-case digits for each byte.
pub(crate) fn of(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(digits, "{byte:02x}").expect("a string takes any text");
    }
    digits
}

/// The sha256 of the bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    of(&Sha256::digest(bytes))
}

/// The sha256 of everything that `content` gives, in hexadecimal. Holds a small part of it in memory at a time.
pub(crate) fn sha256_of(mut content: impl Read) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut part = vec![0; 1 << 16];
    loop {
        match content.read(&mut part)? {
            0 => return Ok(of(&hash.finalize())),
            read => hash.update(&part[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_those_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(super::sha256(b""), empty);
        assert_eq!(super::of(&[0, 10, 255]), "000aff");
        let long: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
        assert_eq!(super::sha256_of(&*long).unwrap(), super::sha256(&long), "in parts");
    }
}
