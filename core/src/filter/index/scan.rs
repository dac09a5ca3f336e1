//! An event in JSON, read once: the fields in use are found, everything else is passed over.
//!
//! What is passed over is read all the same as far as its grammar goes, so that no event is matched that
//! [`json::parse`](crate::codec::json::parse) would refuse. What is rare (escapes in a name or in a value that is looked at, a
//! name twice, objects of an array that is on the way to a field) is [`Unusual`]: the caller reads the whole.

use std::str;

use super::{
    found::{Found, Source, weight},
    many::Room,
    projection::{Projection, ROOT},
};
use crate::{
    codec::{
        json::MAX_DEPTH,
        tape::{
            MAX_BYTES, Unusual,
            json::{PRIVATE, escape, plain_prefix},
        },
    },
    filter::{MAX_FIELD_WEIGHT, Number, Rule, alternatives::Scalar},
};

/// What was found in one event. Used again for the next one.
#[derive(Debug, Default)]
pub struct Scanner {
    /// By field.
    pub(super) slots: Vec<Slot>,
    /// Values of arrays.
    pub(super) many: Vec<Place>,
    /// Objects that were met, by [`Scanner::generation`].
    pub(super) met: Vec<u32>,
    /// Texts that do not stand in the event as they are.
    pub(super) written: String,
    /// Of which event a slot is: nothing needs to be cleared.
    pub(super) generation: u32,
    /// Of the index, for whoever it reads for.
    pub(super) room: Room,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub generation: u32,
    pub is_many: bool,
    pub place: Place,
}

/// A value: where it stands. Of an array: where its values begin and end among the many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Missing,
    Null,
    False,
    True,
    /// Digits.
    Number,
    /// Its bits are the place.
    Integer,
    Text,
    /// In [`Scanner::written`].
    Written,
}

/// The event's team and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed<'e> {
    pub team: &'e str,
    pub event_type: &'e str,
}

/// What is left to read.
struct Reader<'e, 's> {
    text: &'e str,
    bytes: &'e [u8],
    at: usize,
    projection: &'s Projection,
    scanner: &'s mut Scanner,
}

/// The fields of an event that has been scanned.
pub struct OfScan<'e, 's> {
    pub text: &'e str,
    pub scanner: &'s Scanner,
    /// Plain evaluation was asked for, which needs the whole event.
    pub asked: bool,
}

// === impl Scanner ===

impl Scanner {
    pub fn new() -> Scanner {
        Scanner::default()
    }

    /// Reads an envelope: an object with `team`, `type` and `data`.
    pub fn scan<'e>(&mut self, event: &'e [u8], projection: &Projection) -> Result<(&'e str, Addressed<'e>), Unusual> {
        if event.len() > MAX_BYTES {
            return Err(Unusual);
        }
        let text = str::from_utf8(event).map_err(|_| Unusual)?;
        self.begin(projection.bound, projection.nodes.len());
        let mut reader = Reader { text, bytes: event, at: 0, projection, scanner: self };
        let addressed = reader.envelope()?;
        Ok((text, addressed))
    }

    /// Forgets the last event and makes room for fields and objects with numbers below these.
    pub(super) fn begin(&mut self, fields: usize, objects: usize) {
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 || self.slots.len() < fields || self.met.len() < objects {
            self.generation = 1;
            self.slots = vec![Slot::default(); fields.max(self.slots.len())];
            self.met = vec![0; objects.max(self.met.len())];
        }
        self.many.clear();
        self.written.clear();
    }

    /// The values of a field, by `scalar`.
    #[inline]
    pub(super) fn found<'e>(
        &self,
        field: u32,
        many: &mut Vec<Scalar<'e>>,
        scalar: impl Fn(Place) -> Option<Scalar<'e>>,
    ) -> Found<'e> {
        let slot = self.slots[field as usize];
        if slot.generation != self.generation {
            return Found::Missing;
        }
        if !slot.is_many {
            let scalar = scalar(slot.place);
            let too_heavy = scalar.is_some_and(|scalar| weight(&scalar) > MAX_FIELD_WEIGHT);
            return if too_heavy { Found::Unclear } else { scalar.map_or(Found::Missing, Found::One) };
        }
        let places = &self.many[slot.place.start as usize..slot.place.end as usize];
        many.extend(places.iter().filter_map(|place| scalar(*place)));
        if many.iter().map(weight).sum::<usize>() > MAX_FIELD_WEIGHT {
            many.clear();
            return Found::Unclear;
        }
        match many.len() {
            0 | 1 => many.pop().map_or(Found::Missing, Found::One),
            _ => Found::Many,
        }
    }
}

