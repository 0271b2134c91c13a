//! Names of fields without effect, fit for one response header.
//!
//! Invariant: few, short and plain, whatever a caller calls its fields.

/// Names that are kept, count: they travel in one response header; who needs more sends nonsense.
const MAX_DROPPED: usize = 32;

/// Characters of one name: every real one is shorter.
const MAX_NAME: usize = 64;

/// Names of what has no effect anywhere, each once, without the numbers of items.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    names: Vec<String>,
}

impl Dropped {
    /// Takes a place or a name down; what could not stand in a header is left out of it.
    pub(crate) fn note(&mut self, place: &str) {
        let mut inside = false;
        let mut name: String = place
            .chars()
            .filter(|c| {
                inside = (inside || *c == '[') && *c != ']';
                !inside && *c != ']' && (c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
            })
            .collect();
        name.truncate(MAX_NAME);
        if self.names.len() < MAX_DROPPED && !name.is_empty() && !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let mut dropped = Dropped::default();
        for number in 0..1_000 {
            dropped.note(&format!("{number}{}", "e".repeat(1_000)));
        }
        let names = dropped.into_names();
        assert_eq!(names.len(), MAX_DROPPED);
        assert!(names.iter().all(|name| name.len() == MAX_NAME));
    }

    #[test]
    fn what_no_header_takes_is_left_out_and_equal_names_are_one() {
        let mut dropped = Dropped::default();
        for place in ["messages[0].odd", "messages[17].odd", "a\r\nset-cookie: \u{e9}", "\u{e9}"] {
            dropped.note(place);
        }
        assert_eq!(dropped.into_names(), ["messages.odd", "aset-cookie"]);
    }
}
