//! Answers for people: tables whose columns fit, and times short enough to read.

use serde_json::Value;

/// The widest cell, in characters; longer ones are shortened.
const MAX_CELL: usize = 60;

/// Prints rows of an answer as a table: a column is a title and a path in the row (`last.code`).
pub fn table(rows: &[Value], columns: &[(&str, &str)]) {
    print!("{}", table_text(rows, columns));
}

pub fn json(value: &Value) {
    println!("{}", serde_json::to_string_pretty(value).expect("a JSON value is always writable"));
}

/// A value at a path such as `webhook.url`; absent is null.
pub fn at<'v>(row: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(row, |value, key| value.get(key).unwrap_or(&Value::Null))
}

/// A value as a cell: texts bare, lists comma separated, nothing for null.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Printable characters only: what comes from records and receivers must not move the cursor.
pub fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn table_text(rows: &[Value], columns: &[(&str, &str)]) -> String {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|(title, _)| title.to_uppercase()).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|(_, path)| shortened(&cell(at(row, path)))).collect()));
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn shortened(text: &str) -> String {
    let plain = line(text);
    if plain.chars().count() <= MAX_CELL {
        return plain;
    }
    plain.chars().take(MAX_CELL - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_fit_their_widest_cell() {
        let rows = [json!({"id": "a", "last": {"code": 200}}), json!({"id": "longer", "tags": ["x", "y"], "last": {}})];
        assert_eq!(
            table_text(&rows, &[("id", "id"), ("code", "last.code"), ("tags", "tags")]),
            "ID      CODE  TAGS\na       200\nlonger        x, y\n"
        );
    }

    #[test]
    fn cells_cannot_move_the_cursor_or_grow_without_bound() {
        assert_eq!(shortened("a\x1b[2Jb\nc"), "a [2Jb c");
        assert_eq!(shortened(&"ä".repeat(100)).chars().count(), MAX_CELL);
    }
}
