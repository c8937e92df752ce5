//! Bytes and sha256 hashes in hexadecimal, for manifests, logs and file names.

use std::fmt::Write;

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

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_those_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(super::sha256(b""), empty);
        assert_eq!(super::of(&[0, 10, 255]), "000aff");
    }
}
