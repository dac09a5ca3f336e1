//! One question to a registry, and what is believed of its answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tidings::{
    channels::webhook::read_certificates,
    sources::{Credentials, Registry, RegistrySettings, Schemas},
    telemetry::Readiness,
};
use tidings_core::{
    catalog::Catalog,
    codec::{Decoder, Reason, Recipe, Registered, SchemaRef, Unread},
    domain::{Record, TeamId, Timestamp},
};

use crate::stub::{Mode, Stub};

const TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long "there is none" is believed here.
const ABSENT_FOR: Duration = Duration::from_millis(400);
const ID: SchemaRef = SchemaRef::Id(7);
const PATH: &str = "/schemas/ids/7";
pub const SCHEMA: &str = r#"{"type": "record", "name": "shop.Sold", "fields": [{"name": "sku", "type": "string"}, {"name": "n", "type": "int"}]}"#;

fn registry_as(stub: &Stub, credentials: Credentials, authorities: &[u8]) -> Registry {
    Registry::new(RegistrySettings {
        url: stub.url.parse().unwrap(),
        credentials,
        authorities: read_certificates(authorities).unwrap(),
        timeout: TIMEOUT,
    })
    .unwrap()
}

fn registry(stub: &Stub) -> Registry {
    registry_as(stub, Credentials::Nobody, b"")
}

/// What matchers and senders would share.
pub fn schemas(stub: &Stub, readiness: Readiness) -> Schemas {
    let recipe = Recipe { registry: true, default_team: Some(TeamId::new("acme").unwrap()), ..Recipe::default() };
    Schemas::asking(Decoder::of(&Catalog::builtin(), recipe).unwrap(), registry(stub), ABSENT_FOR, readiness)
}

/// `{"sku": "x", "n": 1}` of [`SCHEMA`], framed.
pub fn sold(id: u32) -> Bytes {
    [&[0], &id.to_be_bytes()[..], b"\x02x\x02"].concat().into()
}

fn record(headers: &[(&str, &[u8])], value: Bytes) -> Record {
    Record {
        topic: "shop".into(),
        partition: 0,
        offset: 0,
        timestamp: Timestamp(0),
        key: None,
        value: Some(value),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), Bytes::copy_from_slice(v))).collect(),
    }
}

#[tokio::test]
async fn a_schema_comes_with_what_it_refers_to_each_after_its_own() {
    let stub = Stub::start();
    let reference = |name: &str| json!({"name": name, "subject": format!("s/{name}"), "version": 2});
    stub.has(PATH, json!({"schema": "A", "references": [reference("B"), reference("C")]}));
    stub.has("/subjects/s%2FB/versions/2", json!({"schema": "B", "references": [reference("C")]}));
    // A circle, which no registry should have, ends.
    stub.has("/subjects/s%2FC/versions/2", json!({"schema": "C", "references": [reference("B")]}));
    let found = registry(&stub).schema(&ID).await.unwrap().unwrap();
    let expected = Registered {
        schema_type: "AVRO".to_owned(),
        schema: "A".to_owned(),
        references: vec!["C".to_owned(), "B".to_owned()],
        subjects: Vec::new(),
    };
    assert_eq!(found, expected);
    assert_eq!(stub.asked("/subjects/s%2FC/versions/2"), 1);
}

