//! `tidings health`: whether the process that these settings describe can do its work; for health checks of containers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{Global, output};
use crate::config::Settings;

/// A process that takes longer to say how it is, is not well.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Exit code 0: ready. 1: not ready, with the reasons, or no answer.
pub async fn run(global: &Global) -> anyhow::Result<()> {
    let base = match &global.server {
        Some(server) => server.trim_end_matches('/').to_owned(),
        None => format!("http://{}", listening(&super::settings(global)?)?),
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let answer = http.get(format!("{base}/readyz")).send().await.with_context(|| format!("no answer from {base}"))?;
    let answer: Value = serde_json::from_slice(&answer.bytes().await?).context("/readyz")?;
    if global.json {
        output::json(&answer);
    }
    if answer["ready"] == Value::Bool(true) {
        return Ok(());
    }
    let reasons = answer["reasons"].as_object().cloned().unwrap_or_default();
    let reasons: Vec<String> = reasons.iter().map(|(what, why)| format!("{what}: {}", output::cell(why))).collect();
    bail!("not ready: {}", reasons.join("; "))
}

/// `telemetry.listen` of a process without the API, else `api.listen`. What listens everywhere is asked on loopback.
fn listening(settings: &Settings) -> anyhow::Result<SocketAddr> {
    let listen = &settings.telemetry.listen;
    let mut address = match listen.is_empty() {
        true => settings.api.listen,
        false => listen.parse().with_context(|| format!("telemetry.listen {listen}"))?,
    };
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn the_address_asked_is_the_one_listened_on() {
        let check = |flags: &[&str], expected: &str| {
            let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let settings = load(&Sources { flags, ..Sources::default() }).unwrap();
            assert_eq!(listening(&settings).unwrap().to_string(), expected);
        };
        check(&[], "127.0.0.1:8470");
        check(&["telemetry.listen=0.0.0.0:9464"], "127.0.0.1:9464");
        check(&["telemetry.listen=[::]:9464"], "[::1]:9464");
        check(&["api.listen=10.1.2.3:80"], "10.1.2.3:80");
    }
}
