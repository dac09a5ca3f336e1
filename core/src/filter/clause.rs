//! One event selector, checked against the catalog: conditions on fields, ready to be [evaluated](super::naive).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    Fault, Faults, Literal, Node, Path, Pattern, Test,
    packed::{
        Choice, Group, Packed,
        gathered::{Branch, Leaf},
    },
    pattern::Nodes,
    read::{CLOUDEVENTS, OR, SIMPLE},
    shown,
};
use crate::{
    catalog::{Catalog, EventType, FilterKind, FilterSpec},
    domain::{EventSelector, TypeSelector},
};

/// The conditions on an event's data; all must hold.
///
/// A tree over the data's fields, so that fields of objects in an array are held against the same element.
#[derive(Clone, Debug)]
pub struct Clause {
    /// A key of the catalog; `None`: any type.
    pub(super) event_type: Option<Arc<str>>,
    pub(super) root: Packed,
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
    let Some(filter) = selector.filter.read() else { return Err(unreadable(&place)) };
    match &selector.event_type {
        TypeSelector::Any => {
            let pattern = Pattern::read_into(&filter, &place, &mut faults);
            return faults.or(Clause { event_type: None, root: Branch::of_fields(pattern.nodes, "").pack() });
        }
        TypeSelector::Key(key) => match catalog.resolve(key) {
            Some(event_type) => return of_type(selector, event_type, Required::Asked, path),
            None => {
                Pattern::read_into(&filter, &place, &mut faults);
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

fn unreadable(place: &Path<'_>) -> Vec<Fault> {
    let mut faults = Faults::default();
    faults.add(place, "what cannot be read again", "an object");
    faults.or(()).err().unwrap_or_default()
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
    let Some(filter) = selector.filter.read() else { return Err(unreadable(&place)) };
    let pattern = Pattern::read_into(&filter, &place, &mut faults);
    let mut check = Check { event_type, given: Vec::new(), faults: &mut faults };
    check.keys(&filter, &place);
    let root = check.nodes(pattern.nodes, &place, "", Within::Filter);
    if required == Required::Asked {
        check.required(&filter, &place);
    }
    faults.or(Clause { event_type: Some(event_type.key.clone()), root: root.pack() })
}

// === impl Clause ===

impl Clause {
    /// Whether events of that type are meant, filter aside.
    pub(super) fn covers(&self, event_type: &str) -> bool {
        self.event_type.as_deref().is_none_or(|key| key == event_type)
    }
}

// === impl Branch ===

impl Branch {
    /// For a selector of any type: filter keys are field names.
    fn of_fields(nodes: Nodes, parent: &str) -> Branch {
        let mut branch = Branch::default();
        for (key, node) in nodes {
            let label = label(parent, &key);
            match node {
                Node::Branch(inner) => branch.at(std::slice::from_ref(&key)).absorb(Branch::of_fields(inner, &label)),
                Node::Leaf(tests) => branch.leaves.push(Leaf::new(label, &key, tests)),
                Node::Attribute(attribute, tests) => branch.attribute(attribute, label, tests),
                Node::Any(alternatives) => {
                    let alternatives = places(alternatives, &label);
                    let alternatives = alternatives.map(|(nodes, label)| Branch::of_fields(nodes, &label)).collect();
                    branch.groups.push(Group::Any(Choice::of(alternatives)));
                }
                Node::All(all) => {
                    places(all, &label).for_each(|(nodes, label)| branch.absorb(Branch::of_fields(nodes, &label)));
                }
                Node::Not(nodes) => {
                    let inner = Branch::of_fields(nodes, &label);
                    branch.groups.push(Group::Not(label.into(), inner.pack()));
                }
            }
        }
        branch
    }
}

/// A condition's place in the filter, for people.
fn label(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// Each of several, with its place.
fn places<'a>(several: Vec<Nodes>, parent: &'a str) -> impl Iterator<Item = (Nodes, String)> + 'a {
    several.into_iter().enumerate().map(move |(i, nodes)| (nodes, format!("{parent}[{i}]")))
}

/// Holds a pattern against what the event type offers.
struct Check<'a> {
    event_type: &'a EventType,
    /// Keys of filters that every way through the pattern has.
    given: Vec<&'a str>,
    faults: &'a mut Faults,
}

/// Where nodes stand, and so what their keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// At the top of the filter: keys are filters' keys, which [`Check::keys`] has looked at.
    Filter,
    /// Under another dialect: a filter may be named by its field too.
    Dialect,
    /// In one of several alternatives.
    Choice { by_field: bool },
}

// === impl Check ===

impl<'a> Check<'a> {
    /// Judged by the keys as written: a key whose pattern is faulty is there all the same.
    fn keys(&mut self, filter: &Map<String, Value>, place: &Path<'_>) {
        let unknown = |key: &&String| self.event_type.filter(key).is_none() && !is_composed(key);
        for key in filter.keys().filter(unknown).collect::<Vec<_>>() {
            self.unknown(&Path::Key(place, key));
        }
        for spec in self.event_type.filters.iter().filter(|spec| spec.kind == FilterKind::Condition) {
            self.condition(spec, filter.get(&spec.key), place);
        }
    }

