//! A JSON text cut anywhere, and the shortest bytes that make it whole.

/// Deeper nesting than this is not followed, count: bounds the memory, and no dialect nests so deep.
const MAX_DEPTH: usize = 128;

/// Where the text stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the value.
    #[default]
    Start,
    /// After `{`.
    KeyOrEnd,
    /// After `,` in an object.
    Key,
    /// After a key.
    Colon,
    /// After `:` or after `,` in an array.
    Value,
    /// After `[`.
    ValueOrEnd,
    /// Within a string; a key or a value.
    Text { key: bool, escape: Escape },
    /// Within `true`, `false` or `null`: what is still missing.
    Word(&'static [u8]),
    /// Within a number; whether it may end here.
    Number { complete: bool },
    /// After a value.
    After,
    /// Not JSON, or too deep: cannot be made whole.
    Lost,
}

/// Where a string's escape stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// After the backslash.
    Begun,
    /// Hexadecimal digits still missing.
    Digits(u8),
}

/// Follows a JSON text byte by byte.
#[derive(Debug, Default)]
pub(super) struct JsonTail {
    at: At,
    /// Open containers: `{` or `[`.
    open: Vec<u8>,
}

impl JsonTail {
    /// Nothing but blanks so far.
    pub(super) fn is_blank(&self) -> bool {
        self.at == At::Start
    }

    pub(super) fn feed(&mut self, byte: u8) {
        let at = std::mem::take(&mut self.at);
        self.at = self.step(at, byte);
    }

    fn step(&mut self, at: At, byte: u8) -> At {
        match at {
            At::Text { key, escape } => Self::in_text(key, escape, byte),
            At::Word(rest) => match rest.split_first() {
                Some((wanted, [])) if *wanted == byte => At::After,
                Some((wanted, rest)) if *wanted == byte => At::Word(rest),
                _ => At::Lost,
            },
            At::Number { complete } => match byte {
                b'0'..=b'9' => At::Number { complete: true },
                b'.' | b'e' | b'E' | b'+' | b'-' => At::Number { complete: false },
                _ if complete => self.step(At::After, byte),
                _ => At::Lost,
            },
            at if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') => at,
            At::Start | At::Value => self.begin(byte),
            At::ValueOrEnd if byte == b']' => self.end(b'['),
            At::ValueOrEnd => self.begin(byte),
            At::KeyOrEnd if byte == b'}' => self.end(b'{'),
            At::KeyOrEnd | At::Key if byte == b'"' => At::Text { key: true, escape: Escape::None },
            At::Colon if byte == b':' => At::Value,
            At::After => match (byte, self.open.last()) {
                (b',', Some(b'{')) => At::Key,
                (b',', Some(_)) => At::Value,
                (b'}', _) => self.end(b'{'),
                (b']', _) => self.end(b'['),
                _ => At::Lost,
            },
            At::KeyOrEnd | At::Key | At::Colon | At::Lost => At::Lost,
        }
    }

    fn in_text(key: bool, escape: Escape, byte: u8) -> At {
        let escape = match (escape, byte) {
            (Escape::None, b'"') => return if key { At::Colon } else { At::After },
            (Escape::None, b'\\') => Escape::Begun,
            (Escape::Begun, b'u') => Escape::Digits(4),
            (Escape::Digits(left), _) if left > 1 => Escape::Digits(left - 1),
            (Escape::None | Escape::Begun | Escape::Digits(_), _) => Escape::None,
        };
        At::Text { key, escape }
    }

    fn begin(&mut self, byte: u8) -> At {
        match byte {
            b'{' | b'[' if self.open.len() == MAX_DEPTH => At::Lost,
            b'{' => {
                self.open.push(byte);
                At::KeyOrEnd
            }
            b'[' => {
                self.open.push(byte);
                At::ValueOrEnd
            }
            b'"' => At::Text { key: false, escape: Escape::None },
            b't' => At::Word(b"rue"),
            b'f' => At::Word(b"alse"),
            b'n' => At::Word(b"ull"),
            b'-' => At::Number { complete: false },
            b'0'..=b'9' => At::Number { complete: true },
            _ => At::Lost,
        }
    }

    fn end(&mut self, opened: u8) -> At {
        if self.open.pop() == Some(opened) { At::After } else { At::Lost }
    }

    /// Writes what is missing. `members` (`"key":value`) are added to an unfinished top-level
    /// object; without any value so far they become the object. A lost text gets nothing.
    /// Says whether the members were added.
    pub(super) fn close(&self, members: &str, out: &mut Vec<u8>) -> bool {
        let mut empty = false;
        match &self.at {
            At::Lost => return false,
            At::Start => {
                out.extend_from_slice(b"{");
                out.extend_from_slice(members.as_bytes());
                out.extend_from_slice(b"}");
                return true;
            }
            At::KeyOrEnd | At::ValueOrEnd => empty = true,
            At::Key => out.extend_from_slice(b"\"\":null"),
            At::Colon => out.extend_from_slice(b":null"),
            At::Value => out.extend_from_slice(b"null"),
            At::Text { key, escape } => {
                match escape {
                    Escape::None => {}
                    Escape::Begun => out.push(b'n'),
                    Escape::Digits(left) => out.extend(std::iter::repeat_n(b'0', usize::from(*left))),
                }
                out.extend_from_slice(if *key { b"\":null" } else { b"\"" });
            }
            At::Word(rest) => out.extend_from_slice(rest),
            At::Number { complete: false } => out.push(b'0'),
            At::Number { complete: true } | At::After => {}
        }
        for (depth, opened) in self.open.iter().enumerate().rev() {
            if depth == 0 && *opened == b'{' {
                if !empty {
                    out.push(b',');
                }
                out.extend_from_slice(members.as_bytes());
            }
            out.push(if *opened == b'{' { b'}' } else { b']' });
            empty = false;
        }
        self.open.first() == Some(&b'{')
    }
}
