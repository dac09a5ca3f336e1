//! The schema registry of a run: a stub that can be taken away. It knows every id, as JSON, which is what the events are.
//!
//! What a process has asked for once it need not ask for again, so an outage is felt only with an id that is new: each one
//! has its own, and events are framed with it from then on.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use serde_json::json;

use crate::stub::{Mode, Stub};

/// How many outages a run may have.
const IDS: u32 = 16;

static REGISTRY: LazyLock<Stub> = LazyLock::new(|| {
    let stub = Stub::start();
    (1..=IDS).for_each(|id| stub.has(&format!("/schemas/ids/{id}"), json!({"schema": "{}", "schemaType": "JSON"})));
    stub
});
/// With which id events are framed; before the first outage they are not.
static ID: AtomicU32 = AtomicU32::new(0);

/// A run begins: there and as good as new. Its URL.
pub fn begin() -> &'static str {
    REGISTRY.is(Mode::Answers);
    ID.store(0, Ordering::Relaxed);
    &REGISTRY.url
}

/// `halt` takes it away, as producers begin to use another schema; `resume` brings it back.
pub fn control(action: &str) -> bool {
    if action == "resume" {
        REGISTRY.is(Mode::Answers);
    } else {
        REGISTRY.is(Mode::Fails);
        assert!(ID.fetch_add(1, Ordering::Relaxed) < IDS, "at most {IDS} outages");
    }
    true
}

/// An event as its producer writes it at this time.
pub fn framed(event: String) -> Vec<u8> {
    match ID.load(Ordering::Relaxed) {
        0 => event.into_bytes(),
        id => [&[0], &id.to_be_bytes()[..], event.as_bytes()].concat(),
    }
}

/// What was framed.
pub fn unframed(value: &[u8]) -> &[u8] {
    match value {
        [0, _, _, _, _, event @ ..] => event,
        event => event,
    }
}
