//! The backup file: a tar archive whose last entry is the BLAKE3 hash of everything before it.
//!
//! `manifest.json` comes first, so that a person finds with `tar -xO` what they hold. The hash comes last, so that the
//! file can be written to a stream, and one that was cut off has none.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};
use tidings_core::domain::Timestamp;

use super::{BackupError, KEYS_FILE, LOG_FILE, STORE_FILE, TOKEN_FILE, at};

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// The version of the program that made it.
    pub program: String,
    pub mode: String,
    pub made_at: Timestamp,
    /// For how long nothing could be written to the log.
    pub writers_held_ms: u64,
    /// In the order of the archive.
    pub files: Vec<String>,
}

/// Raised when an older program could not restore the archive, or would restore it wrongly.
pub const FORMAT: u32 = 1;

const MANIFEST: &str = "manifest.json";
const HASH: &str = "blake3";
/// A manifest is a few hundred bytes; what claims to be a larger one is not read.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024;
const FILE_MODE: u32 = 0o600;
/// Of a tar archive, in bytes.
const BLOCK: u64 = 512;

/// Counts into a hash what passes.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
}

/// Writes the manifest, the files under their names, and the hash.
pub fn write(out: impl Write, manifest: &Manifest, files: &[(&str, PathBuf)]) -> Result<(), BackupError> {
    let broken = |error| BackupError::Io("the backup's stream".to_owned(), error);
    let mut builder = Builder::new(Hashing { inner: out, hasher: blake3::Hasher::new() });
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| BackupError::Unsound(error.to_string()))?;
    let add = |builder: &mut Builder<_>, name: &str, bytes: u64, data: &mut dyn Read| {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(FILE_MODE);
        header.set_mtime(manifest.made_at.seconds().max(0) as u64);
        header.set_size(bytes);
        builder.append_data(&mut header, name, data)
    };
    add(&mut builder, MANIFEST, text.len() as u64, &mut text.as_slice()).map_err(broken)?;
    for (name, path) in files {
        let file = File::open(path).map_err(at(path))?;
        let bytes = file.metadata().map_err(at(path))?.len();
        // Exactly what the header says, even of a file that grows.
        add(&mut builder, name, bytes, &mut file.take(bytes)).map_err(broken)?;
    }
    let hash = builder.get_ref().hasher.finalize().to_hex();
    add(&mut builder, HASH, hash.len() as u64, &mut hash.as_bytes()).map_err(broken)?;
    builder.into_inner().and_then(|mut out| out.flush()).map_err(broken)
}

/// Reads a backup whole and says what it is, if nothing of it is missing or altered.
pub fn check(path: &Path) -> Result<Manifest, BackupError> {
    let unsound = |why: &str| BackupError::Unsound(format!("{}: {why}", path.display()));
    let not_an_archive = |error: io::Error| unsound(&format!("not a backup, or cut off: {error}"));
    let mut file = File::open(path).map_err(at(path))?;
    let length = file.metadata().map_err(at(path))?.len();
    let (mut manifest, mut names, mut hash) = (None, Vec::new(), None);
    let mut archive = Archive::new(BufReader::new(&file));
    for entry in archive.entries().map_err(not_an_archive)? {
        let mut entry = entry.map_err(not_an_archive)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if manifest.is_none() {
            let mut text = Vec::new();
            entry.by_ref().take(MAX_MANIFEST_BYTES).read_to_end(&mut text).map_err(not_an_archive)?;
            let read = serde_json::from_slice::<Manifest>(&text).ok().filter(|_| name == MANIFEST);
            manifest = Some(read.ok_or_else(|| unsound("not a backup of Tidings: it does not begin with a manifest"))?);
        } else if name == HASH {
            let mut text = String::new();
            let begins = entry.raw_header_position();
            entry.by_ref().take(BLOCK).read_to_string(&mut text).map_err(not_an_archive)?;
            // Its header, itself in one block, and the two empty blocks that end an archive.
            hash = Some((begins, text)).filter(|_| begins + 4 * BLOCK == length);
        } else {
            names.push(name);
        }
    }
    let manifest = manifest.ok_or_else(|| unsound("empty"))?;
    if manifest.format != FORMAT {
        let Manifest { format, program, .. } = &manifest;
        return Err(unsound(&format!("format {format}, made by Tidings {program}; this program reads {FORMAT}")));
    }
    let allowed = [LOG_FILE, STORE_FILE, KEYS_FILE, TOKEN_FILE];
    let complete = [LOG_FILE, STORE_FILE].iter().all(|needed| names.iter().any(|name| name == needed));
    if names != manifest.files || !complete || !names.iter().all(|name| allowed.contains(&name.as_str())) {
        return Err(unsound("it does not hold the files of a backup"));
    }
    let (hashed, expected) = hash.ok_or_else(|| unsound("cut off: its hash is missing"))?;
    file.rewind().map_err(at(path))?;
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut file.take(hashed), &mut hasher).map_err(at(path))?;
    match hasher.finalize().to_hex().as_str() == expected {
        true => Ok(manifest),
        false => Err(unsound("altered: its hash is not that of its contents")),
    }
}

