//! JSON → [`Pattern`]: one walk, which reports every mistake in form and every bound that is passed.
//!
//! Reading order: this file, [`operators`](super::operators) for what stands in an array, [`dialects`](super::dialects) for
//! what stands under `$cloudevents` and `$simple`.

use serde_json::{Map, Value};

use super::{
    Faults, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_NODES, MAX_OR, Path, Pattern,
    pattern::{Node, Nodes},
    shown,
};

/// One of several objects must hold.
pub const OR: &str = "$or";
/// Filters of the CloudEvents Subscriptions API.
pub const CLOUDEVENTS: &str = "$cloudevents";
/// Names and values, as forms give them.
pub const SIMPLE: &str = "$simple";

/// Names that no field may have inside `$or`: Event Ruler's, which keeps them for operators of its own.
const RESERVED_IN_OR: [&str; 21] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
];
const ALSO_RESERVED_IN_OR: [&str; 3] = ["in-date-range", "ip-address-in-range", "ip-address-not-in-range"];

/// What has been read so far, as far as bounds ask for it.
pub(super) struct Reader<'a> {
    pub faults: &'a mut Faults,
    nodes: usize,
    /// Operators of the array that is being read, those inside `all` and `not` too.
    pub operators: usize,
    /// Operators of the whole filter that may go through a whole text.
    pub searches: usize,
}

pub(super) fn pattern(filter: &Map<String, Value>, path: &Path<'_>, faults: &mut Faults) -> Pattern {
    let bytes = if filter.is_empty() { 0 } else { written_bytes(filter) };
    if bytes > MAX_FILTER_BYTES {
        faults.add(path, format!("{bytes} bytes"), format!("at most {MAX_FILTER_BYTES} bytes"));
        return Pattern::default();
    }
    let mut reader = Reader { faults, nodes: 0, operators: 0, searches: 0 };
    Pattern { nodes: reader.object(filter, path, 1, Place::Top) }
}

/// The length of the JSON without spaces, without building it.
fn written_bytes(filter: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, filter) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

/// Where an object of a filter stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Inside,
    InOr,
}

// === impl Reader ===

impl Reader<'_> {
    fn object(&mut self, object: &Map<String, Value>, path: &Path<'_>, depth: usize, place: Place) -> Nodes {
        let inner = if place == Place::InOr { Place::InOr } else { Place::Inside };
        let mut nodes = Vec::with_capacity(object.len());
        for (key, value) in object {
            let path = Path::Key(path, key);
            if !self.enter(&path, depth) {
                break;
            }
            let reserved = RESERVED_IN_OR.contains(&key.as_str()) || ALSO_RESERVED_IN_OR.contains(&key.as_str());
            if place == Place::InOr && reserved {
                self.faults.add(&path, "an operator's name", "fields inside $or: operators stand in their arrays");
                continue;
            }
            let node = match (key.as_str(), value) {
                (OR, value) => match self.or(value, &path, depth + 1) {
                    Some(node) => node,
                    None => continue,
                },
                (CLOUDEVENTS, value) if place == Place::Top => Node::All(self.cloudevents(value, &path, depth + 1)),
                (SIMPLE, value) if place == Place::Top => Node::All(self.simple(value, &path, depth + 1)),
                (_, Value::Object(fields)) if fields.is_empty() => {
                    self.faults.add(&path, "an empty object", "at least one key");
                    continue;
                }
                (_, Value::Object(fields)) => Node::Branch(self.object(fields, &path, depth + 1, inner)),
                (_, Value::Array(alternatives)) => Node::Leaf(self.leaf(alternatives, &path, depth + 1)),
                (_, other) => {
                    self.faults.add(&path, shown(other), format!("an array of alternatives: [{}]", shown(other)));
                    continue;
                }
            };
            nodes.push((key.clone(), node));
        }
        nodes
    }

    fn or(&mut self, value: &Value, path: &Path<'_>, depth: usize) -> Option<Node> {
        let Some(objects) = value.as_array().filter(|objects| (2..=MAX_OR).contains(&objects.len())) else {
            let found = value.as_array().map_or_else(|| shown(value), |objects| format!("{} objects", objects.len()));
            self.faults.add(path, found, format!("an array of 2 to {MAX_OR} objects"));
            return None;
        };
        let mut alternatives = Vec::with_capacity(objects.len());
        for (i, object) in objects.iter().enumerate() {
            let path = Path::Index(path, i);
            match object.as_object().filter(|fields| !fields.is_empty()) {
                Some(_) if !self.enter(&path, depth) => break,
                Some(fields) => alternatives.push(self.object(fields, &path, depth + 1, Place::InOr)),
                None => self.faults.add(&path, shown(object), "an object with at least one key"),
            }
        }
        Some(Node::Any(alternatives))
    }

    /// Counts a node; false, once, where a bound is passed.
    pub(super) fn enter(&mut self, path: &Path<'_>, depth: usize) -> bool {
        self.nodes += 1;
        if depth > MAX_FILTER_DEPTH {
            self.faults.add(path, format!("depth {depth}"), format!("at most {MAX_FILTER_DEPTH}"));
        } else if self.nodes == MAX_FILTER_NODES + 1 {
            self.faults.add(path, format!("{} keys and operators", self.nodes), format!("at most {MAX_FILTER_NODES}"));
        }
        depth <= MAX_FILTER_DEPTH && self.nodes <= MAX_FILTER_NODES
    }
}
