//! The webhook channel against real sockets: receivers that behave, and a zoo of those that do not.
//!
//! Each test starts its receivers on loopback ports of their own and makes attempts through the channel as the sender
//! does. What is checked is the [`Answer`], and where it matters what the receiver saw.

use std::{
    convert::Infallible,
    future::Future,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use tidings::{
    channels::{
        Answer, Channel, Job,
        resolver::{LookUp, LookingUp, SystemLookUp},
        webhook::{Clock, MAX_RESPONSE, WebhookChannel, WebhookSettings, read_certificates},
    },
    secrets::{KeyRing, PlainWebhook, new_signing_key},
};
use tidings_core::{
    domain::{
        Destination, DestinationId, ErrorClass, Limits, NotificationId, RetryPolicy, TeamId, Timestamp,
        address::{AddressPolicy, AllowList, UrlRules},
        attempt::MAX_EXCERPT,
    },
    message::{SigningKey, retry_after::MAX_RETRY_AFTER_MS},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::Instant,
};

const KEYS: &str = "test:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const BODY: &str = r#"{"type":"replicated.customer.created","data":{"name":"Globex"}}"#;
/// The shortest timeout there is: most receivers of the zoo end only by it.
const TIMEOUT_MS: u32 = 1_000;
/// An attempt must come back within its timeout plus this.
const A_LITTLE: Duration = Duration::from_millis(500);

// === what the sender does ===

struct Setup {
    allow: &'static [&'static str],
    look_up: Arc<dyn LookUp>,
    authorities: &'static [u8],
    clock: Clock,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            allow: &["127.0.0.0/8", "::1"],
            look_up: Arc::new(SystemLookUp::default()),
            authorities: b"",
            clock: Arc::new(now),
        }
    }
}

impl Setup {
    fn channel(self) -> WebhookChannel {
        let addresses = AddressPolicy::new(AllowList::parse(self.allow).unwrap(), false);
        let settings = WebhookSettings {
            rules: UrlRules { allow_http: true, addresses },
            extra_authorities: read_certificates(self.authorities).unwrap(),
        };
        WebhookChannel::new(settings, self.look_up, Arc::new(KeyRing::parse(KEYS).unwrap()), self.clock).unwrap()
    }
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64)
}

fn plain(url: &str) -> PlainWebhook {
    PlainWebhook {
        url: url.parse().unwrap(),
        signing_keys: vec![new_signing_key()],
        headers: vec![],
        timeout_ms: TIMEOUT_MS,
    }
}

fn job(plain: &PlainWebhook) -> Job {
    let (team, id) = (TeamId::new("acme").unwrap(), DestinationId::new("hook").unwrap());
    let webhook = KeyRing::parse(KEYS).unwrap().seal_webhook(&team, &id, plain);
    let destination = Destination {
        team,
        id,
        revision: 1,
        name: None,
        enabled: true,
        webhook,
        limits: Limits::default(),
        retry: RetryPolicy::default(),
    };
    Job {
        notification: NotificationId([7; 16]),
        attempt: 1,
        destination: Arc::new(destination),
        body: Bytes::from_static(BODY.as_bytes()),
    }
}

/// One attempt with usual settings; it must end in time whatever the receiver does.
async fn attempt(url: &str) -> Answer {
    let started = Instant::now();
    let answer = Setup::default().channel().deliver(job(&plain(url))).await;
    assert!(started.elapsed() < Duration::from_millis(TIMEOUT_MS.into()) + A_LITTLE, "took {:?}", started.elapsed());
    answer
}

#[track_caller]
fn assert_delivered(answer: &Answer) {
    assert_eq!(answer.failure, None, "{answer:?}");
}

#[track_caller]
fn assert_failed(answer: &Answer, class: ErrorClass, message: &str) {
    let failure = answer.failure.as_ref().unwrap_or_else(|| panic!("delivered: {answer:?}"));
    assert_eq!(failure.class, class, "{answer:?}");
    assert!(failure.message.contains(message), "{answer:?}");
    assert!(!failure.message.contains("127.0.0"), "an address is told: {answer:?}");
}

