//! Reading and writing the values of a session.

use std::any::type_name;
use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::record::json::canonical::canonical;
use crate::record::json::strings::escape;
use crate::record::{Parsed, Record, json};
use crate::session::Session;

/// Values.
impl Session {
    /// Returns the value under `key` as a `T`; `None` if there is none.
    ///
    /// `T` owns what it holds: `get::<String>`, not `get::<&str>`. The result is a copy. To change
    /// a value in place, [`modify`](Self::modify) it.
    ///
    /// `Box<RawValue>` of serde_json's feature `raw_value` is the JSON text itself, whatever it is.
    /// `serde_json::Value` is not that general: it turns integers beyond 64 bits into floats, and
    /// it refuses numbers beyond the range of floats (`1e999`), strings with lone surrogates, and
    /// values that are nested deeper than 127 levels. Python writes all of them.
    ///
    /// ```
    /// use serde_json::value::RawValue;
    ///
    /// # fn main() -> session_core::Result<()> {
    /// # let session = session_core::Session::detached();
    /// # let text = "[18446744073709551616, 1e999]".to_owned();
    /// # session.insert("ids", RawValue::from_string(text).unwrap())?;
    /// // The list is [18446744073709551616, 1e999], from Python.
    /// session.modify("ids", |ids: &mut Vec<Box<RawValue>>| ids.truncate(1))?;
    /// let ids = session.get::<Box<RawValue>>("ids")?.unwrap();
    /// assert_eq!(ids.get(), "[18446744073709551616]");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Value`] if the value is not a `T`. Its text names the key if that is printable
    /// ASCII of at most 64 characters, and never the value.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.snapshot().get(key).map(parse_of(key)).transpose()
    }

    /// Puts `value` under `key`. The session is changed, and its `created` is now.
    ///
    /// Values that are nested deeper than 127 levels can be written, but [`get`](Self::get) reads
    /// them as `Box<RawValue>` only. A `&RawValue` is stored as it is.
    ///
    /// # Errors
    /// - [`ErrorKind::Value`] if `value` cannot be JSON: a map whose keys are not strings, or a
    ///   float that is not finite.
    /// - [`ErrorKind::Committed`] after the response's headers have left.
    pub fn insert(&self, key: &str, value: impl Serialize) -> Result<()> {
        let text = to_text_of(key, &value)?;
        self.lock_for_change()?.set(key, text);
        Ok(())
    }

    /// Removes the value under `key`. Returns false, and changes nothing, if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn remove(&self, key: &str) -> Result<bool> {
        Ok(self.lock_for_change()?.remove(key))
    }

    /// Removes the value under `key` and returns it; `None` if there is none. Useful for messages
    /// that are shown once.
    ///
    /// ```
    /// # use session_core::{ErrorKind, Result, Session};
    /// # fn main() -> Result<()> {
    /// # let session = Session::detached();
    /// session.insert("flash", "Welcome")?;
    /// let wrong = session.take::<u64>("flash");
    /// assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Value); // and it is still there
    /// assert_eq!(session.take::<String>("flash")?.as_deref(), Some("Welcome"));
    /// assert_eq!(session.take::<String>("flash")?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Value`] if the value is not a `T`. It stays in the session.
    /// - [`ErrorKind::Committed`] after the response's headers have left.
    pub fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        loop {
            let before = self.lock_for_change()?.record.clone();
            let Some(text) = before.get(key) else {
                return Ok(None);
            };
            let value = parse_of(key)(text)?;
            let mut state = self.lock_for_change()?;
            if state.record.get(key) == Some(text) {
                drop(before); // so that the removal does not have to copy the record
                state.remove(key);
                return Ok(Some(value));
            }
        }
    }

    /// Changes the value under `key` in place. A missing value starts from `T::default()`. Returns
    /// what `change` returns.
    ///
    /// ```
    /// # fn main() -> session_core::Result<()> {
    /// # let session = session_core::Session::detached();
    /// let item = String::from("apple");
    /// session.modify("cart", |cart: &mut Vec<String>| cart.push(item))?;
    /// assert_eq!(session.get::<Vec<String>>("cart")?.unwrap(), ["apple"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The session is not locked while `change` runs. If two clones of one session, or two
    /// requests, modify one key at the same time, the last one wins. Use [`update`](Self::update)
    /// if clones of one session must not overwrite each other.
    ///
    /// # Errors
    /// - [`ErrorKind::Value`] if the value is not a `T`, or if the changed value cannot be JSON.
    /// - [`ErrorKind::Committed`] after the response's headers have left.
    pub fn modify<T, R>(&self, key: &str, change: impl FnOnce(&mut T) -> R) -> Result<R>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        drop(self.lock_for_change()?); // refused before the closure runs
        let mut value: T = self.get(key)?.unwrap_or_default();
        let result = change(&mut value);
        self.insert(key, &value)?;
        Ok(result)
    }

    /// Calls `change` with the present value, or `None`, and stores and returns the result.
    ///
    /// If another clone of this session changes the value concurrently, `change` runs again with
    /// the new value, so it must be callable more than once. Two *requests* that update one key at
    /// the same time are not added up: the last save wins.
    ///
    /// # Errors
    /// - [`ErrorKind::Value`] if the value is not a `T`, or if the new one cannot be JSON.
    /// - [`ErrorKind::Committed`] after the response's headers have left.
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> T,
    ) -> Result<T> {
        loop {
            let before = self.lock_for_change()?.record.clone();
            let text_before = before.get(key);
            let after = change(text_before.map(parse_of(key)).transpose()?);
            let text = to_text_of(key, &after)?;
            let mut state = self.lock_for_change()?;
            if state.record.get(key) == text_before {
                drop(before); // so that the change does not have to copy the record
                state.set(key, text);
                return Ok(after);
            }
        }
    }

    /// Returns the whole session as a `T`, usually a struct with a field for each key. Keys that
    /// `T` does not have are left out.
    ///
    /// Mark the struct `#[serde(default)]`, so that it can be read from a session in which some
    /// keys are missing.
    ///
    /// # Errors
    /// [`ErrorKind::Value`] if the session is not a `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T> {
        data_of(&self.snapshot())
    }

    /// Writes the fields of `data` that changed into the session.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Default, Deserialize, Serialize)]
    /// #[serde(default)]
    /// struct Visit {
    ///     user: Option<String>,
    ///     theme: String,
    /// }
    ///
    /// # fn main() -> session_core::Result<()> {
    /// # let session = session_core::Session::detached();
    /// let mut visit: Visit = session.data()?;
    /// visit.theme = "dark".into();
    /// session.set_data(&visit)?;
    /// assert_eq!(session.keys(), ["theme"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Each field is compared, as JSON, with what [`data`](Self::data) would return now. Fields
    /// that are equal are not written, so their stored bytes stay, and two requests that change
    /// different fields both keep their change. Keys that `T` does not have stay. A key that `T`
    /// reads but does not write any more, for example because of `skip_serializing_if`, is removed.
    ///
    /// # Errors
    /// - [`ErrorKind::Value`] if `data` is not written as a JSON object, or holds a float that is
    ///   not finite.
    /// - [`ErrorKind::Committed`] after the response's headers have left.
    pub fn set_data<T: Serialize + DeserializeOwned>(&self, data: &T) -> Result<()> {
        let after = fields(data)?;
        let record = self.lock_for_change()?.record.clone();
        // If the session cannot be read as a `T` yet, for example because it is new, compare with
        // the stored values.
        let before = data_of::<T>(&record)
            .and_then(|before| fields(&before))
            .ok();
        let old = before.as_ref().unwrap_or(&record);
        let mut state = self.lock_for_change()?;
        for name in after.names() {
            let Some(text) = after.get(&name) else {
                continue;
            };
            if !old.get(&name).is_some_and(|old| is_same_json(old, text)) {
                state.set(&name, text.to_owned());
            }
        }
        for name in before.iter().flat_map(|before| before.names()) {
            if after.get(&name).is_none() {
                state.remove(&name);
            }
        }
        Ok(())
    }

    /// Returns whether there is a value under `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.state().record.get(key).is_some()
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.state().record.len()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.state().record.is_empty()
    }

    /// Returns the keys in the order in which they were first set.
    pub fn keys(&self) -> Vec<String> {
        self.snapshot().names().map(Cow::into_owned).collect()
    }

    /// Removes every key, including those that another request adds before this session is saved.
    /// Changes nothing if the session is empty.
    ///
    /// With nothing set after it, this ends the session when it is saved. In a store, removing the
    /// keys one by one does not.
    ///
    /// # Errors
    /// [`ErrorKind::Committed`] after the response's headers have left.
    pub fn clear(&self) -> Result<()> {
        let mut state = self.lock_for_change()?;
        if !state.record.is_empty() {
            state.clear();
        }
        Ok(())
    }

    /// Returns the record as it is now. Parsing happens on it, while the session is not locked.
    fn snapshot(&self) -> Arc<Record> {
        self.state().record.clone()
    }
}

