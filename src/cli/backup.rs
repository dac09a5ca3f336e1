//! `tidings backup FILE` and `tidings restore FILE`: an embedded installation as one file.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::json;

use super::{Global, client::Client, output};
use crate::{
    backup::{self, Manifest},
    config::Mode,
};

/// Save an embedded installation into one file, while it goes on working
///
/// The file holds the log, the store, the keys and the token as they were at one moment: events and secrets in clear. Keep it
/// as you keep a password. Meanwhile the data folder needs as much free space as the data takes.
#[derive(Debug, Args)]
pub struct Backup {
    /// A new file
    pub file: PathBuf,
}

/// Put a backup in place, into an empty or a new data folder that no process uses
#[derive(Debug, Args)]
pub struct Restore {
    /// What `tidings backup` has made
    pub file: PathBuf,
    /// The data folder [default: data.dir of the configuration]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

const FILE_MODE: u32 = 0o600;

pub async fn back_up(command: Backup, global: &Global) -> anyhow::Result<()> {
    let Backup { file } = command;
    ensure!(!file.exists(), "{} is there already; name a new file", file.display());
    let client = Client::new(global)?;
    // Under its own name only once it is whole.
    let part = file.with_added_extension("part");
    let made = download(&client, &part).await.and_then(|()| Ok(backup::archive::check(&part)?));
    let manifest = match made {
        Ok(manifest) => manifest,
        Err(error) => {
            let _ = fs::remove_file(&part);
            return Err(error);
        }
    };
    fs::rename(&part, &file).with_context(|| file.display().to_string())?;
    sync_folder_of(&file)?;
    let bytes = fs::metadata(&file)?.len();
    if global.json {
        let mut answer = json!(manifest);
        answer["bytes"] = json!(bytes);
        output::json(&answer);
    } else {
        println!("{}: {bytes} bytes, as of {}", file.display(), manifest.made_at);
        println!("holds {}", manifest.files.join(", "));
    }
    if !manifest.files.iter().any(|name| name == backup::KEYS_FILE) {
        eprintln!("the key ring is not in it, because it is configured elsewhere: keep it safe, too");
    }
    Ok(())
}

pub fn restore(command: Restore, global: &Global) -> anyhow::Result<()> {
    let settings = super::settings(global)?;
    if settings.mode == Mode::Distributed {
        bail!("a backup is of the embedded mode; for the distributed mode see docs/OPERATIONS.md");
    }
    let folder = command.data_dir.unwrap_or_else(|| settings.data.dir.clone());
    let Manifest { program, made_at, files, .. } =
        backup::restore(&command.file, &folder, &settings.topics().events, crate::api::now())?;
    if global.json {
        output::json(&json!({"data_dir": folder, "made_at": made_at, "program": program, "files": files}));
    } else {
        println!("{} is as it was at {made_at}; what came later is not in it", folder.display());
    }
    Ok(())
}

async fn download(client: &Client, part: &Path) -> anyhow::Result<()> {
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(part);
    let mut out = options.with_context(|| part.display().to_string())?;
    client.download("/v1/backup", |piece| Ok(out.write_all(piece)?)).await?;
    out.sync_all().with_context(|| part.display().to_string())
}

fn sync_folder_of(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| folder.display().to_string())
}
