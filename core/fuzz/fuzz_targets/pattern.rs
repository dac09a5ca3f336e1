//! Any JSON object is a pattern or refused with faults, within the bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidings_core::{
    codec,
    filter::{MAX_FAULTS, Path, Pattern},
};

fuzz_target!(|text: &[u8]| {
    let Ok(Value::Object(filter)) = codec::json::parse(text) else { return };
    match Pattern::read(&filter, &Path::Root("filter")) {
        Ok(pattern) => assert!(pattern.nodes.len() <= filter.len()),
        Err(faults) => assert!((1..=MAX_FAULTS).contains(&faults.len())),
    }
});
