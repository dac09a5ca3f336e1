//! From three layers of text to one [`Settings`], with every mistake reported at once.
//!
//! text → table (each layer) → one table (later layers win) → checked against `default.toml` for keys and kinds,
//! against [`bounds`](super::bounds) for values → [`Settings`]. After the checks the last arrow cannot fail.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use toml::{Table, Value};

use super::{Settings, bounds};

/// The defaults, and the manual.
pub const DEFAULTS: &str = include_str!("default.toml");

/// The prefix of environment variables: `TIDINGS__LOG__TOPIC_PREFIX` sets `log.topic_prefix`.
pub const ENVIRONMENT_PREFIX: &str = "TIDINGS__";

/// The configuration file that is read if no other is named and it is there.
pub const DEFAULT_FILE: &str = "tidings.toml";

/// Where settings come from, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `None`: [`DEFAULT_FILE`], if it is there. A named file must be there.
    pub file: Option<PathBuf>,
    /// Variables of the environment; others than [`ENVIRONMENT_PREFIX`]'s are ignored.
    pub environment: Vec<(String, String)>,
    /// `key=value`, as `--set` takes them.
    pub flags: Vec<String>,
}

/// One mistake: where it was made, and what would have been right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// `tidings.toml`, `environment`, `--set`; empty where several layers together are wrong.
    pub origin: String,
    /// `section.key`.
    pub path: String,
    pub found: String,
    pub allowed: String,
}

/// Reads all layers. Every mistake is reported: first unknown keys and wrong kinds, layer by layer, then wrong values.
pub fn load(sources: &Sources) -> Result<Settings, Vec<ConfigFault>> {
    let (table, mut faults) = merge(sources);
    faults.extend(bounds::check(&table.values, &table.origins));
    if !faults.is_empty() {
        return Err(faults);
    }
    let settings: Settings = Value::Table(table.values).try_into().map_err(|error: toml::de::Error| {
        vec![ConfigFault::new("", "", error.message(), "what `tidings config doc` says")]
    })?;
    let faults = bounds::check_together(&settings);
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

/// The merged table with every secret replaced, as `tidings config show` prints it, with the layer of each key that is
/// not at its default.
pub fn show(sources: &Sources) -> (Table, BTreeMap<String, String>) {
    let (mut merged, _) = merge(sources);
    hide_secrets(&mut merged.values);
    (merged.values, merged.origins)
}

/// One table and, for each `section.key` that some layer set, which one.
#[derive(Debug)]
struct Merged {
    values: Table,
    origins: BTreeMap<String, String>,
}

fn merge(sources: &Sources) -> (Merged, Vec<ConfigFault>) {
    let mut merged = Merged { values: defaults(), origins: BTreeMap::new() };
    let mut faults = Vec::new();
    merged.take_file(sources.file.as_ref(), &mut faults);
    for (name, text) in &sources.environment {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        let path = rest.to_ascii_lowercase().replace("__", ".");
        merged.take_text(&path, text, &format!("environment {name}"), &mut faults);
    }
    for flag in &sources.flags {
        match flag.split_once('=') {
            Some((path, text)) => merged.take_text(path.trim(), text.trim(), "--set", &mut faults),
            None => faults.push(ConfigFault::new("--set", flag, "no `=`", "section.key=value")),
        }
    }
    (merged, faults)
}

pub(super) fn defaults() -> Table {
    DEFAULTS.parse().expect("default.toml is TOML; a test holds it")
}

fn hide_secrets(table: &mut Table) {
    for path in bounds::SECRET_KEYS {
        if let Some(Value::String(text)) = find_mut(table, path)
            && !text.is_empty()
        {
            *text = "…".to_owned();
        }
    }
    if let Some(Value::Table(properties)) = find_mut(table, "log.kafka.properties") {
        for (_, value) in properties.iter_mut().filter(|(name, _)| super::is_secret_property(name)) {
            *value = Value::String("…".to_owned());
        }
    }
}

fn find_mut<'t>(table: &'t mut Table, path: &str) -> Option<&'t mut Value> {
    match path.split_once('.') {
        None => table.get_mut(path),
        Some((section, rest)) => find_mut(table.get_mut(section)?.as_table_mut()?, rest),
    }
}

/// The value of `section.key`.
pub(super) fn find<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
    }
}

/// A table that is empty in the defaults takes any keys: `log.kafka.properties`, `schemas.ids`.
fn is_free(default: &Table) -> bool {
    default.is_empty()
}

// === impl Merged ===

