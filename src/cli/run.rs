//! `tidings up|match|send|api`: which roles a process runs.

use clap::Args;

use super::{Command, Global};
use crate::config::Settings;

/// The roles of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    pub matcher: bool,
    pub sender: bool,
    pub api: bool,
}

#[derive(Debug, Args)]
pub struct Up {
    /// The data folder [default: data.dir of the configuration]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<std::path::PathBuf>,
    /// Where the API listens [default: api.listen of the configuration]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<std::net::SocketAddr>,
    /// Show it all working, with made-up events and receivers, in `data/demo`, which is emptied first
    #[arg(long)]
    pub demo: bool,
    /// Stop the demo by itself after so many seconds
    #[arg(long = "for", value_name = "SECONDS", requires = "demo")]
    pub stop_after: Option<u64>,
}

/// What may be chosen of a demo.
#[derive(Clone, Debug, Default)]
pub struct Demo {
    /// `None`: `data/demo`.
    pub data_dir: Option<std::path::PathBuf>,
    /// `None`: where the API listens by default.
    pub listen: Option<std::net::SocketAddr>,
    /// `None`: until it is told to stop.
    pub stop_after: Option<std::time::Duration>,
    /// `section.key=value`, over the demo's own settings.
    pub set: Vec<String>,
}

/// The demo, if the command asks for it. It has settings of its own, of which `--set` changes single ones.
pub fn demo(command: &Command, global: &Global) -> anyhow::Result<Option<Demo>> {
    let Command::Up(Up { data_dir, listen, demo: true, stop_after }) = command else { return Ok(None) };
    anyhow::ensure!(
        global.config.is_none(),
        "--demo takes no --config: it has settings of its own; change single ones with --set"
    );
    Ok(Some(Demo {
        data_dir: data_dir.clone(),
        listen: *listen,
        stop_after: stop_after.map(std::time::Duration::from_secs),
        set: global.set.clone(),
    }))
}

/// The roles that a command asks for, with their settings; `None` if it asks for none.
pub fn roles(command: &Command, global: &Global) -> anyhow::Result<Option<(Roles, Settings)>> {
    let roles = match command {
        Command::Up(_) => Roles { matcher: true, sender: true, api: true },
        Command::Match => Roles { matcher: true, ..Roles::default() },
        Command::Send => Roles { sender: true, ..Roles::default() },
        Command::Api => Roles { api: true, ..Roles::default() },
        _ => return Ok(None),
    };
    let mut settings = super::settings(global)?;
    if let Command::Up(up) = command {
        if let Some(folder) = &up.data_dir {
            settings.data.dir = folder.clone();
        }
        if let Some(listen) = up.listen {
            settings.api.listen = listen;
        }
    }
    anyhow::ensure!(
        settings.mode == crate::config::Mode::Distributed || matches!(command, Command::Up(_)),
        "separate roles need `mode = \"distributed\"`; in embedded mode, `tidings up` runs them all"
    );
    Ok(Some((roles, settings)))
}
