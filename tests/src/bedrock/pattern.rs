//! Regular expressions as far as the service model writes them: literals, classes, groups,
//! alternatives, counted repeats, `^` and `$`. A value must match as a whole.
//!
//! Every step works on the set of places reached so far, so no pattern takes exponential time.
//! Absent: look-around, back references, lazy repeats; a pattern with one is refused when parsed.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Pattern(Node);

#[derive(Debug)]
enum Node {
    Start,
    End,
    One(Class),
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Repeat { inner: Box<Node>, least: usize, most: usize },
}

#[derive(Debug, Default)]
struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

type Places = BTreeSet<usize>;

impl Pattern {
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let mut chars = source.chars().peekable();
        let node = either(&mut chars)?;
        match chars.next() {
            None => Ok(Self(node)),
            Some(left) => Err(format!("{source}: unexpected {left:?}")),
        }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        self.0.ends(&text, &Places::from([0])).contains(&text.len())
    }
}

impl Node {
    /// Where a match can end that starts at one of `from`.
    fn ends(&self, text: &[char], from: &Places) -> Places {
        match self {
            Self::Start => from.iter().copied().filter(|&place| place == 0).collect(),
            Self::End => from.iter().copied().filter(|&place| place == text.len()).collect(),
            Self::One(class) => {
                let fits = |place: &usize| text.get(*place).is_some_and(|&c| class.has(c));
                from.iter().copied().filter(fits).map(|place| place + 1).collect()
            }
            Self::Sequence(nodes) => nodes.iter().fold(from.clone(), |places, node| node.ends(text, &places)),
            Self::Either(nodes) => nodes.iter().flat_map(|node| node.ends(text, from)).collect(),
            Self::Repeat { inner, least, most } => repeated(inner, *least, *most, text, from),
        }
    }
}

fn repeated(inner: &Node, least: usize, most: usize, text: &[char], from: &Places) -> Places {
    let mut reached = if least == 0 { from.clone() } else { Places::new() };
    let mut here = from.clone();
    let mut round = 0;
    while round < most && !here.is_empty() {
        here = inner.ends(text, &here);
        round += 1;
        if round >= least {
            let before = reached.len();
            reached.extend(&here);
            if round > least && reached.len() == before {
                break;
            }
        }
    }
    reached
}

impl Class {
    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|&(low, high)| (low..=high).contains(&c)) != self.negated
    }

    fn of(c: char) -> Self {
        Self { negated: false, ranges: vec![(c, c)] }
    }

    fn any() -> Self {
        Self { negated: true, ranges: vec![('\n', '\n')] }
    }
}

type Source<'a> = Peekable<Chars<'a>>;

fn either(chars: &mut Source<'_>) -> Result<Node, String> {
    let mut nodes = vec![sequence(chars)?];
    while chars.next_if_eq(&'|').is_some() {
        nodes.push(sequence(chars)?);
    }
    Ok(Node::Either(nodes))
}

fn sequence(chars: &mut Source<'_>) -> Result<Node, String> {
    let mut nodes = Vec::new();
    while let Some(&next) = chars.peek() {
        if next == '|' || next == ')' {
            break;
        }
        let node = atom(chars)?;
        nodes.push(quantified(chars, node)?);
    }
    Ok(Node::Sequence(nodes))
}

fn atom(chars: &mut Source<'_>) -> Result<Node, String> {
    Ok(match chars.next().ok_or("ends early")? {
        '^' => Node::Start,
        '$' => Node::End,
        '.' => Node::One(Class::any()),
        '[' => Node::One(class(chars)?),
        '\\' => Node::One(Class { negated: false, ranges: escaped(chars)? }),
        '(' => {
            if chars.next_if_eq(&'?').is_some() && chars.next() != Some(':') {
                return Err("only (?: groups are known".to_owned());
            }
            let inner = either(chars)?;
            chars.next_if_eq(&')').ok_or("a group is not closed")?;
            inner
        }
        literal => Node::One(Class::of(literal)),
    })
}