impl Merged {
    fn take_file(&mut self, file: Option<&PathBuf>, faults: &mut Vec<ConfigFault>) {
        let path = file.cloned().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let origin = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return faults.push(ConfigFault::new(&origin, "", &error.to_string(), "a readable file")),
        };
        match text.parse::<Table>() {
            Ok(table) => {
                let defaults = defaults();
                overlay(&mut self.values, &defaults, table, "", &origin, &mut self.origins, faults);
            }
            Err(error) => {
                let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
                faults.push(ConfigFault::new(&format!("{origin} line {line}"), "", error.message(), "TOML"));
            }
        }
    }

    /// A value given as text takes the kind that the key has in the defaults.
    fn take_text(&mut self, path: &str, text: &str, origin: &str, faults: &mut Vec<ConfigFault>) {
        let defaults = defaults();
        let Some((kind, free_key)) = kind_of(&defaults, path) else {
            return faults.push(unknown(origin, path, &defaults));
        };
        let value = match parse_as(kind, free_key, text) {
            Ok(value) => value,
            Err(allowed) => {
                let found = if bounds::SECRET_KEYS.contains(&path) { "…".to_owned() } else { format!("{text:?}") };
                return faults.push(ConfigFault::new(origin, path, &found, allowed));
            }
        };
        let mut layer = value;
        for part in path_parts(path, free_key).into_iter().rev() {
            layer = Value::Table(Table::from_iter([(part.to_owned(), layer)]));
        }
        if let Value::Table(layer) = layer {
            overlay(&mut self.values, &defaults, layer, "", origin, &mut self.origins, faults);
        }
    }
}

/// Puts `layer` over `values`, refusing keys that the defaults do not have and values of another kind.
fn overlay(
    values: &mut Table,
    defaults: &Table,
    layer: Table,
    above: &str,
    origin: &str,
    origins: &mut BTreeMap<String, String>,
    faults: &mut Vec<ConfigFault>,
) {
    for (key, value) in layer {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        let Some(default) = defaults.get(&key) else {
            faults.push(unknown(origin, &path, &self::defaults()));
            continue;
        };
        match (default, value) {
            (Value::Table(default), Value::Table(layer)) if !is_free(default) => {
                if let Some(Value::Table(values)) = values.get_mut(&key) {
                    overlay(values, default, layer, &path, origin, origins, faults);
                }
            }
            (Value::Table(_), Value::Table(layer)) => {
                for (name, value) in layer {
                    let path = format!("{path}.{name}");
                    match scalar_text(&value) {
                        Some(text) => {
                            origins.insert(path, origin.to_owned());
                            if let Some(Value::Table(values)) = values.get_mut(&key) {
                                values.insert(name, Value::String(text));
                            }
                        }
                        None => faults.push(ConfigFault::new(origin, &path, kind_name(&value), "a text")),
                    }
                }
            }
            (default, value) if default.same_type(&value) => {
                origins.insert(path, origin.to_owned());
                values.insert(key, value);
            }
            (default, value) => faults.push(ConfigFault::new(origin, &path, kind_name(&value), kind_name(default))),
        }
    }
}

/// A librdkafka property may be written `true` or `30000`; librdkafka takes texts.
fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The default of a path, and whether its last part is a key of a free table (which may hold dots).
fn kind_of<'t>(defaults: &'t Table, path: &str) -> Option<(&'t Value, Option<usize>)> {
    let mut table = defaults;
    let mut start = 0;
    for (end, _) in path.match_indices('.').chain([(path.len(), "")]) {
        match table.get(&path[start..end])? {
            Value::Table(free) if is_free(free) && end < path.len() => {
                return Some((&table[&path[start..end]], Some(end + 1)));
            }
            Value::Table(next) if end < path.len() => table = next,
            value if end == path.len() => return Some((value, None)),
            _ => return None,
        }
        start = end + 1;
    }
    None
}

fn path_parts(path: &str, free_key: Option<usize>) -> Vec<&str> {
    match free_key {
        Some(start) => path[..start - 1].split('.').chain([&path[start..]]).collect(),
        None => path.split('.').collect(),
    }
}

fn parse_as(kind: &Value, free_key: Option<usize>, text: &str) -> Result<Value, &'static str> {
    if free_key.is_some() {
        return Ok(Value::String(text.to_owned()));
    }
    let wrong = kind_name(kind);
    match kind {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text.replace('_', "").parse().map(Value::Integer).map_err(|_| wrong),
        Value::Boolean(_) => text.parse().map(Value::Boolean).map_err(|_| wrong),
        Value::Array(_) => Ok(Value::Array(
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| item.into()).collect(),
        )),
        _ => Err(wrong),
    }
}

fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list (comma separated in the environment)",
        Value::Table(_) => "a section",
        Value::Datetime(_) => "a date",
    }
}

fn unknown(origin: &str, path: &str, defaults: &Table) -> ConfigFault {
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    let siblings = match (section, find(defaults, section)) {
        ("", _) => defaults,
        (_, Some(Value::Table(table))) => table,
        _ => defaults,
    };
    let names: Vec<&str> = siblings.keys().map(String::as_str).collect();
    ConfigFault::new(origin, path, "an unknown key", &names.join(", "))
}

// === impl ConfigFault ===

