//! The demo's data folder: emptied at each start, but only if a demo made it.
//!
//! A marker file says so. It stays while the rest is removed, so that a demo that was killed in between can be started
//! again, and it is locked while a demo runs, so that a second one cannot pull the folder from under the first.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// The folder of a running demo.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// Where the demo keeps its data if no other folder is named.
pub const DEFAULT: &str = "data/demo";
const MARKER: &str = ".tidings-demo";
const MARKER_TEXT: &str = "Made by `tidings up --demo`, which empties this folder whenever it starts.\n";

// === impl Folder ===

impl Folder {
    /// An empty folder: a new one, an empty one, or a former demo's.
    pub fn fresh(path: &Path) -> anyhow::Result<Folder> {
        let shown = path.display();
        fs::create_dir_all(path).with_context(|| format!("the demo's folder {shown}"))?;
        let marker = path.join(MARKER);
        let is_ours = marker.is_file();
        if !is_ours && fs::read_dir(path)?.next().is_some() {
            bail!(
                "{shown} holds something, and no demo made it (there is no {MARKER} in it): nothing was touched. \
                 Move it away, or name another folder with --data-dir"
            );
        }
        let lock = OpenOptions::new().create(true).append(true).open(&marker).with_context(|| format!("{shown}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another demo is running in {shown}; stop it, or name another folder with --data-dir")
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("locking {shown}")),
        }
        fs::write(&marker, MARKER_TEXT)?;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name() == MARKER {
                continue;
            }
            let removed = match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
            removed.with_context(|| format!("emptying {shown}"))?;
        }
        Ok(Folder { path: path.to_owned(), _lock: lock })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes the demo's configuration, which the suggested commands read too.
    pub fn write_configuration(&self, listen: SocketAddr) -> anyhow::Result<PathBuf> {
        let folder = self.path.to_str().context("the demo's folder must have a name in UTF-8")?;
        let file = self.file("tidings.toml");
        fs::write(&file, configuration(folder, listen)).with_context(|| file.display().to_string())?;
        Ok(file)
    }
}

fn configuration(folder: &str, listen: SocketAddr) -> String {
    format!(
        "# Made by `tidings up --demo`, anew each time it starts.\n\n\
         [data]\ndir = {}\n\n\
         [api]\nlisten = \"{listen}\"\n\n\
         # The demo's receivers are on this machine and speak plain HTTP. Not for production.\n\
         [delivery]\nallow_networks = [\"127.0.0.0/8\"]\nallow_http = true\n\n\
         # Failing receivers are a part of the show; their log lines would disturb it.\n\
         [telemetry]\nfilter = \"error\"\n",
        toml::Value::String(folder.to_owned())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn only_a_demos_folder_is_emptied() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data/demo");
        let first = Folder::fresh(&path).unwrap();
        fs::write(first.file("log.db"), "old").unwrap();
        fs::create_dir(first.file("more")).unwrap();
        fs::write(first.file("more/log.db"), "old").unwrap();
        let refusal = Folder::fresh(&path).unwrap_err().to_string();
        assert!(refusal.contains("another demo is running"), "{refusal}");
        assert!(path.join("log.db").exists());
        drop(first);
        let second = Folder::fresh(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "the marker alone");
        drop(second);
        fs::remove_file(path.join(MARKER)).unwrap();
        fs::write(path.join("thesis.txt"), "mine").unwrap();
        let refusal = Folder::fresh(&path).unwrap_err().to_string();
        assert!(refusal.contains("nothing was touched") && refusal.contains("--data-dir"), "{refusal}");
        assert_eq!(fs::read_to_string(path.join("thesis.txt")).unwrap(), "mine");
    }

    #[test]
    fn the_configuration_is_one_that_can_be_read() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("an \"odd\" name");
        let folder = Folder::fresh(&path).unwrap();
        let file = folder.write_configuration("127.0.0.1:9999".parse().unwrap()).unwrap();
        let settings = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        assert_eq!(settings.data.dir, path);
        assert_eq!(settings.api.listen.port(), 9999);
        assert!(settings.delivery.allow_http);
    }
}
