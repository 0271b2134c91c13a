//! Watches the raw bytes of a caller's connection for heads that frame their body twice.
//!
//! hyper takes `Transfer-Encoding` over `Content-Length` and equal lengths twice, and hides both
//! from its user. Another reader on the way may take the other one: request smuggling. RFC 9112
//! (6.1, 6.3) lets a server refuse such a request, and this relay does. Absent: everything else
//! about HTTP, which is hyper's.

/// Longest line of which the content is looked at, bytes; framing headers are shorter.
const MAX_LINE: usize = 128;

/// Where the next byte of the connection stands.
#[derive(Debug, Default)]
enum At {
    /// In a head.
    #[default]
    Head,
    /// In a body: bytes still to come.
    Body(u64),
    /// In a chunk's size line.
    ChunkSize,
    /// In a chunk, its line end included: bytes still to come.
    Chunk(u64),
    /// In the trailer after the last chunk.
    Trailer,
    /// Not understood. hyper may understand it, and so may what stands before this relay, in another
    /// way: whatever follows on this connection is refused.
    Lost,
}

/// The framing of one connection's requests, fed with every byte that is read.
#[derive(Debug, Default)]
pub struct Framing {
    at: At,
    line: Vec<u8>,
    /// The present line's length, bytes, also where `line` holds less.
    length: usize,
    /// The present head: it has a request line, lengths and codings seen.
    begun: bool,
    lengths: u32,
    length_value: Option<u64>,
    chunked: bool,
    /// Whole heads so far.
    heads: u64,
    /// The first head that frames its body twice, counted from 0.
    ambiguous: Option<u64>,
}

impl Framing {
    /// Takes the next bytes of the connection, up to the end of a request; how many they are.
    #[must_use]
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        while !left.is_empty() {
            let heads = self.heads;
            let was_head = matches!(self.at, At::Head);
            left = self.step(left);
            let is_head = matches!(self.at, At::Head);
            if is_head && (!was_head || self.heads > heads) {
                break;
            }
        }
        bytes.len() - left.len()
    }

    /// Takes at least one byte; the others.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self.at {
            At::Body(left) => {
                let (left, rest) = skip(left, bytes);
                self.at = if left == 0 { At::Head } else { At::Body(left) };
                rest
            }
            At::Chunk(left) => {
                let (left, rest) = skip(left, bytes);
                self.at = if left == 0 { At::ChunkSize } else { At::Chunk(left) };
                rest
            }
            At::Head | At::ChunkSize | At::Trailer => self.feed_line(bytes),
            At::Lost => &[],
        }
    }

    /// Number of whole heads seen.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// The first head, counted from 0, whose request must be refused.
    #[must_use]
    pub fn ambiguous(&self) -> Option<u64> {
        self.ambiguous
    }

    /// No request has begun that is not whole.
    #[must_use]
    pub fn between(&self) -> bool {
        matches!(self.at, At::Head) && !self.begun && self.length == 0
    }

    /// A head has begun and is not whole yet.
    #[must_use]
    pub fn in_head(&self) -> bool {
        match self.at {
            At::Head => self.begun || self.length > 0,
            // What follows is never whole, so that its time runs.
            At::Lost => true,
            At::Body(_) | At::ChunkSize | At::Chunk(_) | At::Trailer => false,
        }
    }

    /// The present request, if its head is not whole, or else the next one is the first to be refused.
    fn lose(&mut self) {
        self.at = At::Lost;
        self.ambiguous.get_or_insert(self.heads);
    }

    fn feed_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        self.length += part.len();
        let room = MAX_LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
        let Some(end) = end else {
            return &[];
        };
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        let is_cut = std::mem::take(&mut self.length) > MAX_LINE;
        match self.at {
            At::Head => self.head_line(text, is_cut),
            At::ChunkSize => match chunk(text).filter(|_| !is_cut) {
                Some(next) => self.at = next,
                None => self.lose(),
            },
            At::Trailer if text.is_empty() => self.at = At::Head,
            At::Trailer | At::Body(_) | At::Chunk(_) | At::Lost => {}
        }
        // The buffer is kept for the next line.
        self.line = line;
        self.line.clear();
        bytes.get(end + 1..).unwrap_or_default()
    }

    fn head_line(&mut self, line: &[u8], is_cut: bool) {
        if line.is_empty() {
            // Blank lines before a request line mean nothing.
            if self.begun {
                self.end_head();
            }
            return;
        }
        if !std::mem::replace(&mut self.begun, true) {
            return;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let is_length = name.trim_ascii().eq_ignore_ascii_case(b"content-length");
        let is_coding = name.trim_ascii().eq_ignore_ascii_case(b"transfer-encoding");
        if is_cut && (is_length || is_coding) {
            // Blanks enough before the value hide it from here and not from hyper.
            self.lose();
        } else if is_length {
            self.lengths += 1;
            self.length_value = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        } else if is_coding {
            self.chunked = true;
        }
    }

    fn end_head(&mut self) {
        if self.lengths > 1 || (self.lengths > 0 && self.chunked) {
            self.ambiguous.get_or_insert(self.heads);
        }
        match (self.chunked, self.lengths, self.length_value) {
            (true, ..) => self.at = At::ChunkSize,
            (false, 0, _) | (false, _, Some(0)) => self.at = At::Head,
            (false, _, Some(length)) => self.at = At::Body(length),
            (false, _, None) => self.lose(),
        }
        self.heads += 1;
        self.begun = false;
        self.lengths = 0;
        self.length_value = None;
        self.chunked = false;
    }
}