// === receivers ===

/// Serves each connection with `handle` until the test ends. Returns the URL to call.
async fn receiver<F: Future<Output = ()> + Send + 'static>(
    handle: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    url
}

/// Answers every request with these bytes and closes.
async fn answering(answer: impl Into<Vec<u8>>) -> String {
    let answer: Arc<[u8]> = answer.into().into();
    receiver(move |mut stream| {
        let answer = answer.clone();
        async move {
            if read_request(&mut stream).await.is_some() {
                let _ = stream.write_all(&answer).await;
            }
        }
    })
    .await
}

/// Answers 204, keeps connections open, and remembers what it saw.
async fn recording() -> (String, Arc<Mutex<Vec<Seen>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let url = receiver({
        let seen = seen.clone();
        move |mut stream| {
            let seen = seen.clone();
            async move {
                while let Some(request) = read_request(&mut stream).await {
                    seen.lock().unwrap().push(request);
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                }
            }
        }
    })
    .await;
    (url, seen)
}

#[derive(Clone, Debug)]
struct Seen {
    request_line: String,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

/// Reads one request with a `content-length`; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let request_line = lines.next()?.to_owned();
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { request_line, headers, body: bytes[end..].to_vec() })
}

/// Verifies with the official library, unmodified.
fn verify(seen: &Seen, key: &SigningKey) -> bool {
    standardwebhooks::Webhook::new(&key.reveal()).unwrap().verify(&seen.body, &seen.headers).is_ok()
}

// === a receiver that behaves ===

#[tokio::test]
async fn a_signed_post_arrives() {
    let (url, seen) = recording().await;
    let mut plain = plain(&url);
    plain.signing_keys.push(new_signing_key());
    let answer = Setup::default().channel().deliver(job(&plain)).await;
    assert_delivered(&answer);
    assert_eq!((answer.code, answer.response), (Some(204), None));

    let seen = seen.lock().unwrap()[0].clone();
    let header = |name: &str| seen.headers[name].to_str().unwrap().to_owned();
    assert_eq!(seen.request_line, "POST /hook HTTP/1.1");
    assert_eq!(seen.body, BODY.as_bytes());
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("accept"), "*/*");
    assert_eq!(header("user-agent"), concat!("Tidings/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header("webhook-id"), "07070707070707070707070707070707");
    assert_eq!(header("webhook-timestamp"), answer.at.seconds().to_string());
    assert!(!seen.headers.contains_key("accept-encoding"), "nothing here inflates");
    // While keys are rotated both the old and the new one verify; a stranger's does not.
    assert!(plain.signing_keys.iter().all(|key| verify(&seen, key)));
    assert!(!verify(&seen, &new_signing_key()));
}

#[tokio::test]
async fn row_84_a_repeat_keeps_its_id_and_is_signed_anew() {
    let (url, seen) = recording().await;
    let plain = plain(&url);
    let ticks = AtomicUsize::new(0);
    // Each look at the clock is 10 s later than the one before; the library accepts five minutes.
    let clock = Arc::new(move || now().plus(10_000 * ticks.fetch_add(1, Ordering::Relaxed) as i64));
    let channel = Setup { clock, ..Setup::default() }.channel();
    for _ in 0..2 {
        assert_delivered(&channel.deliver(job(&plain)).await);
    }
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[0].headers["webhook-id"], seen[1].headers["webhook-id"]);
    assert_ne!(seen[0].headers["webhook-timestamp"], seen[1].headers["webhook-timestamp"]);
    assert!(seen.iter().all(|seen| verify(seen, &plain.signing_keys[0])));
}

#[tokio::test]
async fn user_info_query_and_headers_arrive() {
    let (url, seen) = recording().await;
    let mut plain = plain(&format!("{}?token=a%20b", url.replace("http://", "http://user:p%40ss@")));
    plain.headers.push(("X-Tenant".to_owned(), "globex".to_owned().into()));
    plain.headers.push(("Accept".to_owned(), "text/plain".to_owned().into()));
    assert_delivered(&Setup::default().channel().deliver(job(&plain)).await);
    let seen = seen.lock().unwrap()[0].clone();
    assert_eq!(seen.request_line, "POST /hook?token=a%20b HTTP/1.1");
    assert_eq!(seen.headers["authorization"], "Basic dXNlcjpwQHNz");
    assert_eq!(seen.headers["x-tenant"], "globex");
    assert_eq!(seen.headers["accept"], "text/plain");
}

