//! The scanner's way through a text: one function for each thing of the grammar.

use std::mem;

use super::{
    super::projection::{Projection, ROOT},
    Addressed, Head, Kind, Place, Scanner, Slot,
    expected::{Expected, Link, Meaning},
};
use crate::codec::{
    json::MAX_DEPTH,
    tape::{
        Unusual,
        json::{PRIVATE, digits_prefix, escape, plain_prefix},
    },
};

/// What is left to read.
pub(super) struct Reader<'e, 's> {
    pub text: &'e str,
    pub bytes: &'e [u8],
    pub at: usize,
    pub projection: &'s Projection,
    pub scanner: &'s mut Scanner,
}

/// The name of a member.
#[derive(Clone, Copy)]
struct Member {
    meaning: Meaning,
    /// What comes first in its value.
    first: Link,
}

/// Objects beside the projection's nodes: the envelope, and one that nobody asks for.
const ENVELOPE: u32 = u32::MAX - 1;
const SKIPPED: u32 = u32::MAX - 2;
/// What the envelope's names mean.
const DATA: Meaning = Meaning { field: None, node: Some(ROOT) };
/// Whose values are texts, in the order of their fields, in which [`Reader::envelope`] takes them apart.
const TEXTS: [&[u8]; 7] = [b"team", b"type", b"id", b"source", b"subject", b"time", b"specversion"];
const BASE64: Meaning = Meaning { field: Some(TEXTS.len() as u32), node: None };
/// Nobody asks for it.
const OTHER: Meaning = Meaning { field: None, node: None };

// === impl Reader ===

