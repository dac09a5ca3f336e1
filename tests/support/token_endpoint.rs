//! A token endpoint as an OIDC server has one, for `client_credentials`: it gives tokens that nobody has signed.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// Who may have a token, and what for.
const CLIENT: &str = "tidings-client:s3cret";
/// How long a token holds, in seconds.
const HOLDS_S: u64 = 300;

/// Runs until the test ends.
pub struct TokenEndpoint {
    pub url: String,
    given: Arc<AtomicUsize>,
}

impl TokenEndpoint {
    pub fn start(principal: &'static str) -> TokenEndpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let given = Arc::new(AtomicUsize::new(0));
        let count = given.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if answer(&mut stream, principal) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        TokenEndpoint { url, given }
    }

    /// How many tokens it has given.
    pub fn given(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }
}

/// One request a connection; whether it was given a token.
fn answer(stream: &mut TcpStream, principal: &str) -> bool {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let line = |name: &str| {
        let found = head.lines().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
        found.map_or("", |(_, value)| value).to_owned()
    };
    let mut body = vec![0; line("content-length").parse().unwrap_or(0)];
    if stream.read_exact(&mut body).is_err() {
        return false;
    }
    let asked = String::from_utf8(body).unwrap();
    let basic = format!("Basic {}", BASE64_STANDARD.encode(CLIENT));
    let is_known = line("authorization") == basic && asked.contains("grant_type=client_credentials");
    let (status, answer) = match is_known {
        true => ("200 OK", json!({"access_token": token(principal), "token_type": "Bearer", "expires_in": HOLDS_S})),
        false => ("401 Unauthorized", json!({"error": "invalid_client", "error_description": "no such client"})),
    };
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}", answer.len());
    let sent = stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n{answer}").as_bytes());
    sent.is_ok() && is_known
}

fn token(principal: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"sub": principal, "iat": now - 1, "exp": now + HOLDS_S});
    format!("{}.{}.", part(json!({"alg": "none"})), part(claims))
}
