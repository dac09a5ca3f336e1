//! JSON onto a tape.

use std::str;

use super::{MAX_BYTES, MAX_MEMBERS, Node, Span, Tape, Unusual, View};
use crate::codec::json::MAX_DEPTH;

/// Keys that serde_json gives a meaning of its own start so.
pub(crate) const PRIVATE: &str = "$serde_json";

/// What is left to read.
struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    tape: &'a mut Tape,
}

// === impl Tape ===

impl Tape {
    /// Reads a whole JSON text. What is read is what [`json::parse`](crate::codec::json::parse) would have read.
    pub fn read_json<'a>(&'a mut self, text: &'a [u8]) -> Result<View<'a>, Unusual> {
        if text.len() > MAX_BYTES {
            return Err(Unusual);
        }
        let text = str::from_utf8(text).map_err(|_| Unusual)?;
        self.nodes.clear();
        self.unescaped.clear();
        let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, tape: self };
        reader.space();
        reader.value(0)?;
        reader.space();
        if reader.at < reader.bytes.len() {
            return Err(Unusual);
        }
        Ok(View { text, tape: self, at: 0 })
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

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

    fn push(&mut self, node: Node) -> usize {
        self.tape.nodes.push(node);
        self.tape.nodes.len() - 1
    }

    /// `depth` containers are open. The limit is serde_json's: an array or object at depth 127 is the deepest.
    fn value(&mut self, depth: usize) -> Result<(), Unusual> {
        match self.peek().ok_or(Unusual)? {
            b'"' => {
                let text = self.string()?;
                self.push(text);
            }
            b'{' if depth + 1 < MAX_DEPTH => self.object(depth + 1)?,
            b'[' if depth + 1 < MAX_DEPTH => self.array(depth + 1)?,
            b'-' | b'0'..=b'9' => {
                let digits = self.number()?;
                self.push(Node::Number(digits));
            }
            b't' => {
                self.expect(b"true")?;
                self.push(Node::Boolean(true));
            }
            b'f' => {
                self.expect(b"false")?;
                self.push(Node::Boolean(false));
            }
            b'n' => {
                self.expect(b"null")?;
                self.push(Node::Null);
            }
            _ => return Err(Unusual),
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), Unusual> {
        let head = self.push(Node::Array { end: 0 });
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.value(depth)?;
                self.space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => break self.at += 1,
                    _ => return Err(Unusual),
                }
                self.space();
            }
        }
        self.tape.nodes[head] = Node::Array { end: self.tape.nodes.len() as u32 };
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), Unusual> {
        let head = self.push(Node::Object { end: 0 });
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            let mut members = 0;
            loop {
                members += 1;
                if members > MAX_MEMBERS {
                    return Err(Unusual);
                }
                self.key()?;
                self.space();
                self.expect(b":")?;
                self.space();
                self.value(depth)?;
                self.space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => break self.at += 1,
                    _ => return Err(Unusual),
                }
                self.space();
            }
        }
        self.tape.nodes[head] = Node::Object { end: self.tape.nodes.len() as u32 };
        Ok(())
    }

    fn key(&mut self) -> Result<(), Unusual> {
        if self.peek() != Some(b'"') {
            return Err(Unusual);
        }
        let node = self.string()?;
        if self.tape.text(self.text, node).starts_with(PRIVATE) {
            return Err(Unusual);
        }
        self.push(node);
        Ok(())
    }

    fn string(&mut self) -> Result<Node, Unusual> {
        let start = self.at + 1;
        let end = start + plain_prefix(&self.bytes[start..]);
        match self.bytes.get(end) {
            Some(b'"') => {
                self.at = end + 1;
                Ok(Node::Text(Span { start: start as u32, end: end as u32 }))
            }
            Some(b'\\') => self.escaped(start, end),
            _ => Err(Unusual),
        }
    }

    /// A text whose first escape stands at `end`.
    fn escaped(&mut self, mut start: usize, mut end: usize) -> Result<Node, Unusual> {
        let begin = self.tape.unescaped.len() as u32;
        loop {
            self.tape.unescaped.push_str(&self.text[start..end]);
            match self.bytes.get(end) {
                Some(b'"') => {
                    self.at = end + 1;
                    return Ok(Node::Unescaped(Span { start: begin, end: self.tape.unescaped.len() as u32 }));
                }
                Some(b'\\') => {
                    let (character, length) = escape(&self.bytes[end + 1..])?;
                    self.tape.unescaped.push(character);
                    start = end + 1 + length;
                    end = start + plain_prefix(&self.bytes[start..]);
                }
                _ => return Err(Unusual),
            }
        }
    }

    fn number(&mut self) -> Result<Span, Unusual> {
        let start = self.at;
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
        Ok(Span { start: start as u32, end: self.at as u32 })
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

/// How many bytes there are before the first quote, backslash or control character.
///
/// Eight at a time: `x - 0x01… & !x & 0x80…` marks the zero bytes of a word, and a byte that is wanted becomes zero by
/// exclusive or. A mark above the first one may be false, the first one never is.
#[inline]
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    let marks = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let quotes = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
        let backslashes = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        (quotes | backslashes | word.wrapping_sub(ONES * 0x20)) & !word & TOPS
    };
    let (pairs, rest) = bytes.as_chunks::<16>();
    for (i, pair) in pairs.iter().enumerate() {
        let ([low, high], _) = pair.as_chunks::<8>() else { break };
        let (low, high) = (marks(low), marks(high));
        if low | high != 0 {
            let place = if low != 0 { low.trailing_zeros() } else { 64 + high.trailing_zeros() };
            return i * 16 + place as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1F);
    pairs.len() * 16 + rest.iter().position(special).unwrap_or(rest.len())
}

