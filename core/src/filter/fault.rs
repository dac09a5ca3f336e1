//! What is wrong with an object that somebody wrote: where, what was found, what is allowed.

use std::fmt;

use serde::Serialize;

/// One mistake. Shown as `events[0].filter.licenseType[1]: found "payd"; allowed: paid, trial`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub path: String,
    /// The value as JSON, shortened; or a few words about it. Never a secret.
    pub found: String,
    pub allowed: String,
}

/// Where something stands, built while walking and written out only if there is a fault.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    Root(&'a str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// The most faults reported at once.
pub const MAX_FAULTS: usize = 100;

/// The longest part of a found value that is shown, in characters.
const MAX_SHOWN: usize = 80;

/// A value as text, shortened: what goes into [`Fault::found`].
pub fn shown(value: &impl fmt::Display) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Collects faults up to [`MAX_FAULTS`].
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

// === impl Faults ===

impl Faults {
    pub fn add(&mut self, path: &Path<'_>, found: impl Into<String>, allowed: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(Fault { path: path.to_string(), found: found.into(), allowed: allowed.into() });
        }
    }

    pub fn extend(&mut self, faults: Vec<Fault>) {
        let room = MAX_FAULTS - self.0.len();
        self.0.extend(faults.into_iter().take(room));
    }

    /// `value`, unless there are faults.
    pub fn or<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}; allowed: {}", self.path, self.found, self.allowed)
    }
}

// === impl Path ===

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(text) => f.write_str(text),
            Path::Key(Path::Root(""), key) if is_plain(key) => f.write_str(key),
            Path::Key(parent, key) if is_plain(key) => write!(f, "{parent}.{key}"),
            Path::Key(parent, key) => write!(f, "{parent}[{}]", shown(&format_args!("{key:?}"))),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Whether a key can stand behind a dot without being misread.
fn is_plain(key: &str) -> bool {
    (1..=MAX_SHOWN).contains(&key.len())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_the_place_the_value_and_what_is_allowed() {
        let root = Path::Root("events[0].filter");
        let (plain, odd) = (Path::Key(&root, "licenseType"), Path::Key(&root, "app.kubernetes.io/name"));
        let mut faults = Faults::default();
        faults.add(&Path::Index(&plain, 1), shown(&"\"payd\""), "paid, trial");
        faults.add(&odd, "nothing", "an array");
        let faults: Vec<String> = faults.or(()).unwrap_err().iter().map(Fault::to_string).collect();
        assert_eq!(faults[0], r#"events[0].filter.licenseType[1]: found "payd"; allowed: paid, trial"#);
        assert_eq!(faults[1], r#"events[0].filter["app.kubernetes.io/name"]: found nothing; allowed: an array"#);
    }

    #[test]
    fn what_is_shown_and_collected_is_bounded() {
        assert_eq!(shown(&"é".repeat(1000)).chars().count(), MAX_SHOWN + 1);
        let mut faults = Faults::default();
        (0..1000).for_each(|i| faults.add(&Path::Index(&Path::Root("x"), i), "a", "b"));
        assert_eq!(faults.or(()).unwrap_err().len(), MAX_FAULTS);
    }
}