// === impl Place ===

impl Place {
    pub fn integer(integer: i64) -> Place {
        Place { kind: Kind::Integer, start: (integer as u64 >> 32) as u32, end: integer as u32 }
    }

    pub fn as_integer(self) -> i64 {
        (u64::from(self.start) << 32 | u64::from(self.end)) as i64
    }
}

// === impl Reader ===

impl<'e> Reader<'e, '_> {
    fn envelope(&mut self) -> Result<Addressed<'e>, Unusual> {
        let (mut team, mut event_type, mut data) = (None, None, false);
        self.space();
        self.object(|reader, name| {
            let place = match name {
                b"team" => &mut team,
                b"type" => &mut event_type,
                b"data" if !data && reader.peek() == Some(b'{') => {
                    data = true;
                    return reader.members_of(ROOT, 2);
                }
                b"data" | b"data_base64" => return Err(Unusual),
                _ => return reader.skip(1),
            };
            let start = reader.at + 1;
            let (end, escaped) = reader.string()?;
            if escaped || place.replace(&reader.text[start..end]).is_some() {
                return Err(Unusual);
            }
            Ok(())
        })?;
        self.space();
        if self.at < self.bytes.len() || !data {
            return Err(Unusual);
        }
        Ok(Addressed { team: team.ok_or(Unusual)?, event_type: event_type.ok_or(Unusual)? })
    }

    /// The members of an object that is on the way to some field.
    fn members_of(&mut self, node: u32, depth: usize) -> Result<(), Unusual> {
        if depth >= MAX_DEPTH || self.scanner.met[node as usize] == self.scanner.generation {
            return Err(Unusual);
        }
        self.scanner.met[node as usize] = self.scanner.generation;
        let projection = self.projection;
        self.object(|reader, name| {
            let Some(child) = projection.nodes[node as usize].find(name) else { return reader.skip(depth) };
            // Of two equal names the last counts, whatever the first has left.
            if child.node.is_some_and(|node| reader.scanner.met[node as usize] == reader.scanner.generation) {
                return Err(Unusual);
            }
            match (reader.peek(), child.field, child.node) {
                (Some(b'{'), field, Some(node)) => {
                    if field.is_some_and(|field| {
                        reader.scanner.slots[field as usize].generation == reader.scanner.generation
                    }) {
                        return Err(Unusual);
                    }
                    reader.members_of(node, depth + 1)
                }
                // Which of its objects has what may matter.
                (Some(b'['), _, Some(_)) => Err(Unusual),
                (_, Some(field), _) => reader.field(field, depth),
                _ => reader.skip(depth),
            }
        })
    }

    fn field(&mut self, field: u32, depth: usize) -> Result<(), Unusual> {
        let generation = self.scanner.generation;
        if self.scanner.slots[field as usize].generation == generation {
            return Err(Unusual);
        }
        let is_many = self.peek() == Some(b'[');
        let place = if is_many {
            let start = self.scanner.many.len() as u32;
            self.elements(depth + 1)?;
            Place { kind: Kind::Missing, start, end: self.scanner.many.len() as u32 }
        } else {
            self.value(depth)?
        };
        self.scanner.slots[field as usize] = Slot { generation, is_many, place };
        Ok(())
    }

    /// The values of an array, those of inner arrays too.
    fn elements(&mut self, depth: usize) -> Result<(), Unusual> {
        self.array(depth, |reader| {
            if reader.peek() == Some(b'[') {
                return reader.elements(depth + 1);
            }
            let place = reader.value(depth)?;
            if place.kind != Kind::Missing {
                reader.scanner.many.push(place);
            }
            Ok(())
        })
    }

    /// A value that is no array.
    fn value(&mut self, depth: usize) -> Result<Place, Unusual> {
        let start = self.at as u32;
        let kind = match self.peek().ok_or(Unusual)? {
            b'"' => {
                let (end, escaped) = self.string()?;
                if escaped {
                    return Err(Unusual);
                }
                return Ok(Place { kind: Kind::Text, start: start + 1, end: end as u32 });
            }
            b'n' => Kind::Null,
            b't' => Kind::True,
            b'f' => Kind::False,
            b'{' => Kind::Missing,
            _ => Kind::Number,
        };
        self.skip(depth)?;
        Ok(Place { kind, start, end: self.at as u32 })
    }
}

// === impl Reader, the grammar ===

