//! The password's file, as editors write it.
//!
//! Guarantees: what an editor adds (a byte order mark, the end of the line, UTF-16) is no part of the password. Blanks are:
//! a password may end with one. What cannot be a password is refused with its place, and no part of it is repeated.

use std::io::Read;
use std::path::Path;

/// The most bytes of a password in MQTT.
const LONGEST: usize = 65_535;

const WANTED: &str = "a text file with the password as its one line is needed";

/// Reads the password from a file. The error says what is wrong with the file.
pub(super) fn read_password(file: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // In UTF-16 a letter has two bytes or more.
    let most = 2 * LONGEST as u64 + 8;
    std::fs::File::open(file)
        .and_then(|opened| opened.take(most).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}; {WANTED}"))?;
    password(&bytes).map_err(|why| format!("{why}; {WANTED}"))
}

fn password(bytes: &[u8]) -> Result<String, String> {
    let text = text(bytes)?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.trim().is_empty() {
        return Err("is empty, or has nothing but blanks".to_owned());
    }
    if line.contains(['\r', '\n']) {
        return Err(format!("has {} lines", line.lines().count()));
    }
    if let Some(at) = line.chars().position(|letter| letter.is_control() && letter != '\t') {
        return Err(format!("has a control character as character {}", at + 1));
    }
    if line.len() > LONGEST {
        return Err(format!("has more than the {LONGEST} bytes that MQTT allows"));
    }
    Ok(line.to_owned())
}

/// The text of a file in UTF-8, or in UTF-16 with a byte order mark.
fn text(bytes: &[u8]) -> Result<String, String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units)
            .collect::<Result<String, _>>()
            .ok()
            .filter(|_| bytes.len().is_multiple_of(2))
            .ok_or_else(|| "begins as UTF-16 and is none: save it as UTF-8".to_owned())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let read = std::str::from_utf8(bytes);
            read.map(str::to_owned)
                .map_err(|error| format!("is not UTF-8 (byte {}): save it as UTF-8", error.valid_up_to() + 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_editors_add_is_no_part_of_the_password() {
        let utf16 = |mark: [u8; 2], of: fn(u16) -> [u8; 2]| {
            let units = "schlüssel ß\r\n".encode_utf16().flat_map(of);
            mark.into_iter().chain(units).collect::<Vec<u8>>()
        };
        for (bytes, wanted) in [
            (b"correct horse".to_vec(), "correct horse"),
            (b"correct horse\n".to_vec(), "correct horse"),
            (b"correct horse\r\n\r\n".to_vec(), "correct horse"),
            (b"\xef\xbb\xbfcorrect horse\r\n".to_vec(), "correct horse"),
            (b" blanks at both ends \n".to_vec(), " blanks at both ends "),
            (utf16([0xff, 0xfe], u16::to_le_bytes), "schlüssel ß"),
            (utf16([0xfe, 0xff], u16::to_be_bytes), "schlüssel ß"),
        ] {
            assert_eq!(password(&bytes).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn what_is_no_password_is_refused_and_never_repeated() {
        let long = vec![b'x'; LONGEST + 1];
        for (bytes, words) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"\xef\xbb\xbf \t\r\n", "is empty"),
            (b"horse\nstaple\n", "has 2 lines"),
            (b"horse\0", "control character as character 6"),
            (b"h\0o\0r\0s\0e\0", "control character as character 2"),
            (b"schl\xfcssel", "not UTF-8 (byte 5)"),
            (b"\xff\xfeh\0o", "UTF-16"),
            (&long, "65535 bytes"),
        ] {
            let refused = password(bytes).unwrap_err();
            assert!(refused.contains(words) && !refused.contains("horse"), "{refused}");
        }
    }
}
