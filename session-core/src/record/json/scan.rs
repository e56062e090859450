//! Finds where JSON values begin and end, and whether they are JSON (RFC 8259), without building
//! them.
//!
//! With `serde_json`'s `RawValue` loading a session took 1.8 times the instructions, and loading is
//! half of what a read costs; a property test holds the two together. No recursion: a client may send 100,000 brackets.

use std::ops::Range;

use memchr::memchr2;

/// Reads a text from its start. Every method returns `None` where the text is no JSON.
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// The containers around the place, by their opening bracket.
    open: Vec<u8>,
    /// Whether there is an escape in the name that was read last.
    escaped: bool,
}

/// The name of an object's member.
pub(crate) struct Name {
    /// Where it is, without its quotes.
    pub(crate) inside: Range<usize>,
    /// Whether there is an escape in it.
    pub(crate) escaped: bool,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of `text`, which the caller knows to be UTF-8.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            open: Vec::new(),
            escaped: false,
        }
    }

    /// Returns the next byte that is not white space.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Reads an object; for each of its members calls `each` with its name, which is to read the
    /// value.
    pub(crate) fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, Name) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            return self.take(b'}');
        }
        loop {
            let inside = self.name()?;
            let name = Name {
                inside,
                escaped: self.escaped,
            };
            each(self, name)?;
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.take(b'}'),
            }
        }
    }

    /// Reads a value of any kind, and returns where it is.
    #[inline]
    pub(crate) fn value(&mut self) -> Option<Range<usize>> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'{' | b'[' => self.container()?,
            _ => self.scalar(first)?,
        }
        Some(start..self.at)
    }

    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => {
                self.at += 1;
                self.string().map(drop)
            }
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number(),
        }
    }

    /// Reads an object or a list and all that is in it.
    fn container(&mut self) -> Option<()> {
        loop {
            match self.peek()? {
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    if self.peek()? == closing(bracket) {
                        self.at += 1;
                    } else {
                        self.open.push(bracket);
                        if bracket == b'{' {
                            self.name()?;
                        }
                        continue;
                    }
                }
                first => self.scalar(first)?,
            }
            // A value is whole: so are the containers that end with it.
            loop {
                let Some(bracket) = self.open.last().copied() else {
                    return Some(());
                };
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        if bracket == b'{' {
                            self.name()?;
                        }
                        break;
                    }
                    byte if byte == closing(bracket) => {
                        self.at += 1;
                        self.open.pop();
                    }
                    _ => return None,
                }
            }
        }
    }

    /// Reads a member's name and its colon.
    fn name(&mut self) -> Option<Range<usize>> {
        self.take(b'"')?;
        let name = self.string()?;
        self.take(b':')?;
        Some(name)
    }

    /// Reads a string behind its opening quote, and returns where its inside is.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.escaped = false;
        loop {
            let at = stop(self.text, self.at)?;
            self.at = at + 1;
            match self.text[at] {
                b'"' => return Some(start..at),
                b'\\' => {
                    self.escaped = true;
                    self.at += escape(self.text.get(self.at..)?)?;
                }
                _ => return None, // a control character
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        self.skip_if(b"-");
        match self.text.get(self.at)? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.skip_if(b".") {
            self.digits()?;
        }
        if self.skip_if(b"eE") {
            self.skip_if(b"+-");
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn skip_if(&mut self, any: &[u8]) -> bool {
        let found = self.text.get(self.at).is_some_and(|b| any.contains(b));
        self.at += usize::from(found);
        found
    }

    fn literal(&mut self, word: &[u8]) -> Option<()> {
        let found = self.text[self.at..].starts_with(word);
        self.at += word.len();
        found.then_some(())
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.peek()? == byte;
        self.at += 1;
        found.then_some(())
    }
}

/// Returns the next place from `from` on where a look inside a string has to stop.
fn stop(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let (near, far) = rest.split_at(rest.len().min(NEAR));
    let (words, last) = near.as_chunks();
    for (index, word) in words.iter().enumerate() {
        if let Some(at) = first_stop(*word) {
            return Some(from + 8 * index + at);
        }
    }
    if let Some(at) = last.iter().position(|b| is_stop(*b)) {
        return Some(from + 8 * words.len() + at);
    }
    // A long one: two looks, each at many bytes at a time, cost less than one at each word.
    let end = memchr2(b'"', b'\\', far)?;
    let controls = far[..end]
        .iter()
        .fold(0, |any, b| any | u8::from(*b < 0x20));
    (controls == 0).then_some(from + near.len() + end)
}

/// Most strings end within so many bytes, before a wide look would pay.
const NEAR: usize = 32;

/// Returns whether a look inside a string has to stop here: at a quote, a backslash, or a control
/// character.
fn is_stop(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Returns the first of eight bytes that [`is_stop`], found in all of them at once: in each byte less
/// than what is subtracted, the high bit comes up. It may come up in a byte behind such a one too.
fn first_stop(bytes: [u8; 8]) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(bytes);
    let below = |word: u64, bound: u8| word.wrapping_sub(EACH * u64::from(bound)) & !word;
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    let found = (below(word, 0x20) | is(b'"') | is(b'\\')) & (EACH * 0x80);
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// Returns how long the escape is of which `rest` is what follows the backslash.
fn escape(rest: &[u8]) -> Option<usize> {
    match rest.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(1),
        b'u' => rest
            .get(1..5)?
            .iter()
            .all(u8::is_ascii_hexdigit)
            .then_some(5),
        _ => None,
    }
}

/// The closing bracket of either kind is two code points on.
fn closing(bracket: u8) -> u8 {
    bracket + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    fn scan(text: &str) -> Option<Range<usize>> {
        let mut scanner = Scanner::new(text.as_bytes());
        let value = scanner.value()?;
        scanner.end()?;
        Some(value)
    }

    /// `serde_json` is the judge of what is JSON and where it is.
    #[track_caller]
    fn agrees(text: &str) {
        let raw = serde_json::from_str::<&RawValue>(text)
            .ok()
            .map(RawValue::get);
        assert_eq!(scan(text).map(|range| &text[range]), raw, "{text:?}");
    }

    proptest! {
        #[test]
        fn eight_bytes_are_looked_at_as_one_by_one(bytes: [u8; 8], near in 0..8_usize) {
            prop_assert_eq!(first_stop(bytes), bytes.iter().position(|b| is_stop(*b)));
            // Random bytes seldom come so near to one another's bounds.
            let close = [0, 0x1f, 0x20, 0x21, b'"', b'#', 0x80, 0xff];
            let bytes = bytes.map(|b| close[(usize::from(b) + near) % 8]);
            prop_assert_eq!(first_stop(bytes), bytes.iter().position(|b| is_stop(*b)));
        }
    }

    #[test]
    fn what_is_json_and_what_is_not() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "{}",
            "[]",
            "[[]]",
            "[{}]",
            "{]",
            "[}",
            "[,]",
            "[1,]",
            "[1 2]",
            "[1,2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1,}",
            "{\"a\":1,\"b\"}",
            "{\"a\" : 1 , \"b\" : [ 1 , 2 ] }",
            "{a:1}",
            "\"",
            "\"\"",
            "\"\\\"",
            "\"\\\"\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12G4\"",
            "\"\\ud800\"",
            "\"\n\"",
            "\"\u{7f}é日😀\"",
            "0",
            "-0",
            "-",
            "+1",
            "01",
            "1.",
            ".5",
            "1.5",
            "1e",
            "1e5",
            "1E+5",
            "1e-05",
            "1e999",
            "1.e5",
            "0x1",
            "--1",
            "true",
            "tru",
            "truex",
            "false",
            "null",
            "nulll",
            "NaN",
            "Infinity",
            "-Infinity",
            " 1 ",
            "1 1",
            "\u{feff}1",
            "[1]x",
        ] {
            agrees(text);
        }
        for len in NEAR - 2..NEAR + 2 {
            let long = "x".repeat(len);
            for end in [
                "\"",
                "\\n\"",
                "\n\"",
                "\\x\"",
                "\\",
                "",
                "é\"",
                "y\u{1}y\"",
                "\"y",
            ] {
                agrees(&format!("\"{long}{end}"));
                agrees(&format!("\"{long}{long}{end}"));
            }
        }
        agrees(&"1".repeat(5000));
        agrees(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
        agrees(&"[".repeat(100_000));
    }

    proptest! {
        #[test]
        fn any_text(text in ".*") {
            agrees(&text);
        }

        #[test]
        fn text_that_is_nearly_json(text in r#"([\[\]{},: "\\]|"a"|\\u00e9|-?[0-9]{1,2}|[.eE+-]|true|null){0,12}"#) {
            agrees(&text);
        }
    }
}
