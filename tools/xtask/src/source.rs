//! Tells a Rust file's code from its strings and comments, well enough for the house rules.

/// A Rust file, taken apart. Line numbers count from 1.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// The lines, with what stands in strings and comments left out.
    pub(crate) code: Vec<String>,
    /// String literals as they are written, each with the line it begins on.
    pub(crate) strings: Vec<(usize, String)>,
}

impl Source {
    /// Takes a file apart.
    pub(crate) fn parse(text: &str) -> Source {
        let mut source = Source { code: vec![String::new()], strings: Vec::new() };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                block_comment(rest)
            } else if let Some(delimiter) = Delimiter::begins(rest) {
                source.string(rest, &delimiter)
            } else {
                let length = character(rest).unwrap_or(first.len_utf8());
                source.code(&rest[..length]);
                length
            };
            if first == '/' && 1 < length {
                source.lines(&rest[..length]);
            }
            rest = &rest[length..];
        }
        source
    }

    /// Takes in the string that `text` begins with; returns its length with both delimiters.
    fn string(&mut self, text: &str, delimiter: &Delimiter) -> usize {
        let content = &text[delimiter.open..];
        let length = delimiter.content(content);
        self.strings.push((self.code.len(), content[..length].to_owned()));
        self.code("\"");
        self.lines(&content[..length]);
        self.code("\"");
        (delimiter.open + length + delimiter.close.len()).min(text.len())
    }

    fn code(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\n' => self.code.push(String::new()),
                _ => self.code.last_mut().expect("begins with one line").push(character),
            }
        }
    }

    /// Counts the lines of text that is left out.
    fn lines(&mut self, text: &str) {
        for _ in text.matches('\n') {
            self.code.push(String::new());
        }
    }
}

/// How a string begins and ends.
struct Delimiter {
    /// Length of the opening one.
    open: usize,
    close: String,
    /// Whether a backslash in the string takes the next character's meaning.
    escapes: bool,
}

impl Delimiter {
    /// The delimiter that `text` begins with, if it begins with a string.
    fn begins(text: &str) -> Option<Delimiter> {
        let unprefixed = text.strip_prefix(['b', 'c']).unwrap_or(text);
        let prefix = text.len() - unprefixed.len();
        if unprefixed.starts_with('"') {
            return Some(Delimiter { open: prefix + 1, close: "\"".to_owned(), escapes: true });
        }
        let hashes = unprefixed.strip_prefix('r')?;
        let count = hashes.len() - hashes.trim_start_matches('#').len();
        if !hashes[count..].starts_with('"') {
            return None;
        }
        let close = format!("\"{}", "#".repeat(count));
        Some(Delimiter { open: prefix + 1 + count + 1, close, escapes: false })
    }

    /// The length of a string's content up to the delimiter that ends it.
    fn content(&self, content: &str) -> usize {
        if !self.escapes {
            return content.find(&self.close).unwrap_or(content.len());
        }
        let mut escaped = false;
        for (place, character) in content.char_indices() {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return place,
                _ => {}
            }
        }
        content.len()
    }
}

/// The length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut place = 0;
    while place < text.len() {
        let rest = &text[place..];
        if rest.starts_with("/*") {
            depth += 1;
            place += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            place += 2;
            if depth == 0 {
                break;
            }
        } else {
            place += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    place
}

/// The length of a character literal, or of a word: so that neither a quote in a literal nor an `r` at
/// the end of a word begins a string. A lifetime is no literal.
fn character(text: &str) -> Option<usize> {
    if let Some(literal) = text.strip_prefix('\'') {
        let content = if let Some(escape) = literal.strip_prefix('\\') {
            let length = escape.chars().next()?.len_utf8();
            1 + length + escape[length..].find('\'')?
        } else {
            literal.chars().next()?.len_utf8()
        };
        return literal[content..].starts_with('\'').then_some(content + 2);
    }
    let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (0 < word).then_some(word)
}
