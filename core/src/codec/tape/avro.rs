//! Avro onto a tape: a datum in the JSON form of its [`Shape`], as [`avro::decode`](crate::codec::avro::decode) gives it.

use std::fmt::Write;

use serde_json::Value;

use super::{MAX_MEMBERS, Node, Span, Tape, Unusual, View};
use crate::{
    catalog::Shape,
    codec::avro::{Cursor, MAX_VALUES, Malformed, leaf},
};

/// What is left to read.
struct Reader<'a> {
    cursor: Cursor<'a>,
    /// Of [`MAX_VALUES`].
    left: usize,
    tape: &'a mut Tape,
}

// === impl Tape ===

impl Tape {
    /// Reads one datum, which must fill the input.
    pub fn read_avro<'a>(&'a mut self, shape: &Shape, datum: &[u8]) -> Result<View<'a>, Unusual> {
        self.nodes.clear();
        self.unescaped.clear();
        let mut reader = Reader { cursor: Cursor::new(datum), left: MAX_VALUES, tape: self };
        reader.value(shape)?;
        reader.cursor.end()?;
        Ok(View { text: "", tape: self, at: 0 })
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn value(&mut self, shape: &Shape) -> Result<(), Unusual> {
        self.left = self.left.checked_sub(1).ok_or(Unusual)?;
        let node = match shape {
            Shape::Null => Node::Null,
            Shape::Boolean => Node::Boolean(self.cursor.boolean()?),
            Shape::Int => {
                let int = self.cursor.int()?;
                self.integer(int.into())
            }
            Shape::Long => {
                let long = self.cursor.long()?;
                self.integer(long)
            }
            Shape::String => {
                let text = self.cursor.string()?;
                self.text(text)
            }
            Shape::Enum(symbols) => {
                let index = self.cursor.long()?;
                self.text(usize::try_from(index).ok().and_then(|index| symbols.get(index)).ok_or(Unusual)?)
            }
            Shape::Union(branches) => {
                let index = self.cursor.long()?;
                return self.value(usize::try_from(index).ok().and_then(|i| branches.get(i)).ok_or(Unusual)?);
            }
            Shape::Record(fields) if fields.len() <= MAX_MEMBERS => {
                let head = self.push(Node::Object { end: 0 });
                for field in fields {
                    let name = self.text(&field.name);
                    self.push(name);
                    self.value(&field.shape)?;
                }
                return self.close(head, |end| Node::Object { end });
            }
            Shape::Array(items) => {
                let head = self.push(Node::Array { end: 0 });
                while let Some(count) = self.cursor.block()? {
                    for _ in 0..count {
                        self.value(items)?;
                    }
                }
                return self.close(head, |end| Node::Array { end });
            }
            Shape::Map(values) => {
                let head = self.push(Node::Object { end: 0 });
                let mut members = 0;
                while let Some(count) = self.cursor.block()? {
                    members += count;
                    if members > MAX_MEMBERS {
                        return Err(Unusual);
                    }
                    for _ in 0..count {
                        let name = self.cursor.string()?;
                        let name = self.text(name);
                        self.push(name);
                        self.value(values)?;
                    }
                }
                return self.close(head, |end| Node::Object { end });
            }
            Shape::Record(_) => return Err(Unusual),
            // Rarer kinds have a JSON form that is not worth a second hand.
            rare => match leaf(rare, &mut self.cursor)? {
                Value::String(text) => self.text(&text),
                Value::Number(number) => Node::Digits(self.written(number.as_str())),
                _ => return Err(Unusual),
            },
        };
        self.push(node);
        Ok(())
    }

    fn push(&mut self, node: Node) -> usize {
        self.tape.nodes.push(node);
        self.tape.nodes.len() - 1
    }

    fn close(&mut self, head: usize, node: impl Fn(u32) -> Node) -> Result<(), Unusual> {
        self.tape.nodes[head] = node(self.tape.nodes.len() as u32);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Node {
        Node::Unescaped(self.written(text))
    }

    fn integer(&mut self, integer: i64) -> Node {
        let start = self.tape.unescaped.len() as u32;
        // Writing to a string does not fail.
        write!(self.tape.unescaped, "{integer}").ok();
        Node::Digits(Span { start, end: self.tape.unescaped.len() as u32 })
    }

    fn written(&mut self, text: &str) -> Span {
        let start = self.tape.unescaped.len() as u32;
        self.tape.unescaped.push_str(text);
        Span { start, end: self.tape.unescaped.len() as u32 }
    }
}

// === impl Unusual ===

impl From<Malformed> for Unusual {
    fn from(_: Malformed) -> Unusual {
        Unusual
    }
}
