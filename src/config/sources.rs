//! `[[source]]`: the texts of the configuration → how records are read.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidings_core::{
    codec::{
        Source,
        mapping::{FORMATS, Format, Place, Pointer},
    },
    domain::TeamId,
};

use super::Settings;

/// One `[[source]]`. The manual of each key is its comment in `source.toml`; empty texts say nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    pub topic: String,
    pub format: String,
    pub schema: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub id: String,
    pub source: String,
    pub team: String,
    pub time: String,
    pub subject: String,
    pub data: String,
    pub types: BTreeMap<String, String>,
    pub default_team: String,
}

// === impl Settings ===

impl Settings {
    /// In their order. The texts were checked when the settings were loaded.
    pub fn sources(&self) -> Vec<Source> {
        self.source.iter().filter_map(SourceSettings::read).collect()
    }
}

// === impl SourceSettings ===

impl SourceSettings {
    fn read(&self) -> Option<Source> {
        let place = |text: &str| text.parse::<Place>().ok();
        Some(Source {
            topic: self.topic.parse().ok()?,
            format: FORMATS.iter().find(|(name, _)| *name == self.format).map_or(Format::Auto, |(_, format)| *format),
            schema: Some(self.schema.clone()).filter(|name| !name.is_empty()),
            event_type: place(&self.event_type),
            id: place(&self.id),
            source: place(&self.source),
            team: place(&self.team),
            time: place(&self.time),
            subject: place(&self.subject),
            data: match self.data.as_str() {
                "" => None,
                "whole" => Some(Pointer::whole()),
                pointer => pointer.parse().ok(),
            },
            types: self.types.clone(),
            default_team: TeamId::new(&self.default_team).ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Sources, load};

    /// The rule lists them for its complaint; the core has them.
    #[test]
    fn every_format_can_be_configured() {
        let folder = tempfile::tempdir().unwrap();
        for (name, format) in super::FORMATS {
            let file = folder.path().join("tidings.toml");
            std::fs::write(&file, format!("[[source]]\ntopic = 'x'\nformat = '{name}'\n")).unwrap();
            let settings = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
            assert_eq!(settings.sources()[0].format, format);
        }
    }
}
