//! What a person sees of a process, and how they stop it: greeting, progress of the first fold, signals.
//!
//! The greeting is on stdout, because it is the answer of `tidings up`; progress and logs are on stderr.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::start;
use crate::{
    cli::run::Roles,
    config::{Mode, Settings},
    roles::directory::Progress,
};

/// How often the progress of the fold is logged where nobody watches a bar.
const LOG_EVERY: Duration = Duration::from_secs(3);
/// The exit code of a process that was told twice to stop: that of one killed by an interrupt.
const EXIT_AT_ONCE: i32 = 130;

/// The two signals that mean stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// Runs these roles until a signal says stop. A second signal ends the process at once, which loses nothing either.
pub async fn run(roles: Roles, settings: Settings) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("signals")?;
    let greeting = greeting(roles, &settings);
    let mut running = tokio::select! {
        started = start(roles, settings) => started?,
        // Nothing is owned yet.
        () = signals.next() => return Ok(()),
    };
    if let Some(address) = running.api {
        print!("{}", greeting.replace("{address}", &address.to_string()));
    }
    tokio::select! {
        ended = running.ended() => return ended,
        () = signals.next() => {}
    }
    tracing::info!("stopping; once more to stop at once");
    running.stop();
    tokio::select! {
        ended = running.ended() => ended,
        () = signals.next() => std::process::exit(EXIT_AT_ONCE),
    }
}

/// What `tidings up` says once it listens.
fn greeting(roles: Roles, settings: &Settings) -> String {
    if settings.mode != Mode::Embedded || !roles.api {
        return String::new();
    }
    let token = match settings.api.token.is_empty() {
        true => settings.token_file().display().to_string(),
        false => "api.token of the configuration".to_owned(),
    };
    format!(
        "Tidings is up.\n\
         \n\
         \x20 API    http://{{address}}\n\
         \x20 token  {token}\n\
         \x20 data   {}\n\
         \n\
         In another terminal, in this folder:\n\
         \n\
         \x20 tidings destination apply FILE     where notifications go\n\
         \x20 tidings subscription apply FILE    what a team wants to hear\n\
         \x20 tidings publish FILE               one event per line\n\
         \x20 tidings notifications              what became of them\n\
         \n\
         Ctrl-C stops it.\n",
        settings.data.dir.display()
    )
}

/// Shows how far the first fold of the directory has come: a bar for a person, lines for a log.
pub fn progress() -> impl FnMut(Progress) + Send {
    let mut watched = std::io::stderr().is_terminal();
    let mut bar: Option<ProgressBar> = None;
    let mut logged = Instant::now();
    move |Progress { position, end }| {
        if position >= end {
            bar.take().inspect(ProgressBar::finish_and_clear);
            tracing::info!(records = end, "directory read");
        } else if watched {
            let style = ProgressStyle::with_template("reading the directory {wide_bar} {percent}% {eta}");
            watched = style.is_ok();
            let bar = bar.get_or_insert_with(|| ProgressBar::new(end.max(0) as u64));
            style.into_iter().for_each(|style| bar.set_style(style));
            bar.set_position(position.max(0) as u64);
        } else if logged.elapsed() >= LOG_EVERY {
            logged = Instant::now();
            tracing::info!(position, end, "reading the directory");
        }
    }
}

// === impl Signals ===

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
