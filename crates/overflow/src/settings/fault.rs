//! A fault in the configuration, as the person who must mend it reads it.

use std::fmt;

/// Where a setting stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// Line of the file, from 1.
    File(usize),
    /// Name of the environment variable.
    Environment(String),
    /// Nowhere: it is missing.
    Missing,
}

/// One fault: where, which key, what value, what was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where it stands.
    pub origin: Origin,
    /// Dotted key; empty for a syntax fault.
    pub key: String,
    /// The value as written, where there is one.
    pub value: Option<String>,
    /// What was expected instead.
    pub expected: String,
}

impl Fault {
    /// The file is not TOML at this line.
    pub fn syntax(line: usize, message: &str) -> Self {
        let expected = format!("not valid TOML: {message}");
        Self { origin: Origin::File(line), key: String::new(), value: None, expected }
    }

    /// The fault with the file's name in front, as compilers write it.
    #[must_use]
    pub fn describe(&self, file: &str) -> String {
        let place = match &self.origin {
            Origin::File(line) => format!("{file}:{line}: "),
            Origin::Environment(name) => format!("environment {name}: "),
            Origin::Missing => format!("{file}: "),
        };
        format!("{place}{self}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.key.is_empty()) {
            (_, true) => f.write_str(&self.expected),
            (Some(value), false) => write!(f, "{} = {value}: {}", self.key, self.expected),
            (None, false) => write!(f, "{}: {}", self.key, self.expected),
        }
    }
}
