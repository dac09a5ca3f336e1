//! Records that nobody can read. The API refuses such events at the door, but producers that write to the topic
//! themselves do not pass that door; so the demo puts some into its log before Tidings starts.

use bytes::Bytes;
use tidings_core::domain::Output;

use crate::{
    config::{Settings, topic_specs},
    log::{
        Log, LogError,
        local::{Local, LocalOptions},
    },
};

/// What went wrong in which producer, and the bytes that came of it.
const RECORDS: [(&str, &[u8]); 4] = [
    ("cut off in the middle", br#"{"team":"acme","type":"replicated.customer.created","data":{"customer_na"#),
    ("of no team", br#"{"type":"scalingo.app_crashed","data":{"app_id":"app-billing","app_name":"billing"}}"#),
    ("of a schema that nobody registered", b"\0\0\0\x12\x67\x06\x0e2026-11"),
    ("not meant for this topic", b"PING health-check 7"),
];

/// Appends the records, in a log that no process has open.
pub async fn append(settings: &Settings) -> Result<(), LogError> {
    let log = Local::open(&settings.data.dir, LocalOptions::default())?;
    for spec in topic_specs(settings) {
        log.create_topic(spec).await?;
    }
    let topic = settings.topics().events[0].clone();
    let output = |value: &'static [u8]| Output {
        topic: topic.clone(),
        partition: None,
        key: None,
        value: Some(Bytes::from_static(value)),
        headers: Vec::new(),
    };
    log.append(RECORDS.iter().map(|(_, value)| output(value)).collect()).await
}

#[cfg(test)]
mod tests {
    use tidings_core::{
        catalog::Catalog,
        codec::{Decoder, Poison},
        domain::{Record, Timestamp},
    };

    use super::*;

    #[test]
    fn none_of_them_can_be_read() {
        let decoder = Decoder::new(Catalog::builtin(), Default::default(), None).unwrap();
        let mut reasons = std::collections::BTreeSet::new();
        for (what, value) in RECORDS {
            let record = Record {
                topic: "events".into(),
                partition: 0,
                offset: 0,
                timestamp: Timestamp(0),
                key: None,
                value: Some(Bytes::from_static(value)),
                headers: Vec::new(),
            };
            let unread = decoder.decode(&record).map(|decoded| decoded.event).expect_err(what);
            reasons.insert(Poison::from(unread).reason.as_str());
        }
        assert!(reasons.len() >= 3, "the demo is to show several reasons: {reasons:?}");
    }
}
