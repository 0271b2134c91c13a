//! Takes keys out of the flattened settings; whatever is left at the end is unknown.

use std::collections::BTreeSet;

use super::fault::{Fault, Origin};
use super::source::{EMPTY_TABLE, Entries, Value};

/// What a value should have been, in words that follow `key = value: `.
pub type Expected = String;

/// Collects faults instead of stopping at the first.
pub struct Reader {
    entries: Entries,
    faults: Vec<Fault>,
    known: BTreeSet<String>,
    /// The sections that there are, in words.
    sections: &'static str,
}

impl Reader {
    /// Over these settings, after these faults; `sections` are those that the program knows, in words.
    #[must_use]
    pub fn new(entries: Entries, faults: Vec<Fault>, sections: &'static str) -> Self {
        Self { entries, faults, known: BTreeSet::new(), sections }
    }

    /// The key's value, or `None` where it is absent or bad (which is then a fault).
    pub fn optional<T>(&mut self, key: &str, read: impl FnOnce(&Value) -> Result<T, Expected>) -> Option<T> {
        self.known.insert(key.to_owned());
        let entry = self.entries.remove(key)?;
        match read(&entry.value) {
            Ok(value) => Some(value),
            Err(expected) => {
                let value = Some(entry.value.to_string());
                self.faults.push(Fault { origin: entry.origin, key: key.to_owned(), value, expected });
                None
            }
        }
    }

    /// The key's value, or the default.
    pub fn or<T>(&mut self, key: &str, default: T, read: impl FnOnce(&Value) -> Result<T, Expected>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// A key that must be there; `None` is a fault that is already noted.
    pub fn required<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Result<T, Expected>,
    ) -> Option<T> {
        if !self.entries.contains_key(key) {
            self.known.insert(key.to_owned());
            self.faults.push(Fault {
                origin: Origin::Missing,
                key: key.to_owned(),
                value: None,
                expected: format!("missing, expected {expected}"),
            });
            return None;
        }
        self.optional(key, read)
    }

    /// Whether anything stands under `prefix` (an element of an array of tables).
    #[must_use]
    pub fn has(&self, prefix: &str) -> bool {
        self.entries.keys().any(|key| key.starts_with(prefix))
    }

    /// Every key under `prefix` is refused for this reason.
    pub fn refuse_all(&mut self, prefix: &str, reason: &str) {
        let keys: Vec<String> = self.entries.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        for key in keys {
            let _refused: Option<()> = self.optional(&key, |_| Err(reason.to_owned()));
        }
    }

    /// Reports what nobody took, and gives all faults in the order of their lines.
    #[must_use]
    pub fn finish(mut self) -> Vec<Fault> {
        for (key, entry) in std::mem::take(&mut self.entries) {
            let section = format!("{key}.");
            let empty = entry.value == Value::Other(EMPTY_TABLE.to_owned());
            if empty && self.known.iter().any(|known| known.starts_with(&section)) {
                continue;
            }
            let expected = unknown(&key, &self.known, self.sections);
            self.faults.push(Fault { origin: entry.origin, key, value: None, expected });
        }
        self.faults.sort_by(|one, other| one.origin.cmp(&other.origin));
        self.faults
    }
}

fn unknown(key: &str, known: &BTreeSet<String>, sections: &str) -> Expected {
    let section = key.rsplit_once('.').map_or("", |(section, _)| section);
    let siblings: Vec<&str> = known
        .iter()
        .filter_map(|sibling| sibling.strip_prefix(section)?.strip_prefix('.'))
        .filter(|name| !name.contains(['.', '[']))
        .collect();
    if siblings.is_empty() {
        return format!("unknown section, expected {sections}");
    }
    format!("unknown key, expected one of {}", siblings.join(", "))
}
