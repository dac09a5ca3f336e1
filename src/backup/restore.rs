//! Puts a backup in place: into an empty folder, and all of it or nothing.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use tidings_core::domain::Timestamp;

use super::{BackupError, LOG_FILE, Manifest, archive, at};
use crate::log::local;

/// The folder that files wait in. While it is there, a restore is under way or has broken off, and nothing may use the
/// data folder: [`is_unfinished`].
const WAITING: &str = "restoring";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Restores into a folder that is empty or absent. Nothing is written before the backup is known to be sound.
///
/// The topics of events go on a billion offsets later, so that none is given out twice.
pub fn restore(backup: &Path, folder: &Path, events: &[Arc<str>], now: Timestamp) -> Result<Manifest, BackupError> {
    let manifest = archive::check(backup)?;
    check_empty(folder)?;
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(at(folder))?;
    // Held to the end: a process that is started meanwhile is refused.
    let _lock = local::lock(folder)?;
    let waiting = folder.join(WAITING);
    DirBuilder::new().mode(FOLDER_MODE).create(&waiting).map_err(at(&waiting))?;
    sync_folder(folder)?;
    archive::files(backup, &manifest, |name, contents| {
        let path = waiting.join(name);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path).map_err(at(&path))?;
        io::copy(contents, &mut file).and_then(|_| file.sync_all()).map_err(at(&path))
    })?;
    local::leave_gap(&waiting.join(LOG_FILE), events, now)?;
    sync_folder(&waiting)?;
    for name in &manifest.files {
        let path = folder.join(name);
        fs::rename(waiting.join(name), &path).map_err(at(&path))?;
    }
    sync_folder(folder)?;
    fs::remove_dir(&waiting).map_err(at(&waiting))?;
    sync_folder(folder)?;
    Ok(manifest)
}

/// Whether a restore into this folder has broken off, so that what is there is not to be used.
pub fn is_unfinished(folder: &Path) -> bool {
    folder.join(WAITING).exists()
}

fn check_empty(folder: &Path) -> Result<(), BackupError> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(folder)(error)),
    };
    let Some(first) = entries.next() else { return Ok(()) };
    // Says who is there, if somebody is.
    if folder.join(local::LOCK_FILE).exists() {
        local::lock(folder)?;
    }
    let first = first.map_err(at(folder))?.file_name();
    Err(BackupError::Occupied(format!(
        "the data folder {} is not empty (there is {}); a backup is restored into an empty or a new one",
        folder.display(),
        first.display()
    )))
}

/// Makes the names in it durable.
fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tidings_core::domain::{Output, TopicPartition};

    use super::{
        super::{FORMAT, STORE_FILE},
        *,
    };
    use crate::log::{
        Log, TopicSpec,
        local::{Local, LocalOptions},
    };

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn events() -> [Arc<str>; 1] {
        ["events".into()]
    }

    /// A backup of a log with one event, and of a store that says its own name.
    async fn backup(folder: &Path) -> std::path::PathBuf {
        let log = Local::open(folder, LocalOptions::default()).unwrap();
        let [topic] = events();
        log.create_topic(TopicSpec { name: topic.clone(), partitions: 1, settings: Vec::new() }).await.unwrap();
        let value = Some(bytes::Bytes::from_static(b"{}"));
        log.append(vec![Output { topic, partition: Some(0), key: None, value, headers: Vec::new() }]).await.unwrap();
        drop(log);
        fs::write(folder.join(STORE_FILE), STORE_FILE).unwrap();
        let names = [LOG_FILE, STORE_FILE];
        let manifest = Manifest {
            format: FORMAT,
            program: "0.1.0".to_owned(),
            mode: "embedded".to_owned(),
            made_at: Timestamp(0),
            writers_held_ms: 0,
            files: names.map(str::to_owned).to_vec(),
        };
        let path = folder.join("backup.tar");
        let files = names.map(|name| (name, folder.join(name)));
        archive::write(File::create(&path).unwrap(), &manifest, &files).unwrap();
        path
    }

    #[tokio::test]
    async fn a_new_or_an_empty_folder_gets_it_all_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let backup = backup(folder.path()).await;
        for place in [folder.path().join("deep/new"), tempfile::tempdir_in(folder.path()).unwrap().keep()] {
            restore(&backup, &place, &events(), NOW).unwrap();
            assert_eq!(fs::read_to_string(place.join(STORE_FILE)).unwrap(), STORE_FILE);
            for name in [LOG_FILE, STORE_FILE] {
                assert_eq!(fs::metadata(place.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
            }
            assert!(!is_unfinished(&place));
            let log = Local::open(&place, LocalOptions::default()).unwrap();
            let [topic] = events();
            let bounds = log.bounds(TopicPartition { topic, partition: 0 }).await.unwrap();
            assert!(bounds.start == 0 && bounds.end > 1_000_000_000, "{bounds:?}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_used_or_not_empty_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let backup = backup(folder.path()).await;
        let place = folder.path().join("place");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("precious"), b"mine").unwrap();
        let refusal = || restore(&backup, &place, &events(), NOW).unwrap_err().to_string();
        assert!(refusal().contains("is not empty (there is precious)"), "{}", refusal());
        let held = local::lock(&place).unwrap();
        assert!(refusal().contains("is in use by another process"), "{}", refusal());
        drop(held);
        assert_eq!(fs::read(place.join("precious")).unwrap(), b"mine");
        assert!(!place.join(LOG_FILE).exists());
    }

    #[tokio::test]
    async fn nothing_is_written_of_a_backup_that_is_not_sound() {
        let folder = tempfile::tempdir().unwrap();
        let backup = backup(folder.path()).await;
        let whole = fs::read(&backup).unwrap();
        fs::write(&backup, &whole[..whole.len() - 1_024]).unwrap();
        let place = folder.path().join("place");
        assert!(restore(&backup, &place, &events(), NOW).is_err());
        assert!(!place.exists());
    }
}
