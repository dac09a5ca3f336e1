//! Why a clause matched an event's data or did not, condition by condition.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Clause, Path,
    clause::{Branch, Leaf},
};
use crate::domain::TypeSelector;

/// One condition of a clause, tried on an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Condition {
    /// The condition's place in the filter: `licenseFields.seats`.
    pub filter: String,
    /// The field in the event's data that was looked at: `license_fields.seats`.
    pub path: String,
    /// What was asked for: `> 99`.
    pub condition: String,
    /// What was there; `None` if nothing was.
    pub found: Option<Value>,
    pub held: bool,
}

/// One event selector of a subscription, tried on an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SelectorExplanation {
    #[serde(rename = "type")]
    pub event_type: TypeSelector,
    pub type_matches: bool,
    /// Empty if every event of the type passes.
    pub conditions: Vec<Condition>,
    pub matched: bool,
}

impl Clause {
    /// Every condition, in the order of the filter as far as conditions on one object stand together.
    ///
    /// The data matches if and only if all of them held. Where an array of objects is looked at, the conditions are
    /// those on the element that came nearest.
    pub fn explain(&self, data: &Value) -> Vec<Condition> {
        self.root.explain(data.as_object(), &Path::Root(""))
    }
}

// === impl Branch ===

impl Branch {
    fn explain(&self, object: Option<&Map<String, Value>>, path: &Path<'_>) -> Vec<Condition> {
        let field = |name: &str| object.and_then(|object| object.get(name));
        let mut conditions: Vec<Condition> =
            self.leaves.iter().map(|leaf| leaf.explain(field(&leaf.field), &Path::Key(path, &leaf.field))).collect();
        for (name, branch) in &self.inner {
            conditions.extend(branch.explain_in(field(name), &Path::Key(path, name)));
        }
        conditions
    }

    fn explain_in(&self, value: Option<&Value>, path: &Path<'_>) -> Vec<Condition> {
        let mut nearest = None;
        if let Some(value) = value {
            self.explain_nearest(value, path, &mut nearest);
        }
        nearest.unwrap_or_else(|| self.explain(None, path))
    }

    /// The first of the elements with the fewest conditions that did not hold.
    fn explain_nearest(&self, value: &Value, path: &Path<'_>, nearest: &mut Option<Vec<Condition>>) {
        match value {
            Value::Array(elements) => {
                for (i, element) in elements.iter().enumerate() {
                    self.explain_nearest(element, &Path::Index(path, i), nearest);
                }
            }
            Value::Object(object) => {
                let conditions = self.explain(Some(object), path);
                let failed = |conditions: &[Condition]| conditions.iter().filter(|c| !c.held).count();
                if nearest.as_ref().is_none_or(|before| failed(&conditions) < failed(before)) {
                    *nearest = Some(conditions);
                }
            }
            _ => {}
        }
    }
}

// === impl Leaf ===

impl Leaf {
    fn explain(&self, value: Option<&Value>, path: &Path<'_>) -> Condition {
        Condition {
            filter: self.filter.to_string(),
            path: path.to_string(),
            condition: self.alternatives.to_string(),
            found: value.cloned(),
            held: self.alternatives.hold(value),
        }
    }
}
