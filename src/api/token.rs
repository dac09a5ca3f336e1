//! The operator token: where it comes from, and the check that stands before every guarded path.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};

use super::{ApiError, ApiState};
use crate::{
    config::{Mode, Settings},
    log::Log,
    store::Store,
};

/// The operator token, of which only a hash is kept: comparing hashes takes the same time whatever was sent.
#[derive(Clone)]
pub struct Token {
    hash: blake3::Hash,
    /// Derived for [`super::cursor`], so that cursors of one installation hold for all its API processes.
    pub(super) cursor_key: [u8; 32],
}

/// Random bytes of a token that Tidings makes: 64 hexadecimal digits.
const TOKEN_BYTES: usize = 32;
/// Shorter ones could be guessed.
const MIN_TOKEN: usize = 32;
const FILE_MODE: u32 = 0o600;
const CURSOR_CONTEXT: &str = "tidings 2026-11-23 api cursor";

/// The token of this installation, in clear: configured, read from its file, or made.
///
/// One is made only where nobody else could have meant to give one: in embedded mode, or on loopback.
pub fn prepare(settings: &Settings) -> anyhow::Result<String> {
    let configured = settings.api.token.expose();
    if !configured.is_empty() {
        return Ok(configured.to_owned());
    }
    let path = settings.token_file();
    match fs::read_to_string(&path) {
        Ok(text) => read(&path, &text),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| path.display().to_string()),
        Err(_) if settings.mode == Mode::Embedded || settings.api.listen.ip().is_loopback() => make(&path),
        Err(_) => bail!(
            "api.listen is {}, which is not loopback, and there is no operator token: set api.token \
             (TIDINGS__API__TOKEN) or put one into {}",
            settings.api.listen,
            path.display()
        ),
    }
}

/// Refuses every request that does not bear the token.
pub async fn require<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match given {
        Some((_, token)) if state.token.is(token.trim()) => Ok(next.run(request).await),
        _ => Err(ApiError::Unauthorized),
    }
}

fn read(path: &Path, text: &str) -> anyhow::Result<String> {
    let text = text.trim();
    if text.len() < MIN_TOKEN {
        bail!("{}: a token of {} characters; at least {MIN_TOKEN} are needed", path.display(), text.len());
    }
    Ok(text.to_owned())
}

/// Makes a token file that its owner alone can read. Another process may be quicker; then its token holds.
fn make(path: &Path) -> anyhow::Result<String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Written beside and linked into place, so that nobody reads half a token.
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside).and_then(|mut file| {
        writeln!(file, "{text}")?;
        file.sync_all()
    });
    written.with_context(|| beside.display().to_string())?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside).with_context(|| beside.display().to_string())?;
    match linked {
        Ok(()) => Ok(text),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read(path, &fs::read_to_string(path).with_context(|| path.display().to_string())?)
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

// === impl Token ===

impl Token {
    pub fn new(text: &str) -> Token {
        Token { hash: blake3::hash(text.as_bytes()), cursor_key: blake3::derive_key(CURSOR_CONTEXT, text.as_bytes()) }
    }

    fn is(&self, given: &str) -> bool {
        // blake3::Hash compares in constant time.
        self.hash == blake3::hash(given.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Sources, load};

    fn settings(flags: &[String]) -> Settings {
        load(&Sources { flags: flags.to_vec(), ..Sources::default() }).unwrap()
    }

    fn distributed(listen: &str, folder: &Path) -> Settings {
        settings(&[
            "mode=distributed".to_owned(),
            "log.kafka.brokers=localhost:9092".to_owned(),
            "store.url=postgres://localhost/tidings".to_owned(),
            format!("api.listen={listen}"),
            format!("data.dir={}", folder.display()),
        ])
    }

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&[format!("data.dir={}", folder.path().join("new").display())]);
        let token = prepare(&settings).unwrap();
        let text = fs::read_to_string(settings.token_file()).unwrap();
        assert_eq!(token, text.trim());
        assert!(Token::new(&token).is(text.trim()) && !Token::new(&token).is(""));
        assert_eq!(fs::metadata(settings.token_file()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(prepare(&settings).unwrap(), token, "the second start reads the same");
    }

    #[test]
    fn other_addresses_than_loopback_need_a_token_that_someone_gave() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = prepare(&distributed("0.0.0.0:8470", folder.path())).err().unwrap().to_string();
        assert!(refusal.contains("api.listen is 0.0.0.0:8470") && refusal.contains("TIDINGS__API__TOKEN"), "{refusal}");
        fs::write(folder.path().join("operator.token"), "a".repeat(32)).unwrap();
        assert!(prepare(&distributed("0.0.0.0:8470", folder.path())).is_ok());
        fs::write(folder.path().join("operator.token"), "short").unwrap();
        assert!(prepare(&distributed("127.0.0.1:8470", folder.path())).is_err());
    }
}
