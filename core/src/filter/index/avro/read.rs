//! A program's way through a datum.

use std::{cmp::Ordering, mem, str};

use serde_json::Value;

use super::{
    super::scan::{Kind, Place, Scanner, Slot},
    Key, Keys, Leaf, Step, Steps,
};
use crate::{
    catalog::Shape,
    codec::{
        avro::{Cursor, leaf},
        tape::Unusual,
    },
};

/// What is left to read.
pub(super) struct Reader<'e, 's> {
    pub datum: &'e [u8],
    pub at: usize,
    /// Of [`MAX_VALUES`](crate::codec::avro::MAX_VALUES).
    pub left: usize,
    pub scanner: &'s mut Scanner,
}

// === impl Reader ===

impl Reader<'_, '_> {
    pub fn run(&mut self, of: &Steps) -> Result<(), Unusual> {
        self.left = self.left.checked_sub(of.values).ok_or(Unusual)?;
        for step in &of.steps {
            match step {
                Step::PassTexts(count) => {
                    for _ in 0..*count {
                        self.text()?;
                    }
                }
                Step::TakeText(field) => {
                    let place = self.text()?;
                    self.put(*field, false, place);
                }
                Step::PassInt => drop(self.int()?),
                Step::PassLong => drop(self.long()?),
                Step::PassBoolean => drop(self.boolean()?),
                Step::PassBytes => drop(self.bytes()?),
                Step::Pass(size) => self.at = self.end_of(*size)?,
                Step::PassSymbol(count) => drop(self.index(*count)?),
                Step::Take(field, leaf) => {
                    let place = self.leaf(leaf)?;
                    self.put(*field, false, place);
                }
                Step::Push(leaf) => {
                    let place = self.leaf(leaf)?;
                    self.scanner.many.push(place);
                }
                Step::Branch(branches) => {
                    let index = self.index(branches.len())?;
                    self.run(&branches[index])?;
                }
                Step::Each(items) => self.each(items)?,
                Step::Many(field, items) => {
                    let start = self.scanner.many.len() as u32;
                    self.each(items)?;
                    let end = self.scanner.many.len() as u32;
                    self.put(*field, true, Place { kind: Kind::Missing, start, end });
                }
                Step::OnTheWay(items) => {
                    let before = self.left;
                    self.each(items)?;
                    if self.left < before {
                        return Err(Unusual);
                    }
                }
                Step::Map(keys) => self.map(keys)?,
            }
        }
        Ok(())
    }

    fn each(&mut self, items: &Steps) -> Result<(), Unusual> {
        while let Some(count) = self.block()? {
            for _ in 0..count {
                self.run(items)?;
            }
        }
        Ok(())
    }

    fn map(&mut self, keys: &Keys) -> Result<(), Unusual> {
        let datum = self.datum;
        while let Some(count) = self.block()? {
            for _ in 0..count {
                let Place { start, end, .. } = self.text()?;
                let Some(key) = keys.find(&datum[start as usize..end as usize]) else {
                    self.run(&keys.others)?;
                    continue;
                };
                // Of two equal keys the last counts, whatever the first has left.
                let generation = self.scanner.generation;
                if mem::replace(&mut self.scanner.met[key.number], generation) == generation {
                    return Err(Unusual);
                }
                self.run(&key.steps)?;
            }
        }
        Ok(())
    }

    /// Inlined, since a place that goes through memory is written in parts and read whole, for which a processor waits.
    #[inline(always)]
    fn leaf(&mut self, of: &Leaf) -> Result<Place, Unusual> {
        Ok(match of {
            Leaf::Null => Place { kind: Kind::Null, start: 0, end: 0 },
            Leaf::Object => Place { kind: Kind::Missing, start: 0, end: 0 },
            Leaf::Boolean => {
                let kind = if self.boolean()? { Kind::True } else { Kind::False };
                Place { kind, start: 0, end: 0 }
            }
            Leaf::Int => Place::integer(self.int()?.into()),
            Leaf::Long => Place::integer(self.long()?),
            Leaf::Text => self.text()?,
            Leaf::Symbol(symbols) => {
                let index = self.index(symbols.len())?;
                self.written(Kind::Written, &symbols[index])
            }
            Leaf::Rare(shape) => self.rare(shape)?,
        })
    }

    #[inline(never)]
    fn rare(&mut self, shape: &Shape) -> Result<Place, Unusual> {
        match self.by_cursor(|cursor| Ok(leaf(shape, cursor)?))? {
            Value::String(text) => Ok(self.written(Kind::Written, &text)),
            Value::Number(number) => Ok(self.written(Kind::Number, number.as_str())),
            _ => Err(Unusual),
        }
    }

    fn written(&mut self, kind: Kind, text: &str) -> Place {
        let start = self.scanner.written.len() as u32;
        self.scanner.written.push_str(text);
        Place { kind, start, end: self.scanner.written.len() as u32 }
    }

    #[inline]
    fn put(&mut self, field: u32, is_many: bool, place: Place) {
        let generation = self.scanner.generation;
        self.scanner.slots[field as usize] = Slot { generation, is_many, place };
    }
}

// === impl Reader, the encoding ===

