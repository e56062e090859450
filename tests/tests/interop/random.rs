//! Random requests and values from a seed.

use std::fmt::Write as _;

/// Marsaglia's xorshift64, with a multiplication at the end.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // The one state that stays as it is must not be.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub(crate) fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A string of any characters, few of them harmless.
    pub(crate) fn text(&mut self) -> String {
        const NASTY: &[char] = &[
            '"',
            '\\',
            ',',
            ';',
            '=',
            ' ',
            '/',
            '%',
            '\t',
            '\r',
            '\n',
            '\0',
            '\x7f',
            '\u{80}',
            '\u{ff}',
            '\u{2028}',
            '\u{feff}',
            '\u{fffd}',
            '\u{ffff}',
            '😀',
            '\u{10ffff}',
            '&',
            '{',
        ];
        let length = self.below(9);
        let mut text = String::new();
        for _ in 0..length {
            let c = match self.below(4) {
                0 => char::from_u32(u32::try_from(self.below(0x80)).unwrap()),
                1 => Some(NASTY[self.below(NASTY.len())]),
                2 => char::from_u32(u32::try_from(self.below(0x1_0000)).unwrap()),
                _ => char::from_u32(u32::try_from(self.below(0x11_0000)).unwrap()),
            };
            // A surrogate is no character; those come into values as escapes.
            text.push(c.unwrap_or('\u{d7ff}'));
        }
        text
    }

    /// The JSON text of a string, each character as it is or escaped.
    pub(crate) fn spell(&mut self, text: &str) -> String {
        let mut json = String::from("\"");
        for c in text.chars() {
            let must = c < ' ' || c == '"' || c == '\\';
            if must || self.coin() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(json, "\\u{unit:04x}").unwrap();
                }
            } else {
                json.push(c);
            }
        }
        json + "\""
    }

    /// The JSON text of a value. Numbers are spelled as Python spells them.
    pub(crate) fn value(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => self
                .of(&["null", "true", "false", "[]", "{}", "\"\\ud83d\""])
                .to_owned(),
            1 => {
                let sign = if self.coin() { "-" } else { "" };
                format!("{sign}{}", self.next() % 1_000_000)
            }
            2 => {
                let digits: String = (0..40).map(|_| self.digit()).collect();
                format!("{}{digits}", self.of(&["", "-"]))
            }
            3 => {
                let float = format!("{}.{}", self.next() % 1_000_000, self.digit());
                let special = [
                    "-0.0",
                    "1e+16",
                    "1e-07",
                    "5e-324",
                    "1.7976931348623157e+308",
                    &float,
                ];
                self.of(&special).to_owned()
            }
            4 => {
                let text = self.text();
                self.spell(&text)
            }
            5 => {
                let items: Vec<_> = (0..self.below(4)).map(|_| self.value(depth - 1)).collect();
                format!("[{}]", items.join(self.of(&[",", ", "])))
            }
            _ => {
                // The number keeps the keys apart: of equal ones Python forgets the first.
                let members = (0..self.below(3)).map(|number| {
                    let key = format!("{number}{}", self.text());
                    format!("{}: {}", self.spell(&key), self.value(depth - 1))
                });
                let members: Vec<_> = members.collect();
                format!("{{{}}}", members.join(self.of(&[",", ", "])))
            }
        }
    }

    fn digit(&mut self) -> char {
        char::from(b'1' + u8::try_from(self.below(9)).unwrap())
    }
}
