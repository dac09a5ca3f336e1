//! One event selector, checked against the catalog and evaluated field by field: the reference for every engine.

use serde_json::{Map, Value};

use super::{Alternatives, Datum, Fault, Faults, Literal, Look, Node, Path, Pattern, Test, shown};
use crate::{
    catalog::{Catalog, EventType, FilterKind, FilterSpec},
    domain::{EventSelector, TypeSelector},
};

/// The conditions on an event's data; all must hold.
///
/// A tree over the data's fields, so that fields of objects in an array are held against the same element.
#[derive(Clone, Debug)]
pub struct Clause {
    pub event_type: TypeSelector,
    pub(super) root: Branch,
}

/// Conditions on the fields of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    pub leaves: Vec<Leaf>,
    /// By field, each field once.
    pub inner: Vec<(Box<str>, Branch)>,
}

/// A condition on one field.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// The filter keys that lead here, as the subscription names them: `licenseFields.seats`.
    pub filter: Box<str>,
    pub field: Box<str>,
    pub alternatives: Alternatives,
}

/// What a fault says of a filter that cannot be held against one event.
pub const NEEDS_CONDITIONS: &str = "needs_conditions";

/// How many near misses a fault about an unknown event type names.
const MAX_SUGGESTIONS: usize = 3;

/// Makes a clause of an event selector, or says everything that is wrong with it. `path` is where the selector stands:
/// `events[0]`.
///
/// A selector of any type (`*`) is not held against the catalog: its keys are the data's own field names. A selector of
/// several types makes several clauses: see [`super::compile_all`].
pub fn compile(selector: &EventSelector, catalog: &Catalog, path: &str) -> Result<Clause, Vec<Fault>> {
    let root = Path::Root(path);
    let place = Path::Key(&root, "filter");
    let mut faults = Faults::default();
    match &selector.event_type {
        TypeSelector::Any => {
            let pattern = Pattern::read_into(&selector.filter, &place, &mut faults);
            let event_type = selector.event_type.clone();
            return faults.or(Clause { event_type, root: Branch::of_fields(pattern.nodes, "") });
        }
        TypeSelector::Key(key) => match catalog.resolve(key) {
            Some(event_type) => return of_type(selector, event_type, Required::Asked, path),
            None => {
                Pattern::read_into(&selector.filter, &place, &mut faults);
                faults.add(&Path::Key(&root, "type"), shown(&format_args!("{key:?}")), known_types(catalog, key));
            }
        },
        several => {
            let found = shown(&format_args!("{:?}", several.to_string()));
            faults.add(&Path::Key(&root, "type"), found, "one event type, or *");
        }
    }
    Err(faults.or(()).err().unwrap_or_default())
}

/// Whether the filters must be given that an event type requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Required {
    Asked,
    NotAsked,
}

/// The clause for one event type, under its key, whatever name the selector used.
pub(super) fn of_type(
    selector: &EventSelector,
    event_type: &EventType,
    required: Required,
    path: &str,
) -> Result<Clause, Vec<Fault>> {
    let root = Path::Root(path);
    let place = Path::Key(&root, "filter");
    let mut faults = Faults::default();
    let pattern = Pattern::read_into(&selector.filter, &place, &mut faults);
    let mut check = Check { event_type, required, faults: &mut faults };
    check.keys(&selector.filter, &place);
    let root = check.pattern(pattern, &place);
    faults.or(Clause { event_type: TypeSelector::Key(event_type.key.as_str().into()), root })
}

// === impl Clause ===

impl Clause {
    /// Whether the data passes. The event type is the caller's to compare.
    ///
    /// Visits each value under a named field once per condition on it; never backtracks.
    pub fn matches<'a>(&self, data: impl Datum<'a>) -> bool {
        self.root.hold(Some(data))
    }
}

// === impl Branch ===

impl Branch {
    /// For a selector of any type: filter keys are field names.
    fn of_fields(nodes: Vec<(String, Node)>, parent: &str) -> Branch {
        let mut branch = Branch::default();
        for (key, node) in nodes {
            let filter = if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") };
            match node {
                Node::Branch(inner) => branch.inner.push((key.into(), Branch::of_fields(inner, &filter))),
                Node::Leaf(tests) => branch.leaves.push(Leaf::new(filter, &key, tests)),
            }
        }
        branch
    }