impl<'e> Reader<'e, '_> {
    pub fn envelope(
        &mut self,
        mut addressed: impl FnMut(Addressed<'e>) -> Result<(), Unusual>,
    ) -> Result<Head<'e>, Unusual> {
        let (mut texts, mut met, mut data) = ([None; TEXTS.len()], [false; TEXTS.len()], false);
        self.token();
        self.object(ENVELOPE, Expected::FIRST, |reader, member| {
            match member.meaning {
                OTHER => return reader.skip(1, member.first),
                DATA if !data && reader.peek() == b'{' => {
                    data = true;
                    if let [Some(team), Some(event_type), ..] = texts {
                        addressed(Addressed { team, event_type })?;
                    }
                    return reader.members_of(ROOT, 2, member.first);
                }
                _ => {}
            }
            let field = member.meaning.field.map(|field| field as usize).filter(|field| *field < TEXTS.len());
            let field = field.ok_or(Unusual)?;
            // Of two the last counts, whatever it is.
            if mem::replace(&mut met[field], true) {
                return Err(Unusual);
            }
            if reader.peek() == b'n' {
                // The same as absent.
                return reader.expect(b"null");
            }
            let start = reader.at + 1;
            let (end, escaped) = reader.string()?;
            if escaped {
                return Err(Unusual);
            }
            texts[field] = Some(&reader.text[start..end]);
            Ok(())
        })?;
        self.token();
        let [team, event_type, id, source, subject, time, version] = texts;
        let [.., has_version] = met;
        if self.at < self.bytes.len() || !data || has_version && version != Some("1.0") {
            return Err(Unusual);
        }
        Ok(Head { team: team.ok_or(Unusual)?, event_type: event_type.ok_or(Unusual)?, id, source, subject, time })
    }

    /// The members of an object that is on the way to some field.
    fn members_of(&mut self, node: u32, depth: usize, first: Link) -> Result<(), Unusual> {
        let generation = self.scanner.generation;
        if depth >= MAX_DEPTH || self.scanner.met[node as usize] == generation {
            return Err(Unusual);
        }
        self.scanner.met[node as usize] = generation;
        self.object(node, first, |reader, Member { meaning, first }| {
            let Some(node) = meaning.node else {
                return match meaning.field {
                    Some(field) => reader.field(field, depth, first),
                    None => reader.skip(depth, first),
                };
            };
            // Of two equal names the last counts, whatever the first has left.
            if reader.scanner.met[node as usize] == generation {
                return Err(Unusual);
            }
            match (reader.peek(), meaning.field) {
                (b'{', field) => {
                    if field.is_some_and(|field| reader.scanner.slots[field as usize].generation == generation) {
                        return Err(Unusual);
                    }
                    reader.members_of(node, depth + 1, first)
                }
                // Which of its objects has what may matter.
                (b'[', _) => Err(Unusual),
                (_, Some(field)) => reader.field(field, depth, first),
                _ => reader.skip(depth, first),
            }
        })
    }

    #[inline]
    fn field(&mut self, field: u32, depth: usize, first: Link) -> Result<(), Unusual> {
        let generation = self.scanner.generation;
        if self.scanner.slots[field as usize].generation == generation {
            return Err(Unusual);
        }
        let is_many = self.peek() == b'[';
        let place = if is_many {
            let start = self.scanner.many.len() as u32;
            self.elements(depth + 1, first)?;
            Place { kind: Kind::Missing, start, end: self.scanner.many.len() as u32 }
        } else {
            self.value(depth, first)?
        };
        self.scanner.slots[field as usize] = Slot { generation, is_many, place };
        Ok(())
    }

    /// The values of an array, those of inner arrays too.
    fn elements(&mut self, depth: usize, first: Link) -> Result<(), Unusual> {
        self.array(depth, |reader| {
            if reader.peek() == b'[' {
                reader.scanner.weighs_less = true;
                return reader.elements(depth + 1, first);
            }
            let place = reader.value(depth, first)?;
            match place.kind {
                Kind::Missing => reader.scanner.weighs_less = true,
                _ => reader.scanner.many.push(place),
            }
            Ok(())
        })
    }

    /// A value that is no array.
    #[inline]
    fn value(&mut self, depth: usize, first: Link) -> Result<Place, Unusual> {
        let start = self.at as u32;
        let kind = match self.peek() {
            b'"' => {
                let (end, escaped) = self.string()?;
                if escaped {
                    return Err(Unusual);
                }
                return Ok(Place { kind: Kind::Text, start: start + 1, end: end as u32 });
            }
            b'-' | b'0'..=b'9' => {
                self.number()?;
                return Ok(Place { kind: Kind::Number, start, end: self.at as u32 });
            }
            b'n' => Kind::Null,
            b't' => Kind::True,
            b'f' => Kind::False,
            // An object is no value; whatever else it is, it is refused.
            _ => Kind::Missing,
        };
        self.skip(depth, first)?;
        Ok(Place { kind, start, end: self.at as u32 })
    }
}

// === impl Reader, the grammar ===

impl Reader<'_, '_> {
    /// The byte that stands here. At the end it is one that begins nothing and ends nothing.
    #[inline]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// The next byte that is no space. It is left where it is.
    #[inline]
    fn token(&mut self) -> u8 {
        loop {
            match self.peek() {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return byte,
            }
        }
    }

