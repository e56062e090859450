//! The entries of a record: names and values in their order.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use smallvec::SmallVec;

use crate::record::json::{scan, strings};

/// The id of an entry.
///
/// It stays valid as long as its record lives, and in clones of the record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct EntryId(u32);

/// A list of entries. A removed entry keeps its place, so that the ids of the others do not change.
///
/// Names and values can be ranges of the loaded text, which the methods take as `loaded`.
#[derive(Clone, Default)]
pub(super) struct Entries {
    /// In place, so that an ordinary session needs no allocation for it.
    all: SmallVec<[Entry; 6]>,
    /// How many of them were removed.
    removed: usize,
    /// The [bits](bit_of) of all names. A name with another bit is new, so that most names of a
    /// loaded text need not be compared with the ones before.
    bits: u64,
    /// Finds present entries by name if the list was ever longer than [`FEW`].
    ///
    /// The hash has a random key, so a client cannot choose names that collide.
    index: Option<HashMap<Box<[u8]>, EntryId>>,
}

/// Comparing this many names costs less than hashing one.
const FEW: usize = 16;

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: Name,
    /// The JSON text of the value; `None` if the entry was removed.
    pub(super) value: Option<Text>,
}

/// A name as it is written in JSON, and the text that it stands for.
#[derive(Clone)]
pub(super) struct Name {
    /// What is between the quotes.
    pub(super) written: Text,
    /// The text that this stands for, if there are escapes in it.
    ///
    /// It is in WTF-8, because Python writes lone surrogates. No `str` is equal to a name that has
    /// one.
    unescaped: Option<Box<[u8]>>,
}

/// A range of the loaded text, or a text of its own.
#[derive(Clone)]
pub(super) enum Text {
    Loaded(usize, usize),
    Own(String),
}

impl Entries {
    /// Returns the number of present entries.
    pub(super) fn len(&self) -> usize {
        self.all.len() - self.removed
    }

    /// Returns the names and values of the present entries in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Text)> {
        let all = self.all.iter();
        all.filter_map(|entry| Some((&entry.name, entry.value.as_ref()?)))
    }

    /// Returns an entry of this list, present or removed.
    pub(super) fn get(&self, id: EntryId) -> &Entry {
        &self.all[id.0 as usize]
    }

    /// Finds the present entry of `name`, which is in WTF-8.
    #[inline]
    pub(super) fn find(&self, loaded: &[u8], name: &[u8]) -> Option<EntryId> {
        if self.bits & bit_of(name) == 0 {
            return None;
        }
        if let Some(index) = &self.index {
            return look_up(index, name);
        }
        let mut all = self.all.iter();
        all.position(|entry| entry.name.is(loaded, name) && entry.value.is_some())
            .map(id_of)
    }

    /// Puts a name and a value that the scanner found, as [`set`](Self::set) does.
    #[inline]
    pub(super) fn load(&mut self, loaded: &[u8], name: scan::Name, value: Range<usize>) {
        let bit = bit_of(&loaded[name.inside.clone()]);
        // Checking the capacity here makes `push` cheaper.
        let is_full = self.all.len() == self.all.capacity();
        if name.escaped || self.bits & bit != 0 || is_full || self.index.is_some() {
            return self.set(loaded, Name::loaded(loaded, name), value.into());
        }
        self.bits |= bit;
        let name = Name {
            written: name.inside.into(),
            unescaped: None,
        };
        let value = Some(value.into());
        self.all.push(Entry { name, value });
    }

    /// Gives the entry of this name another value, or adds an entry, as Python's dict does.
    #[inline(never)]
    pub(super) fn set(&mut self, loaded: &[u8], name: Name, value: Text) {
        if let Some(id) = self.find(loaded, name.unescaped(loaded)) {
            self.replace(id, value);
        } else {
            self.add(loaded, name, value);
        }
    }

    /// Gives a present entry another value.
    pub(super) fn replace(&mut self, id: EntryId, value: Text) {
        self.all[id.0 as usize].value = Some(value);
    }

    /// Adds an entry at the end. No present entry may have this name.
    pub(super) fn add(&mut self, loaded: &[u8], name: Name, value: Text) -> EntryId {
        let id = id_of(self.all.len());
        self.bits |= bit_of(name.unescaped(loaded));
        if let Some(index) = &mut self.index {
            index.insert(name.unescaped(loaded).into(), id);
        }
        let value = Some(value);
        self.all.push(Entry { name, value });
        if self.index.is_none() && self.all.len() > FEW {
            self.build_index(loaded);
        }
        id
    }

    #[cold]
    fn build_index(&mut self, loaded: &[u8]) {
        let all = self.all.iter().enumerate();
        let present = all.filter(|(_, entry)| entry.value.is_some());
        let index = present.map(|(at, entry)| (entry.name.unescaped(loaded).into(), id_of(at)));
        self.index = Some(index.collect());
    }

    /// Removes a present entry.
    pub(super) fn remove(&mut self, loaded: &[u8], id: EntryId) {
        let entry = &mut self.all[id.0 as usize];
        entry.value = None;
        self.removed += 1;
        if let Some(index) = &mut self.index {
            index.remove(entry.name.unescaped(loaded));
        }
    }
}