    /// The branch at a path of fields, made where it is missing.
    fn at(&mut self, path: &[String]) -> &mut Branch {
        let Some((field, rest)) = path.split_first() else { return self };
        let place = self.inner.iter().position(|(name, _)| **name == **field);
        let place = place.unwrap_or_else(|| {
            self.inner.push((field.as_str().into(), Branch::default()));
            self.inner.len() - 1
        });
        self.inner[place].1.at(rest)
    }

    fn hold<'a, D: Datum<'a>>(&self, object: Option<D>) -> bool {
        let field = |name: &str| object.and_then(|object| object.member(name));
        self.leaves.iter().all(|leaf| leaf.alternatives.hold(field(&leaf.field)))
            && self.inner.iter().all(|(name, branch)| branch.hold_in(field(name)))
    }

    /// An array stands for its objects, one of which must hold; without any object the fields are absent.
    fn hold_in<'a, D: Datum<'a>>(&self, value: Option<D>) -> bool {
        let mut met = false;
        let held = value.is_some_and(|value| self.hold_in_any(value, &mut met));
        held || (!met && self.hold(None::<D>))
    }

    fn hold_in_any<'a, D: Datum<'a>>(&self, value: D, met: &mut bool) -> bool {
        match value.look() {
            Look::Array(mut elements) => elements.any(|element| self.hold_in_any(element, met)),
            Look::Object => {
                *met = true;
                self.hold(Some(value))
            }
            _ => false,
        }
    }
}

// === impl Leaf ===

impl Leaf {
    fn new(filter: String, field: &str, tests: Vec<(usize, Test)>) -> Leaf {
        let alternatives = Alternatives::new(tests.into_iter().map(|(_, test)| test));
        Leaf { filter: filter.into(), field: field.into(), alternatives }
    }
}

/// Holds a pattern against what the event type offers.
struct Check<'a> {
    event_type: &'a EventType,
    required: Required,
    faults: &'a mut Faults,
}

// === impl Check ===

impl Check<'_> {
    /// Judged by the keys as written: a key whose pattern is faulty is there all the same.
    fn keys(&mut self, filter: &Map<String, Value>, place: &Path<'_>) {
        let offered: Vec<&str> = self.event_type.filters.iter().map(|spec| spec.key.as_str()).collect();
        for key in filter.keys().filter(|key| !offered.contains(&key.as_str())) {
            let allowed = if offered.is_empty() { "no filters".to_owned() } else { offered.join(", ") };
            self.faults.add(&Path::Key(place, key), "a filter that this event type does not offer", allowed);
        }
        for spec in &self.event_type.filters {
            let required = spec.required && self.required == Required::Asked;
            if spec.kind == FilterKind::Condition {
                self.condition(spec, filter.get(&spec.key), required, place);
            } else if required && !filter.contains_key(&spec.key) {
                self.faults.add(&Path::Key(place, &spec.key), "nothing", format!("required: {}", values_of(spec)));
            }
        }
    }

    /// Refused, given or required: nothing here could hold it. To give what holds anyhow is to ask for nothing.
    fn condition(&mut self, spec: &FilterSpec, given: Option<&Value>, required: bool, place: &Path<'_>) {
        let is_default = given.is_some_and(|given| {
            given.as_array().is_some_and(|given| given.len() == 1 && given.first() == spec.default.as_ref())
        });
        if (given.is_none() || is_default) && !required {
            return;
        }
        let found = format!("a condition over time or state ({NEEDS_CONDITIONS})");
        let allowed = match &spec.default {
            _ if required => "none yet: this event type cannot be subscribed to by name".to_owned(),
            Some(default) => format!("{default}, which holds without it, or no such filter"),
            None => "no such filter".to_owned(),
        };
        self.faults.add(&Path::Key(place, &spec.key), found, allowed);
    }

    fn pattern(&mut self, pattern: Pattern, place: &Path<'_>) -> Branch {
        let mut root = Branch::default();
        for (key, node) in pattern.nodes {
            let spec = self.event_type.filter(&key).filter(|spec| spec.kind != FilterKind::Condition);
            let Some(spec) = spec else { continue };
            let place = Path::Key(place, &key);
            match (spec.kind, node) {
                (FilterKind::Map, Node::Branch(entries)) => {
                    for (name, node) in entries {
                        let place = Path::Key(&place, &name);
                        match node {
                            Node::Leaf(tests) => {
                                self.leaf(spec, &tests, &place);
                                root.at(&spec.field).leaves.push(Leaf::new(format!("{key}.{name}"), &name, tests));
                            }
                            Node::Branch(_) => self.faults.add(&place, "an object", "an array of alternatives"),
                        }
                    }
                }
                (FilterKind::Map, Node::Leaf(_)) => {
                    self.faults.add(&place, "an array", r#"an object of arrays: {"<name>": [alternatives]}"#);
                }
                (_, Node::Branch(_)) => self.faults.add(&place, "an object", "an array of alternatives"),
                (_, Node::Leaf(tests)) => {
                    self.leaf(spec, &tests, &place);
                    // The catalog refuses a filter without a field; were there one, the condition would be on "".
                    let (field, parents) = spec.field.split_last().map_or(("", &[][..]), |(f, p)| (f.as_str(), p));
                    root.at(parents).leaves.push(Leaf::new(key.clone(), field, tests));
                }
            }
        }
        root
    }

    fn leaf(&mut self, spec: &FilterSpec, tests: &[(usize, Test)], place: &Path<'_>) {
        if !spec.many && tests.len() > 1 {
            self.faults.add(place, format!("{} alternatives", tests.len()), "one");
        }
        for (i, test) in tests {
            let place = Path::Index(place, *i);
            if !spec.allows(test.operator()) {
                self.faults.add(&place, test.operator(), offered_operators(spec));
                continue;
            }
            match test {
                Test::Equals(literal) => self.literal(spec, literal, &place),
                Test::AnythingBut(literals) => literals.iter().for_each(|literal| self.literal(spec, literal, &place)),
                Test::AnythingButText(tests) => {
                    for test in tests.iter().filter(|test| !spec.allows(test.operator())) {
                        self.faults.add(&place, test.operator(), offered_operators(spec));
                    }
                }
                Test::Exists(_) | Test::Numeric(..) | Test::Text(_) => {}
            }
        }
    }

    /// `null` may be asked for anywhere: it is how an optional field is empty.
    fn literal(&mut self, spec: &FilterSpec, literal: &Literal, place: &Path<'_>) {
        let fits = matches!(
            (spec.kind, literal),
            (FilterKind::Map, _)
                | (_, Literal::Null)
                | (FilterKind::Text | FilterKind::Enum, Literal::Text(_))
                | (FilterKind::Number, Literal::Number(_))
                | (FilterKind::Boolean, Literal::Boolean(_))
        );
        let listed = matches!((spec.kind, literal), (FilterKind::Map, _) | (_, Literal::Null))
            || spec.allowed.is_empty()
            || spec.allowed.iter().any(|value| literal.is(value));
        if !fits || !listed {
            self.faults.add(place, shown(literal), values_of(spec));
        }
    }
}

