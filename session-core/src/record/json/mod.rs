//! JSON text as Python's `json.dumps` writes it.
//!
//! aiohttp_session reads any JSON. Writing exactly its bytes is easiest to test, and an unencrypted
//! cookie can hold only ASCII.

pub(crate) mod canonical;
mod finite;
mod plain;
pub(crate) mod scan;
pub(crate) mod strings;

use std::cell::Cell;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::record::json::finite::Finite;

/// Writes `value` as Python's `json.dumps` does.
///
/// Items are separated by `", "` and `": "`. Characters outside printable ASCII are written as
/// `\uXXXX`, and floats in Python's shortest form. A float that is not finite is an error.
pub(crate) fn to_text<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    // Room for most values, so that they need one allocation.
    let mut out = Vec::with_capacity(128);
    let wrote_null = Cell::new(false);
    let python = Python {
        wrote_null: &wrote_null,
    };
    value.serialize(&mut Serializer::with_formatter(&mut out, python))?;
    if wrote_null.get() {
        // serde_json also writes null for NaN and the infinities.
        value.serialize(Finite)?;
    }
    String::from_utf8(out).map_err(serde::ser::Error::custom)
}

struct Python<'a> {
    wrote_null: &'a Cell<bool>,
}

impl Formatter for Python<'_> {
    fn write_null<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.wrote_null.set(true);
        out.write_all(b"null")
    }

    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        if has_no_exponent(value) {
            return CompactFormatter.write_f64(out, value);
        }
        write_exponential(out, &format!("{value:e}"))
    }

    fn write_f32<W: ?Sized + Write>(&mut self, out: &mut W, value: f32) -> io::Result<()> {
        if has_no_exponent(value.into()) {
            return CompactFormatter.write_f32(out, value);
        }
        write_exponential(out, &format!("{value:e}"))
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| !matches!(byte, b' '..=b'~')) {
            let (plain, other) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            let mut chars = other.chars();
            let mut units = [0; 2];
            for unit in chars.next().unwrap_or_default().encode_utf16(&mut units) {
                out.write_all(&strings::escape_unit(*unit))?;
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

/// Returns whether Python writes a float without an exponent. `serde_json` then writes the same.
fn has_no_exponent(value: f64) -> bool {
    value == 0.0 || (1e-4..1e16).contains(&value.abs())
}

/// Writes a float such as `-1.25e7` as Python does: the exponent has a sign and two digits.
fn write_exponential<W: ?Sized + Write>(out: &mut W, text: &str) -> io::Result<()> {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    write!(out, "{digits}e{exponent:+03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        // Each right-hand side is Python's repr() of the float.
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (123.456, "123.456"),
            (0.0001, "0.0001"),
            (0.000_123, "0.000123"),
            (0.000_01, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
            (1e16, "1e+16"),
            (1.25e17, "1.25e+17"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (-0.000_099_999, "-9.9999e-05"),
            (1e100, "1e+100"),
            (1e22, "1e+22"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1_700_000_000.123_456, "1700000000.123456"),
        ] {
            assert_eq!(&*to_text(&value).unwrap(), text);
        }
        assert_eq!(&*to_text(&0.1_f32).unwrap(), "0.1");
    }

    #[test]
    fn text_is_ascii_as_python_writes_it() {
        let text = "a\"\\/\u{8}\u{c}\n\r\t\u{1f}\u{7f}é日😀";
        let python = r#""a\"\\/\b\f\n\r\t\u001f\u007f\u00e9\u65e5\ud83d\ude00""#;
        assert_eq!(&*to_text(text).unwrap(), python);
        let inside = strings::escape(text).unwrap();
        assert_eq!(format!("\"{inside}\""), python);
    }

    #[test]
    fn separators_have_a_space() {
        let value = serde_json::json!({"a": [1, 2, {"b": null}], "c": {}, "d": []});
        assert_eq!(
            &*to_text(&value).unwrap(),
            r#"{"a": [1, 2, {"b": null}], "c": {}, "d": []}"#
        );
    }
}
