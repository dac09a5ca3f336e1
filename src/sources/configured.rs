//! What settings say of registry and schemas → what records are read with: values and files, no connections.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use tidings_core::{
    catalog::Catalog,
    codec::{Decoder, Recipe},
};

use super::{Credentials, Registry, RegistrySettings, Schemas};
use crate::{config::Settings, schemas::earlier, telemetry::Readiness};

/// How events are read, with the registry if there is one.
pub fn schemas(settings: &Settings, catalog: &Catalog, readiness: &Readiness) -> anyhow::Result<Schemas> {
    let registry = registry(settings)?;
    let decoder = decoder(settings, catalog)?.map_err(|faults| {
        let lines: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        anyhow::anyhow!("schemas and sources have {} mistake(s):{lines}", faults.len())
    })?;
    let absent_for = Duration::from_secs(settings.registry.absent_seconds);
    Ok(match registry {
        None => Schemas::local(decoder),
        Some(registry) => Schemas::asking(decoder, registry, absent_for, readiness.clone()),
    })
}

/// The decoder, or every mistake in what it is made of; the outer error is of a folder that cannot be read.
pub fn decoder(settings: &Settings, catalog: &Catalog) -> anyhow::Result<Result<Decoder, Vec<String>>> {
    let recipe = Recipe {
        sources: settings.sources(),
        own_prefix: settings.log.topic_prefix.clone(),
        schema_ids: settings.schema_ids(),
        earlier: earlier(settings)?,
        default_team: None,
        registry: !settings.registry.url.is_empty(),
    };
    Ok(Decoder::of(catalog, recipe))
}

/// The registry, if one is configured.
pub fn registry(settings: &Settings) -> anyhow::Result<Option<Registry>> {
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
pub fn authorities(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    if file.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    Ok(CertificateDer::pem_slice_iter(&fs::read(file)?).collect::<Result<_, _>>()?)
}
