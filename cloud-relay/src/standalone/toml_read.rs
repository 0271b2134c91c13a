//! Reading a TOML file key by key, collecting faults instead of stopping at the first.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Every fault found, in order of its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Faults {
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
    list: Vec<(Option<usize>, String)>,
}

impl Faults {
    pub(crate) fn new(text: &str) -> Self {
        let lines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { lines: std::iter::once(0).chain(lines).collect(), list: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds `key = value: expected …`; `at` is the value's byte offset.
    pub(crate) fn add(&mut self, key: &str, value: &str, expected: &str, at: Option<usize>) {
        self.say(format!("{key} = {value}: expected {expected}"), at);
    }

    /// Adds what another reader found at this line, from 1.
    pub(crate) fn say_of_line(&mut self, text: String, line: Option<usize>) {
        self.list.push((line, text));
    }

    fn say(&mut self, text: String, at: Option<usize>) {
        let line = at.map(|at| self.lines.partition_point(|begin| *begin <= at));
        self.list.push((line, text));
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by_key(|(line, _)| line.unwrap_or(usize::MAX));
        for (place, (line, text)) in list.into_iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            match line {
                Some(line) => write!(f, "line {line}: {text}")?,
                None => f.write_str(text)?,
            }
        }
        Ok(())
    }
}

/// The file's top level; syntax errors become faults.
pub(crate) fn read_root<'t>(text: &'t str, faults: &mut Faults) -> Option<DeTable<'t>> {
    match DeTable::parse(text) {
        Ok(root) => Some(root.into_inner()),
        Err(error) => {
            let at = error.span().map(|span| span.start);
            faults.say(format!("not TOML: {}", error.message()), at);
            None
        }
    }
}

/// One table being read; keys that nobody asked for are faults when it is finished.
pub(crate) struct Section<'t, 'f> {
    name: String,
    table: &'t DeTable<'t>,
    asked: BTreeSet<String>,
    faults: &'f mut Faults,
}

impl<'t, 'f> Section<'t, 'f> {
    pub(crate) fn new(name: &str, table: &'t DeTable<'t>, faults: &'f mut Faults) -> Self {
        Self { name: name.to_owned(), table, asked: BTreeSet::new(), faults }
    }

    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn get(&mut self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.insert(key.to_owned());
        self.table.iter().find(|(known, _)| known.get_ref() == key).map(|(_, value)| value)
    }

    /// A fault about a value that was read well.
    pub(crate) fn fault(&mut self, key: &str, value: &str, expected: &str) {
        let at = self.get(key).map(|value| value.span().start);
        let key = self.full(key);
        self.faults.add(&key, &format!("\"{value}\""), expected, at);
    }

    /// A fault about a key that is not there.
    pub(crate) fn missing(&mut self, key: &str, expected: &str) {
        let key = self.full(key);
        self.faults.say(format!("{key} is missing: expected {expected}"), None);
    }

    fn wrong(&mut self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let key = self.full(key);
        self.faults.add(&key, &show(value.get_ref()), expected, Some(value.span().start));
    }

    fn optional_string(&mut self, key: &str, expected: &str) -> Option<String> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.wrong(key, value, expected);
                None
            }
        }
    }

    fn present(&mut self, key: &str, expected: &str) -> bool {
        let there = self.get(key).is_some();
        if !there {
            self.missing(key, expected);
        }
        there
    }

    /// A required text.
    pub(crate) fn string(&mut self, key: &str) -> Option<String> {
        self.present(key, "a text");
        self.optional_string(key, "a text")
    }

    /// A required path; a relative one is relative to `base`.
    pub(crate) fn path(&mut self, key: &str, base: &Path) -> Option<PathBuf> {
        self.present(key, "a path");
        self.optional_path(key, base)
    }

    /// A path that may be left out.
    pub(crate) fn optional_path(&mut self, key: &str, base: &Path) -> Option<PathBuf> {
        self.optional_string(key, "a path").map(|text| base.join(text))
    }

    /// A required `ADDRESS:PORT`.
    pub(crate) fn address(&mut self, key: &str) -> Option<SocketAddr> {
        const EXPECTED: &str = "ADDRESS:PORT, as in \"127.0.0.1:8443\"";
        self.present(key, EXPECTED);
        let text = self.optional_string(key, EXPECTED)?;
        let address = text.parse().ok();
        if address.is_none() {
            self.fault(key, &text, EXPECTED);
        }
        address
    }

    /// A whole number, `default` if left out.
    pub(crate) fn number(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.get(key) else {
            return default;
        };
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                self.wrong(key, value, &expected);
                default
            }
        }
    }

    /// A list that only a later version can fill.
    pub(crate) fn only_empty(&mut self, key: &str) {
        if let Some(value) = self.get(key)
            && value.get_ref().as_array().is_none_or(|list| list.iter().next().is_some())
        {
            self.wrong(key, value, "[]: this is not available yet");
        }
    }

    /// A key or section of a later version.
    pub(crate) fn not_yet(&mut self, key: &str) {
        if let Some(value) = self.get(key) {
            let at = Some(value.span().start);
            let key = self.full(key);
            self.faults.say(format!("{key}: not available yet; leave it out"), at);
        }
    }

    /// A section that another reader takes.
    pub(crate) fn read_elsewhere(&mut self, key: &str) {
        self.asked.insert(key.to_owned());
    }

    /// A required table.
    pub(crate) fn section<R>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_, '_>) -> R) -> Option<R> {
        self.present(key, "a section");
        self.optional_section(key, read)
    }

    /// A table that may be left out.
    pub(crate) fn optional_section<R>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_, '_>) -> R) -> Option<R> {
        let value = self.get(key)?;
        let name = self.full(key);
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(key, value, "a section");
            return None;
        };
        let mut section = Section::new(&name, table, self.faults);
        let outcome = read(&mut section);
        section.finish();
        Some(outcome)
    }

    /// Whatever was not asked for is a fault.
    pub(crate) fn finish(&mut self) {
        for key in self.table.keys() {
            if !self.asked.contains(key.get_ref().as_ref()) {
                let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
                let text = format!("{}: unknown key; expected one of {}", self.full(key.get_ref()), known.join(", "));
                self.faults.say(text, Some(key.span().start));
            }
        }
    }
}

fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "[…]".to_owned(),
        DeValue::Table(_) => "{…}".to_owned(),
    }
}