/// The same as [`Cursor`], which has a reason for each refusal; here nobody asks for it.
impl Reader<'_, '_> {
    #[inline]
    fn long(&mut self) -> Result<i64, Unusual> {
        match self.datum.get(self.at) {
            Some(byte @ 0..0x80) => {
                self.at += 1;
                Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1))
            }
            _ => self.long_of_several(),
        }
    }

    /// Seven bits a byte, the lowest first. Eight bytes at once are moved together in three steps.
    #[inline(never)]
    fn long_of_several(&mut self) -> Result<i64, Unusual> {
        const TOPS: u64 = 0x8080_8080_8080_8080;
        let window = self.datum.get(self.at..).and_then(|rest| rest.first_chunk());
        let word = u64::from_le_bytes(*window.unwrap_or(&[0xFF; 8]));
        let stops = !word & TOPS;
        if stops == 0 {
            // Longer than that, or near the end.
            return self.by_cursor(|cursor| Ok(cursor.long()?));
        }
        // All bits up to the first stop.
        let sevens = word & (stops ^ (stops - 1)) & !TOPS;
        let pairs = sevens & 0x007F_007F_007F_007F | (sevens & 0x7F00_7F00_7F00_7F00) >> 1;
        let fours = pairs & 0x0000_3FFF_0000_3FFF | (pairs & 0x3FFF_0000_3FFF_0000) >> 2;
        let bits = fours & 0x0FFF_FFFF | (fours & 0x0FFF_FFFF_0000_0000) >> 4;
        self.at += stops.trailing_zeros() as usize / 8 + 1;
        Ok((bits >> 1) as i64 ^ -((bits & 1) as i64))
    }

    #[inline]
    fn int(&mut self) -> Result<i32, Unusual> {
        i32::try_from(self.long()?).map_err(|_| Unusual)
    }

    #[inline]
    fn boolean(&mut self) -> Result<bool, Unusual> {
        let byte = *self.datum.get(self.at).ok_or(Unusual)?;
        self.at += 1;
        if byte > 1 { Err(Unusual) } else { Ok(byte == 1) }
    }

    /// One of so many.
    #[inline]
    fn index(&mut self, count: usize) -> Result<usize, Unusual> {
        let index = self.long()?;
        usize::try_from(index).ok().filter(|index| *index < count).ok_or(Unusual)
    }

    /// Where so many bytes end.
    #[inline]
    fn end_of(&self, size: usize) -> Result<usize, Unusual> {
        self.at.checked_add(size).filter(|end| *end <= self.datum.len()).ok_or(Unusual)
    }

    #[inline(always)]
    fn bytes(&mut self) -> Result<Place, Unusual> {
        let size = usize::try_from(self.long()?).map_err(|_| Unusual)?;
        let end = self.end_of(size)?;
        let start = mem::replace(&mut self.at, end);
        Ok(Place { kind: Kind::Text, start: start as u32, end: end as u32 })
    }

    #[inline(always)]
    fn text(&mut self) -> Result<Place, Unusual> {
        let place = self.bytes()?;
        let (start, end) = (place.start as usize, place.end as usize);
        if is_ascii(self.datum, start, end) || is_utf8(&self.datum[start..end]) { Ok(place) } else { Err(Unusual) }
    }

    /// The number of items in the next block of an array or map; `None` at its end.
    fn block(&mut self) -> Result<Option<usize>, Unusual> {
        match self.datum.get(self.at) {
            Some(0) => {
                self.at += 1;
                Ok(None)
            }
            _ => self.by_cursor(|cursor| Ok(cursor.block()?)),
        }
    }

    fn by_cursor<T>(&mut self, read: impl FnOnce(&mut Cursor<'_>) -> Result<T, Unusual>) -> Result<T, Unusual> {
        let mut cursor = Cursor::new(self.datum.get(self.at..).unwrap_or_default());
        let value = read(&mut cursor)?;
        self.at = self.datum.len() - cursor.left();
        Ok(value)
    }
}

#[cold]
fn is_utf8(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok()
}

/// Of a part of a datum. Most texts are short: sixteen bytes are looked at, whatever comes after the text.
#[inline]
fn is_ascii(datum: &[u8], start: usize, end: usize) -> bool {
    const TOPS: u64 = 0x8080_8080_8080_8080;
    /// By length, the bits that count.
    const MASKS: [[u64; 2]; 17] = {
        let mut masks = [[0; 2]; 17];
        let mut length = 0;
        while length <= 16 {
            let mut byte = 0;
            while byte < length {
                masks[length][byte / 8] |= 0x80 << (byte % 8 * 8);
                byte += 1;
            }
            length += 1;
        }
        masks
    };
    let text = &datum[start..end];
    if let (Some([low, high]), Some(window)) = (MASKS.get(text.len()), datum[start..].first_chunk::<16>()) {
        let word = u128::from_le_bytes(*window);
        return word as u64 & low | (word >> 64) as u64 & high == 0;
    }
    let (words, rest) = text.as_chunks::<8>();
    let word = |word: &[u8; 8]| u64::from_le_bytes(*word);
    let last = text.last_chunk().map_or_else(|| rest.iter().fold(0, |all, byte| all | u64::from(*byte)), word);
    words.iter().fold(last, |all, of| all | word(of)) & TOPS == 0
}

// === impl Keys ===

impl Keys {
    #[inline]
    fn find(&self, name: &[u8]) -> Option<&Key> {
        let head = head(name);
        if self.wanted.len() <= 8 {
            return self.wanted.iter().find(|key| key.head == head && *key.name == *name);
        }
        let found = self.wanted.binary_search_by(|key| in_order((key.head, &key.name), (head, name)));
        found.ok().map(|at| &self.wanted[at])
    }
}

/// Up to eight bytes, with zeros after them.
#[inline]
pub(super) fn head(name: &[u8]) -> u64 {
    match name.first_chunk() {
        Some(head) => u64::from_le_bytes(*head),
        None => name.iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte)),
    }
}

/// Heads tell most names apart.
pub(super) fn in_order(a: (u64, &[u8]), b: (u64, &[u8])) -> Ordering {
    a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1))
}