#[tokio::test]
async fn row_74_every_2xx_is_delivered() {
    let check = async |answer: &str, code: u16, response: Option<&str>| {
        let answer = attempt(&answering(answer).await).await;
        assert_delivered(&answer);
        assert_eq!((answer.code, answer.response.as_deref()), (Some(code), response));
    };
    check("HTTP/1.1 204 No Content\r\n\r\n", 204, None).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, None).await;
    check("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok", 202, Some("ok")).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"error\":\"no\"}", 200, Some("{\"error\":\"no\"}")).await;
    check("HTTP/1.0 200 OK\r\n\r\nold", 200, Some("old")).await;
}

#[tokio::test]
async fn one_connection_serves_many_attempts() {
    let connections = Arc::new(AtomicUsize::new(0));
    let url = receiver({
        let connections = connections.clone();
        move |mut stream| {
            connections.fetch_add(1, Ordering::Relaxed);
            async move {
                while read_request(&mut stream).await.is_some() {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            }
        }
    })
    .await;
    let channel = Setup::default().channel();
    for _ in 0..10 {
        assert_delivered(&channel.deliver(job(&plain(&url))).await);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

// === answers that are failures ===

#[tokio::test]
async fn rows_66_and_77_statuses_have_their_class() {
    let check = async |status: &str, class: ErrorClass, message: &str| {
        let answer = attempt(&answering(format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\noops")).await).await;
        assert_failed(&answer, class, message);
        assert_eq!(answer.response.as_deref(), Some("oops"));
        assert_eq!(answer.code, status[..3].parse().ok());
    };
    check("410 Gone", ErrorClass::Gone, "answered 410").await;
    check("404 Not Found", ErrorClass::ClientError, "answered 404").await;
    check("500 Oops", ErrorClass::ServerError, "answered 500").await;
    check("429 Slow Down", ErrorClass::RateLimited, "answered 429").await;
    check("300 Choose", ErrorClass::Redirect, "redirects are not followed").await;
}

#[tokio::test]
async fn row_66_redirects_are_told_and_not_followed() {
    for code in [301, 302, 303, 307, 308] {
        let (target, seen) = recording().await;
        let target = target.replace("127.0.0.1", "localhost");
        let answer = format!("HTTP/1.1 {code} Moved\r\nlocation: {target}?token=canary\r\ncontent-length: 0\r\n\r\n");
        let answer = attempt(&answering(answer).await).await;
        assert_failed(&answer, ErrorClass::Redirect, &format!("answered {code}; redirects are not followed: {target}"));
        assert!(!answer.failure.unwrap().message.contains("canary"));
        assert_eq!(seen.lock().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn row_78_retry_after_is_read_and_harmless() {
    let check = async |headers: &str, expected_ms: Option<i64>| {
        let answer = format!("HTTP/1.1 429 Slow Down\r\n{headers}content-length: 0\r\n\r\n");
        let answer = attempt(&answering(answer).await).await;
        assert_failed(&answer, ErrorClass::RateLimited, "429");
        assert_eq!(answer.failure.unwrap().retry_after_ms, expected_ms, "{headers}");
    };
    check("", None).await;
    check("retry-after: 5\r\n", Some(5_000)).await;
    check("retry-after: -1\r\n", None).await;
    check("retry-after: 99999999\r\n", Some(MAX_RETRY_AFTER_MS)).await;
    check("retry-after: NaN\r\n", None).await;
    check("retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", None).await;
    check("retry-after: 5\r\nretry-after: 7\r\nretry-after: x\r\n", Some(7_000)).await;
    check("retry-after: \u{e9}\r\n", None).await;
}

// === receivers that take their time ===

#[tokio::test]
async fn row_69_silence_ends_at_the_timeout() {
    let url = receiver(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let answer = attempt(&url).await;
    assert_failed(&answer, ErrorClass::Timeout, "no answer within 1000 ms");
    assert!((1_000..1_500).contains(&answer.duration_ms));
}

/// Answers with `head` at once and then one `drip` each 50 ms, for ever.
async fn dripping(head: &'static str, drip: &'static str) -> String {
    receiver(move |mut stream| async move {
        let _ = read_request(&mut stream).await;
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(drip.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test]
async fn rows_70_and_73_headers_without_end_end_at_the_timeout() {
    assert_failed(&attempt(&dripping("HTTP/1.1 200 OK\r\nx: ", "a").await).await, ErrorClass::Timeout, "no answer");
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
    assert_failed(&attempt(&dripping("", hints).await).await, ErrorClass::Timeout, "no answer");
}

#[tokio::test]
async fn row_70_a_slow_body_does_not_change_the_status() {
    let answer = attempt(&dripping("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", "a").await).await;
    assert_delivered(&answer);
    assert!(answer.response.unwrap().starts_with("aaaaa"));
    let answer = attempt(&dripping("HTTP/1.1 503 Busy\r\ncontent-length: 9999\r\n\r\n", "a").await).await;
    assert_failed(&answer, ErrorClass::ServerError, "503");
}

#[tokio::test]
async fn row_83_an_answer_just_in_time_is_delivered() {
    let url = receiver(|mut stream| async move {
        let _ = read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let answer = attempt(&url).await;
    assert_delivered(&answer);
    assert!(answer.duration_ms >= 800);
}

// === receivers that send too much, too little, or nonsense ===

/// Answers with `head` and then zeros as fast as they are taken; counts what was.
async fn flooding(head: &'static str) -> (String, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let url = receiver({
        let sent = sent.clone();
        move |mut stream| {
            let sent = sent.clone();
            async move {
                let _ = read_request(&mut stream).await;
                let _ = stream.write_all(head.as_bytes()).await;
                let block = [b'0'; 64 * 1024];
                while let Ok(bytes) = stream.write(&block).await {
                    sent.fetch_add(bytes, Ordering::Relaxed);
                }
            }
        }
    })
    .await;
    (url, sent)
}

/// What fits into the sockets' buffers of both sides, however little of it is read.
const SOCKET_BUFFERS: usize = 16 * 1024 * 1024;

#[tokio::test]
async fn row_71_a_body_without_end_is_cut() {
    let (url, sent) = flooding("HTTP/1.1 200 OK\r\n\r\n").await;
    let answer = attempt(&url).await;
    assert_delivered(&answer);
    assert!(answer.duration_ms < TIMEOUT_MS / 2, "cut by size, not by time: {answer:?}");
    assert_eq!(answer.response.unwrap(), "0".repeat(MAX_EXCERPT));
    assert!(sent.load(Ordering::Relaxed) < SOCKET_BUFFERS, "{} bytes were taken", sent.load(Ordering::Relaxed));
}

#[tokio::test]
async fn row_73_headers_without_end_are_refused() {
    let (url, sent) = flooding("HTTP/1.1 200 OK\r\nx: ").await;
    let answer = attempt(&url).await;
    assert_failed(&answer, ErrorClass::Protocol, "not HTTP");
    assert!(answer.duration_ms < TIMEOUT_MS / 2, "{answer:?}");
    assert!(sent.load(Ordering::Relaxed) < SOCKET_BUFFERS);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(2_000));
    assert_failed(&attempt(&answering(many).await).await, ErrorClass::Protocol, "not HTTP");
}

#[tokio::test]
async fn headers_of_64_kib_are_borne() {
    let answer = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "a".repeat(64 * 1024));
    assert_delivered(&attempt(&answering(answer).await).await);
}

#[tokio::test]
async fn row_72_compressed_bodies_stay_as_they_came() {
    // gzip of "inflated " forty times.
    let gzip =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\xccK\xcbI,IMQ\xc8\x1ce\xd0\x92\x01\x00,6d\x00h\x01\x00\x00";
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", gzip.len());
    let answer = attempt(&answering([head.as_bytes(), gzip].concat()).await).await;
    assert_delivered(&answer);
    let response = answer.response.unwrap();
    assert!(response.starts_with("\u{1f}\u{fffd}\u{8}") && !response.contains('\0'), "{response:?}");
    assert!(!response.contains("inflated inflated"));
}

#[tokio::test]
async fn row_73_broken_answers_count_by_their_status() {
    for broken in [
        "HTTP/1.1 {}\r\ncontent-length: 10\r\n\r\nhello",
        "HTTP/1.1 {}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        "HTTP/1.1 {}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffffff\r\n",
    ] {
        let answer = attempt(&answering(broken.replace("{}", "200 OK")).await).await;
        assert_delivered(&answer);
        assert_eq!(answer.response.as_deref(), Some("hello"), "{broken}");
        let answer = attempt(&answering(broken.replace("{}", "500 No")).await).await;
        assert_failed(&answer, ErrorClass::ServerError, "500");
    }
}

#[tokio::test]
async fn row_73_what_is_not_http_is_told() {
    for answer in [
        "<html>HTTP/0.9</html>\r\n",
        "\0\u{1}\u{2}garbage\r\n\r\n",
        "220 smtp.example ESMTP\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1",
        "",
    ] {
        assert_failed(&attempt(&answering(answer).await).await, ErrorClass::Protocol, "not HTTP");
    }
}

#[tokio::test]
async fn row_81_connections_closed_between_requests_do_not_repeat_any() {
    const ATTEMPTS: usize = 50;
    let requests = Arc::new(AtomicUsize::new(0));
    let url = receiver({
        let requests = requests.clone();
        move |mut stream| {
            let requests = requests.clone();
            async move {
                if read_request(&mut stream).await.is_some() {
                    requests.fetch_add(1, Ordering::Relaxed);
                    // Promises to stay, and goes.
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            }
        }
    })
    .await;
    let channel = Setup::default().channel();
    let mut delivered = 0;
    for _ in 0..ATTEMPTS {
        let answer = channel.deliver(job(&plain(&url))).await;
        match &answer.failure {
            None => delivered += 1,
            Some(_) => assert_failed(&answer, ErrorClass::Protocol, "broke off"),
        }
    }
    // A request that met the closing connection was read by nobody; nothing else is lost, and nothing sent twice.
    assert_eq!(requests.load(Ordering::Relaxed), delivered);
    assert!(delivered >= ATTEMPTS / 2, "{delivered}");
}

// === places that cannot or must not be reached ===

/// Answers the n-th look-up with the n-th list, and all later ones with the last.
struct Script {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

fn script(answers: &[&[&str]]) -> Arc<Script> {
    let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    Arc::new(Script { answers: answers.iter().map(parse).collect(), asked: AtomicUsize::new(0) })
}

impl LookUp for Script {
    fn look_up(&self, _: &str) -> LookingUp {
        let at = self.asked.fetch_add(1, Ordering::Relaxed).min(self.answers.len() - 1);
        let addresses = self.answers[at].clone();
        Box::pin(async { Ok(addresses) })
    }
}

fn named(url: &str) -> String {
    url.replace("127.0.0.1", "receiver.example")
}

#[tokio::test]
async fn row_67_a_name_that_changes_its_mind_is_refused_the_next_time() {
    let url = named(&answering("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await);
    let look_up = script(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let channel = Setup { allow: &["127.0.0.1"], look_up: look_up.clone(), ..Setup::default() }.channel();
    assert_delivered(&channel.deliver(job(&plain(&url))).await);
    assert_failed(&channel.deliver(job(&plain(&url))).await, ErrorClass::BlockedAddress, "delivery.allow_networks");
    assert_eq!(look_up.asked.load(Ordering::Relaxed), 2, "no look-up but that which is judged");
}

#[tokio::test]
async fn row_68_a_name_with_one_refused_address_is_refused() {
    let (url, seen) = recording().await;
    let look_up = script(&[&["127.0.0.1", "10.0.0.1"]]);
    let channel = Setup { allow: &["127.0.0.1"], look_up, ..Setup::default() }.channel();
    assert_failed(
        &channel.deliver(job(&plain(&named(&url)))).await,
        ErrorClass::BlockedAddress,
        "not public (private)",
    );
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn row_37_the_inside_is_refused_at_each_send() {
    let (url, seen) = recording().await;
    let port = url.parse::<url::Url>().unwrap().port().unwrap();
    let channel = Setup { allow: &[], ..Setup::default() }.channel();
    for host in
        ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "localhost.", "0"]
    {
        let answer = channel.deliver(job(&plain(&format!("http://{host}:{port}/hook")))).await;
        assert_failed(&answer, ErrorClass::BlockedAddress, "delivery.allow_networks");
    }
    // The same by a name that only a resolver can tell.
    let channel = Setup { allow: &[], look_up: script(&[&["127.0.0.1"]]), ..Setup::default() }.channel();
    let answer = channel.deliver(job(&plain(&named(&url)))).await;
    assert_failed(&answer, ErrorClass::BlockedAddress, "delivery.allow_networks");
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn localhost_is_called_once_it_is_allowed() {
    let (url, seen) = recording().await;
    assert_delivered(&attempt(&url.replace("127.0.0.1", "localhost")).await);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn names_and_ports_that_lead_nowhere_are_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_failed(&attempt(&format!("http://{free}/")).await, ErrorClass::Connect, "refused");
    let channel = Setup { look_up: script(&[&[]]), ..Setup::default() }.channel();
    let answer = channel.deliver(job(&plain("https://receiver.example/"))).await;
    assert_failed(&answer, ErrorClass::Dns, "no address");
}

/// Half the time to connect is each one's: a network that drops what it is sent must not take it all.
#[tokio::test]
async fn a_silent_address_of_a_name_leaves_time_for_the_next() {
    let (url, seen) = recording().await;
    let port = url.parse::<url::Url>().unwrap().port().unwrap();
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind(SocketAddr::from(([127, 0, 0, 2], port))).unwrap();
    let silent = silent.listen(1).unwrap();
    // Nobody accepts, and once its queue is full the system drops every further attempt.
    let filling: Vec<_> = (0..8).map(|_| tokio::spawn(TcpStream::connect(silent.local_addr().unwrap()))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(filling.iter().any(|connecting| !connecting.is_finished()), "its queue is full");

    let channel = Setup { look_up: script(&[&["127.0.0.2", "127.0.0.1"]]), ..Setup::default() }.channel();
    let patient = PlainWebhook { timeout_ms: 15_000, ..plain(&named(&url)) };
    assert_delivered(&channel.deliver(job(&patient)).await);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_told() {
    let channel = Setup::default().channel();
    let mut sealed_elsewhere = job(&plain("https://receiver.example/"));
    Arc::make_mut(&mut sealed_elsewhere.destination).id = DestinationId::new("other").unwrap();
    assert_failed(&channel.deliver(sealed_elsewhere).await, ErrorClass::Secret, "secret does not open");

    let mut ftp = job(&plain("https://receiver.example/"));
    Arc::make_mut(&mut ftp.destination).webhook.url = "ftp://receiver.example/".to_owned();
    assert_failed(&channel.deliver(ftp).await, ErrorClass::Configuration, "scheme \"ftp\"");
}

/// The environment of a running process cannot be changed safely, so this test runs itself again as a child.
#[tokio::test]
async fn proxies_of_the_environment_are_ignored() {
    const RECEIVER: &str = "TIDINGS_TEST_RECEIVER";
    if let Ok(url) = std::env::var(RECEIVER) {
        assert_delivered(&attempt(&url).await);
        return;
    }
    let (url, seen) = recording().await;
    let (proxy, proxied) = recording().await;
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "proxies_of_the_environment_are_ignored"]).env(RECEIVER, url);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, &proxy);
    }
    child.env_remove("NO_PROXY").env_remove("no_proxy").env_remove("REQUEST_METHOD");
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!((seen.lock().unwrap().len(), proxied.lock().unwrap().len()), (1, 0));
}

// === TLS ===

const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");

fn tls_config(certificate: &'static [u8]) -> rustls::ServerConfig {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).unwrap();
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(read_certificates(certificate).unwrap(), key)
        .unwrap()
}

/// Serves one certificate, answering 204 to whoever accepts it. Returns the URL to call.
fn tls_receiver(certificate: &'static [u8]) -> String {
    let config = Arc::new(tls_config(certificate));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    // Ends with the test process: nothing waits for it.
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok_and(|bytes| bytes > 0) {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
                let _ = stream.flush();
            }
        }
    });
    format!("https://localhost:{}/hook", address.port())
}

#[tokio::test]
async fn row_79_a_trusted_certificate_is_accepted() {
    let channel = Setup { authorities: AUTHORITY, ..Setup::default() }.channel();
    assert_delivered(&channel.deliver(job(&plain(&tls_receiver(include_bytes!("tls/good.pem"))))).await);
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered() {
    let mut config = tls_config(include_bytes!("tls/good.pem"));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (acceptor, seen) = (tokio_rustls::TlsAcceptor::from(Arc::new(config)), Arc::new(Mutex::new(Vec::new())));
    let url = receiver({
        let seen = seen.clone();
        move |stream| {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            async move {
                let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
                let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    seen.lock().unwrap().push((request.version(), request.headers().clone()));
                    async { Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from_static(b"thanks")))) }
                });
                let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(stream, answer).await;
            }
        }
    });
    let url = url.await.replace("http://127.0.0.1", "https://localhost");
    let channel = Setup { authorities: AUTHORITY, ..Setup::default() }.channel();
    for _ in 0..2 {
        let answer = channel.deliver(job(&plain(&url))).await;
        assert_delivered(&answer);
        assert_eq!((answer.code, answer.response.as_deref()), (Some(200), Some("thanks")));
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|(version, headers)| {
        *version == hyper::Version::HTTP_2 && headers.contains_key("webhook-signature") && !headers.contains_key("host")
    }));
}

#[tokio::test]
async fn row_79_other_certificates_are_refused() {
    let check = async |certificate: &'static [u8], authorities: &'static [u8], message: &str| {
        let channel = Setup { authorities, ..Setup::default() }.channel();
        let answer = channel.deliver(job(&plain(&tls_receiver(certificate)))).await;
        assert_failed(&answer, ErrorClass::Tls, message);
    };
    check(include_bytes!("tls/self-signed.pem"), AUTHORITY, "self-signed").await;
    check(include_bytes!("tls/good.pem"), b"", "issuer is not trusted").await;
    check(include_bytes!("tls/expired.pem"), AUTHORITY, "expired").await;
    check(include_bytes!("tls/other-name.pem"), AUTHORITY, "another name").await;
}

#[tokio::test]
async fn row_79_broken_handshakes_are_told() {
    let secure = |url: String| url.replace("http://", "https://");
    // A receiver of another protocol, which sees a ClientHello and answers in its own words.
    let answer = |bytes: &'static [u8]| {
        receiver(move |mut stream| async move {
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(bytes).await;
        })
    };
    let plain_http = secure(answer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
    assert_failed(&attempt(&plain_http).await, ErrorClass::Tls, "does not speak TLS");
    // The alert protocol_version, as a receiver sends it that knows TLS 1.0 only.
    let old = secure(answer(b"\x15\x03\x01\x00\x02\x02\x46").await);
    assert_failed(&attempt(&old).await, ErrorClass::Tls, "at least TLS 1.2");
    let closed = secure(answer(b"").await);
    assert_failed(&attempt(&closed).await, ErrorClass::Tls, "closed the connection during the TLS handshake");
    let stalled = receiver(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    assert_failed(&attempt(&secure(stalled.await)).await, ErrorClass::Timeout, "no answer within");
}

#[test]
fn the_answers_bounds_fit_each_other() {
    const { assert!(MAX_EXCERPT <= MAX_RESPONSE) };
}
