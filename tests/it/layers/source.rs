//! Reads Rust source as far as the layering test needs it: what a file imports, names and defines.
//!
//! Guarantees: comments, strings and code under `#[cfg(test)]` are ignored. Each finding has its line.
//!
//! Leaves out: types of values. A method call is not an import, so a circle that only method calls close is not found,
//! and neither is code that a macro generates.

use std::collections::BTreeSet;

/// A path in the code, such as `crate::store::Log`, in the inline module `within`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: Vec<String>,
    pub(super) within: Vec<String>,
    pub(super) line: usize,
}

/// One leaf of a `use` item: `use a::{b as c, d::*}` has two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) named: Named,
    /// The name that it gives here; `*` for a glob.
    pub(super) name: String,
    /// `pub use`, whatever the visibility.
    pub(super) public: bool,
}

/// A type that derives serde's traits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Serde {
    pub(super) name: String,
    /// `Serialize` too, not only `Deserialize`.
    pub(super) written: bool,
    pub(super) line: usize,
}

/// What was found in one file.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) uses: Vec<Use>,
    /// Paths of two names and more, outside `use`.
    pub(super) paths: Vec<Named>,
    /// Structs, enums, unions, traits and type aliases, with their lines.
    pub(super) types: Vec<(String, usize)>,
    /// Every item of the file by name, types among them.
    pub(super) items: BTreeSet<String>,
    pub(super) serde: Vec<Serde>,
    /// Modules that exist only under `#[cfg(test)]` and are separate files.
    pub(super) test_modules: Vec<String>,
    /// Lines of `#[path = ...]`.
    pub(super) path_attributes: Vec<usize>,
}

pub(super) fn read(text: &str) -> Source {
    let mut reader = Reader { tokens: tokens(text), at: 0, blocks: Vec::new(), found: Source::default() };
    while reader.at < reader.tokens.len() {
        reader.step();
    }
    reader.found
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Sign(char),
}

/// The kind of code in a pair of braces.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Block {
    Module(String),
    /// The body of an `impl` or `trait`: a `type` there belongs to it.
    Associated,
    Other,
}

struct Reader {
    tokens: Vec<(Token, usize)>,
    at: usize,
    blocks: Vec<Block>,
    found: Source,
}

