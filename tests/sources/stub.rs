//! A registry with Confluent's API, as far as Tidings asks, that can be told to fail.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

/// Runs until the test ends.
#[derive(Clone)]
pub struct Stub {
    pub url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    mode: Mode,
    answers: HashMap<String, Value>,
    /// Path and `authorization` of each request.
    asked: Vec<(String, String)>,
    /// Only with this `authorization`, if it is not empty.
    admits: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Answers,
    /// 500 to everything.
    Fails,
    /// Takes the request and says nothing.
    Hangs,
    /// A 404 that no registry would give.
    IsElsewhere,
}

// === impl Stub ===

impl Stub {
    pub fn start() -> Stub {
        Stub::serve("http", Some)
    }

    /// With the certificate that `tests/tls/authority.pem` has signed.
    pub fn start_tls() -> Stub {
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("../tls/key.pem")).unwrap();
        let chain = rustls::pki_types::CertificateDer::pem_slice_iter(include_bytes!("../tls/good.pem"));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
            .unwrap();
        let config = Arc::new(config);
        Stub::serve("https", move |stream| {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            Some(rustls::StreamOwned::new(connection, stream))
        })
    }

    /// An address at which nobody listens.
    pub fn absent() -> Stub {
        Stub { url: "http://127.0.0.1:1".to_owned(), ..Stub::start() }
    }

    fn serve<S: Read + Write + Send + 'static>(
        scheme: &str,
        secure: impl Fn(std::net::TcpStream) -> Option<S> + Send + Sync + 'static,
    ) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::new(Mutex::new(State {
            mode: Mode::Answers,
            answers: HashMap::new(),
            asked: Vec::new(),
            admits: String::new(),
        }));
        let url = format!("{scheme}://127.0.0.1:{}/base", listener.local_addr().unwrap().port());
        let stub = Stub { url, state };
        let (serving, secure) = (stub.clone(), Arc::new(secure));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serving, secure) = (serving.clone(), secure.clone());
                thread::spawn(move || {
                    let Some(mut stream) = secure(stream) else { return };
                    serving.answer(&mut stream);
                });
            }
        });
        stub
    }

    /// One request a connection.
    fn answer(&self, stream: &mut (impl Read + Write)) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
        let lower = head.to_lowercase();
        let at = lower.find("authorization: ").map(|at| at + "authorization: ".len());
        let authorization = at.map_or("", |at| head[at..].lines().next().unwrap_or_default()).to_owned();
        let (status, body) = {
            let mut state = self.state.lock().unwrap();
            state.asked.push((path.clone(), authorization.clone()));
            let mode = state.mode;
            match mode {
                Mode::Answers if !state.admits.is_empty() && state.admits != authorization => {
                    (401, json!({"error_code": 401}).to_string())
                }
                Mode::Answers => match state.answers.get(path.trim_start_matches("/base")) {
                    Some(answer) => (200, answer.to_string()),
                    None => (404, json!({"error_code": 40403, "message": "Schema not found"}).to_string()),
                },
                Mode::Fails => (500, json!({"error_code": 50001, "message": "no leader\u{7}"}).to_string()),
                Mode::IsElsewhere => (404, "<html>nothing here</html>".to_owned()),
                Mode::Hangs => {
                    drop(state);
                    // Until the other side gives up.
                    let _ = stream.read(&mut byte);
                    return;
                }
            }
        };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
        let _ = stream.flush();
    }

    pub fn is(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    pub fn admits(&self, authorization: &str) {
        self.state.lock().unwrap().admits = authorization.to_owned();
    }

    pub fn has(&self, path: &str, answer: Value) {
        self.state.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// An Avro schema under an id, as a registry without more to say of it answers.
    pub fn has_schema(&self, id: u32, schema: &str) {
        self.has(&format!("/schemas/ids/{id}"), json!({"schema": schema}));
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|(asked, _)| asked.trim_start_matches("/base") == path).count()
    }
}
