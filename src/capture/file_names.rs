//! File names as text. A file may have any name: bytes that are no UTF-8, control characters, marks that turn the direction of
//! writing.
//!
//! Guarantees: two names that differ have texts that differ, but for names that spell out an escape themselves. A text made by
//! [`on_one_line`] cannot begin a new line, move the cursor or change the order of what is printed around it.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// The name as text: bytes that are no UTF-8 become `\xff` and so on.
pub(crate) fn text_of(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The name as one line for a person: as [`text_of`], and characters that would change the line are escaped.
pub(crate) fn on_one_line(name: impl AsRef<OsStr>) -> String {
    let mut line = String::new();
    for c in text_of(name).chars() {
        if c.is_control() || changes_direction(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Marks that change the order in which text is shown, and the separators that begin a line or paragraph.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_text_of_its_own_and_a_line_that_stays_one() {
        let names: [&[u8]; 5] = [b"a\xff.png", b"a\xfe.png", b"\xc3\xa4\xc3.png", b"a\nb.png", b"\x1b[2Jx"];
        let texts = names.map(|name| text_of(OsStr::from_bytes(name)));
        assert_eq!(texts[..3], ["a\\xff.png", "a\\xfe.png", "ä\\xc3.png"]);
        assert_eq!(texts[3], "a\nb.png", "a name that is text stays as it is");
        assert_eq!(on_one_line("a\nb\r\x1b[2J\u{202e}gnp.ä"), "a\\nb\\r\\u{1b}[2J\\u{202e}gnp.ä");
    }
}
