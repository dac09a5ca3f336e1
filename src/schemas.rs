//! The catalog of this configuration: the compiled-in event types and those of `schemas.folder`.
//!
//! The room reads folders; what is wrong with a file is the core's to say.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, bail};
use tidings_core::catalog::{Catalog, builtin_files};

use crate::config::Settings;

/// The event types in force. An error names every faulty file with field and reason.
pub fn catalog(settings: &Settings) -> anyhow::Result<Arc<Catalog>> {
    let folder = &settings.schemas.folder;
    if folder.as_os_str().is_empty() {
        return Ok(Catalog::builtin());
    }
    let files = with_builtin(folder).with_context(|| format!("schemas.folder {}", folder.display()))?;
    match Catalog::load(&files) {
        Ok(catalog) => Ok(Arc::new(catalog)),
        Err(faults) => {
            let lines: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
            bail!("schemas.folder {} has {} mistake(s):{lines}", folder.display(), faults.len())
        }
    }
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