impl Reader {
    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(token, _)| token)
    }

    fn is(&self, at: usize, sign: char) -> bool {
        self.token(at) == Some(&Token::Sign(sign))
    }

    fn word(&self, at: usize) -> Option<&str> {
        match self.token(at) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn line(&self) -> usize {
        self.tokens[self.at].1
    }

    fn within(&self) -> Vec<String> {
        let modules = self.blocks.iter().filter_map(|block| match block {
            Block::Module(name) => Some(name.clone()),
            _ => None,
        });
        modules.collect()
    }

    fn step(&mut self) {
        match self.tokens[self.at].0.clone() {
            Token::Sign('#') if self.is(self.at + 1, '[') => self.attribute(),
            Token::Sign('{') => self.open(Block::Other),
            Token::Sign('}') => {
                self.blocks.pop();
                self.at += 1;
            }
            Token::Word(word) if word != "self" || self.token(self.at + 1) == Some(&Token::Colons) => {
                self.word_found(&word);
            }
            _ => self.at += 1,
        }
    }

    fn open(&mut self, block: Block) {
        self.blocks.push(block);
        self.at += 1;
    }

    fn attribute(&mut self) {
        let line = self.line();
        let end = self.closing(self.at + 1, '[', ']');
        let words: Vec<&str> = (self.at..end).filter_map(|at| self.word(at)).collect();
        let only_tests = matches!(words[..], ["cfg", "test"] | ["cfg", "all", "test", ..]);
        let (written, read) = (words.contains(&"Serialize"), words.contains(&"Deserialize"));
        match words.first() {
            Some(&"derive") if written || read => {
                self.found.serde.push(Serde { name: String::new(), written, line }); // its name comes later
            }
            Some(&"path") => self.found.path_attributes.push(line),
            _ => {}
        }
        self.at = end + 1;
        if only_tests {
            self.skip_item();
        }
    }

    /// Skips the item that begins here, which exists only for unit tests.
    fn skip_item(&mut self) {
        while self.is(self.at, '#') {
            self.at = self.closing(self.at + 1, '[', ']') + 1;
        }
        let first = self.at;
        let mut depth = 0_i32;
        while let Some(token) = self.token(self.at) {
            match token {
                Token::Sign('(' | '[') => depth += 1,
                Token::Sign(')' | ']') => depth -= 1,
                Token::Sign('{') if depth == 0 => {
                    self.at = self.closing(self.at, '{', '}') + 1;
                    return;
                }
                Token::Sign(';') if depth == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        let module = (first..self.at).find(|at| self.word(*at) == Some("mod"));
        if let Some(name) = module.and_then(|at| self.word(at + 1)) {
            self.found.test_modules.push(name.to_owned());
        }
        self.at += 1;
    }

    /// The position of the bracket that closes the one that opens at or after `from`.
    fn closing(&self, from: usize, open: char, close: char) -> usize {
        let mut depth = 0;
        for at in from..self.tokens.len() {
            if self.is(at, open) {
                depth += 1;
            } else if self.is(at, close) {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
        }
        self.tokens.len() - 1
    }

    fn word_found(&mut self, word: &str) {
        let (line, next) = (self.line(), self.word(self.at + 1).map(str::to_owned));
        let previous = self.at.checked_sub(1).and_then(|at| self.token(at));
        let continues = matches!(previous, Some(Token::Colons | Token::Sign('.')));
        if continues {
            self.at += 1;
            return;
        }
        match (word, next) {
            ("use", _) if !self.is(self.at + 1, '<') => {
                let public = matches!(previous, Some(Token::Sign(')')))
                    || self.at > 0 && self.word(self.at - 1) == Some("pub");
                self.at += 1;
                self.use_tree(&mut Vec::new(), public);
                self.at += 1; // the semicolon
            }
            // `pub(in crate::x)` imports nothing.
            ("pub", _) if self.is(self.at + 1, '(') => self.at = self.closing(self.at + 1, '(', ')') + 1,
            ("mod", Some(name)) if self.is(self.at + 2, '{') => {
                self.at += 2;
                self.open(Block::Module(name));
            }
            ("mod", Some(_)) => self.at += 2,
            ("impl" | "trait", name) => {
                if let ("trait", Some(name)) = (word, name) {
                    self.defines(name, line);
                }
                self.at += 1;
                self.associated();
            }
            ("struct" | "enum", Some(name)) => self.defines(name, line),
            ("union", Some(name)) if self.is(self.at + 2, '{') || self.is(self.at + 2, '<') => {
                self.defines(name, line);
            }
            ("type", Some(name)) if self.blocks.last() != Some(&Block::Associated) => {
                self.defines(name, line);
            }
            ("fn" | "const" | "static", Some(name)) => {
                let name = if name == "fn" || name == "mut" { self.word(self.at + 2) } else { Some(&*name) };
                self.found.items.extend(name.map(str::to_owned));
                self.at += 1;
            }
            _ => self.path(),
        }
    }

    fn defines(&mut self, name: String, line: usize) {
        if let Some(serde) = self.found.serde.last_mut().filter(|serde| serde.name.is_empty()) {
            serde.name.clone_from(&name);
        }
        self.found.items.insert(name.clone());
        self.found.types.push((name, line));
        self.at += 2;
    }

    /// Reads from `impl` or `trait` to its body; a `type` in the body belongs to it. `impl Trait` in the head of a function
    /// has no body.
    fn associated(&mut self) {
        let mut depth = 0_i32;
        while let Some(token) = self.token(self.at) {
            let arrow = self.at > 0 && (self.is(self.at - 1, '-') || self.is(self.at - 1, '='));
            match token {
                Token::Sign('{') => return self.open(Block::Associated),
                Token::Sign(',' | ';') if depth == 0 => return,
                Token::Sign('(' | '[' | '<') => depth += 1,
                Token::Sign('>') if arrow => {}
                Token::Sign(')' | ']' | '>') if depth == 0 => return,
                Token::Sign(')' | ']' | '>') => depth -= 1,
                _ => {}
            }
            let path_begins = self.word(self.at).is_some() && self.token(self.at + 1) == Some(&Token::Colons);
            if path_begins { self.path() } else { self.at += 1 }
        }
    }

    /// Reads a path of two names or more.
    fn path(&mut self) {
        let line = self.line();
        let mut path = Vec::new();
        while let Some(word) = self.word(self.at) {
            path.push(word.to_owned());
            self.at += 1;
            if self.token(self.at) != Some(&Token::Colons) || self.word(self.at + 1).is_none() {
                break;
            }
            self.at += 1;
        }
        if path.len() > 1 {
            self.found.paths.push(Named { path, within: self.within(), line });
        }
    }

    /// Reads one tree of a `use` item, after `prefix`; ends at the token that follows it.
    fn use_tree(&mut self, prefix: &mut Vec<String>, public: bool) {
        let depth = prefix.len();
        if self.token(self.at) == Some(&Token::Colons) {
            self.at += 1; // `use ::name`
        }
        loop {
            let line = self.tokens[self.at].1;
            match self.tokens[self.at].0.clone() {
                Token::Word(word) => {
                    prefix.push(word);
                    self.at += 1;
                    if self.token(self.at) == Some(&Token::Colons) {
                        self.at += 1;
                        continue;
                    }
                    let mut path = prefix.clone();
                    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                        path.pop();
                    }
                    let mut name = path.last().expect("just pushed").clone();
                    if self.word(self.at) == Some("as") {
                        name = self.word(self.at + 1).unwrap_or("_").to_owned();
                        self.at += 2;
                    }
                    self.leaf(path, name, public, line);
                }
                Token::Sign('*') => {
                    self.leaf(prefix.clone(), "*".to_owned(), public, line);
                    self.at += 1;
                }
                Token::Sign('{') => {
                    self.at += 1;
                    while !self.is(self.at, '}') {
                        self.use_tree(prefix, public);
                        if self.is(self.at, ',') {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                }
                other => {
                    panic!("line {line}: {other:?} in a `use`: teach tests/it/layers/source.rs to read it")
                }
            }
            prefix.truncate(depth);
            return;
        }
    }

    fn leaf(&mut self, path: Vec<String>, name: String, public: bool, line: usize) {
        self.found.uses.push(Use { named: Named { path, within: self.within(), line }, name, public });
    }
}

/// The text without comments and literals.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let text: Vec<char> = text.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < text.len() {
        let end = match text[at] {
            '/' if text.get(at + 1) == Some(&'/') => find(&text, at, |at| text[at] == '\n'),
            '/' if text.get(at + 1) == Some(&'*') => end_of_comment(&text, at),
            '"' => end_of_string(&text, at),
            '\'' => end_of_character(&text, at),
            letter if letter.is_alphanumeric() || letter == '_' => {
                let end = find(&text, at, |at| !text[at].is_alphanumeric() && text[at] != '_');
                let word: String = text[at..end].iter().collect();
                match (word.as_str(), text.get(end)) {
                    ("r" | "br" | "cr", Some('"' | '#')) => end_of_raw(&text, end),
                    ("b" | "c", Some('"')) => end_of_string(&text, end),
                    ("b", Some('\'')) => end_of_character(&text, end),
                    _ => {
                        if !letter.is_numeric() {
                            tokens.push((Token::Word(word), line));
                        }
                        end
                    }
                }
            }
            ':' if text.get(at + 1) == Some(&':') => {
                tokens.push((Token::Colons, line));
                at + 2
            }
            space if space.is_whitespace() => at + 1,
            sign => {
                tokens.push((Token::Sign(sign), line));
                at + 1
            }
        };
        line += text[at..end].iter().filter(|character| **character == '\n').count();
        at = end;
    }
    tokens
}

fn find(text: &[char], from: usize, is_end: impl Fn(usize) -> bool) -> usize {
    (from..text.len()).find(|at| is_end(*at)).unwrap_or(text.len())
}

fn end_of_comment(text: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn end_of_string(text: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// The end of a raw string; `from` is the `#` or `"` after the `r`. `r#name` is a name and has no quotation mark.
fn end_of_raw(text: &[char], from: usize) -> usize {
    let quote = find(text, from, |at| text[at] != '#');
    if text.get(quote) != Some(&'"') {
        return quote;
    }
    let marks = quote - from;
    let closes = |at: usize| text[at] == '"' && (1..=marks).all(|mark| text.get(at + mark) == Some(&'#'));
    (find(text, quote + 1, closes) + 1 + marks).min(text.len())
}

/// The end of a character literal, or of the `'` of a lifetime.
fn end_of_character(text: &[char], from: usize) -> usize {
    match (text.get(from + 1), text.get(from + 2)) {
        (Some('\\'), _) => find(text, from + 3, |at| text[at] == '\'') + 1,
        (Some(_), Some('\'')) => from + 3,
        _ => from + 1,
    }
}

/// The leaves of the `use` items, as `path as name`.
fn leaves(text: &str) -> Vec<String> {
    let leaf = |leaf: &Use| format!("{} as {}", leaf.named.path.join("::"), leaf.name);
    read(text).uses.iter().map(leaf).collect()
}

fn paths(text: &str) -> Vec<String> {
    read(text).paths.iter().map(|named| named.path.join("::")).collect()
}

#[test]
fn a_use_is_read_with_its_braces_names_and_globs() {
    let text = "pub(crate) use crate::a::{self, b::{C, d as e}, f::*};\nuse super::super::g;";
    let expected = [
        "crate::a as a",
        "crate::a::b::C as C",
        "crate::a::b::d as e",
        "crate::a::f as *",
        "super::super::g as g",
    ];
    assert_eq!(leaves(text), expected);
    let uses = read(text).uses;
    assert_eq!(uses.iter().map(|leaf| leaf.public).collect::<Vec<_>>(), [true, true, true, true, false]);
    assert_eq!(uses[4].named.line, 2);
}

#[test]
fn a_path_in_the_code_is_read_and_none_in_comments_and_strings() {
    let text = r##"
        // crate::comment::a
        /* crate::comment::b /* nested */ crate::comment::c */
        /// crate::comment::d
        fn f<'a>(x: &'a crate::real::One) -> super::real::Two {
            let (quote, escaped, raw) = ('"', '\'', r#"crate::string::a " "#);
            g("crate::string::b \" crate::string::c", b"crate::string::d");
            real::three::<u8>(x.field, 1.0).crate_like
        }
        pub(in crate::visibility) struct S;
    "##;
    assert_eq!(paths(text), ["crate::real::One", "super::real::Two", "real::three"]);
}

#[test]
fn code_for_unit_tests_counts_for_nothing() {
    let text = "
        #[cfg(test)]
        use crate::a::A;
        #[cfg(test)]
        const C: [u8; 2] = crate::b::C;
        #[cfg(test)]
        #[derive(Serialize)]
        struct T { a: crate::c::C }
        #[cfg(test)]
        mod tests { use crate::d::D; struct U; }
        #[cfg(test)]
        mod soundness;
        use crate::real;
    ";
    let source = read(text);
    assert_eq!((leaves(text), paths(text)), (vec!["crate::real as real".to_owned()], Vec::new()));
    assert_eq!((source.types.len(), source.serde.len()), (0, 0));
    assert_eq!(source.test_modules, ["soundness"]);
}

#[test]
fn types_and_derives_are_found_and_associated_types_are_none() {
    let text = "
        #[derive(Debug, serde::Serialize)]
        pub struct A<T> { a: T }
        enum B { C }
        pub(crate) trait D { type Item; }
        impl<T, U> Iterator for A<T> where T: crate::x::X { type Item = T; fn f() { type Local = u8; } }
        type E = u8;
        fn f(x: impl Fn(u8) -> u8) -> impl Iterator<Item = u8> { struct G; }
        mod inside { pub struct H; }
    ";
    let source = read(text);
    let names: Vec<&str> = source.types.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["A", "B", "D", "Local", "E", "G", "H"]);
    assert_eq!(source.serde, [Serde { name: "A".to_owned(), written: true, line: 2 }]);
    assert!(source.items.contains("f"));
}