    fn unknown(&mut self, place: &Path<'_>) {
        let offered: Vec<&str> = self.event_type.filters.iter().map(|spec| spec.key.as_str()).collect();
        let allowed = if offered.is_empty() { "no filters".to_owned() } else { offered.join(", ") };
        self.faults.add(place, "a filter that this event type does not offer", allowed);
    }

    fn required(&mut self, filter: &Map<String, Value>, place: &Path<'_>) {
        for spec in self.event_type.filters.iter().filter(|spec| spec.required) {
            let given = filter.contains_key(&spec.key) || self.given.contains(&spec.key.as_str());
            if spec.kind == FilterKind::Condition {
                self.required_condition(spec, place);
            } else if !given {
                self.faults.add(&Path::Key(place, &spec.key), "nothing", format!("required: {}", values_of(spec)));
            }
        }
    }

    /// Refused where it is given: nothing here could hold it. To give what holds anyhow is to ask for nothing.
    fn condition(&mut self, spec: &FilterSpec, given: Option<&Value>, place: &Path<'_>) {
        let is_default = given.is_some_and(|given| {
            given.as_array().is_some_and(|given| given.len() == 1 && given.first() == spec.default.as_ref())
        });
        if given.is_some() && !is_default && !spec.required {
            self.refused_condition(spec, &Path::Key(place, &spec.key));
        }
    }

    fn refused_condition(&mut self, spec: &FilterSpec, place: &Path<'_>) {
        let allowed = match &spec.default {
            Some(default) => format!("{default}, which holds without it, or no such filter"),
            None => "no such filter".to_owned(),
        };
        self.faults.add(place, format!("a condition over time or state ({NEEDS_CONDITIONS})"), allowed);
    }

    fn required_condition(&mut self, spec: &FilterSpec, place: &Path<'_>) {
        let found = format!("a condition over time or state ({NEEDS_CONDITIONS})");
        let allowed = "none yet: this event type cannot be subscribed to by name";
        self.faults.add(&Path::Key(place, &spec.key), found, allowed);
    }

    fn nodes(&mut self, nodes: Nodes, place: &Path<'_>, parent: &str, within: Within) -> Branch {
        let mut branch = Branch::default();
        let choice = Within::Choice { by_field: matches!(within, Within::Dialect | Within::Choice { by_field: true }) };
        for (key, node) in nodes {
            let (place, label) = (Path::Key(place, &key), label(parent, &key));
            match node {
                Node::Attribute(attribute, tests) => branch.attribute(attribute, label, tests),
                Node::Any(several) => {
                    let mut alternatives = Vec::with_capacity(several.len());
                    for (i, (nodes, label)) in places(several, &label).enumerate() {
                        alternatives.push(self.nodes(nodes, &Path::Index(&place, i), &label, choice));
                    }
                    branch.groups.push(Group::Any(Choice::of(alternatives)));
                }
                Node::All(several) => {
                    let inside = if within == Within::Filter { Within::Dialect } else { within };
                    for (i, (nodes, label)) in places(several, &label).enumerate() {
                        branch.absorb(self.nodes(nodes, &Path::Index(&place, i), &label, inside));
                    }
                }
                Node::Not(nodes) => {
                    let inner = self.nodes(nodes, &place, &label, choice);
                    branch.groups.push(Group::Not(label.into(), inner.pack()));
                }
                Node::Leaf(_) | Node::Branch(_) => self.filter(&key, node, &place, label, within, &mut branch),
            }
        }
        branch
    }

