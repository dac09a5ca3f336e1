//! The catalog of this configuration: the compiled-in event types and those of `schemas.folder`; and the schemas of
//! `schemas.earlier`, which events were written with before.
//!
//! The room reads folders; what is wrong with a file is the core's to say.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use tidings_core::catalog::{Catalog, CatalogFault, builtin_files};

use crate::config::Settings;

/// Why `schemas.folder` gives no catalog.
#[derive(Debug)]
pub enum CatalogError {
    Unreadable(PathBuf, anyhow::Error),
    /// Every faulty file, with field and reason.
    Faulty(PathBuf, Vec<CatalogFault>),
}

/// The event types in force.
pub fn catalog(settings: &Settings) -> Result<Arc<Catalog>, CatalogError> {
    let folder = &settings.schemas.folder;
    if folder.as_os_str().is_empty() {
        return Ok(Catalog::builtin());
    }
    let files = with_builtin(folder).map_err(|error| CatalogError::Unreadable(folder.clone(), error))?;
    Catalog::load(&files).map(Arc::new).map_err(|faults| CatalogError::Faulty(folder.clone(), faults))
}

/// The files of `schemas.earlier`, by their names in that folder and text.
pub fn earlier(settings: &Settings) -> anyhow::Result<Vec<(String, String)>> {
    let folder = &settings.schemas.earlier;
    if folder.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let files = read(folder).with_context(|| format!("schemas.earlier {}", folder.display()))?;
    let beginning = folder.join("").display().to_string();
    let inside = |name: String| name.strip_prefix(&beginning).map_or_else(|| name.clone(), str::to_owned);
    Ok(files.into_iter().map(|(name, text)| (inside(name), text)).collect())
}

/// The compiled-in files and those of a folder, by name and text.
pub fn with_builtin(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = builtin_files();
    files.extend(read(folder)?);
    Ok(files)
}

/// Every `<platform>/<key>.avsc` of a folder, in the order of names.
pub fn read(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    read_into(folder, &mut files)?;
    Ok(files)
}

fn read_into(folder: &Path, files: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut entries: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_into(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "avsc") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            files.push((path.display().to_string(), text));
        }
    }
    Ok(())
}

// === impl CatalogError ===

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogError::Unreadable(folder, error) => write!(f, "schemas.folder {}: {error:#}", folder.display()),
            CatalogError::Faulty(folder, faults) => {
                write!(f, "schemas.folder {} has {} mistake(s):", folder.display(), faults.len())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

impl std::error::Error for CatalogError {}
