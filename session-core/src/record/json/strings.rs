//! Escapes in JSON strings.

use super::to_text;

/// Writes what stands between the quotes of the JSON string for `text`; `None` if that is `text`.
pub(crate) fn escape(text: &str) -> Option<String> {
    let is_plain = |b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
    if text.bytes().all(is_plain) {
        return None;
    }
    // Strings can always be written.
    let mut written = to_text(text).unwrap_or_default();
    written.pop();
    (!written.is_empty()).then(|| written.split_off(1))
}

/// Returns the text of the inside of a JSON string, in WTF-8.
///
/// Python writes lone surrogates, which no `str` can hold. WTF-8 is UTF-8 that can.
pub(crate) fn unescape(inside: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(inside.len());
    for char in chars(inside) {
        match char {
            Ok(char) => text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(surrogate) => text.extend_from_slice(&three_bytes(surrogate)),
        }
    }
    text
}

/// Returns the text of the inside of a JSON string. Each lone surrogate becomes U+FFFD.
pub(crate) fn unescape_lossy(inside: &str) -> String {
    chars(inside)
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Reads the inside of a JSON string, which the scanner has checked.
fn chars(inside: &str) -> impl Iterator<Item = Result<char, u16>> {
    let mut rest = inside.encode_utf16();
    let units = std::iter::from_fn(move || {
        let unit = rest.next()?;
        if unit != u16::from(b'\\') {
            return Some(unit);
        }
        let escaped = rest.next()?;
        Some(match u8::try_from(escaped) {
            Ok(b'b') => 0x08,
            Ok(b't') => 0x09,
            Ok(b'n') => 0x0a,
            Ok(b'f') => 0x0c,
            Ok(b'r') => 0x0d,
            Ok(b'u') => (0..4).fold(0, |unit, _| unit << 4 | rest.next().map_or(0, hex_digit)),
            _ => escaped,
        })
    });
    char::decode_utf16(units).map(|char| char.map_err(|lone| lone.unpaired_surrogate()))
}

fn hex_digit(unit: u16) -> u16 {
    char::from_u32(unit.into())
        .and_then(|digit| digit.to_digit(16))
        .map_or(0, |digit| digit as u16)
}

/// Encodes a surrogate as UTF-8 would if it allowed surrogates.
fn three_bytes(surrogate: u16) -> [u8; 3] {
    let [high, low] = [surrogate >> 6, surrogate].map(|bits| 0x80 | (bits & 0x3f) as u8);
    [0xe0 | (surrogate >> 12) as u8, high, low]
}
