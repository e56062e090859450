//! The entries of a record: names and values in their order.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use crate::record::json::{scan, strings};

/// Names one entry of a record.
///
/// It stays valid for the life of the record and in clones of the record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct EntryId(u32);

/// Entries in their order. A removed entry stays in its place without a value, so that ids never
/// shift.
///
/// Names and values may be ranges of the loaded text, which the methods take as `loaded`.
#[derive(Clone, Default)]
pub(super) struct Entries {
    slots: Vec<Entry>,
    present: usize,
    /// Where each name is. Only records of more than [`FEW`] slots have it.
    index: Option<Box<HashMap<Box<[u8]>, EntryId>>>,
}

/// Up to so many slots, comparing name by name costs less than hashing.
const FEW: usize = 16;

#[derive(Clone)]
pub(super) struct Entry {
    name: Name,
    /// The JSON text of the value; `None` if the entry was removed.
    value: Option<Text>,
}

/// A name as it is written and as it is spelled.
#[derive(Clone)]
pub(super) enum Name {
    /// A range of the loaded text. It is written as it is spelled.
    Loaded(usize, usize),
    /// A name that was set. It is written as it is spelled.
    Own(Box<str>),
    /// A name that is written with escapes.
    Escaped(Box<Escaped>),
}

#[derive(Clone)]
pub(super) struct Escaped {
    /// The JSON string without its quotes.
    written: Box<str>,
    /// The text that it stands for, in WTF-8: UTF-8 in which a lone surrogate from Python may
    /// stand. No `str` is equal to a name with a lone surrogate.
    spelled: Box<[u8]>,
}

/// A piece of the loaded text, or a text of its own.
#[derive(Clone)]
pub(super) enum Text {
    Loaded(usize, usize),
    Own(String),
}

impl Entries {
    /// Makes an empty list with room for a session of ordinary size.
    pub(super) fn with_room() -> Self {
        Self {
            slots: Vec::with_capacity(8),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.present
    }

    /// Returns the present entries in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Text)> {
        self.slots
            .iter()
            .filter_map(|entry| Some((&entry.name, entry.value.as_ref()?)))
    }

    /// Returns the name and the value of the entry `id`.
    pub(super) fn at(&self, id: EntryId) -> (&Name, Option<&Text>) {
        let entry = &self.slots[id.0 as usize];
        (&entry.name, entry.value.as_ref())
    }

    /// Finds the present entry of `name`.
    #[inline]
    pub(super) fn find(&self, loaded: &[u8], name: &[u8]) -> Option<EntryId> {
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => self
                .slots
                .iter()
                .position(|entry| entry.is(loaded, name))
                .map(id_of),
        }
    }

    /// Adds an entry, or gives the entry of this name another value, as Python's dict does.
    #[inline]
    pub(super) fn put(&mut self, loaded: &[u8], name: Name, value: Text) {
        match self.find(loaded, name.spelled(loaded)) {
            Some(id) => self.replace(id, value),
            None => {
                self.push(loaded, name, value);
            }
        }
    }

    /// Gives the entry `id` another value.
    #[inline]
    pub(super) fn replace(&mut self, id: EntryId, value: Text) {
        self.slots[id.0 as usize].value = Some(value);
    }

    /// Adds an entry at the end. There must be no present entry of this name.
    #[inline]
    pub(super) fn push(&mut self, loaded: &[u8], name: Name, value: Text) -> EntryId {
        let id = id_of(self.slots.len());
        if let Some(index) = &mut self.index {
            index.insert(name.spelled(loaded).into(), id);
        }
        self.slots.push(Entry {
            name,
            value: Some(value),
        });
        self.present += 1;
        if self.slots.len() == FEW + 1 {
            self.build_index(loaded);
        }
        id
    }

    #[cold]
    fn build_index(&mut self, loaded: &[u8]) {
        let present = self.slots.iter().enumerate();
        let index = present
            .filter(|(_, entry)| entry.value.is_some())
            .map(|(at, entry)| (entry.name.spelled(loaded).into(), id_of(at)))
            .collect();
        self.index = Some(Box::new(index));
    }

    /// Removes the entry `id`.
    pub(super) fn remove(&mut self, loaded: &[u8], id: EntryId) {
        let entry = &mut self.slots[id.0 as usize];
        if entry.value.take().is_some() {
            self.present -= 1;
            if let Some(index) = &mut self.index {
                index.remove(entry.name.spelled(loaded));
            }
        }
    }
}

/// Memory ends long before there are 2^32 entries.
#[inline]
fn id_of(at: usize) -> EntryId {
    EntryId(u32::try_from(at).unwrap_or(u32::MAX))
}

impl Entry {
    #[inline]
    fn is(&self, loaded: &[u8], name: &[u8]) -> bool {
        #[cfg(test)]
        tests::COMPARISONS.with(|count| count.set(count.get() + 1));
        self.value.is_some() && self.name.spelled(loaded) == name
    }
}

impl Name {
    /// Makes the name of an entry that is set.
    pub(super) fn own(name: &str) -> Self {
        match strings::escape(name) {
            None => Self::Own(name.into()),
            Some(written) => Self::Escaped(Box::new(Escaped {
                written: written.into(),
                spelled: name.as_bytes().into(),
            })),
        }
    }

    /// Takes over a name that the scanner found in `loaded`.
    #[inline]
    pub(super) fn loaded(loaded: &[u8], name: scan::Name) -> Self {
        if name.escaped {
            Self::escaped(&loaded[name.inside])
        } else {
            Self::Loaded(name.inside.start, name.inside.end)
        }
    }

    #[cold]
    fn escaped(inside: &[u8]) -> Self {
        let written = std::str::from_utf8(inside).unwrap_or_default();
        Self::Escaped(Box::new(Escaped {
            written: written.into(),
            spelled: strings::unescape(written).into(),
        }))
    }

    /// Returns the name in WTF-8.
    #[inline]
    pub(super) fn spelled<'a>(&'a self, loaded: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Loaded(start, end) => &loaded[*start..*end],
            Self::Own(name) => name.as_bytes(),
            Self::Escaped(name) => &name.spelled,
        }
    }

    /// Returns the JSON string without its quotes.
    #[inline]
    pub(super) fn written<'a>(&'a self, loaded: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Escaped(name) => name.written.as_bytes(),
            _ => self.spelled(loaded),
        }
    }

    /// Returns the name. Each lone surrogate becomes U+FFFD.
    pub(super) fn show<'a>(&'a self, loaded: &'a [u8]) -> Cow<'a, str> {
        match (std::str::from_utf8(self.spelled(loaded)), self) {
            (Err(_), Self::Escaped(name)) => Cow::Owned(strings::unescape_lossy(&name.written)),
            (name, _) => Cow::Borrowed(name.unwrap_or_default()),
        }
    }
}

impl Text {
    #[inline]
    pub(super) fn bytes<'a>(&'a self, loaded: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Loaded(start, end) => &loaded[*start..*end],
            Self::Own(text) => text.as_bytes(),
        }
    }

    #[inline]
    pub(super) fn str<'a>(&'a self, loaded: &'a [u8]) -> &'a str {
        match self {
            // The whole text was checked when it was loaded, and a range holds whole characters.
            Self::Loaded(start, end) => {
                std::str::from_utf8(&loaded[*start..*end]).unwrap_or_default()
            }
            Self::Own(text) => text,
        }
    }
}

impl From<Range<usize>> for Text {
    fn from(range: Range<usize>) -> Self {
        Self::Loaded(range.start, range.end)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    thread_local! { pub(super) static COMPARISONS: Cell<usize> = const { Cell::new(0) }; }
}
