//! An entry of the catalog as JSON, for programs: forms, previews, documents. The API and the command line show the same.

use serde_json::{Map, Value, json};

use super::{EventType, Field, FilterSpec};

/// One line of the list.
pub fn row(event_type: &EventType) -> Value {
    let EventType { key, platform, display_name, description, category, severity, critical, .. } = event_type;
    json!({
        "key": key,
        "platform": platform,
        "display_name": display_name,
        "description": description,
        "category": category,
        "severity": severity,
        "critical": critical,
    })
}

/// Everything about one type.
pub fn detail(event_type: &EventType) -> Value {
    let mut detail = row(event_type);
    let path = |path: &Option<Vec<String>>| path.as_ref().map(|path| path.join("."));
    detail["wire_name"] = json!(event_type.wire_name);
    detail["aliases"] = json!(event_type.aliases);
    detail["assumed"] = json!(event_type.assumed);
    detail["subject_field"] = json!(path(&event_type.subject_field));
    detail["environment_field"] = json!(path(&event_type.environment_field));
    detail["summary"] = json!(event_type.summary);
    detail["link"] = json!(event_type.link);
    detail["fields"] = event_type.fields.iter().map(field).collect();
    detail["filters"] = event_type.filters.iter().map(filter).collect();
    detail["example"] = example_event(event_type);
    detail
}

/// The example in the plain envelope, as `tidings publish` takes it. Its id is left to the log: published twice, it is
/// two events.
pub fn example_event(event_type: &EventType) -> Value {
    let mut event = Map::new();
    event.insert("team".to_owned(), json!("acme"));
    event.insert("type".to_owned(), json!(event_type.key));
    event.insert("source".to_owned(), json!(event_type.platform));
    if let Some(subject) = event_type.subject_of(&event_type.example) {
        event.insert("subject".to_owned(), json!(subject));
    }
    event.insert("data".to_owned(), event_type.example.clone());
    Value::Object(event)
}

fn field(field: &Field) -> Value {
    let values: Map<String, Value> = field.values.iter().map(|(value, label)| (value.clone(), json!(label))).collect();
    json!({
        "path": field.path.join("."),
        "kind": field.kind,
        "title": field.title,
        "description": field.description,
        "unit": field.unit,
        "values": values,
        "sensitive": field.sensitive,
        "address": field.address,
        "assumed": field.assumed,
        "optional": field.optional,
    })
}

/// With the operators spelt out: a form need not know which ones a kind has.
fn filter(filter: &FilterSpec) -> Value {
    let operators: Vec<&str> = filter.kind.operators().iter().copied().filter(|name| filter.allows(name)).collect();
    json!({
        "key": filter.key,
        "label": filter.label,
        "field": filter.field.join("."),
        "kind": filter.kind,
        "required": filter.required,
        "many": filter.many,
        "allowed": filter.allowed,
        "operators": operators,
        "default": filter.default,
    })
}

// === impl EventType ===

impl EventType {
    /// Whom or what an event of this type concerns, by its data.
    pub fn subject_of(&self, data: &Value) -> Option<String> {
        match self.subject_field.as_ref()?.iter().try_fold(data, |value, name| value.get(name))? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Catalog, *};

    #[test]
    fn a_detail_says_all_that_a_row_says_and_more() {
        let catalog = Catalog::builtin();
        for event_type in catalog.types() {
            let (row, detail) = (row(event_type), detail(event_type));
            for (name, value) in row.as_object().unwrap() {
                assert_eq!(detail[name], *value, "{} {name}", event_type.key);
            }
            assert_eq!(detail["fields"].as_array().unwrap().len(), event_type.fields.len());
            assert_eq!(detail["filters"].as_array().unwrap().len(), event_type.filters.len());
            assert_eq!(detail["example"]["data"], event_type.example);
            assert!(detail["example"]["subject"].is_string(), "{}", event_type.key);
        }
    }
}
