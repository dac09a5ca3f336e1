//! A document as a list of nodes over the bytes it was read from: what the matcher looks at instead of a [`Value`].
//!
//! Most of an event is never looked at. A [`Value`] allocates and hashes all of it; here a text is a place in the input,
//! a number keeps its digits unread, and the list is one allocation that the next event uses again.
//!
//! ```text
//! {"a": ["x", 1], "b": null}   →   Object(6) Text"a" Array(4) Text"x" Number"1" Text"b" Null
//! ```
//!
//! Reading order: this file, [`json`], [`avro`].
//!
//! [`json::parse`](super::json::parse) and [`avro::decode`](super::avro::decode) stay the authorities. Whatever is unusual, be it wrong, too deep, or very wide,
//! is left to it: [`Tape::read_json`] then answers [`Unusual`] and the caller takes the slow way, whose verdict counts.

mod avro;
pub(crate) mod json;

use serde_json::Value;

/// The nodes of one document, and the texts that do not stand in the input as they are. Used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    /// Texts with their escapes resolved.
    unescaped: String,
}

/// What is not read here: the caller takes the slow way, which knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusual;

/// The longest document, in bytes: places in it are 32 bits. Far above what an event may have.
pub const MAX_BYTES: usize = u32::MAX as usize;
/// The most members of one object. A look-up walks them, so a wider object is left to a map.
pub const MAX_MEMBERS: usize = 64;

/// Members of an object are a text and a value each. `end` is the index after the last node inside.
#[derive(Clone, Copy, Debug)]
enum Node {
    Null,
    Boolean(bool),
    /// Digits as written.
    Number(Span),
    /// Digits that do not stand in the input.
    Digits(Span),
    Text(Span),
    Unescaped(Span),
    Array {
        end: u32,
    },
    Object {
        end: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// One value of a document.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    text: &'a str,
    tape: &'a Tape,
    at: u32,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Kind<'a> {
    Null,
    Boolean(bool),
    /// Its digits as written.
    Number(&'a str),
    Text(&'a str),
    Array(Elements<'a>),
    Object,
}

/// The values of an array.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    next: View<'a>,
    end: u32,
}

/// The keys and values of an object, as often as they stand there.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    elements: Elements<'a>,
}

// === impl Tape ===

impl Tape {
    pub fn new() -> Tape {
        Tape::default()
    }
}

// === impl Tape, looked at ===

impl Tape {
    fn text<'a>(&'a self, text: &'a str, node: Node) -> &'a str {
        match node {
            Node::Number(span) | Node::Text(span) => &text[span.start as usize..span.end as usize],
            Node::Unescaped(span) | Node::Digits(span) => &self.unescaped[span.start as usize..span.end as usize],
            _ => "",
        }
    }
}

// === impl View ===

impl<'a> View<'a> {
    fn node(self) -> Node {
        self.tape.nodes[self.at as usize]
    }

    /// The index of what stands after this value.
    fn after(self) -> u32 {
        match self.node() {
            Node::Array { end } | Node::Object { end } => end,
            _ => self.at + 1,
        }
    }

    /// `None` if this is no object.
    pub fn members(self) -> Option<Members<'a>> {
        match self.node() {
            Node::Object { end } => Some(Members { elements: self.inside(end) }),
            _ => None,
        }
    }

    /// `None` if this is no text.
    pub fn as_str(self) -> Option<&'a str> {
        match self.node() {
            node @ (Node::Text(_) | Node::Unescaped(_)) => Some(self.tape.text(self.text, node)),
            _ => None,
        }
    }

    pub fn kind(self) -> Kind<'a> {
        match self.node() {
            Node::Null => Kind::Null,
            Node::Boolean(boolean) => Kind::Boolean(boolean),
            node @ (Node::Number(_) | Node::Digits(_)) => Kind::Number(self.tape.text(self.text, node)),
            node @ (Node::Text(_) | Node::Unescaped(_)) => Kind::Text(self.tape.text(self.text, node)),
            Node::Array { end } => Kind::Array(self.inside(end)),
            Node::Object { .. } => Kind::Object,
        }
    }

    /// The field of that name. Of equal names the last counts, so all are looked at; an object has at most [`MAX_MEMBERS`].
    pub fn member(self, name: &str) -> Option<View<'a>> {
        self.members()?.filter(|(key, _)| *key == name).last().map(|(_, value)| value)
    }

    /// So many bytes the digits take, if this is a number.
    pub fn digits(self) -> usize {
        match self.node() {
            Node::Number(span) | Node::Digits(span) => (span.end - span.start) as usize,
            _ => 0,
        }
    }

    /// So many members are gone through at most to find one of them.
    pub fn most_members(self) -> usize {
        match self.node() {
            Node::Object { end } => ((end - self.at) as usize / 2).min(MAX_MEMBERS),
            _ => 0,
        }
    }

    pub fn is_null(self) -> bool {
        matches!(self.node(), Node::Null)
    }

    fn inside(self, end: u32) -> Elements<'a> {
        Elements { next: View { at: self.at + 1, ..self }, end }
    }

    /// The same as a [`Value`], for who needs one.
    pub fn to_value(self) -> Value {
        match self.node() {
            Node::Null => Value::Null,
            Node::Boolean(boolean) => Value::Bool(boolean),
            Node::Number(_) | Node::Digits(_) => {
                let digits = self.tape.text(self.text, self.node());
                // Digits are what was written, as in `json::parse`.
                digits.parse().map_or(Value::Null, Value::Number)
            }
            Node::Text(_) | Node::Unescaped(_) => Value::String(self.tape.text(self.text, self.node()).to_owned()),
            Node::Array { end } => Value::Array(self.inside(end).map(View::to_value).collect()),
            Node::Object { end } => {
                let members = Members { elements: self.inside(end) };
                Value::Object(members.map(|(key, value)| (key.to_owned(), value.to_value())).collect())
            }
        }
    }
}

// === impl Elements, Members ===

impl<'a> Iterator for Elements<'a> {
    type Item = View<'a>;

    fn next(&mut self) -> Option<View<'a>> {
        let here = self.next;
        if here.at >= self.end {
            return None;
        }
        self.next.at = here.after();
        Some(here)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, View<'a>);

    fn next(&mut self) -> Option<(&'a str, View<'a>)> {
        let key = self.elements.next()?;
        Some((key.tape.text(key.text, key.node()), self.elements.next()?))
    }
}