    fn expect(&mut self, word: &[u8]) -> Result<(), Unusual> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(Unusual);
        }
        self.at += word.len();
        Ok(())
    }

    /// Shows each name; `member` reads its value, which begins here.
    #[inline]
    fn object(
        &mut self,
        of: u32,
        mut link: Link,
        mut member: impl FnMut(&mut Self, Member) -> Result<(), Unusual>,
    ) -> Result<(), Unusual> {
        if self.peek() != b'{' {
            return Err(Unusual);
        }
        self.at += 1;
        if self.token() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let name = self.name(of, &mut link)?;
            member(self, name)?;
            match self.token() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Unusual),
            }
            self.token();
        }
    }

    /// Reads a name up to its value. The link is the one that leads here; afterwards, the one that leads on.
    #[inline(always)]
    fn name(&mut self, of: u32, link: &mut Link) -> Result<Member, Unusual> {
        let (place, guess) = self.scanner.expected.at(*link);
        let Some(length) = guess.length_at(&self.bytes[self.at..], of) else {
            return self.unexpected(of, link);
        };
        let member = Member { meaning: guess.meaning, first: Link::first_in(place) };
        *link = Link::after(place);
        self.at += length;
        self.token();
        Ok(member)
    }

    #[cold]
    fn unexpected(&mut self, of: u32, link: &mut Link) -> Result<Member, Unusual> {
        let start = self.at + 1;
        let (end, escaped) = self.string()?;
        let bytes = self.bytes;
        let name = &bytes[start..end];
        if escaped || name.starts_with(PRIVATE.as_bytes()) {
            return Err(Unusual);
        }
        let meaning = match of {
            SKIPPED => OTHER,
            ENVELOPE => match name {
                b"data" => DATA,
                b"data_base64" => BASE64,
                name => {
                    let field = TEXTS.iter().position(|known| *known == name);
                    Meaning { field: field.map(|field| field as u32), node: None }
                }
            },
            node => self.projection.nodes[node as usize]
                .find(name)
                .map_or(OTHER, |child| Meaning { field: child.field, node: child.node }),
        };
        let place = self.scanner.expected.learn(*link, of, name, meaning);
        let first = place.map_or(Link::NOWHERE, Link::first_in);
        *link = place.map_or(Link::NOWHERE, Link::after);
        if self.token() != b':' {
            return Err(Unusual);
        }
        self.at += 1;
        self.token();
        Ok(Member { meaning, first })
    }

    /// `depth` containers are open, this one among them.
    #[inline]
    fn array(
        &mut self,
        depth: usize,
        mut element: impl FnMut(&mut Self) -> Result<(), Unusual>,
    ) -> Result<(), Unusual> {
        if depth >= MAX_DEPTH || self.peek() != b'[' {
            return Err(Unusual);
        }
        self.at += 1;
        if self.token() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            match self.token() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Unusual),
            }
            self.token();
        }
    }

    /// Reads a value that nobody asks for. `depth` containers are open.
    #[inline]
    fn skip(&mut self, depth: usize, first: Link) -> Result<(), Unusual> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.skip_other(depth, first),
        }
    }

    fn skip_other(&mut self, depth: usize, first: Link) -> Result<(), Unusual> {
        match self.peek() {
            b'{' if depth + 1 < MAX_DEPTH => {
                self.object(SKIPPED, first, |reader, Member { first, .. }| reader.skip(depth + 1, first))
            }
            b'[' => self.array(depth + 1, |reader| reader.skip(depth + 1, first)),
            b't' => self.expect(b"true"),
            b'f' => self.expect(b"false"),
            b'n' => self.expect(b"null"),
            _ => Err(Unusual),
        }
    }

    /// Where the text ends, and whether it holds escapes.
    #[inline(always)]
    fn string(&mut self) -> Result<(usize, bool), Unusual> {
        if self.peek() != b'"' {
            return Err(Unusual);
        }
        let start = self.at + 1;
        let end = start + plain_prefix(&self.bytes[start..]);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok((end, false));
        }
        self.escaped(end)
    }

    #[cold]
    fn escaped(&mut self, mut end: usize) -> Result<(usize, bool), Unusual> {
        while self.bytes.get(end) == Some(&b'\\') {
            let (_, length) = escape(&self.bytes[end + 1..])?;
            let start = end + 1 + length;
            end = start + plain_prefix(&self.bytes[start..]);
        }
        self.at = end;
        self.expect(b"\"").map(|()| (end, true))
    }

    #[inline]
    fn number(&mut self) -> Result<(), Unusual> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        let first = self.peek();
        let digits = self.digits()?;
        if first == b'0' && digits > 1 {
            return Err(Unusual);
        }
        match self.peek() {
            b'.' | b'e' | b'E' => self.fraction(),
            _ => Ok(()),
        }
    }

    fn fraction(&mut self) -> Result<(), Unusual> {
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.peek() {
            self.at += 1;
            if let b'+' | b'-' = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// How many: one or more.
    #[inline]
    fn digits(&mut self) -> Result<usize, Unusual> {
        let digits = digits_prefix(&self.bytes[self.at..]);
        self.at += digits;
        if digits == 0 { Err(Unusual) } else { Ok(digits) }
    }
}