fn quantified(chars: &mut Source<'_>, node: Node) -> Result<Node, String> {
    let (least, most) = match chars.peek() {
        Some('*') => (0, usize::MAX),
        Some('+') => (1, usize::MAX),
        Some('?') => (0, 1),
        Some('{') => {
            let counts: String = chars.by_ref().skip(1).take_while(|&c| c != '}').collect();
            return Ok(repeat(node, counted(&counts)?));
        }
        Some(_) | None => return Ok(node),
    };
    chars.next();
    Ok(repeat(node, (least, most)))
}

fn repeat(node: Node, (least, most): (usize, usize)) -> Node {
    Node::Repeat { inner: Box::new(node), least, most }
}

fn counted(counts: &str) -> Result<(usize, usize), String> {
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{{{counts}}} is no count"));
    match counts.split_once(',') {
        None => number(counts).map(|exact| (exact, exact)),
        Some((least, "")) => Ok((number(least)?, usize::MAX)),
        Some((least, most)) => Ok((number(least)?, number(most)?)),
    }
}

fn escaped(chars: &mut Source<'_>) -> Result<Vec<(char, char)>, String> {
    Ok(match chars.next().ok_or("ends within an escape")? {
        's' => vec![(' ', ' '), ('\t', '\r')],
        'S' => vec![('\0', '\u{8}'), ('\u{e}', '\u{1f}'), ('!', char::MAX)],
        'd' => vec![('0', '9')],
        'w' => vec![('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')],
        c if c.is_ascii_alphanumeric() => return Err(format!("\\{c} is not known")),
        c => vec![(c, c)],
    })
}

fn class(chars: &mut Source<'_>) -> Result<Class, String> {
    let mut class = Class { negated: chars.next_if_eq(&'^').is_some(), ranges: Vec::new() };
    loop {
        let low = match chars.next().ok_or("a class is not closed")? {
            ']' => return Ok(class),
            '\\' => {
                class.ranges.extend(escaped(chars)?);
                continue;
            }
            low => low,
        };
        // A dash is a range only between two plain characters.
        let mut ahead = chars.clone();
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' && high != '\\' => {
                *chars = ahead;
                high
            }
            _ => low,
        };
        class.ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn a_value_matches_as_a_whole() {
        for (pattern, yes, no) in [
            ("[a-zA-Z0-9_-]+", "get-weather_2", "get weather"),
            ("[a-zA-Z0-9_.:-]+", "call:1.2-3_x", ""),
            ("[0-9]{12}", "123456789012", "12345678901"),
            ("(|([1-9][0-9]{0,7})|(DRAFT))", "", "0"),
            ("(|([1-9][0-9]{0,7})|(DRAFT))", "12345678", "123456789"),
            ("s3://[a-z0-9][\\.\\-a-z0-9]{1,61}[a-z0-9](/.*)?", "s3://bucket/key", "s3://b"),
            ("[a-zA-Z0-9\\s:_@$#=/+,-.]{0,3}", "a .", "a;b"),
            ("a(?:b|c)?d", "acd", "abcd"),
            ("(^x$)|y", "x", "xy"),
            ("(a*)*", "aaaa", "aaab"),
            ("[\\s\\S]*", "a\nb", "\u{0}x".get(2..).unwrap_or("")),
        ] {
            assert!(matches(pattern, yes), "{pattern} {yes:?}");
            assert!(no.is_empty() && pattern.ends_with('*') || !matches(pattern, no), "{pattern} {no:?}");
        }
    }

    #[test]
    fn a_dash_after_a_range_is_itself() {
        assert!(matches("[a-zA-Z0-9-:.]+", "eu.anthropic.claude-3:0"));
        assert!(!matches("[a-zA-Z0-9-:.]+", "a;b"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for pattern in ["(?=a)", "(a", "[a", "a{x}", "\\b", "a)"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn nested_repeats_over_a_long_value_end_soon() {
        assert!(!matches("(([0-9a-zA-Z][_-]?)+)+", &format!("{}!", "a".repeat(2048))));
    }
}
