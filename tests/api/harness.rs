//! One API on a port of its own, with a data folder of its own, gone when it is dropped.

use std::{net::SocketAddr, sync::Arc};

use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use tempfile::TempDir;
use tidings::{
    api::{self, ApiState, Token},
    backup::Backups,
    config::{Settings, Sources, load, topic_specs},
    log::{
        Log,
        local::{Durability, Local, LocalOptions},
    },
    roles::{Stopper, directory::follower, editor::editor, replay::Replays, stop_pair},
    secrets::KeyRing,
    sources::{EventsTopics, Schemas},
    store::sqlite::{self, Sqlite},
    telemetry::{self, Readiness},
};
use tidings_core::{
    catalog::Catalog,
    codec::Decoder,
    domain::address::{AddressPolicy, AllowList, UrlRules},
    matcher,
};

pub const TOKEN: &str = "test-token-test-token-test-token";

pub struct Api {
    pub log: Local,
    pub store: Sqlite,
    pub readiness: Readiness,
    pub settings: Settings,
    address: SocketAddr,
    http: reqwest::Client,
    _stopper: Stopper,
    _folder: TempDir,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

// === impl Api ===

impl Api {
    /// Starts everything that the API needs, and no other role.
    pub async fn start() -> Api {
        let folder = tempfile::tempdir().unwrap();
        let flags = vec![format!("data.dir={}", folder.path().display()), "log.partitions=2".to_owned()];
        let settings = load(&Sources { flags, ..Sources::default() }).unwrap();
        let topics = settings.topics();
        let options = LocalOptions { durability: Durability::Relaxed, ..LocalOptions::default() };
        let log = Local::open(folder.path(), options).unwrap();
        for spec in topic_specs(&settings) {
            log.create_topic(spec).await.unwrap();
        }
        let store = Sqlite::open(&folder.path().join("store.db"), sqlite::Durability::Normal).await.unwrap();
        let catalog = Catalog::builtin();
        let readiness = Readiness::default();
        let (stopper, stop) = stop_pair();
        let (following, mut view) = follower(log.clone(), topics.directory.clone(), catalog.clone(), readiness.clone());
        let (task, editor) = editor(log.clone(), store.clone(), topics.directory.clone(), view.clone());
        tokio::spawn(following.run(stop.clone(), |_| {}));
        tokio::spawn(task.run(stop.clone()));
        view.ready().await.unwrap();
        let schemas = Schemas::local(Decoder::new(catalog.clone(), Default::default(), None).unwrap());
        let replays = Replays {
            log: log.clone(),
            store: store.clone(),
            view: view.clone(),
            schemas: schemas.clone(),
            options: matcher::Options {
                deliveries: topics.deliveries.clone(),
                deadletters: topics.dead_letters.clone(),
                index_versions: topics.index_versions.clone(),
                delivery_partitions: settings.log.partitions,
                max_fanout: settings.matching.max_fanout,
                max_fanout_bytes: settings.matching.max_fanout_bytes,
                max_batch_bytes: settings.matching.batch_bytes,
                threads: 2,
            },
            group: settings.match_group(),
            events: EventsTopics::fixed(topics.events.clone()),
            directory: topics.directory.clone(),
            prefix: settings.log.topic_prefix.clone(),
            retention_days: settings.retention.days,
        };
        let state = Arc::new(ApiState {
            log: log.clone(),
            store: store.clone(),
            view,
            editor,
            schemas,
            catalog,
            keys: Arc::new(KeyRing::load_or_create(&settings.keys_file()).unwrap()),
            topics,
            replays,
            backups: Some(Backups::new(log.clone(), folder.path().to_owned())),
            url_rules: UrlRules { allow_http: false, addresses: AddressPolicy::new(AllowList::default(), false) },
            max_event_bytes: settings.log.max_event_bytes,
            token: Token::new(TOKEN),
            readiness: readiness.clone(),
            metrics: telemetry::recorder().handle(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut stopping = stop.clone();
        tokio::spawn(api::serve(state, listener, async move { stopping.ordered().await }));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Api { log, store, readiness, settings, address, http, _stopper: stopper, _folder: folder }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A request without token.
    pub fn stranger(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.stranger(method, path).bearer_auth(TOKEN)
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        answer(self.request(method, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    /// A destination to name in subscriptions.
    pub async fn destination(&self, team: &str, id: &str) {
        let body = serde_json::json!({"webhook": {"url": "https://example.com/hook"}});
        self.put(&format!("/v1/teams/{team}/destinations/{id}"), &body).await.expect(201);
    }
}

pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

// === impl Answer ===

impl Answer {
    /// The body, if the status is this one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { serde_json::from_str(&self.text).unwrap() }
    }

    /// The faults, as `path: found; allowed`, if the answer is such an error.
    #[track_caller]
    pub fn faults(&self, status: u16) -> Vec<String> {
        let error = self.expect(status)["error"].clone();
        let faults = error["faults"].as_array().unwrap();
        let text = |fault: &Value, key: &str| fault[key].as_str().unwrap().to_owned();
        faults.iter().map(|f| format!("{}: {}; {}", text(f, "path"), text(f, "found"), text(f, "allowed"))).collect()
    }
}
