//! Taking an input apart.

/// Ends a piece of an input: a byte that is in no UTF-8 text.
const END: u8 = 0xff;

/// What is left of an input. At its end it goes on with zeros and empty pieces.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Takes what comes before the next 0xff, or all.
    pub(super) fn piece(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|b| *b == END);
        let piece = &self.0[..end.unwrap_or(self.0.len())];
        self.0 = end.map_or(&[], |end| &self.0[end + 1..]);
        piece
    }

    /// Takes a piece as text, without what is no UTF-8.
    pub(super) fn text(&mut self) -> String {
        text(self.piece())
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Returns what of `bytes` is UTF-8.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.utf8_chunks().map(|chunk| chunk.valid()).collect()
}
