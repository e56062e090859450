//! Finds where JSON values begin and end without building them (RFC 8259).
//!
//! A record keeps ranges of its text, so that values which a handler does not touch are written
//! back byte for byte. `serde_json` cannot find these ranges if a name is no Unicode, and Python
//! writes such names. A property test compares this scanner with `serde_json`.
//!
//! The scanner does not recurse, because a client may send 100,000 brackets. Most functions take a
//! place in the text and return the place behind what they read, or `None` if the text is not
//! JSON: the place then stays in a register.

use std::ops::Range;

/// Reads a text from its start to its end.
///
/// Every method returns `None` if the text is not JSON. The scanner must not be used after that.
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// The name of an object's member.
pub(crate) struct Name {
    /// Where the name is, without its quotes.
    pub(crate) inside: Range<usize>,
    /// Whether the name is written with escapes.
    pub(crate) escaped: bool,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of `text`, which must be UTF-8.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the next byte that is not white space, without reading it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.at = white(self.text, self.at);
        self.text.get(self.at).copied()
    }

    /// Checks that only white space is left.
    pub(crate) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Reads an object. Calls `each` with the name of every member; `each` must read the value.
    #[inline]
    pub(crate) fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, Name) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            return self.take(b'}');
        }
        self.take(b'"')?;
        loop {
            let name = self.name()?;
            each(self, name)?;
            // What Python writes between two members is looked for first.
            if self.skip(b", \"") {
                continue;
            }
            if self.peek()? != b',' {
                return self.take(b'}');
            }
            self.at += 1;
            self.take(b'"')?;
        }
    }

    /// Reads a value of any kind and returns where it is.
    #[inline]
    pub(crate) fn value(&mut self) -> Option<Range<usize>> {
        let start = white(self.text, self.at);
        self.at = value(self.text, start)?;
        Some(start..self.at)
    }

    /// Reads the name of a member behind its opening quote, and its colon.
    #[inline]
    fn name(&mut self) -> Option<Name> {
        let start = self.at;
        let mut end = plain(self.text, start);
        self.at = end;
        let mut escaped = false;
        if !self.skip(b"\": ") {
            if *self.text.get(end)? != b'"' {
                escaped = true;
                end = escapes(self.text, end)?;
            }
            self.at = end + 1;
            self.take(b':')?;
        }
        Some(Name {
            inside: start..end,
            escaped,
        })
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.peek()? == byte;
        self.at += 1;
        found.then_some(())
    }

    /// Skips `bytes` if they come next.
    #[inline]
    fn skip(&mut self, bytes: &[u8; 3]) -> bool {
        let found = self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(bytes));
        if found {
            self.at += bytes.len();
        }
        found
    }
}

/// Skips white space.
#[inline]
fn white(text: &[u8], mut at: usize) -> usize {
    // Most bytes pass this first comparison.
    while let Some(byte) = text.get(at)
        && *byte <= b' '
        && matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
    {
        at += 1;
    }
    at
}

#[inline]
fn value(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b'{' | b'[' => container(text, at),
        first => scalar(text, at, first),
    }
}

/// Reads a value that begins with `first` and is no container.
#[inline]
fn scalar(text: &[u8], at: usize, first: u8) -> Option<usize> {
    match first {
        b'"' => {
            let mut end = plain(text, at + 1);
            if *text.get(end)? != b'"' {
                end = escapes(text, end)?;
            }
            Some(end + 1)
        }
        b't' => literal(text, at, b"true"),
        b'f' => literal(text, at, b"false"),
        b'n' => literal(text, at, b"null"),
        _ => number(text, at),
    }
}

/// Reads a list or an object, and everything in it.
fn container(text: &[u8], start: usize) -> Option<usize> {
    let mut scanner = Scanner {
        text,
        at: start + 1,
    };
    let mut bracket = text[start];
    // The opening brackets of the containers around the innermost one, outermost first.
    let mut around = Vec::new();
    let mut is_empty = scanner.peek()? == closing(bracket);
    loop {
        if !is_empty {
            if bracket == b'{' {
                scanner.take(b'"')?;
                scanner.name()?;
            }
            match scanner.peek()? {
                inner @ (b'{' | b'[') => {
                    around.push(bracket);
                    bracket = inner;
                    scanner.at += 1;
                    is_empty = scanner.peek()? == closing(bracket);
                    continue;
                }
                first => scanner.at = scalar(text, scanner.at, first)?,
            }
        }
        // A value ends here, and with it perhaps the containers that it is the last value of.
        while scanner.peek()? != b',' {
            scanner.take(closing(bracket))?;
            match around.pop() {
                Some(outer) => bracket = outer,
                None => return Some(scanner.at),
            }
        }
        scanner.at += 1;
        is_empty = false;
    }
}

/// Reads a string from its first escape up to its closing quote.
#[cold]
fn escapes(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += escape_len(text.get(at + 1..)?)?,
            _ => return None, // a control character
        }
        at = plain(text, at);
    }
}

#[inline]
fn plain(text: &[u8], mut at: usize) -> usize {
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let stops = stops(u64::from_le_bytes(*word));
        if stops != 0 {
            return at + stops.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while text.get(at).is_some_and(|b| !is_stop(*b)) {
        at += 1;
    }
    at
}
#[inline]
fn number(text: &[u8], at: usize) -> Option<usize> {
    let whole = at + usize::from(text.get(at) == Some(&b'-'));
    let mut at = digits(text, whole)?;
    if at > whole + 1 && text[whole] == b'0' {
        return None;
    }
    if let Some(b'.') = text.get(at) {
        at = digits(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let signed = matches!(text.get(at + 1), Some(b'+' | b'-'));
        at = digits(text, at + 1 + usize::from(signed))?;
    }
    Some(at)
}

/// Reads at least one digit.
#[inline]
fn digits(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    (at > start).then_some(at)
}

fn literal(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text[at..].starts_with(word).then_some(at + word.len())
}

/// Returns the length of an escape, backslash included; `rest` is what follows the backslash.
fn escape_len(rest: &[u8]) -> Option<usize> {
    match rest.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => rest
            .get(1..5)?
            .iter()
            .all(u8::is_ascii_hexdigit)
            .then_some(6),
        _ => None,
    }
}

/// Returns the closing bracket. In ASCII it is two places behind the opening one.
fn closing(bracket: u8) -> u8 {
    bracket + 2
}

fn is_stop(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}
#[inline]
fn stops(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let controls = word.wrapping_sub(each(0x20));
    let quotes = (word ^ each(b'"')).wrapping_sub(each(1));
    let backslashes = (word ^ each(b'\\')).wrapping_sub(each(1));
    (controls | quotes | backslashes) & !word & each(0x80)
}