// === impl Literal ===

impl Literal {
    /// Equality by type and value, as in matching.
    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Literal::Null, Value::Null) => true,
            (Literal::Boolean(a), Value::Bool(b)) => a == b,
            (Literal::Number(a), Value::Number(b)) => super::Number::read(b).is_some_and(|b| *a == b),
            (Literal::Text(a), Value::String(b)) => **a == **b,
            _ => false,
        }
    }
}

/// What may stand as a value, for people: `paid, trial` or `a number`.
fn values_of(spec: &FilterSpec) -> String {
    if spec.kind != FilterKind::Map && !spec.allowed.is_empty() {
        let values = spec.allowed.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        return values.collect::<Vec<_>>().join(", ");
    }
    let text = match spec.kind {
        FilterKind::Text | FilterKind::Enum => "a string",
        FilterKind::Number => "a number",
        FilterKind::Boolean => "true, false",
        FilterKind::Map => r#"an object of arrays: {"<name>": [alternatives]}"#,
        FilterKind::Condition => "a condition over time or state",
    };
    text.to_owned()
}

fn offered_operators(spec: &FilterSpec) -> String {
    let operators = spec.kind.operators().iter().filter(|name| spec.allows(name));
    operators.copied().collect::<Vec<_>>().join(", ")
}

/// The keys nearest to one that the catalog does not know.
fn known_types(catalog: &Catalog, key: &str) -> String {
    let key: String = key.chars().take(256).collect();
    let mut near: Vec<(usize, &str)> =
        catalog.types().map(|known| (distance(&key, &known.key), known.key.as_str())).collect();
    near.sort_unstable();
    let count = near.len();
    let names: Vec<&str> = near.into_iter().take(MAX_SUGGESTIONS).map(|(_, known)| known).collect();
    match count {
        0 => "\"*\": the catalog is empty".to_owned(),
        count if count <= MAX_SUGGESTIONS => format!("{}, *", names.join(", ")),
        count => format!("{} (the nearest of {count} event types), *", names.join(", ")),
    }
}

/// Levenshtein's edit distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
