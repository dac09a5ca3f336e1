//! What settings become before anything is opened: values and files, no connections.

use std::sync::Arc;

use anyhow::Context;
use tidings_core::domain::address::{AddressPolicy, AllowList, UrlRules};

use crate::{
    channels::{
        resolver::SystemLookUp,
        webhook::{WebhookChannel, WebhookSettings},
    },
    config::{Mode, Settings},
    roles::{Clock, SystemClock},
    secrets::KeyRing,
    sources::configured::authorities,
};

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
