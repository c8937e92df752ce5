//! Names of parts as scanners and PLCs send them.
//!
//! A scanner ends a code with carriage return, line feed or tab, or frames it with STX and ETX. A PLC fills a string of fixed length
//! with NUL or blanks. None of these identify the part, and two of one part's names would differ by them. Other characters do: GS
//! (0x1D) separates the fields of a GS1 code; RS, FS, US and EOT have places in ISO/IEC 15434; `]d2` names the symbology.
//! Guarantees: what identifies the part is kept to the letter. What is left out is told. A name that cannot be told apart from
//! another one is refused.

/// The most characters that the name of a part or a measurement may have.
pub(super) const LONGEST_NAME: usize = 128;

/// A name, and what was left out of the one that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ScannedName {
    /// `None` if nothing is left.
    pub name: Option<String>,
    /// For people; `None` if the name is as it was sent.
    pub left_out: Option<String>,
}

/// Reads a name. The error says what is wrong with it.
pub(super) fn scanned_name(sent: &str) -> Result<ScannedName, String> {
    let name = sent.trim_matches(frames);
    if let Some((at, odd)) =
        name.chars().enumerate().find(|(_, letter)| letter.is_control() && !separates(*letter))
    {
        return Err(format!(
            "has the control character U+{:04X} as character {}; allowed within a name are only GS, RS, FS, US and EOT",
            u32::from(odd),
            at + 1
        ));
    }
    let length = name.chars().count();
    if length > LONGEST_NAME {
        return Err(format!("{length} characters; at most {LONGEST_NAME} are allowed"));
    }
    let ends = sent.chars().count() - length;
    let left_out = (ends > 0).then(|| {
        let mut kinds: Vec<String> = Vec::new();
        let before = sent.len() - sent.trim_start_matches(frames).len();
        let after = if name.is_empty() { "" } else { &sent[before + name.len()..] };
        for letter in sent[..before].chars().chain(after.chars()) {
            let kind = word(letter);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        format!("{} at its ends left out", kinds.join(" and "))
    });
    let left_out = left_out.or_else(|| sent.is_empty().then(|| "it is empty".to_owned()));
    Ok(ScannedName { name: (!name.is_empty()).then(|| name.to_owned()), left_out })
}

/// Whether a character at an end of a name frames it and identifies nothing.
fn frames(letter: char) -> bool {
    letter.is_whitespace() && !separates(letter) || matches!(letter, '\0' | '\x02' | '\x03' | '\u{feff}')
}

/// Whether a control character belongs to codes.
fn separates(letter: char) -> bool {
    matches!(letter, '\x04' | '\x1c'..='\x1f')
}

fn word(letter: char) -> String {
    match letter {
        '\r' => "carriage return".to_owned(),
        '\n' => "line feed".to_owned(),
        '\t' => "tab".to_owned(),
        '\0' => "NUL".to_owned(),
        '\x02' => "STX".to_owned(),
        '\x03' => "ETX".to_owned(),
        ' ' => "blank".to_owned(),
        other => format!("U+{:04X}", u32::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_identifies_the_part_is_kept_to_the_letter() {
        let longest = "ä".repeat(LONGEST_NAME);
        for name in [
            "A 17",
            "A  17",
            "größe",
            "]d201040123456789011710\x1d21ABC",
            "]C101040123456789",
            "[)>\x1e06\x1d1P123\x1dQ5\x1e\x04",
            "\x1d01",
            "01\x1d",
            "\u{202e}71 A",
            "a\u{200b}b",
            "00017",
            &longest,
        ] {
            let read = ScannedName { name: Some(name.to_owned()), left_out: None };
            assert_eq!(scanned_name(name), Ok(read), "{name:?}");
        }
    }

    #[test]
    fn what_scanners_and_plcs_add_is_left_out_and_told() {
        for (sent, name, told) in [
            ("A 17\r", "A 17", "carriage return at its ends left out"),
            ("A 17\r\n", "A 17", "carriage return and line feed at its ends left out"),
            ("A 17\t", "A 17", "tab at its ends left out"),
            ("  A 17 ", "A 17", "blank at its ends left out"),
            ("\x02A 17\x03", "A 17", "STX and ETX at its ends left out"),
            ("A 17\0\0\0", "A 17", "NUL at its ends left out"),
            ("\u{feff}A 17", "A 17", "U+FEFF at its ends left out"),
            ("A\u{a0}", "A", "U+00A0 at its ends left out"),
            ("\x1dA\x1d\r\n", "\x1dA\x1d", "carriage return and line feed at its ends left out"),
        ] {
            let read = ScannedName { name: Some(name.to_owned()), left_out: Some(told.to_owned()) };
            assert_eq!(scanned_name(sent), Ok(read), "{sent:?}");
        }
        for (sent, told) in [("", "it is empty"), (" \r", "blank and carriage return at its ends left out")] {
            assert_eq!(scanned_name(sent), Ok(ScannedName { name: None, left_out: Some(told.to_owned()) }));
        }
    }

    #[test]
    fn a_name_that_cannot_be_one_is_refused_by_its_character() {
        for (sent, why) in [
            ("A\nB", "U+000A as character 2"),
            ("A\0B", "U+0000 as character 2"),
            ("A\x1b[31mB", "U+001B as character 2"),
            ("\x07A", "U+0007 as character 1"),
            ("A\u{85}B", "U+0085 as character 2"),
        ] {
            let refused = scanned_name(sent).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        let long = scanned_name(&format!("{}\r", "x".repeat(LONGEST_NAME + 1))).unwrap_err();
        assert_eq!(long, "129 characters; at most 128 are allowed");
    }
}
