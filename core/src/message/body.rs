//! The JSON body of a notification.
//!
//! ```json
//! {"id":"evt-1","type":"replicated.customer.created","timestamp":"2026-11-23T11:17:07.250Z",
//!  "source":"replicated","team":"acme","subject":"cus_1","text":"Customer Globex was created","data":{"name":"Globex"}}
//! ```
//!
//! `id`, `type`, `timestamp` and `data` are what Standard Webhooks suggests. Data keeps its producer's order and its
//! numbers digit by digit; fields that the catalog marks sensitive are replaced, wherever they stand.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::{
    catalog::Catalog,
    domain::{Event, Timestamp},
};

/// What the catalog says about showing an event of one type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presentation<'a> {
    /// Paths in `data` whose values are replaced. See [`redact`].
    pub sensitive: &'a [Vec<String>],
    /// The template of the one-line summary. See [`summarise`].
    pub summary: Option<&'a str>,
}

/// Why no body could be made. Permanent: the event will not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the notification's body is {0} bytes; at most {MAX_BODY} are sent")]
    TooLarge(usize),
}

/// The largest body, in bytes (256 KiB). Receivers commonly refuse more.
pub const MAX_BODY: usize = 256 * 1024;
/// The longest summary, in bytes.
pub const MAX_SUMMARY: usize = 1024;
/// Stands where a sensitive value was.
pub const REDACTED: &str = "[redacted]";
/// Stands in a summary for a value that is absent, null, or no scalar.
const NOTHING: &str = "–";

/// The body that a receiver sees of this event: the same for every attempt and every destination.
pub fn body(event: &Event, recorded_at: Timestamp, catalog: &Catalog) -> Result<Bytes, BodyError> {
    let Some(event_type) = catalog.get(&event.event_type) else {
        return render(event, recorded_at, Presentation::default());
    };
    let sensitive: Vec<Vec<String>> =
        event_type.fields.iter().filter(|field| field.sensitive).map(|field| field.path.clone()).collect();
    render(event, recorded_at, Presentation { sensitive: &sensitive, summary: event_type.summary.as_deref() })
}

/// Renders the body. `recorded_at` dates an event that has no time of its own.
pub fn render(event: &Event, recorded_at: Timestamp, presentation: Presentation<'_>) -> Result<Bytes, BodyError> {
    #[derive(Serialize)]
    struct Body<'a> {
        id: &'a str,
        r#type: &'a str,
        timestamp: Timestamp,
        source: &'a str,
        team: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        data: &'a Value,
    }

    let redacted;
    let data = if presentation.sensitive.is_empty() {
        &event.data
    } else {
        redacted = redact(&event.data, presentation.sensitive);
        &redacted
    };
    let body = Body {
        id: &event.id,
        r#type: &event.event_type,
        timestamp: event.time.unwrap_or(recorded_at),
        source: &event.source,
        team: event.team.as_str(),
        subject: event.subject.as_deref(),
        text: presentation.summary.map(|template| summarise(template, data)),
        data,
    };
    let bytes = serde_json::to_vec(&body).expect("strings and JSON values always serialise");
    if bytes.len() > MAX_BODY { Err(BodyError::TooLarge(bytes.len())) } else { Ok(bytes.into()) }
}

/// Data without its sensitive values, each replaced by [`REDACTED`], whatever its type. Only `null` stays: it says no
/// more than that there was nothing.
///
/// A path is a list of field names. Arrays are passed through: a path goes on in each element. The name `*` stands for
/// every member, for fields of type map, whose keys are data. Where data has not the shape that a path expects (text
/// in place of an object), what is found there is replaced: too much rather than too little.
pub fn redact(data: &Value, sensitive: &[Vec<String>]) -> Value {
    let mut data = data.clone();
    for path in sensitive.iter().filter(|path| !path.is_empty()) {
        redact_path(&mut data, path);
    }
    data
}

/// Depth is bounded by that of `data`, which the decoder bounds.
fn redact_path(value: &mut Value, path: &[String]) {
    match (value, path) {
        (Value::Null, _) => {}
        (Value::Array(elements), [_, ..]) => elements.iter_mut().for_each(|element| redact_path(element, path)),
        (Value::Object(members), [name, rest @ ..]) if name == "*" => {
            members.values_mut().for_each(|member| redact_path(member, rest));
        }
        (Value::Object(members), [name, rest @ ..]) => {
            if let Some(member) = members.get_mut(name) {
                redact_path(member, rest);
            }
        }
        (value, _) => *value = Value::String(REDACTED.to_owned()),
    }
}

/// Fills `{field.path}` in a template with values of `data`. `{{` is a brace; a brace that closes nothing is text.
///
/// The result is one line of at most [`MAX_SUMMARY`] bytes: control characters in values become spaces, what is too
/// long ends in `…`. Values are put in once: braces in them mean nothing.
pub fn summarise(template: &str, data: &Value) -> String {
    let mut line = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        line.push_str(&rest[..open]);
        rest = &rest[open + 1..];
        if let Some(after) = rest.strip_prefix('{') {
            line.push('{');
            rest = after;
        } else if let Some(close) = rest.find('}') {
            push_value(&mut line, rest[..close].trim(), data);
            rest = &rest[close + 1..];
        } else {
            line.push('{');
        }
    }
    line.push_str(rest);
    let mut line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > MAX_SUMMARY {
        line.truncate(line.floor_char_boundary(MAX_SUMMARY - '…'.len_utf8()));
        line.push('…');
    }
    line
}