/// Gives each file of a checked backup to `take`.
pub fn files(
    path: &Path,
    manifest: &Manifest,
    mut take: impl FnMut(&str, &mut dyn Read) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let mut archive = Archive::new(BufReader::new(File::open(path).map_err(at(path))?));
    for entry in archive.entries().map_err(at(path))? {
        let mut entry = entry.map_err(at(path))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if manifest.files.contains(&name) {
            take(&name, &mut entry)?;
        }
    }
    Ok(())
}

// === impl Hashing ===

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn manifest(files: &[&str]) -> Manifest {
        Manifest {
            format: FORMAT,
            program: "0.1.0".to_owned(),
            mode: "embedded".to_owned(),
            made_at: Timestamp(1_000),
            writers_held_ms: 2,
            files: files.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// A backup of two files, with this manifest.
    fn backup(folder: &TempDir, manifest: &Manifest) -> PathBuf {
        let files: Vec<(&str, PathBuf)> =
            [LOG_FILE, STORE_FILE].into_iter().map(|name| (name, folder.path().join(name))).collect();
        files.iter().for_each(|(name, path)| fs::write(path, format!("contents of {name}")).unwrap());
        let path = folder.path().join("backup.tar");
        write(File::create(&path).unwrap(), manifest, &files).unwrap();
        path
    }

    #[test]
    fn what_is_written_is_read_and_given_out_whole() {
        let folder = tempfile::tempdir().unwrap();
        let written = manifest(&[LOG_FILE, STORE_FILE]);
        let path = backup(&folder, &written);
        assert_eq!(check(&path).unwrap(), written);
        let mut given = Vec::new();
        files(&path, &written, |name, contents| {
            let mut text = String::new();
            contents.read_to_string(&mut text).unwrap();
            given.push((name.to_owned(), text));
            Ok(())
        })
        .unwrap();
        assert_eq!(given, [LOG_FILE, STORE_FILE].map(|name| (name.to_owned(), format!("contents of {name}"))));
    }

    #[test]
    fn every_altered_byte_and_every_cut_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = backup(&folder, &manifest(&[LOG_FILE, STORE_FILE]));
        let whole = fs::read(&path).unwrap();
        let ends = whole.len() - 2 * BLOCK as usize;
        for at in (0..ends).filter(|at| at % 13 == 0 || whole[*at] != 0) {
            // In the padding of the last entry, beyond the hash's digits, there is nothing to alter.
            if at >= ends - BLOCK as usize + 64 {
                break;
            }
            let mut altered = whole.clone();
            altered[at] ^= 1;
            fs::write(&path, altered).unwrap();
            assert!(check(&path).is_err(), "byte {at} of {}", whole.len());
        }
        for cut in (0..whole.len()).step_by(64) {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(check(&path).is_err(), "cut at {cut} of {}", whole.len());
        }
        fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        assert!(check(&path).is_err(), "more at the end");
    }

    #[test]
    fn another_format_and_other_files_are_refused_with_their_reason() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |manifest: &Manifest| check(&backup(&folder, manifest)).unwrap_err().to_string();
        let newer = Manifest { format: 2, program: "9.0.0".to_owned(), ..manifest(&[LOG_FILE, STORE_FILE]) };
        assert!(refusal(&newer).contains("format 2, made by Tidings 9.0.0; this program reads 1"));
        assert!(refusal(&manifest(&[LOG_FILE])).contains("does not hold the files"));
        fs::write(folder.path().join("other"), b"other").unwrap();
        assert!(check(&folder.path().join("other")).unwrap_err().to_string().contains("not a backup"));
    }
}