    /// One filter of the event type, by its key.
    fn filter(&mut self, key: &str, node: Node, place: &Path<'_>, label: String, within: Within, branch: &mut Branch) {
        let by_field = matches!(within, Within::Dialect | Within::Choice { by_field: true });
        let of_field = |spec: &&FilterSpec| by_field && !spec.field.is_empty() && spec.field.join(".") == key;
        let event_type = self.event_type;
        let spec = event_type.filter(key).or_else(|| event_type.filters.iter().find(of_field));
        let spec = match spec {
            // Looked at as they were written.
            _ if within == Within::Filter && spec.is_none_or(|spec| spec.kind == FilterKind::Condition) => return,
            None => return self.unknown(place),
            Some(spec) if spec.kind == FilterKind::Condition => return self.refused_condition(spec, place),
            Some(spec) => spec,
        };
        if !matches!(within, Within::Choice { .. }) {
            self.given.push(&spec.key);
        }
        match (spec.kind, node) {
            (FilterKind::Map, Node::Branch(entries)) => {
                let entries = self.entries(spec, entries, place, &label);
                branch.at(&spec.field).absorb(entries);
            }
            (FilterKind::Map, _) => {
                self.faults.add(place, "an array", r#"an object of arrays: {"<name>": [alternatives]}"#);
            }
            (_, Node::Leaf(tests)) => {
                self.leaf(spec, &tests, place);
                // The catalog refuses a filter without a field; were there one, the condition would be on "".
                let (field, parents) = spec.field.split_last().map_or(("", &[][..]), |(f, p)| (f.as_str(), p));
                branch.at(parents).leaves.push(Leaf::new(label, field, tests));
            }
            (_, _) => self.faults.add(place, "an object", "an array of alternatives"),
        }
    }

    /// The entries of a map.
    fn entries(&mut self, spec: &FilterSpec, entries: Nodes, place: &Path<'_>, parent: &str) -> Branch {
        let mut branch = Branch::default();
        for (name, node) in entries {
            let (place, label) = (Path::Key(place, &name), label(parent, &name));
            match node {
                Node::Leaf(tests) => {
                    self.leaf(spec, &tests, &place);
                    branch.leaves.push(Leaf::new(label, &name, tests));
                }
                Node::Any(several) => {
                    let mut alternatives = Vec::with_capacity(several.len());
                    for (i, (entries, label)) in places(several, &label).enumerate() {
                        alternatives.push(self.entries(spec, entries, &Path::Index(&place, i), &label));
                    }
                    branch.groups.push(Group::Any(Choice::of(alternatives)));
                }
                _ => self.faults.add(&place, "an object", "an array of alternatives"),
            }
        }
        branch
    }

    fn leaf(&mut self, spec: &FilterSpec, tests: &[(usize, Test)], place: &Path<'_>) {
        if !spec.many && tests.len() > 1 {
            self.faults.add(place, format!("{} alternatives", tests.len()), "one");
        }
        for (i, test) in tests {
            self.test(spec, test, &Path::Index(place, *i));
        }
    }

    fn test(&mut self, spec: &FilterSpec, test: &Test, place: &Path<'_>) {
        if !spec.allows(test.operator()) {
            self.faults.add(place, test.operator(), offered_operators(spec));
            return;
        }
        match test {
            Test::Equals(literal) => self.literal(spec, literal, place),
            Test::AnythingBut(literals) => literals.iter().for_each(|literal| self.literal(spec, literal, place)),
            Test::AnythingButText(tests) => {
                for test in tests.iter().filter(|test| !spec.allows(test.operator())) {
                    self.faults.add(place, test.operator(), offered_operators(spec));
                }
            }
            Test::All(conditions) => {
                conditions.iter().flatten().for_each(|(_, test)| self.test(spec, test, place));
            }
            Test::Not(tests) => tests.iter().for_each(|(_, test)| self.test(spec, test, place)),
            Test::Exists(_) | Test::Numeric(..) | Test::Text(_) | Test::Time(_) => {}
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

fn is_composed(key: &str) -> bool {
    matches!(key, OR | CLOUDEVENTS | SIMPLE)
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
    let mut near: Vec<(usize, &str)> = catalog.types().map(|known| (distance(&key, &known.key), &*known.key)).collect();
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