fn push_value(line: &mut String, path: &str, data: &Value) {
    match path.split('.').try_fold(data, |value, name| value.get(name)) {
        Some(Value::String(text)) => line.push_str(text),
        Some(Value::Number(number)) => line.push_str(number.as_str()),
        Some(Value::Bool(truth)) => line.push_str(if *truth { "true" } else { "false" }),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => line.push_str(NOTHING),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::TeamId;

    fn event(data: &str) -> Event {
        Event {
            team: TeamId::new("acme").unwrap(),
            id: "evt-1".into(),
            source: "replicated".into(),
            event_type: "replicated.customer.created".into(),
            time: Timestamp::parse("2026-11-23T11:17:07.250Z"),
            subject: Some("cus_1".into()),
            data: serde_json::from_str(data).unwrap(),
        }
    }

    fn paths(paths: &[&str]) -> Vec<Vec<String>> {
        paths.iter().map(|path| path.split('.').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn a_body_keeps_order_and_digits() {
        let event = event(r#"{"z":1.10,"a":12345678901234567890123,"m":[1e400,-0.0]}"#);
        let body = render(&event, Timestamp(0), Presentation::default()).unwrap();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"id":"evt-1","type":"replicated.customer.created","timestamp":"2026-11-23T11:17:07.250Z","source":"replicated","team":"acme","subject":"cus_1","data":{"z":1.10,"a":12345678901234567890123,"m":[1e+400,-0.0]}}"#
        );
    }

    #[test]
    fn an_event_without_time_is_dated_by_its_record() {
        let event = Event { time: None, subject: None, ..event(r#"{"name":"Globex"}"#) };
        let presentation = Presentation { summary: Some("Customer {name} was created"), sensitive: &[] };
        let body = render(&event, Timestamp(1_000), presentation).unwrap();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"id":"evt-1","type":"replicated.customer.created","timestamp":"1970-01-01T00:00:01.000Z","source":"replicated","team":"acme","text":"Customer Globex was created","data":{"name":"Globex"}}"#
        );
    }

    #[test]
    fn a_body_above_the_bound_is_refused() {
        let event = event(&json!({"text": "a".repeat(MAX_BODY)}).to_string());
        let refused = render(&event, Timestamp(0), Presentation::default()).unwrap_err();
        assert!(matches!(refused, BodyError::TooLarge(bytes) if bytes > MAX_BODY));
    }

    #[test]
    fn sensitive_values_are_replaced_at_any_depth() {
        let check = |path: &str, data: Value, expected: Value| {
            assert_eq!(redact(&data, &paths(&[path])), expected, "{path} in {data}");
        };
        check("a", json!({"a": "x", "b": 1}), json!({"a": "[redacted]", "b": 1}));
        check("a", json!({"a": {"deep": ["x"]}}), json!({"a": "[redacted]"}));
        check("a", json!({"a": ["x", 1, null]}), json!({"a": "[redacted]"}));
        check("a", json!({"a": null}), json!({"a": null}));
        check("a.b", json!({"a": {"b": 1, "c": 2}, "b": 3}), json!({"a": {"b": "[redacted]", "c": 2}, "b": 3}));
        check(
            "a.b",
            json!({"a": [{"b": 1}, {"c": 2}, [{"b": 4}]]}),
            json!({"a": [{"b": "[redacted]"}, {"c": 2}, [{"b": "[redacted]"}]]}),
        );
        check(
            "a.*.b",
            json!({"a": {"x": {"b": 1}, "b": {"b": 2, "c": 3}}}),
            json!({"a": {"x": {"b": "[redacted]"}, "b": {"b": "[redacted]", "c": 3}}}),
        );
        check("a.*", json!({"a": {"x": 1, "y": [2]}}), json!({"a": {"x": "[redacted]", "y": "[redacted]"}}));
        check("a.b", json!({"a": "not an object"}), json!({"a": "[redacted]"}));
        check("a.b", json!({"c": 1}), json!({"c": 1}));
    }

    #[test]
    fn summaries_are_filled_once_and_stay_on_one_line() {
        let data = json!({"name": "{seats}\r\nBcc: x", "seats": 5, "paid": true, "plan": {"name": "pro"}, "tags": []});
        let check = |template: &str, expected: &str| assert_eq!(summarise(template, &data), expected, "{template}");
        check("{seats} seats, {plan.name}, {paid}", "5 seats, pro, true");
        check("{name}", "{seats}  Bcc: x");
        check("{missing}|{tags}|{plan}|{plan.name.x}|{}", "–|–|–|–|–");
        check("{{seats} {", "{seats} {");
        check("", "");
        let long = summarise(&"é".repeat(MAX_SUMMARY), &data);
        assert!(long.ends_with("é…") && long.len() <= MAX_SUMMARY, "{}", long.len());
    }

    #[test]
    fn a_summary_shows_no_sensitive_value() {
        let event = event(r#"{"secret":"canary-1"}"#);
        let sensitive = paths(&["secret"]);
        let body = render(&event, Timestamp(0), Presentation { sensitive: &sensitive, summary: Some("is {secret}") });
        let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
        assert!(!body.contains("canary-1") && body.contains("is [redacted]"), "{body}");
    }

    proptest! {
        #[test]
        fn any_template_over_any_text_gives_one_bounded_line(template in "[a{}. \n]{0,40}|.{0,2000}", value in ".{0,200}") {
            let line = summarise(&template, &json!({"a": value}));
            prop_assert!(line.len() <= MAX_SUMMARY && !line.contains('\n'));
        }
    }
}
