//! Who says a message, also in words that only some models' templates know.

use std::fmt;

/// Longest word for a role, bytes: templates know `control`, `document 3` and the like.
pub const MAX_ROLE: usize = 32;

/// Who says a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The application (`system`, OpenAI's `developer`).
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A function's result: its parts are [`super::Part::ToolResult`]s.
    Tool,
    /// One that only the templates of some models know; Ollama takes any word.
    Other(RoleName),
}

impl Role {
    /// The role of a word in any case; none for no word and for one over [`MAX_ROLE`].
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        let name = RoleName::of(word)?;
        Some(match name.as_str() {
            "system" | "developer" => Self::System,
            "user" => Self::User,
            "assistant" => Self::Assistant,
            "tool" => Self::Tool,
            _ => Self::Other(name),
        })
    }

    /// As Ollama writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Other(name) => name.as_str(),
        }
    }
}

/// A role's word in small letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoleName {
    /// Zeros after its end.
    bytes: [u8; MAX_ROLE],
    length: usize,
}

impl RoleName {
    fn of(word: &str) -> Option<Self> {
        let word = word.to_lowercase();
        let mut bytes = [0; MAX_ROLE];
        bytes.get_mut(..word.len())?.copy_from_slice(word.as_bytes());
        (!word.is_empty()).then_some(Self { bytes, length: word.len() })
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_word_is_a_role_in_small_letters() {
        for (word, read) in [
            ("SYSTEM", "system"),
            ("Developer", "system"),
            ("Control", "control"),
            ("Document 3", "document 3"),
            ("É", "é"),
        ] {
            assert_eq!(Role::of(word).unwrap().as_str(), read);
        }
        for role in [Role::System, Role::User, Role::Assistant, Role::Tool] {
            assert_eq!(Role::of(role.as_str()), Some(role));
        }
    }

    #[test]
    fn a_role_without_a_word_or_of_too_long_a_one_is_none() {
        assert!(Role::of(&"r".repeat(MAX_ROLE)).is_some());
        for word in ["".to_owned(), "r".repeat(MAX_ROLE + 1), "é".repeat(MAX_ROLE / 2 + 1)] {
            assert_eq!(Role::of(&word), None, "{word}");
        }
    }
}