#[tokio::test]
async fn a_schema_type_is_told_and_what_is_not_avro_is_asked_no_references_of() {
    let stub = Stub::start();
    let reference = json!([{"name": "B", "subject": "b", "version": 1}]);
    stub.has(PATH, json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF", "references": reference}));
    let found = registry(&stub).schema(&ID).await.unwrap().unwrap();
    assert_eq!((found.schema_type.as_str(), found.references.len()), ("PROTOBUF", 0));
}

#[tokio::test]
async fn only_the_registrys_own_word_is_an_absence_all_else_is_an_outage() {
    let stub = Stub::start();
    assert_eq!(registry(&stub).schema(&ID).await, Ok(None));
    assert_eq!(stub.asked(PATH), 3, "it is asked again before it is believed");
    let check = async |mode: Mode, expected: &str| {
        stub.is(mode);
        let began = Instant::now();
        let error = registry(&stub).schema(&ID).await.unwrap_err().to_string();
        assert!(error.starts_with("the schema registry does not answer: ") && error.contains(expected), "{error}");
        assert!(!error.contains("127.0.0.1") && !error.contains('\u{7}'), "{error}");
        assert!(began.elapsed() < TIMEOUT + Duration::from_secs(5), "{mode:?} took {:?}", began.elapsed());
    };
    check(Mode::Fails, "500").await;
    check(Mode::Hangs, "within 1500 ms").await;
    check(Mode::IsElsewhere, "is the path of registry.url right?").await;
    stub.is(Mode::Answers);
    stub.has(PATH, json!({"no": "schema"}));
    check(Mode::Answers, "no schema in its answer").await;
    stub.has(PATH, json!({"schema": "x".repeat(4 << 20)}));
    check(Mode::Answers, "an answer of more than").await;
    stub.admits("Basic nobody");
    check(Mode::Answers, "look at registry.username and registry.secret").await;
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_an_outage() {
    let error = registry(&Stub::absent()).schema(&ID).await.unwrap_err().to_string();
    assert!(error.contains("the connection failed"), "{error}");
}

#[tokio::test]
async fn credentials_are_basic_or_bearer_and_shown_nowhere() {
    let stub = Stub::start();
    stub.has_schema(7, SCHEMA);
    let check = async |credentials: Credentials, authorization: &str| {
        stub.admits(authorization);
        let found = registry_as(&stub, credentials, b"").schema(&ID).await;
        assert!(found.unwrap().is_some(), "{authorization}");
    };
    check(Credentials::Bearer("t-1".into()), "Bearer t-1").await;
    let basic = Credentials::Basic { username: "user".to_owned(), password: "hush".into() };
    check(basic, "Basic dXNlcjpodXNo").await;
}

#[tokio::test]
async fn a_registry_of_an_own_authority_is_trusted_if_that_is_named() {
    let stub = Stub::start_tls();
    stub.has_schema(7, SCHEMA);
    let error = registry(&stub).schema(&ID).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let trusting = registry_as(&stub, Credentials::Nobody, include_bytes!("../tls/authority.pem"));
    assert!(trusting.schema(&ID).await.unwrap().is_some());
}

#[tokio::test]
async fn many_who_need_a_schema_at_once_ask_once() {
    let stub = Stub::start();
    stub.has_schema(7, SCHEMA);
    let schemas = schemas(&stub, Readiness::default());
    let asking = (0..100).map(|_| {
        let schemas = schemas.clone();
        tokio::spawn(async move { schemas.learn(ID).await })
    });
    for one in asking.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(stub.asked(PATH), 1);
    let decoded = schemas.decode(&record(&[], sold(7))).await.unwrap();
    assert_eq!((&*decoded.event.event_type, decoded.event.data), ("shop.Sold", json!({"sku": "x", "n": 1})));
    assert_eq!(stub.asked(PATH), 1, "what is known is not asked for");
}

/// The type is named by nothing else, so the subject is asked for.
#[tokio::test]
async fn subjects_are_asked_for_where_the_schema_names_no_known_type() {
    let stub = Stub::start();
    stub.has_schema(7, SCHEMA);
    stub.has("/schemas/ids/7/subjects", json!(["tyk.QuotaExceeded-value"]));
    let decoded = schemas(&stub, Readiness::default()).decode(&record(&[], sold(7))).await.unwrap();
    assert_eq!(&*decoded.event.event_type, "tyk.QuotaExceeded");
    stub.has_schema(8, &SCHEMA.replace("shop.Sold", "tyk.QuotaExceeded"));
    let decoded = schemas(&stub, Readiness::default()).decode(&record(&[], sold(8))).await.unwrap();
    assert_eq!(&*decoded.event.event_type, "tyk.QuotaExceeded");
    assert_eq!(stub.asked("/schemas/ids/8/subjects"), 0);
}

#[tokio::test]
async fn what_is_absent_is_asked_for_again_after_a_while() {
    let stub = Stub::start();
    let schemas = schemas(&stub, Readiness::default());
    let poison = schemas.decode(&record(&[], sold(7))).await.unwrap_err();
    assert_eq!((poison.reason, poison.detail.as_str()), (Reason::UnknownSchema, "the registry has no schema 7"));
    let tries = stub.asked(PATH);
    stub.has_schema(7, SCHEMA);
    assert!(schemas.decode(&record(&[], sold(7))).await.is_err(), "it is believed for a while");
    assert_eq!(stub.asked(PATH), tries);
    tokio::time::sleep(ABSENT_FOR + Duration::from_millis(50)).await;
    assert!(schemas.decode(&record(&[], sold(7))).await.is_ok());
}

#[tokio::test]
async fn an_outage_is_no_poison_and_is_not_remembered() {
    let stub = Stub::start();
    stub.is(Mode::Fails);
    let schemas = schemas(&stub, Readiness::default());
    let record = record(&[], sold(7));
    assert!(schemas.learn(ID).await.is_err());
    assert_eq!(schemas.decoder().decode(&record), Err(Unread::Needs(ID)));
    stub.is(Mode::Answers);
    stub.has_schema(7, SCHEMA);
    assert!(schemas.decode(&record).await.is_ok());
}

#[tokio::test]
async fn a_guid_in_a_header_is_asked_for_as_such() {
    let stub = Stub::start();
    let path = "/schemas/guids/5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a";
    stub.has(path, json!({"schema": SCHEMA, "guid": "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a"}));
    let header = [&[1][..], &[0x5A; 16]].concat();
    let record = record(&[("__value_schema_id", &header)], Bytes::from_static(b"\x02x\x02"));
    let decoded = schemas(&stub, Readiness::default()).decode(&record).await.unwrap();
    assert_eq!(decoded.event.data, json!({"sku": "x", "n": 1}));
    assert_eq!(stub.asked(path), 1);
}