/// What follows a chunk's size line; none where that is no size.
fn chunk(line: &[u8]) -> Option<At> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    match u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()? {
        0 => Some(At::Trailer),
        size => size.checked_add(2).map(At::Chunk),
    }
}

fn skip(left: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let step = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    let rest = bytes.get(step..).unwrap_or_default();
    (left - u64::try_from(step).unwrap_or(left), rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fed(text: &str, piece: usize) -> Framing {
        let mut framing = Framing::default();
        for mut bytes in text.as_bytes().chunks(piece) {
            while !bytes.is_empty() {
                bytes = &bytes[framing.feed(bytes)..];
            }
        }
        framing
    }

    #[test]
    fn a_body_framed_twice_is_found_whatever_the_order_and_the_pieces() {
        for head in [
            "content-length: 5\r\nTransfer-Encoding: chunked",
            "TRANSFER-ENCODING: chunked\r\nContent-Length:5",
            "content-length: 5\r\ncontent-length: 5",
            "content-length: 5\r\nx: y\r\ncontent-length: 6",
        ] {
            for piece in [1, 2, 7, 4096] {
                let framing = fed(&format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n"), piece);
                assert_eq!(framing.ambiguous(), Some(0), "{head} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_blanks_or_zeros_hide_from_the_watcher_is_refused_with_all_that_follows() {
        let blanks = " ".repeat(130);
        let zeros = "0".repeat(130);
        for (text, refused_from) in [
            (format!("GET / HTTP/1.1\r\nhost: a\r\ncontent-length:{blanks}0\r\n\r\n"), 0),
            (format!("POST / HTTP/1.1\r\nTransfer-Encoding:{blanks}chunked\r\n\r\n"), 0),
            (format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{zeros}5\r\n12345\r\n0\r\n\r\n"), 1),
            ("POST / HTTP/1.1\r\ncontent-length: 1x\r\n\r\n".to_owned(), 0),
        ] {
            for piece in [1, 100, 4096] {
                let framing = fed(&text, piece);
                assert_eq!(framing.ambiguous(), Some(refused_from), "{text:?}");
                assert!(framing.in_head(), "the time of what follows must run: {text:?}");
            }
        }
        let long = format!("GET / HTTP/1.1\r\nx-trace: {}\r\n\r\n", "a".repeat(500));
        assert_eq!(fed(&long, 7).ambiguous(), None);
    }

    #[test]
    fn ordinary_requests_follow_each_other_on_one_connection() {
        let text = concat!(
            "\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 40\r\n\r\ncontent-length: 1\r\ntransfer-encoding: x\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nab\r\nc\r\n0\r\nx: content-length\r\n\r\n",
            "GET / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        for piece in [1, 3, 4096] {
            let framing = fed(text, piece);
            assert_eq!(framing.heads(), 5);
            assert_eq!(framing.ambiguous(), Some(4));
        }
    }

    #[test]
    fn bytes_are_taken_up_to_the_end_of_a_request() {
        for request in [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n12345",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ] {
            for more in ["", "x", "\r\n", request] {
                let mut framing = Framing::default();
                assert_eq!(framing.feed(format!("{request}{more}").as_bytes()), request.len(), "{request}{more}");
                assert!(framing.between() && framing.heads() == 1);
            }
            let mut begun = Framing::default();
            assert_eq!(begun.feed(&request.as_bytes()[..request.len() - 1]), request.len() - 1);
            assert!(!begun.between(), "{request}");
        }
    }

    #[test]
    fn a_head_counts_as_begun_until_its_blank_line() {
        assert!(!fed("", 1).in_head());
        assert!(fed("GET", 1).in_head());
        assert!(fed("GET / HTTP/1.1\r\nhost: a\r\n", 1).in_head());
        assert!(!fed("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 1).in_head());
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_answer(
            text in "(GET / HTTP/1.1\r\n|content-length: [0-9]{1,2}\r\n|transfer-encoding: chunked\r\n|\r\n|[0-9a-f]{1,2}\r\n|.{0,5}){0,12}",
            piece in 1_usize..9,
        ) {
            let (whole, pieces) = (fed(&text, 4096), fed(&text, piece));
            prop_assert_eq!(whole.heads(), pieces.heads());
            prop_assert_eq!(whole.ambiguous(), pieces.ambiguous());
        }
    }
}
