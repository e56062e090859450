//! Counts the plain bytes at the beginning of a text.
//!
//! A plain byte is an ASCII character that a JSON string can hold as it is: no quote, backslash or
//! control character. Most bytes of a record are plain, so they are checked eight or 32 at a time.
//! Byte by byte, reading a small record takes 13 % more instructions, and a large one five times
//! as many.

/// Counts the plain bytes among the first eight; 0 if there are fewer than eight bytes.
#[inline]
pub(super) fn count_in_word(text: &[u8]) -> usize {
    match text.first_chunk() {
        Some(word) => others(*word).trailing_zeros() as usize / 8,
        None => 0,
    }
}

/// Counts the plain bytes. Up to seven at the end of the text are not counted.
#[inline(never)]
pub(super) fn count(text: &[u8]) -> usize {
    let mut len = 0;
    for word in text.as_chunks().0 {
        let others = others(*word);
        if others != 0 {
            return len + others.trailing_zeros() as usize / 8;
        }
        len += 8;
        if len == NEAR {
            return len + count_far(&text[len..]);
        }
    }
    len
}

/// Most strings end within so many bytes.
const NEAR: usize = 32;

/// Counts in long texts, 32 bytes at a time. The compiler uses wide instructions for them.
#[cold]
fn count_far(text: &[u8]) -> usize {
    let (words, _) = text.as_chunks();
    let (fours, _) = words.as_chunks::<4>();
    let is_plain = |four: &&[_; 4]| four.iter().fold(0, |all, word| all | others(*word)) == 0;
    let len = 32 * fours.iter().take_while(is_plain).count();
    // The rest ends within 32 bytes, so `count` does not call this function again.
    len + count(&text[len..])
}

/// Finds bytes that are not plain. The result is 0 if there are none.
///
/// The lowest bit of the result is the high bit of the first such byte. The bits above it have no
/// meaning.
#[inline]
fn others(bytes: [u8; 8]) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let word = u64::from_le_bytes(bytes);
    // Subtracting a number from each byte sets the high bit of the first byte that is less. After
    // bit 1 is flipped, the bytes below 0x21 are the quote (0x22) and the control characters. The
    // high bit of a byte that is not ASCII stays set in at least one of the two results.
    let quotes_and_controls = (word ^ each(0x02)).wrapping_sub(each(0x21));
    let backslashes = (word ^ each(b'\\')).wrapping_sub(each(1));
    (quotes_and_controls | backslashes) & each(0x80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_plain(byte: u8) -> bool {
        matches!(byte, b' '..0x80) && byte != b'"' && byte != b'\\'
    }

    fn count_one_by_one(bytes: &[u8]) -> usize {
        bytes.iter().take_while(|byte| is_plain(**byte)).count()
    }

    #[test]
    fn every_byte_is_plain_or_not() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                let mut bytes = *b"xxxxxxxx";
                bytes[at] = byte;
                let expected = if is_plain(byte) { 8 } else { at };
                assert_eq!(count_in_word(&bytes), expected, "{byte:#x} at {at}");
            }
        }
    }

    #[track_caller]
    fn agrees(bytes: &[u8]) {
        let (count, expected) = (count(bytes), count_one_by_one(bytes));
        assert!(count <= expected, "{bytes:?}");
        assert!(count == expected || count + 8 > bytes.len(), "{bytes:?}");
    }

    #[test]
    fn texts_of_all_lengths() {
        for len in 0..150 {
            let mut bytes = vec![b'x'; len];
            agrees(&bytes);
            for at in 0..len {
                bytes[at] = b'"';
                agrees(&bytes);
                bytes[at] = b'x';
            }
        }
    }

    proptest! {
        #[test]
        fn eight_bytes_are_counted_as_one_by_one(bytes: [u8; 8], near in 0..10_usize) {
            prop_assert_eq!(count_in_word(&bytes), count_one_by_one(&bytes));
            // Random bytes are seldom so near to the bounds.
            let close = [0, 0x1f, 0x20, 0x21, b'"', b'#', b'[', b'\\', 0x7f, 0x80];
            let bytes = bytes.map(|byte| close[(usize::from(byte) + near) % close.len()]);
            prop_assert_eq!(count_in_word(&bytes), count_one_by_one(&bytes));
        }

        #[test]
        fn any_bytes_behind_plain_ones(text in "[ -!#-~]{0,100}", rest: Vec<u8>) {
            agrees(&[text.replace('\\', "").as_bytes(), &rest].concat());
        }
    }
}