impl ConfigFault {
    pub fn new(origin: &str, path: &str, found: &str, allowed: &str) -> ConfigFault {
        ConfigFault {
            origin: origin.to_owned(),
            path: path.to_owned(),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.origin.is_empty() {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "found {}; allowed: {}", self.found, self.allowed)
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::codec::Written;

    use super::*;

    /// Loads a file's text, an environment and flags, and compares the complaints (or their absence).
    fn check(file: &str, environment: &[(&str, &str)], flags: &[&str], expected: &[&str]) -> Option<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidings.toml");
        std::fs::write(&path, file).unwrap();
        let sources = Sources {
            file: Some(path.clone()),
            environment: environment.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            flags: flags.iter().map(|f| f.to_string()).collect(),
        };
        let loaded = load(&sources);
        let found: Vec<String> = match &loaded {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(|f| f.to_string().replace(&path.display().to_string(), "FILE")).collect(),
        };
        assert_eq!(found, expected, "{file} {environment:?} {flags:?}");
        loaded.ok()
    }

    #[test]
    fn the_defaults_are_valid_settings() {
        let settings = check("", &[], &[], &[]).unwrap();
        assert_eq!(settings.log.max_event_bytes, 786_432);
        assert_eq!(settings.match_group(), "tidings.match");
    }

    #[test]
    fn later_layers_win() {
        let file = "[match]\nbatch_ms = 5\nbatch_records = 6\nmax_fanout = 7\n";
        let environment = [("TIDINGS__MATCH__BATCH_RECORDS", "8"), ("TIDINGS__MATCH__MAX_FANOUT", "9"), ("HOME", "x")];
        let settings = check(file, &environment, &["match.max_fanout=10"], &[]).unwrap();
        let matching = settings.matching;
        assert_eq!((matching.batch_ms, matching.batch_records, matching.max_fanout), (5, 8, 10));
    }

    #[test]
    fn texts_take_the_kind_of_their_key() {
        let environment = [
            ("TIDINGS__LOG__EVENTS_TOPICS", "a, b"),
            ("TIDINGS__DELIVERY__ALLOW_HTTP", "true"),
            ("TIDINGS__LOG__KAFKA__BROKERS", "one:9092"),
        ];
        let flags = [
            "log.kafka.properties.sasl.password=hush",
            "schemas.ids.7=replicated.customer.created",
            "schemas.ids.8=tidings.Destination",
        ];
        let settings = check("", &environment, &flags, &[]).unwrap();
        assert_eq!(settings.log.events_topics, ["a", "b"]);
        assert!(settings.delivery.allow_http);
        assert_eq!(settings.log.kafka.properties.0["sasl.password"], "hush");
        assert_eq!(settings.schema_ids(), [(7, "replicated.customer.created".to_owned())].into());
        assert_eq!(settings.directory_schema_ids(), [(8, Written::Destination)].into());
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        check(
            "mode = 'both'\n[match]\nbatch_record = 5\nbatch_ms = 0\n[api]\nlisten = 'here'\n[colour]\n",
            &[("TIDINGS__SEND__MAX_IN_FLIGHT", "many")],
            &["retention.days=0", "days"],
            &[
                "FILE: colour: found an unknown key; allowed: api, data, delivery, log, match, mode, process, retention, schemas, secrets, send, store, telemetry",
                "FILE: match.batch_record: found an unknown key; allowed: batch_bytes, batch_ms, batch_records, max_fanout, max_fanout_bytes, threads",
                "environment TIDINGS__SEND__MAX_IN_FLIGHT: send.max_in_flight: found \"many\"; allowed: a whole number",
                "--set: days: found no `=`; allowed: section.key=value",
                "FILE: mode: found \"both\"; allowed: embedded, distributed",
                "FILE: api.listen: found \"here\"; allowed: an IP address and a port, for example 127.0.0.1:8470",
                "FILE: match.batch_ms: found 0; allowed: 1 to 10000",
                "--set: retention.days: found 0; allowed: 1 to 3650",
            ],
        );
    }

    #[test]
    fn values_of_another_kind_are_refused() {
        check(
            "[match]\nbatch_ms = 'x'\n[schemas.ids]\nseven = 'a.b'\n",
            &[],
            &[],
            &[
                "FILE: match.batch_ms: found a text; allowed: a whole number",
                "FILE: schemas.ids.seven: found \"seven\"; allowed: a schema id, 0 to 4294967295",
            ],
        );
        check("[match\n", &[], &[], &["FILE line 1: found unclosed table, expected `]`; allowed: TOML"]);
    }

    #[test]
    fn the_distributed_mode_needs_its_addresses() {
        check(
            "mode = 'distributed'",
            &[],
            &[],
            &[
                "log.kafka.brokers: found nothing; allowed: host:port of Kafka brokers, in distributed mode",
                "store.url: found nothing; allowed: a postgres:// URL, in distributed mode",
            ],
        );
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        let secret = "hush-hush-hush-hush-hush-hush-hush";
        let sources = Sources {
            environment: vec![
                ("TIDINGS__API__TOKEN".into(), secret.into()),
                ("TIDINGS__STORE__URL".into(), format!("postgres://u:{secret}@h/d")),
                ("TIDINGS__SECRETS__KEYS".into(), secret.into()),
            ],
            flags: vec![format!("log.kafka.properties.sasl.password={secret}")],
            file: None,
        };
        let settings = load(&sources).unwrap();
        assert!(!format!("{settings:?}").contains(secret));
        assert!(!show(&sources).0.to_string().contains(secret));
        assert_eq!(settings.api.token.expose(), secret);
    }
}
