//! Files that people write: one object or several, in YAML or JSON.
//!
//! YAML is a superset of JSON as far as such files go, so one reader takes both: YAML documents between `---` lines,
//! and in each an object or a list of objects.

use std::io::Read;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

/// Reads a file, or stdin for `-`.
pub fn read(path: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    if path == "-" {
        std::io::stdin().read_to_string(&mut text).context("stdin")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    }
    Ok(text)
}

/// Every object of a file.
pub fn objects(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let value = Value::deserialize(document).with_context(|| format!("document {}", index + 1))?;
        match value {
            Value::Null => {}
            Value::Object(_) => objects.push(value),
            Value::Array(items) => objects.extend(items),
            _ => bail!("document {} is neither an object nor a list of objects", index + 1),
        }
    }
    match objects.iter().position(|object| !object.is_object()) {
        Some(index) => bail!("item {} is no object", index + 1),
        None if objects.is_empty() => bail!("there is no object in it"),
        None => Ok(objects),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_reader_takes_every_form() {
        let check = |text: &str, expected: Value| assert_eq!(json!(objects(text).unwrap()), expected, "{text}");
        check("id: a\nn: 99", json!([{"id": "a", "n": 99}]));
        check("id: a\n---\nid: b\n---\n", json!([{"id": "a"}, {"id": "b"}]));
        check("- id: a\n- id: b\n", json!([{"id": "a"}, {"id": "b"}]));
        check(r#"[{"id": "a"}, {"id": "b", "x": [1.5, null]}]"#, json!([{"id": "a"}, {"id": "b", "x": [1.5, null]}]));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let check = |text: &str, expected: &str| assert!(objects(text).unwrap_err().to_string().contains(expected));
        check("", "no object");
        check("just text", "document 1");
        check("[1]", "item 1");
        check("a: [", "document 1");
    }
}
