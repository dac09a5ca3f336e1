//! What settings become before anything is opened: values and files, no connections.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use rustls::pki_types::CertificateDer;
use secrecy::{ExposeSecret, SecretString};
use tidings_core::{
    catalog::Catalog,
    codec::{Decoder, Recipe},
    domain::address::{AddressPolicy, AllowList, UrlRules},
};

use crate::{
    channels::{
        resolver::SystemLookUp,
        webhook::{WebhookChannel, WebhookSettings, read_certificates},
    },
    config::{Mode, Settings},
    roles::{Clock, SystemClock},
    secrets::KeyRing,
    sources::{Credentials, Registry, RegistrySettings, Schemas},
    telemetry::Readiness,
};

/// How events are read, with the registry if there is one.
pub fn schemas(settings: &Settings, catalog: &Catalog, readiness: &Readiness) -> anyhow::Result<Schemas> {
    let registry = registry(settings)?;
    let recipe = Recipe {
        sources: settings.sources(),
        own_prefix: settings.log.topic_prefix.clone(),
        schema_ids: settings.schema_ids(),
        default_team: None,
        registry: registry.is_some(),
    };
    let decoder = Decoder::of(catalog, recipe).map_err(|faults| {
        let lines: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        anyhow::anyhow!("schemas.ids and sources have {} mistake(s):{lines}", faults.len())
    })?;
    let absent_for = Duration::from_secs(settings.registry.absent_seconds);
    Ok(match registry {
        None => Schemas::local(decoder),
        Some(registry) => Schemas::asking(decoder, registry, absent_for, readiness.clone()),
    })
}

fn registry(settings: &Settings) -> anyhow::Result<Option<Registry>> {
    let configured = &settings.registry;
    if configured.url.is_empty() {
        return Ok(None);
    }
    let file = &configured.secret_file;
    let secret: SecretString = match file.as_os_str().is_empty() {
        true => configured.secret.expose().into(),
        false => {
            let read = fs::read_to_string(file);
            read.with_context(|| format!("registry.secret_file {}", file.display()))?.trim().into()
        }
    };
    let credentials = match (configured.username.as_str(), secret.expose_secret()) {
        ("", "") => Credentials::Nobody,
        ("", _) => Credentials::Bearer(secret),
        (username, _) => Credentials::Basic { username: username.to_owned(), password: secret },
    };
    let ca_file = &configured.ca_file;
    Ok(Some(Registry::new(RegistrySettings {
        url: configured.url.parse().context("registry.url")?,
        credentials,
        authorities: authorities(ca_file).with_context(|| format!("registry.ca_file {}", ca_file.display()))?,
        timeout: Duration::from_millis(configured.timeout_ms),
    })?))
}

/// The certificates of a file of authorities; none if no file is named.
fn authorities(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    if file.as_os_str().is_empty() { Ok(Vec::new()) } else { Ok(read_certificates(&fs::read(file)?)?) }
}

/// The key ring: given, or read from its file, which only the embedded mode makes by itself.
pub fn keys(settings: &Settings) -> anyhow::Result<Arc<KeyRing>> {
    let given = settings.secrets.keys.expose();
    let file = settings.keys_file();
    let ring = match settings.mode {
        _ if !given.is_empty() => KeyRing::parse(given).context("secrets.keys")?,
        Mode::Embedded => KeyRing::load_or_create(&file)?,
        // Every process needs the same ring, so none of them may invent one.
        Mode::Distributed => KeyRing::load(&file).context(
            "give secrets.keys_file or secrets.keys (TIDINGS__SECRETS__KEYS): <key id>:<base64 of 32 bytes>",
        )?,
    };
    Ok(Arc::new(ring))
}

/// Which URLs may be called.
pub fn url_rules(settings: &Settings) -> anyhow::Result<UrlRules> {
    let allow = AllowList::parse(&settings.delivery.allow_networks).map_err(|faults| {
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("delivery.allow_networks: {}", texts.join("; "))
    })?;
    Ok(UrlRules { allow_http: settings.delivery.allow_http, addresses: AddressPolicy::new(allow, false) })
}

pub fn webhooks(settings: &Settings, rules: UrlRules, keys: Arc<KeyRing>) -> anyhow::Result<WebhookChannel> {
    let file = &settings.delivery.extra_ca_file;
    let extra_authorities = authorities(file).with_context(|| format!("delivery.extra_ca_file {}", file.display()))?;
    let clock = Arc::new(|| SystemClock.now());
    Ok(WebhookChannel::new(
        WebhookSettings { rules, extra_authorities },
        Arc::new(SystemLookUp::default()),
        keys,
        clock,
    )?)
}