pub(crate) fn data_of<T: DeserializeOwned>(record: &Record) -> Result<T> {
    let mut text = String::from("{");
    for name in record.names() {
        // A name that is not Unicode (a lone surrogate from Python) finds no value.
        if let Some(value) = record.get(&name) {
            if text.len() > 1 {
                text.push(',');
            }
            text.push('"');
            text.push_str(escape(&name).as_deref().unwrap_or(&name));
            text.push_str("\":");
            text.push_str(value);
        }
    }
    text.push('}');
    parse(&text)
}

/// Returns the fields of `data` as the entries of a record.
fn fields<T: Serialize>(data: &T) -> Result<Arc<Record>> {
    let text = to_text(data)?;
    let record = format!("{{\"session\": {text}}}");
    match Record::parse(record.into(), 0) {
        Ok(Parsed::Record(record)) if text.starts_with('{') => Ok(record),
        _ => Err(Error::with_message(
            ErrorKind::Value,
            format!("a {} is not written as a JSON object", type_name::<T>()),
        )),
    }
}

/// Compares two JSON texts. Members of objects may have any order. Numbers are compared as they are
/// written, because a parsed one may have lost digits.
fn is_same_json(one: &str, other: &str) -> bool {
    one == other || canonical(one) == canonical(other)
}

pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    parse_as(text, || "the session value".into())
}

/// Parses the value of this key.
fn parse_of<T: DeserializeOwned>(key: &str) -> impl Fn(&str) -> Result<T> {
    move |text| parse_as(text, || format!("the session value{}", shown(key)))
}

/// The cause is left out on purpose: `serde_json` quotes the value in it.
fn parse_as<T: DeserializeOwned>(text: &str, what: impl FnOnce() -> String) -> Result<T> {
    serde_json::from_str(text).map_err(|_| {
        let message = format!("{} is not a {}", what(), type_name::<T>());
        Error::with_message(ErrorKind::Value, message)
    })
}

pub(crate) fn to_text<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    write_as(value, || "the session value".into())
}

/// Writes the value of this key.
fn to_text_of<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<String> {
    write_as(value, || format!("the session value{}", shown(key)))
}

fn write_as<T: Serialize + ?Sized>(value: &T, what: impl FnOnce() -> String) -> Result<String> {
    json::to_text(value).map_err(|_| {
        let name = type_name::<T>();
        let message = format!("{} cannot be written as JSON: it is a {name}", what());
        Error::with_message(ErrorKind::Value, message)
    })
}

/// Returns how an error names a session key: quoted, after a space. A client may have chosen the
/// name, so a long one, or one with other characters than printable ASCII, is left out.
fn shown(key: &str) -> String {
    let is_plain = key.len() <= MAX_SHOWN && key.bytes().all(|b| matches!(b, b' '..=b'~'));
    if is_plain {
        format!(" {key:?}")
    } else {
        String::new()
    }
}

/// The length of the longest session key that an error names.
const MAX_SHOWN: usize = 64;