impl Reader<'_, '_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
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
    fn object(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), Unusual>) -> Result<(), Unusual> {
        self.expect(b"{")?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let start = self.at + 1;
            if self.peek() != Some(b'"') {
                return Err(Unusual);
            }
            let (end, escaped) = self.string()?;
            let bytes = self.bytes;
            let name = &bytes[start..end];
            if escaped || name.starts_with(PRIVATE.as_bytes()) {
                return Err(Unusual);
            }
            self.space();
            self.expect(b":")?;
            self.space();
            member(self, name)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Unusual),
            }
            self.space();
        }
    }

    /// `depth` containers are open, this one among them.
    fn array(
        &mut self,
        depth: usize,
        mut element: impl FnMut(&mut Self) -> Result<(), Unusual>,
    ) -> Result<(), Unusual> {
        if depth >= MAX_DEPTH {
            return Err(Unusual);
        }
        self.expect(b"[")?;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Unusual),
            }
            self.space();
        }
    }

    /// Reads a value that nobody asks for. `depth` containers are open.
    fn skip(&mut self, depth: usize) -> Result<(), Unusual> {
        match self.peek().ok_or(Unusual)? {
            b'"' => self.string().map(drop),
            b'{' if depth + 1 < MAX_DEPTH => self.object(|reader, _| reader.skip(depth + 1)),
            b'[' => self.array(depth + 1, |reader| reader.skip(depth + 1)),
            b't' => self.expect(b"true"),
            b'f' => self.expect(b"false"),
            b'n' => self.expect(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(Unusual),
        }
    }

    /// Where the text ends, and whether it holds escapes.
    #[inline]
    fn string(&mut self) -> Result<(usize, bool), Unusual> {
        let start = self.at + 1;
        if self.peek() != Some(b'"') {
            return Err(Unusual);
        }
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

    fn number(&mut self) -> Result<(), Unusual> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(Unusual),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One or more.
    fn digits(&mut self) -> Result<(), Unusual> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(Unusual) } else { Ok(()) }
    }
}

// === impl OfScan ===

impl<'e> OfScan<'e, '_> {
    fn scalar(&self, place: Place) -> Option<Scalar<'e>> {
        let text = || &self.text[place.start as usize..place.end as usize];
        match place.kind {
            Kind::Missing | Kind::Integer | Kind::Written => None,
            Kind::Null => Some(Scalar::Null),
            Kind::False => Some(Scalar::Boolean(false)),
            Kind::True => Some(Scalar::Boolean(true)),
            Kind::Number => Some(Scalar::Number(Number::read_digits(text()))),
            Kind::Text => Some(Scalar::Text(text())),
        }
    }
}

