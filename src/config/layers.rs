//! From three layers of text to one [`Settings`], with every mistake reported at once.
//!
//! text → table (each layer) → one table (later layers win) → checked against `default.toml` for keys and kinds,
//! against [`bounds`] for values → [`Settings`]. After the checks the last arrow cannot fail.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use toml::{Table, Value};

use super::{Settings, bounds};

/// The defaults, and the manual.
pub const DEFAULTS: &str = include_str!("default.toml");

/// The same of one `[[source]]`.
pub const SOURCE_DEFAULTS: &str = include_str!("source.toml");

/// Sections of this name are a list.
const SOURCE: &str = "source";
/// The most of them.
pub const MAX_SOURCES: usize = 100;

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

fn source_defaults() -> Table {
    SOURCE_DEFAULTS.parse().expect("source.toml is TOML; a test holds it")
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
            Ok(mut table) => {
                let sources = table.remove(SOURCE);
                let defaults = defaults();
                overlay(&mut self.values, &defaults, table, "", &origin, &mut self.origins, faults);
                self.take_sources(sources, &origin, faults);
            }
            Err(error) => {
                let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
                faults.push(ConfigFault::new(&format!("{origin} line {line}"), "", error.message(), "TOML"));
            }
        }
    }

    /// Each source is laid over the defaults of one.
    fn take_sources(&mut self, found: Option<Value>, origin: &str, faults: &mut Vec<ConfigFault>) {
        const ALLOWED: &str = "sections [[source]]";
        let items = match found {
            None => return,
            Some(Value::Array(items)) => items,
            Some(other) => return faults.push(ConfigFault::new(origin, SOURCE, kind_name(&other), ALLOWED)),
        };
        if items.len() > MAX_SOURCES {
            let allowed = format!("at most {MAX_SOURCES}");
            return faults.push(ConfigFault::new(origin, SOURCE, &format!("{} sources", items.len()), &allowed));
        }
        let defaults = source_defaults();
        let mut sources = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{SOURCE}[{index}]");
            let Value::Table(layer) = item else {
                faults.push(ConfigFault::new(origin, &path, kind_name(&item), ALLOWED));
                continue;
            };
            // Also where it says nothing of its topic, which is a mistake of this layer.
            self.origins.insert(format!("{path}.topic"), origin.to_owned());
            let mut values = defaults.clone();
            overlay(&mut values, &defaults, layer, &path, origin, &mut self.origins, faults);
            sources.push(Value::Table(values));
        }
        self.values.insert(SOURCE.to_owned(), Value::Array(sources));
    }

    /// A value given as text takes the kind that the key has in the defaults.
    fn take_text(&mut self, path: &str, text: &str, origin: &str, faults: &mut Vec<ConfigFault>) {
        if path == SOURCE || path.starts_with("source.") {
            let allowed = "sections [[source]] in the configuration file";
            return faults.push(ConfigFault::new(origin, path, &format!("{text:?}"), allowed));
        }
        let defaults = defaults();
        let Some((kind, free_key)) = kind_of(&defaults, path) else {
            let section = path.rsplit_once('.').map_or("", |(section, _)| section);
            let siblings = find(&defaults, section).and_then(Value::as_table).unwrap_or(&defaults);
            return faults.push(unknown(origin, path, siblings));
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
            faults.push(unknown(origin, &path, defaults));
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

fn unknown(origin: &str, path: &str, siblings: &Table) -> ConfigFault {
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
                "FILE: colour: found an unknown key; allowed: api, data, delivery, log, match, mode, process, registry, retention, schemas, secrets, send, source, store, telemetry",
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
    fn a_schema_is_named_for_what_has_no_framing_only() {
        let file = |format: &str| format!("[[source]]\ntopic = 'x'\nformat = '{format}'\nschema = 'a.avsc'\n");
        let settings = check(&file("avro"), &[], &[], &[]).unwrap();
        assert_eq!(settings.sources()[0].schema.as_deref(), Some("a.avsc"));
        let refusal =
            "source[0].schema: found \"a.avsc\"; allowed: a file of schemas.earlier, with format = \"avro\" only";
        check(&file("auto"), &[], &[], &[refusal]);
    }

    #[test]
    fn sources_are_laid_over_the_defaults_of_one() {
        let file =
            "[[source]]\ntopic = 'platform.*'\nteam = 'header:tenant'\ntypes.a = 'b.c'\n[[source]]\ntopic = 'x'\n";
        let settings = check(file, &[], &[], &[]).unwrap();
        assert_eq!(settings.source.len(), 2);
        assert_eq!((settings.source[0].team.as_str(), settings.source[0].format.as_str()), ("header:tenant", "auto"));
        assert_eq!(settings.source[0].types["a"], "b.c");
        assert_eq!(settings.sources()[1].topic.as_str(), "x");
        let topics: Vec<_> = settings.topics().events.iter().map(ToString::to_string).collect();
        assert_eq!(topics, ["tidings.events", "x"]);
    }

    #[test]
    fn every_mistake_in_sources_is_reported_at_once() {
        let places = "/json/pointer, header:NAME, constant:TEXT or key, up to 256 bytes";
        check(
            "[[source]]\nformat = 'xml'\nteams = 'key'\n[[source]]\ntopic = 'a b'\nid = 'meta.id'\ntime = 7\n\
             data = 'payload'\ndefault_team = 'a/b'\n",
            &[("TIDINGS__SOURCE", "x")],
            &["source.topic=x"],
            &[
                "FILE: source[0].teams: found an unknown key; allowed: data, default_team, format, id, schema, source, subject, team, time, topic, type, types",
                "FILE: source[1].time: found a whole number; allowed: a text",
                "environment TIDINGS__SOURCE: source: found \"x\"; allowed: sections [[source]] in the configuration file",
                "--set: source.topic: found \"x\"; allowed: sections [[source]] in the configuration file",
                "FILE: source[0].topic: found \"\"; allowed: 1 to 249 of A-Z a-z 0-9 . _ - and * for any of them",
                "FILE: source[0].format: found \"xml\"; allowed: auto, json, confluent, avro_object, avro",
                "FILE: source[1].topic: found \"a b\"; allowed: 1 to 249 of A-Z a-z 0-9 . _ - and * for any of them",
                &format!("FILE: source[1].id: found \"meta.id\"; allowed: {places}"),
                "FILE: source[1].data: found \"payload\"; allowed: whole, or a JSON pointer such as /payload, up to 256 bytes",
                "FILE: source[1].default_team: found \"a/b\"; allowed: 1 to 128 of A-Z a-z 0-9 . _ : @ -",
            ],
        );
        check(
            "[[source]]\ntopic = 'tidings.deliveries'\n",
            &[],
            &[],
            &[
                "source.topic: found \"tidings.deliveries\"; allowed: topics of events (also in log.events_topics); this one is no such",
            ],
        );
        check("source = 5", &[], &[], &["FILE: source: found a whole number; allowed: sections [[source]]"]);
        let many = "[[source]]\ntopic = 'x'\n".repeat(MAX_SOURCES + 1);
        check(&many, &[], &[], &["FILE: source: found 101 sources; allowed: at most 100"]);
    }

    #[test]
    fn a_registry_has_an_address_and_a_secret_for_its_user() {
        check(
            "[registry]\nurl = 'registry:8081'\ntimeout_ms = 5\nabsent_seconds = 0\n",
            &[],
            &[],
            &[
                "FILE: registry.url: found \"registry:8081\"; allowed: an http:// or https:// URL without user, query and fragment",
                "FILE: registry.timeout_ms: found 5; allowed: 100 to 60000",
                "FILE: registry.absent_seconds: found 0; allowed: 1 to 3600",
            ],
        );
        check(
            "[registry]\nusername = 'u'\n",
            &[],
            &[],
            &[
                "registry.username: found a user without password; allowed: registry.secret or registry.secret_file with it",
            ],
        );
        check(
            "[registry]\nsecret = 'a'\nsecret_file = 'b'\n",
            &[],
            &[],
            &["registry.secret_file: found both; allowed: registry.secret or registry.secret_file"],
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
                ("TIDINGS__REGISTRY__SECRET".into(), secret.into()),
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