/// Memory is full long before there are 2^32 entries.
#[inline]
fn id_of(at: usize) -> EntryId {
    EntryId(u32::try_from(at).unwrap_or(u32::MAX))
}

/// Returns one of 64 bits, by the first byte and the length of `name`.
#[inline]
fn bit_of(name: &[u8]) -> u64 {
    let first = name.first().copied().unwrap_or_default();
    1 << ((usize::from(first) + 8 * name.len()) % 64)
}

/// Keeps the code of the hash out of the functions that rarely need it.
#[cold]
fn look_up(index: &HashMap<Box<[u8]>, EntryId>, name: &[u8]) -> Option<EntryId> {
    index.get(name).copied()
}

impl Name {
    /// Makes the name of a new entry.
    pub(super) fn new(name: &str) -> Self {
        let escaped = strings::escape(name);
        Self {
            unescaped: escaped.is_some().then(|| name.as_bytes().into()),
            written: Text::Own(escaped.unwrap_or_else(|| name.into())),
        }
    }

    /// Takes a name that the scanner found.
    fn loaded(loaded: &[u8], name: scan::Name) -> Self {
        let unescape = || strings::unescape(str_of(loaded, name.inside.clone())).into();
        Self {
            unescaped: name.escaped.then(unescape),
            written: name.inside.into(),
        }
    }

    /// Returns the text that the name stands for, in WTF-8.
    #[inline]
    fn unescaped<'a>(&'a self, loaded: &'a [u8]) -> &'a [u8] {
        match &self.unescaped {
            Some(unescaped) => unescaped,
            None => self.written.bytes(loaded),
        }
    }

    #[inline]
    fn is(&self, loaded: &[u8], name: &[u8]) -> bool {
        #[cfg(test)]
        tests::COMPARISONS.with(|count| count.set(count.get() + 1));
        self.unescaped(loaded) == name
    }

    /// Returns the text that the name stands for. Each lone surrogate becomes U+FFFD.
    pub(super) fn to_str<'a>(&'a self, loaded: &'a [u8]) -> Cow<'a, str> {
        match std::str::from_utf8(self.unescaped(loaded)) {
            Ok(name) => Cow::Borrowed(name),
            Err(_) => Cow::Owned(strings::unescape_lossy(self.written.str(loaded))),
        }
    }
}

impl Text {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Loaded(start, end) => end - start,
            Self::Own(text) => text.len(),
        }
    }

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
            Self::Loaded(start, end) => str_of(loaded, *start..*end),
            Self::Own(text) => text,
        }
    }
}

impl From<Range<usize>> for Text {
    #[inline]
    fn from(range: Range<usize>) -> Self {
        Self::Loaded(range.start, range.end)
    }
}