impl<'e> Source<'e> for OfScan<'e, '_> {
    fn find(&mut self, field: u32, many: &mut Vec<Scalar<'e>>) -> Found<'e> {
        self.scanner.found(field, many, |place| self.scalar(place))
    }

    fn holds(&mut self, _: &Rule) -> bool {
        self.asked = true;
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        catalog::Catalog,
        codec::json,
        domain::{DestinationId, Event, EventSelector, Subscription, SubscriptionId, TeamId, TypeSelector},
        filter::Index,
    };

    fn index() -> (Index, Vec<Arc<Rule>>) {
        let filters = [
            json!({"a": ["x", null, 1, true]}),
            json!({"a": [{"exists": false}]}),
            json!({"b": {"a": ["x"], "c": [{"numeric": [">", 0]}]}}),
            json!({"b": [{"prefix": "x"}, 2]}),
            json!({"b": {"c": [{"anything-but": "x"}]}}),
            json!({}),
        ];
        let rule = |(number, filter): (usize, Value)| {
            let filter = filter.as_object().cloned().unwrap_or_default();
            let subscription = Subscription {
                team: TeamId::new("acme").unwrap(),
                id: SubscriptionId::new(&format!("s{number}")).unwrap(),
                revision: 1,
                name: None,
                enabled: true,
                events: vec![EventSelector { event_type: TypeSelector::Any, filter }],
                destinations: vec![DestinationId::new("hook").unwrap()],
            };
            Arc::new(Rule::compile(Arc::new(subscription), &Catalog::default()).unwrap())
        };
        let rules: Vec<_> = filters.into_iter().enumerate().map(rule).collect();
        (Index::of(rules.iter().cloned()), rules)
    }

    /// The one door: what is scanned is valid, and matches what plain evaluation of the authority's reading matches.
    /// Whether it was scanned.
    fn agree(text: &[u8]) -> Result<bool, String> {
        let (index, rules) = index();
        let mut found = Vec::new();
        if index.matching_json(text, &mut Scanner::new(), &mut found).is_err() {
            return Ok(false);
        }
        let envelope = json::parse(text)
            .map_err(|poison| format!("{:?} is refused: {poison:?}", String::from_utf8_lossy(text)))?;
        let (team, event_type) = (envelope["team"].as_str().unwrap(), envelope["type"].as_str().unwrap());
        let event = Event {
            team: TeamId::new("acme").unwrap(),
            id: "1".into(),
            source: "test".into(),
            event_type: event_type.into(),
            time: None,
            subject: None,
            data: envelope["data"].clone(),
        };
        let expected: Vec<_> =
            rules.iter().filter(|rule| team == "acme" && rule.matches(&event)).map(Arc::as_ptr).collect();
        let found: Vec<_> = found.into_iter().map(Arc::as_ptr).collect();
        if found == expected { Ok(true) } else { Err(format!("{found:?} instead of {expected:?}: {envelope}")) }
    }

    #[test]
    fn usual_events_are_scanned() {
        let texts = [
            r#"{"team": "acme", "type": "t", "data": {"a": "x", "b": {"a": "x", "c": 1.5e0}}, "more": [1, {"a": "\u00e9"}]}"#,
            r#"{"data":{"a":[["x"],{}],"b":2,"c":"escaped \" here"},"type":"t","team":"acme"}"#,
            r#"{"team":"acme","type":"t","data":{}}"#,
            r#"{"team":"another","type":"t","data":{"a":null}}"#,
        ];
        for text in texts {
            assert_eq!(agree(text.as_bytes()), Ok(true), "{text}");
        }
    }

    #[test]
    fn what_is_unusual_or_wrong_is_left_to_others() {
        let texts = [
            r#"{"team":"acme","type":"t"}"#,
            r#"{"team":"acme","type":"t","data":{"a":1,"a":2}}"#,
            r#"{"team":"acme","type":"t","data":{"b":1,"b":{"a":"x"}}}"#,
            r#"{"team":"acme","type":"t","data":{"b":{"a":"x"},"b":1}}"#,
            r#"{"team":"acme","type":"t","data":{"b":[{"a":"x"},{"c":1}]}}"#,
            r#"{"team":"acme","type":"t","data":{"a":"\u0078"}}"#,
            r#"{"team":"acme","type":"t","data":{"\u0061":"x"}}"#,
            r#"{"team":"acme","team":"acme","type":"t","data":{}}"#,
            r#"{"team":"acme","type":"t","data":{},"data":{}}"#,
            r#"{"team":"acme","type":"t","data":{"z":01}}"#,
            r#"{"team":"acme","type":"t","data":{"z":"\x"}}"#,
            r#"{"team":"acme","type":"t","data":{"z":tru}}"#,
            r#"{"team":"acme","type":"t","data":{"z":[1,]}}"#,
            r#"{"team":"acme","type":"t","data":{"$serde_json::private::RawValue":"1"}}"#,
            r#"{"team":"acme","type":"t","data":{}} x"#,
            r#"{"team":7,"type":"t","data":{}}"#,
        ];
        for text in texts {
            assert_eq!(agree(text.as_bytes()), Ok(false), "{text}");
        }
        let deep = format!(r#"{{"team":"acme","type":"t","data":{{"z":{}1{}}}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(agree(deep.as_bytes()), Ok(false));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            (-2..3).prop_map(Value::from),
            "[x1\"\\\\é]{0,3}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec(("[abc]", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

        #[test]
        fn scanned_or_left_it_is_the_same(data in prop::collection::vec(("[abc]", value()), 0..4), spaced in any::<bool>()) {
            let data = Value::Object(data.into_iter().collect());
            let envelope = json!({"team": "acme", "id": "1", "type": "t", "data": data});
            let text = if spaced { format!("{envelope:#}") } else { envelope.to_string() };
            if let Err(difference) = agree(text.as_bytes()) {
                prop_assert!(false, "{}", difference);
            }
        }

        /// One byte of a valid event is another one, or is not there.
        #[test]
        fn a_damaged_event_is_never_scanned_as_another(data in value(), place in any::<prop::sample::Index>(), byte in any::<Option<u8>>()) {
            let mut text = json!({"team": "acme", "type": "t", "data": {"a": data, "b": {"a": "x", "z": [1.5e3, "\n"]}}}).to_string().into_bytes();
            let place = place.index(text.len());
            match byte {
                Some(byte) => text[place] = byte,
                None => drop(text.remove(place)),
            }
            if let Err(difference) = agree(&text) {
                prop_assert!(false, "{}", difference);
            }
        }
    }
}
