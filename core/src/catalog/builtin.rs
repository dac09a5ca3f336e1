//! The files under `schemas/events` and `schemas/earlier`, compiled in, so that nothing is found by a working directory.

use std::sync::{Arc, LazyLock};

use include_dir::{Dir, include_dir};

use super::Catalog;

static EVENTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../schemas/events");
static EARLIER: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../schemas/earlier");

static CATALOG: LazyLock<Arc<Catalog>> = LazyLock::new(|| match Catalog::load(&builtin_files()) {
    Ok(catalog) => Arc::new(catalog),
    // Our own files, held to this by a test below: a build that gets here was never tested.
    Err(faults) => panic!("a compiled-in schema is faulty: {}", faults[0]),
});

/// Name and text of every compiled-in file, to be loaded together with a user's own.
pub fn builtin_files() -> Vec<(String, String)> {
    schemas(&EVENTS).into_iter().map(|(name, text)| (format!("built-in/{name}"), text)).collect()
}

/// Name and text of every schema that one of these types had before: what was written with it is read for ever.
pub fn earlier_files() -> Vec<(String, String)> {
    schemas(&EARLIER)
}

fn schemas(folder: &Dir<'_>) -> Vec<(String, String)> {
    let platforms = folder.dirs();
    let files = platforms.flat_map(|platform| platform.files());
    files
        .filter_map(|file| Some((file.path().to_str()?.to_owned(), file.contents_utf8()?.to_owned())))
        .filter(|(name, _)| name.ends_with(".avsc"))
        .collect()
}

pub(super) fn catalog() -> Arc<Catalog> {
    CATALOG.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compiled_in_file_is_an_event_type() {
        let catalog = Catalog::load(&builtin_files()).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let mut per_platform = std::collections::BTreeMap::new();
        catalog.types().for_each(|t| *per_platform.entry(t.platform.as_str()).or_insert(0) += 1);
        assert_eq!(per_platform.keys().copied().collect::<Vec<_>>(), ["pandium", "replicated", "scalingo", "tyk"]);
        assert!(per_platform.values().all(|types| *types >= 2), "{per_platform:?}");
    }

    #[test]
    fn every_field_has_a_title_and_every_example_shows_every_filtered_field() {
        for event_type in Catalog::builtin().types() {
            for field in &event_type.fields {
                assert!(
                    field.title.chars().next().is_some_and(char::is_uppercase),
                    "{} {:?}",
                    event_type.key,
                    field.path
                );
            }
            for filter in &event_type.filters {
                let found = filter.field.iter().try_fold(&event_type.example, |value, name| value.get(name));
                assert!(found.is_some_and(|value| !value.is_null()), "{} {}", event_type.key, filter.key);
            }
        }
    }
}