/// How many digits there are before anything else. By words too: a byte of at most 9 stays below 0x80 when 0x76 is added.
#[inline]
pub(crate) fn digits_prefix(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'0'));
        let marks = (((word & !TOPS) + ONES * 0x76) | word) & TOPS;
        if marks != 0 {
            return i * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The character that an escape means, and how many bytes it takes after the backslash.
pub(crate) fn escape(bytes: &[u8]) -> Result<(char, usize), Unusual> {
    let plain = match bytes.first().ok_or(Unusual)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = hexadecimal(&bytes[1..])?;
            if let Some(character) = char::from_u32(unit) {
                return Ok((character, 5));
            }
            // The first half of a pair, then, or nothing that can stand alone.
            let rest = bytes[5..].strip_prefix(b"\\u").ok_or(Unusual)?;
            let pair = [unit as u16, hexadecimal(rest)? as u16];
            let character = char::decode_utf16(pair).next().and_then(Result::ok).ok_or(Unusual)?;
            return Ok((character, 11));
        }
        _ => return Err(Unusual),
    };
    Ok((plain, 1))
}

fn hexadecimal(bytes: &[u8]) -> Result<u32, Unusual> {
    let digits = bytes.first_chunk::<4>().ok_or(Unusual)?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(Unusual)?;
        Ok(unit << 4 | digit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::codec::json;

    /// The one door: what the tape reads is what the authority reads; what the authority refuses, the tape refuses.
    fn agree(text: &[u8]) -> Result<bool, String> {
        let mut tape = Tape::new();
        match (tape.read_json(text), json::parse(text)) {
            // Of numbers the texts must be equal too.
            (Ok(view), Ok(value))
                if view.to_value() == value && format!("{}", view.to_value()) == format!("{value}") =>
            {
                Ok(true)
            }
            (Err(Unusual), _) => Ok(false),
            (Ok(view), authority) => Err(format!("{text:?}: {:?}, but {authority:?}", view.to_value())),
        }
    }

    #[test]
    fn usual_texts_are_read_as_the_authority_reads_them() {
        let texts = [
            r#"{"a": [1, -0, 1e400, 18446744073709551617, 0.30000000000000004, true, null, "ü"], "b": {}, "c": []}"#,
            r#"{"a": 1, "b": 2, "a": 3}"#,
            r#""a text of more than eight bytes, \"quoted\", with \\ \/ \b\f\n\r\t \u0041 \u00fc \ud83d\ude00 and the end""#,
            "\t[\n1 ,\r\"\u{7f}\" , -1.5E+3 ]  ",
            "false",
            r#"{"": {"": ""}}"#,
        ];
        for text in texts {
            assert_eq!(agree(text.as_bytes()), Ok(true), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_left_to_the_authority() {
        let texts: [&[u8]; 22] = [
            b"",
            b" ",
            b"{",
            b"[",
            b"{}{}",
            b"nul",
            b"\"\xff\"",
            br#""\ud800""#,
            br#""\ud800\u0041""#,
            br#""\udc00""#,
            b"NaN",
            b"01",
            b"1.",
            b".5",
            b"1e",
            b"-",
            b"\xef\xbb\xbf{}",
            b"{\"a\" 1}",
            b"[1,]",
            b"{\"a\":1,}",
            b"\"\n\"",
            br#""\u00g0""#,
        ];
        for text in texts {
            assert_eq!(agree(text), Ok(false), "{text:?}");
            assert!(json::parse(text).is_err(), "{text:?}");
        }
        // Cut short anywhere inside an escape.
        let text = br#""\ud83d\ude00""#;
        for end in 0..text.len() {
            assert_eq!(agree(&text[..end]), Ok(false), "{end}");
        }
    }

    #[test]
    fn nesting_and_width_have_their_bounds() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(agree(&nested(MAX_DEPTH - 1)), Ok(true));
        assert_eq!(agree(&nested(MAX_DEPTH)), Ok(false));
        assert_eq!(agree(&nested(100_000)), Ok(false));
        let wide =
            |members: usize| Value::Object((0..members).map(|n| (n.to_string(), json!(n))).collect()).to_string();
        assert_eq!(agree(wide(MAX_MEMBERS).as_bytes()), Ok(true));
        assert_eq!(agree(wide(MAX_MEMBERS + 1).as_bytes()), Ok(false));
    }

    #[test]
    fn keys_with_a_meaning_of_their_own_are_left_to_the_authority() {
        for text in [r#"{"$serde_json::private::Number": "12"}"#, r#"{"\u0024serde_json::private::RawValue": "[]"}"#] {
            assert_eq!(agree(text.as_bytes()), Ok(false), "{text}");
        }
    }

    #[test]
    fn a_tape_is_used_again() {
        let mut tape = Tape::new();
        for text in [r#"{"a": "\n", "b": [1, 2]}"#, "[]", r#"{"c": "\t"}"#] {
            assert_eq!(tape.read_json(text.as_bytes()).unwrap().to_value(), json::parse(text.as_bytes()).unwrap());
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = || prop_oneof!["[a-c]{0,3}", any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::String)
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((text(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_document_is_read_as_the_authority_reads_it(value in any_json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(agree(text.as_bytes()), Ok(true));
        }

        #[test]
        fn a_damaged_document_is_never_taken_for_another(value in any_json(), places in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
            let mut text = value.to_string().into_bytes();
            for (place, byte) in places {
                let place = place.index(text.len());
                text[place] = if byte < 96 { b"\"\\{}[]:,eu0-. \n"[usize::from(byte) % 15] } else { byte };
            }
            prop_assert!(agree(&text).is_ok(), "{:?}", agree(&text));
        }
    }
}
