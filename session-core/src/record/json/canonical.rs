//! One text for each JSON value, however it was written.

use std::ops::Range;

use crate::record::json::strings;

/// Objects that are nested deeper keep the order of their members, so that the work stays linear.
const MAX_SORTED: usize = 128;

/// Rewrites a JSON text: strings with Python's escapes, no white space, members sorted by name,
/// and of several members with one name only the last. Numbers stay as they are written.
///
/// The scanner has checked `text`. There is no recursion.
pub(crate) fn canonical(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open: Vec<Level> = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        let end = match byte {
            b'"' => end_of_string(text.as_bytes(), at),
            b' ' | b'\t' | b'\n' | b'\r' | b'{' | b'[' | b'}' | b']' | b',' | b':' => at + 1,
            _ => end_of_word(text.as_bytes(), at),
        };
        let token = text.get(at..end).unwrap_or_default();
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'{' => {
                out.push('{');
                open.push(Level::Object(Members::default()));
            }
            b'[' => {
                out.push('[');
                open.push(Level::Array);
            }
            b'}' | b']' => {
                let depth = open.len();
                if let Some(Level::Object(members)) = open.pop()
                    && depth <= MAX_SORTED
                {
                    members.sort(&mut out);
                }
                out.push_str(token);
            }
            b',' => {
                if let Some(Level::Object(members)) = open.last_mut() {
                    members.expects_name = true;
                }
                out.push(',');
            }
            b'"' => {
                let inside = token.get(1..token.len().max(2) - 1).unwrap_or_default();
                if let Some(Level::Object(members)) = open.last_mut()
                    && members.expects_name
                {
                    members.add(inside, out.len());
                }
                out.push('"');
                strings::rewrite(inside, &mut out);
                out.push('"');
            }
            _ => out.push_str(token),
        }
        at = end;
    }
    out
}

/// A container whose end has not come yet.
enum Level {
    Array,
    Object(Members),
}

/// The members of an object so far.
struct Members {
    /// Their names, in WTF-8, and where each begins in the output.
    found: Vec<(Vec<u8>, usize)>,
    expects_name: bool,
}

impl Default for Members {
    fn default() -> Self {
        Self {
            found: Vec::new(),
            expects_name: true,
        }
    }
}

impl Members {
    fn add(&mut self, name: &str, at: usize) {
        self.found.push((strings::unescape(name), at));
        self.expects_name = false;
    }

    /// Sorts the members at the end of `out`, and keeps the last of each name.
    fn sort(self, out: &mut String) {
        let Some(start) = self.found.first().map(|(_, start)| *start) else {
            return;
        };
        if self.found.is_sorted_by(|(one, _), (next, _)| one < next) {
            return;
        }
        let unsorted = out.split_off(start);
        let ends = self.found.iter().skip(1).map(|(_, next)| next - 1 - start);
        let ends = ends.chain([unsorted.len()]);
        let mut members: Vec<(&[u8], Range<usize>)> = self
            .found
            .iter()
            .zip(ends)
            .map(|((name, at), end)| (name.as_slice(), at - start..end))
            .collect();
        members.sort_by_key(|(name, _)| *name);
        for (at, (name, member)) in members.iter().enumerate() {
            if members.get(at + 1).is_some_and(|(next, _)| next == name) {
                continue;
            }
            if out.len() > start {
                out.push(',');
            }
            out.push_str(unsorted.get(member.clone()).unwrap_or_default());
        }
    }
}

/// Returns the place behind the string that begins at `at`.
fn end_of_string(text: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    loop {
        match text.get(end) {
            None => return text.len(),
            Some(b'"') => return end + 1,
            Some(b'\\') => end += 2,
            Some(_) => end += 1,
        }
    }
}

/// Returns the place behind the number or word that begins at `at`.
fn end_of_word(text: &[u8], at: usize) -> usize {
    let rest = text.iter().skip(at + 1);
    let is_more = |byte: &&u8| !b" \t\n\r,:{}[]\"".contains(*byte);
    at + 1 + rest.take_while(is_more).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_one_value_has_one_text() {
        for (texts, one) in [
            (&["1", " 1 ", "1\n"][..], "1"),
            (&["1.0"], "1.0"),
            (&["1e2"], "1e2"),
            (&["-0"], "-0"),
            (&["true"], "true"),
            (&[r#""1""#, r#" "\u0031""#], r#""1""#),
            (&[r#""é""#, r#""\u00e9""#, r#""\u00E9""#], r#""\u00e9""#),
            (&[r#""😀""#, r#""\uD83D\uDE00""#], r#""\ud83d\ude00""#),
            (&[r#""\ud800""#, r#""\uD800""#], r#""\ud800""#),
            (&[r#""\/ \u002f\u0022\\""#, r#""/ /\"\\""#], r#""/ /\"\\""#),
            (&["\"\\u0008\\u007f\"", "\"\\b\u{7f}\""], r#""\b\u007f""#),
            (&["[1, 2 ,[ ]]", "[1,2,[]]"], "[1,2,[]]"),
            (&["{ }", "{}"], "{}"),
            (
                &[
                    r#"{"b": {"d": 1, "c": [2, {"y": 0, "x": 0}]}, "a": 1}"#,
                    r#"{"\u0061":1,"b":{"c":[2,{"x":0,"y":0}],"d":1}}"#,
                ],
                r#"{"a":1,"b":{"c":[2,{"x":0,"y":0}],"d":1}}"#,
            ),
            (&[r#"{"a": 1, "b": 2, "a": 3}"#], r#"{"a":3,"b":2}"#),
            (&[r#"{"a": 1, "a": [2, {}]}"#], r#"{"a":[2,{}]}"#),
            (
                &[r#"{"\ud800": 1, "\u00e9": ",", "": 3}"#],
                r#"{"":3,"\u00e9":",","\ud800":1}"#,
            ),
        ] {
            for text in texts {
                assert_eq!(canonical(text), one, "{text}");
            }
        }
    }

    #[test]
    fn a_text_of_any_depth_is_rewritten() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(canonical(&deep), deep);
        let deep = r#"{"b":1,"a":"#.repeat(20_000) + "1" + &"}".repeat(20_000);
        let sorted = canonical(&deep);
        assert_eq!(sorted.len(), deep.len());
        assert!(sorted.starts_with(r#"{"a":{"a":"#));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::vec((".{0,3}", inner), 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_the_same_value_and_canonical_already(value in json()) {
            let pretty = canonical(&serde_json::to_string_pretty(&value).unwrap());
            let python = canonical(&crate::record::json::to_text(&value).unwrap());
            prop_assert_eq!(&pretty, &python);
            prop_assert_eq!(&canonical(&pretty), &pretty);
            let read: serde_json::Value = serde_json::from_str(&pretty).unwrap();
            prop_assert_eq!(read, value);
        }
    }
}
