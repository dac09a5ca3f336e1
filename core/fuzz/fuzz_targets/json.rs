//! What the tape reads is what serde_json reads; what it leaves alone is for the parser, which takes nothing that serde_json refuses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidings_core::codec::{self, tape::Tape};

fuzz_target!(|text: &[u8]| {
    let theirs: Option<Value> = serde_json::from_slice(text).ok();
    let ours = codec::json::parse(text).ok();
    if let Some(ours) = &ours {
        assert_eq!(Some(ours), theirs.as_ref(), "parsed");
    }
    let mut tape = Tape::new();
    if let Ok(view) = tape.read_json(text) {
        assert_eq!(Some(view.to_value()), ours, "on the tape");
    }
});
