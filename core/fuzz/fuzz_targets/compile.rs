//! Any JSON object is a filter of an event type, or refused: for any type, a named one and several.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidings_core::{
    catalog::Catalog,
    codec,
    domain::{EventSelector, TypeSelector},
    filter::compile_all,
};

fuzz_target!(|text: &[u8]| {
    let Ok(Value::Object(filter)) = codec::json::parse(text) else { return };
    for event_type in ["*", "replicated.customer.created", "pandium.*"] {
        let event_type = TypeSelector::from(event_type.to_owned());
        let selector = EventSelector { event_type, filter: filter.clone().into() };
        if let Ok(clauses) = compile_all(&selector, &Catalog::builtin(), "events[0]") {
            assert!(!clauses.is_empty());
        }
    }
});
