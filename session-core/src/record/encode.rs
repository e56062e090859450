//! Writes a record as aiohttp_session does.

use crate::record::created::Created;
use crate::record::{Lifetime, Record};

impl Record {
    /// Writes the JSON text of the record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut numbers = itoa::Buffer::new();
        let created = match &self.created {
            Created::At(seconds) | Created::Missing { now: seconds } => numbers.format(*seconds),
            Created::Other { written, .. } => written,
        };
        let loaded = &*self.text;
        let entries: usize = self
            .entries
            .iter()
            .map(|(name, value)| name.written(loaded).len() + value.bytes(loaded).len() + 6)
            .sum();
        let mut out = Vec::with_capacity(entries + created.len() + 28);
        out.extend_from_slice(b"{\"created\": ");
        out.extend_from_slice(created.as_bytes());
        out.extend_from_slice(b", \"session\": {");
        let mut before: &[u8] = b"\"";
        for (name, value) in self.entries.iter() {
            out.extend_from_slice(before);
            out.extend_from_slice(name.written(loaded));
            out.extend_from_slice(b"\": ");
            out.extend_from_slice(value.bytes(loaded));
            before = b", \"";
        }
        out.push(b'}');
        match self.lifetime {
            Lifetime::For(age) => {
                out.extend_from_slice(b", \"max_age\": ");
                out.extend_from_slice(numbers.format(age.as_secs()).as_bytes());
            }
            Lifetime::Unlimited => out.extend_from_slice(b", \"max_age\": null"),
            Lifetime::Default => {}
        }
        if let Some(started) = self.started {
            out.extend_from_slice(b", \"started\": ");
            out.extend_from_slice(numbers.format(started).as_bytes());
        }
        if let Some(handle) = &self.handle {
            out.extend_from_slice(b", \"handle\": \"");
            out.extend_from_slice(handle.as_bytes());
            out.push(b'"');
        }
        out.push(b'}');
        out
    }
}