/// Borrows a range that the scanner found, and has checked to be UTF-8.
pub(super) fn str_of(loaded: &[u8], range: Range<usize>) -> &str {
    std::str::from_utf8(&loaded[range]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How often a name was compared with another on this thread.
        pub(super) static COMPARISONS: Cell<usize> = const { Cell::new(0) };
    }

    fn comparisons(work: impl FnOnce()) -> usize {
        let before = COMPARISONS.get();
        work();
        COMPARISONS.get() - before
    }

    fn set(entries: &mut Entries, name: &str, value: &str) {
        entries.set(b"", Name::new(name), Text::Own(value.into()));
    }

    fn find(entries: &Entries, name: &str) -> Option<EntryId> {
        entries.find(b"", name.as_bytes())
    }

    fn value(entries: &Entries, id: EntryId) -> Option<&str> {
        entries.get(id).value.as_ref().map(|value| value.str(b""))
    }

    fn names(entries: &Entries) -> Vec<Cow<'_, str>> {
        entries.iter().map(|(name, _)| name.to_str(b"")).collect()
    }

    /// Runs a test on lists without and with an index.
    fn few_and_many(test: impl Fn(Entries, Vec<String>)) {
        for count in [3, FEW, FEW + 1, 100] {
            let mut entries = Entries::default();
            let names: Vec<String> = (0..count).map(|number| format!("é{number}")).collect();
            for name in &names {
                set(&mut entries, name, "1");
            }
            assert_eq!(entries.index.is_some(), count > FEW);
            test(entries, names);
        }
    }

    #[test]
    fn each_entry_is_found_by_its_name() {
        few_and_many(|entries, all| {
            assert_eq!(entries.len(), all.len());
            assert_eq!(names(&entries), all);
            for (at, name) in all.iter().enumerate() {
                assert_eq!(find(&entries, name), Some(id_of(at)));
            }
            for other in ["", "e1", "é", "é-1", "é1000", "\\u00e91"] {
                assert_eq!(find(&entries, other), None, "{other}");
            }
        });
    }

    #[test]
    fn an_entry_that_is_set_again_keeps_its_place() {
        few_and_many(|mut entries, all| {
            set(&mut entries, "é1", "2");
            assert_eq!(names(&entries), all);
            assert_eq!(value(&entries, EntryId(1)), Some("2"));
        });
    }

    #[test]
    fn an_entry_that_was_removed_and_is_set_again_goes_to_the_end() {
        few_and_many(|mut entries, mut all| {
            let count = all.len();
            for round in 0..40 {
                let id = find(&entries, "é1").unwrap();
                entries.remove(b"", id);
                assert_eq!(find(&entries, "é1"), None);
                assert_eq!(entries.len(), count - 1);
                assert_eq!(value(&entries, id), None);
                assert_eq!(entries.get(id).name.to_str(b""), "é1");
                set(&mut entries, "é1", "2");
                assert_eq!(find(&entries, "é1"), Some(id_of(count + round)));
                assert_eq!(find(&entries, "é2"), Some(EntryId(2)), "its id stays");
            }
            all.remove(1);
            all.push("é1".into());
            assert_eq!(names(&entries), all);
        });
    }

    #[test]
    fn a_clone_has_the_same_ids_and_is_apart() {
        few_and_many(|entries, _| {
            let mut clone = entries.clone();
            clone.remove(b"", EntryId(1));
            set(&mut clone, "new", "2");
            assert_eq!(find(&entries, "é1"), Some(EntryId(1)));
            assert_eq!(find(&entries, "new"), None);
            assert_eq!(find(&clone, "é2"), Some(EntryId(2)));
        });
    }

    #[test]
    fn the_work_grows_with_the_number_of_entries_and_not_with_its_square() {
        let all: Vec<String> = (0..4000).map(|number| format!("é{number}")).collect();
        let mut entries = Entries::default();
        let work = comparisons(|| {
            for _ in 0..2 {
                for name in &all {
                    set(&mut entries, name, "1");
                }
            }
            for name in &all {
                let id = find(&entries, name).unwrap();
                entries.remove(b"", id);
                assert_eq!(find(&entries, name), None);
            }
        });
        // Names are compared until there is an index.
        assert!(work < 300, "{work} comparisons");
        assert_eq!(entries.len(), 0);
    }

    #[test]
    fn names_with_lone_surrogates_are_apart_from_what_they_look_like() {
        for inside in [r"\ud800", r"\uD800", r"\ud800x"] {
            let name = scan::Name {
                inside: 0..inside.len(),
                escaped: true,
            };
            let name = Name::loaded(inside.as_bytes(), name);
            assert!(name.to_str(inside.as_bytes()).starts_with('\u{fffd}'));
            for other in [inside, "\u{fffd}", "\u{fffd}x"] {
                assert!(!name.is(inside.as_bytes(), other.as_bytes()));
            }
        }
    }
}
