//! `tidings up --demo`: the whole product in one process, with something to watch.
//!
//! The roles are the ones that `tidings up` runs, on a data folder of their own. Around them stand what a real
//! installation has outside: platforms that publish events, teams that subscribe, and receivers, good and bad ones.
//! All three speak to Tidings over HTTP only; what is shown is what `/metrics` and the receivers say.
//!
//! ```text
//!  platforms ── POST /v1/events ──► Tidings ── signed webhooks ──► receivers
//!     cast ──── PUT /v1/teams… ────►   │ /metrics                      │ verified, how fast
//!                                      └────────────► screen ◄─────────┘
//! ```
//!
//! The room does *not* reach into the roles, and nothing outside it knows of it but the command line.
//!
//! Reading order: this file, [`folder`], [`poison`], [`receivers`], [`cast`] and `cast.yaml`, [`platforms`], [`api`],
//! [`counts`], [`commands`], [`screen`].

mod api;
mod cast;
mod commands;
mod counts;
mod folder;
mod lives;
mod platforms;
mod poison;
mod receivers;
mod screen;

use std::{
    future::{Future, pending},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::Path,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tidings_core::catalog::Catalog;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};

use self::{
    api::Api,
    counts::Counts,
    folder::Folder,
    platforms::Platforms,
    receivers::Receivers,
    screen::{Frame, Screen, View},
};
use crate::{
    cli::{self, run::Roles},
    config::{Mode, Settings, Sources, load},
    process::{self, Running},
    roles::{Clock, SystemClock},
};

/// Where `tidings up` listens too.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8470));
const EVENTS_PER_SECOND: u32 = 50;
/// Events of one request to the API.
const BATCH: u32 = 5;
/// The same stories each time, and such that every subscription soon matches: a test holds it.
const SEED: u64 = 94;
/// What shells report for a process that Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

/// A demo on its way: everything that must be alive while it runs.
struct Demo {
    api: Api,
    receivers: Receivers,
    producer: JoinHandle<()>,
    screen: Screen,
    started: Instant,
    counts: Counts,
}

/// Runs the demo until it is told to stop: by Ctrl-C, SIGTERM, or the time that was asked for.
pub async fn run(options: cli::run::Demo) -> anyhow::Result<()> {
    let mut stop = pin!(stop_ordered()?);
    let (folder, settings) = prepare(&options)?;
    poison::append(&settings).await?;
    let receivers = Receivers::start().await?;
    let roles = Roles { matcher: true, sender: true, api: true };
    let mut tidings = process::start(roles, settings.clone()).await?;
    let played = tokio::select! {
        biased;
        () = &mut stop => return end(&mut tidings).await,
        demo = Demo::start(&folder, &settings, &tidings, receivers) => match demo {
            Ok(demo) => demo.play(&mut tidings, stop, options.stop_after).await,
            Err(error) => Err(error),
        },
    };
    // Whatever happened, the roles end in good order.
    let ended = end(&mut tidings).await;
    let demo = played?;
    ended?;
    demo.close()
}

/// A free address, an empty folder, and the settings; in this order, so that a demo that cannot start removes nothing.
fn prepare(options: &cli::run::Demo) -> anyhow::Result<(Folder, Settings)> {
    let listen = options.listen.unwrap_or(DEFAULT_LISTEN);
    std::net::TcpListener::bind(listen)
        .with_context(|| format!("the API cannot listen on {listen}; choose another address with --listen"))?;
    let folder = Folder::fresh(options.data_dir.as_deref().unwrap_or(Path::new(folder::DEFAULT)))?;
    let file = folder.write_configuration(listen)?;
    // Neither `tidings.toml` nor the environment: what is meant for production must not steer the demo.
    let sources = Sources { file: Some(file), flags: options.set.clone(), ..Sources::default() };
    let settings = load(&sources).map_err(|faults| {
        anyhow::anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    anyhow::ensure!(settings.mode == Mode::Embedded, "the demo runs in embedded mode only");
    Ok((folder, settings))
}

/// Done when a signal says stop. A second signal ends the process at once: nothing in it is worth waiting for.
fn stop_ordered() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(EXIT_INTERRUPTED);
        });
    })
}

/// Stops the roles in order, and waits for them.
async fn end(tidings: &mut Running) -> anyhow::Result<()> {
    tidings.stop();
    tidings.ended().await
}

/// Publishes events, a few at a time, for ever.
async fn publish(api: Api, mut platforms: Platforms) {
    let mut ticks = interval(Duration::from_secs(1) * BATCH / EVENTS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = SystemClock.now();
        let events: Vec<_> = (0..BATCH).map(|_| platforms.next(now)).collect();
        if let Err(error) = api.publish(&events).await {
            tracing::error!(%error, "the demo's events were not published");
        }
    }
}

// === impl Demo ===

impl Demo {
    async fn start(
        folder: &Folder,
        settings: &Settings,
        tidings: &Running,
        receivers: Receivers,
    ) -> anyhow::Result<Demo> {
        let address = tidings.api.context("the API does not listen")?;
        // The port may have been left to the system; the commands must know it.
        let configuration = folder.write_configuration(address)?;
        let example = folder.file(commands::EXAMPLE);
        std::fs::write(&example, format!("{:#}\n", commands::example_event()))?;
        let token = std::fs::read_to_string(settings.token_file()).context("the operator token")?;
        let api = Api::new(address, token.trim().to_owned())?;
        api.ready().await?;
        let cast = cast::enter(&api, &receivers).await?;
        let frame = Frame {
            api: format!("http://{address}"),
            events_per_second: EVENTS_PER_SECOND,
            cast,
            commands: commands::commands(&commands::program()?, &configuration, &example),
        };
        let producer = tokio::spawn(publish(api.clone(), Platforms::new(Catalog::builtin(), SEED)));
        let (screen, counts) = (Screen::open(&frame)?, Counts::default());
        Ok(Demo { api, receivers, producer, screen, started: Instant::now(), counts })
    }

    /// Shows what happens until the order to stop, or until the time is over; then publishes no more.
    async fn play(
        mut self,
        tidings: &mut Running,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        stop_after: Option<Duration>,
    ) -> anyhow::Result<Demo> {
        let mut time = pin!(async {
            match stop_after {
                Some(after) => sleep(after).await,
                None => pending().await,
            }
        });
        let mut pictures = interval(screen::PICTURE_EVERY);
        pictures.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = &mut time => break,
                ended = tidings.ended() => {
                    ended?;
                    bail!("Tidings stopped by itself");
                }
                _ = pictures.tick() => self.show().await?,
            }
        }
        self.producer.abort();
        self.count().await;
        Ok(self)
    }

    /// Leaves the last picture, with what the receivers saw until the very end.
    fn close(self) -> anyhow::Result<()> {
        let view = self.view();
        Ok(self.screen.close(&view)?)
    }

    async fn show(&mut self) -> anyhow::Result<()> {
        self.count().await;
        let view = self.view();
        Ok(self.screen.show(&view)?)
    }

    /// Keeps the last figures if there are no new ones: a busy machine is no reason to end the demo.
    async fn count(&mut self) {
        match self.api.metrics().await {
            Ok(text) => self.counts = Counts::read(&text),
            Err(error) => tracing::error!(%error, "the demo cannot read the metrics"),
        }
    }

    fn view(&self) -> View {
        View {
            running: self.started.elapsed(),
            counts: self.counts,
            percentiles: self.receivers.percentiles(),
            receivers: self.receivers.seen(),
        }
    }
}
