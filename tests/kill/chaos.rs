//! The blows: what is done to an installation, and how long until it works again.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use tidings::crash::Point;
use tokio::time::sleep;

use crate::{
    disk::Disk,
    installation::{Installation, Role, last_lines},
    kafka,
    plan::{Blow, Server},
    postgres,
    program::Program,
    receiver::{Divided, Receiver},
    registry,
    report::{Ledger, Recovery},
    traffic::Traffic,
};

/// One installation under blows.
pub struct Chaos<'a> {
    pub installation: &'a mut Installation,
    pub receiver: &'a Receiver,
    pub traffic: &'a Traffic,
    pub ledger: &'a mut Ledger,
    /// The disk that it has to itself, if it has.
    pub disk: Option<&'a Disk>,
    /// Which of a role's processes is next.
    pub turn: usize,
}

/// What had come at some moment.
struct Sign {
    saturated: bool,
    /// The number of the next event.
    first: u64,
    matched: Vec<u64>,
    counted: Vec<u64>,
}

/// A server that has been killed, until it is started again.
struct Away {
    server: Server,
    resumed: bool,
}

/// How long a process is away.
const DOWN_FOR: Duration = Duration::from_millis(300);
/// Between two blows.
const PAUSE: Duration = Duration::from_millis(300);
/// The same at saturation, for what piled up to be under way everywhere again.
pub const SATURATES_WITHIN: Duration = Duration::from_secs(2);
/// The promise: the first delivery after a killed process is started again.
pub const RECOVERS_WITHIN: Duration = Duration::from_secs(5);
/// After a server's restart our processes wait in their own backoff; nothing is promised but that it ends. What piled up
/// while it was away for longer may take half as long again.
const SERVER_RECOVERS_WITHIN: Duration = Duration::from_secs(60);
/// When to give up waiting for a sign of life.
const GIVE_UP: Duration = Duration::from_secs(60);
/// An event is 1.5 notifications, and one in ten of these is tried three times: 1.8 requests. So this is twice the pace.
const MAX_PACE: f64 = 3.6;
/// Over how long the pace is taken.
const PACE_OVER: Duration = Duration::from_millis(500);
/// For a crash point to be passed often enough.
const CRASHES_WITHIN: Duration = Duration::from_secs(90);
/// The longest backoff of a sender's writes, and a while longer.
const STORED_AFTER: Duration = Duration::from_secs(4);
/// The session of a member (`session.timeout.ms`), and a while longer.
const ASLEEP_FOR: Duration = Duration::from_secs(13);
/// For a sleeper to notice that it is not wanted any more.
const FENCED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How much a process may grow while a server is away, in KiB.
const MAX_GROWTH_KIB: u64 = 32 * 1024;

// === impl Chaos ===

impl Chaos<'_> {
    pub async fn strike(&mut self, blow: Blow) {
        let label = label(blow);
        self.catch_up().await;
        self.ledger.settle(self.receiver.repeats());
        let recovery = match blow {
            Blow::Kill(role) => self.kill(role).await,
            Blow::Crash(role, point, pass) => self.crash(role, point, pass).await,
            Blow::Overtaken(role) => self.overtaken(role).await,
            Blow::Replaced(role) => self.replaced(role).await,
            Blow::Restart(server) => self.restart(server).await,
            Blow::Away(server, how_long) => self.away(server, how_long).await,
            Blow::DiskFull(how_long) => self.disk_full(how_long).await,
            Blow::DiskReadOnly => self.disk_read_only().await,
            Blow::DiskFails(how_long) => self.disk_fails(how_long).await,
        };
        sleep(if self.ledger.saturated { SATURATES_WITHIN } else { PAUSE }).await;
        self.ledger.struck(label, recovery, self.receiver.repeats());
    }

    /// What piled up during the last blow is delivered before the next: beside paced traffic a process is to be struck at
    /// its ordinary work, and not while it sends as fast as it can what fell due during an outage. At saturation there is
    /// always more.
    async fn catch_up(&mut self) {
        let sign = self.sign_of_life();
        if sign.saturated {
            return;
        }
        self.slow_down().await;
        for divided in [Divided::Events, Divided::Deliveries] {
            if !self.receiver.flows(divided, sign.first, GIVE_UP).await {
                self.traffic.violation(format!("{divided:?} are not caught up after {GIVE_UP:?}"));
            }
        }
    }

    /// Until requests come at the pace of what is published.
    async fn slow_down(&mut self) {
        let deadline = Instant::now() + GIVE_UP;
        loop {
            let before = self.receiver.requests();
            sleep(PACE_OVER).await;
            let a_second = (self.receiver.requests() - before) as f64 / PACE_OVER.as_secs_f64();
            if a_second <= MAX_PACE * self.traffic.rate() as f64 {
                return;
            }
            if Instant::now() >= deadline {
                return self
                    .traffic
                    .violation(format!("{a_second:.0} requests a second after {GIVE_UP:?}: no end to it"));
            }
        }
    }

    async fn kill(&mut self, role: Role) -> Recovery {
        let name = self.next_of(role);
        self.ledger.killed(role, None);
        self.installation.kill(&name).await;
        self.start_again(&name, None).await
    }

    async fn crash(&mut self, role: Role, point: Point, pass: u64) -> Recovery {
        let name = self.next_of(role);
        self.ledger.killed(role, None);
        self.installation.kill(&name).await;
        let first = self.start_again(&name, Some((point, pass))).await;
        let deadline = Instant::now() + CRASHES_WITHIN;
        loop {
            match self.installation.crashed(&name) {
                Ok(true) => break,
                Ok(false) if Instant::now() < deadline => sleep(LOOK_EVERY).await,
                Ok(false) => {
                    self.traffic.violation(format!("{name} did not pass {} {pass} times", point.as_str()));
                    self.installation.kill(&name).await;
                    break;
                }
                Err(why) => {
                    self.traffic.violation(why);
                    break;
                }
            }
        }
        self.ledger.killed(role, Some(point));
        first.and(self.start_again(&name, None).await)
    }

    /// The next process of a role, so that each has its turn.
    fn next_of(&mut self, role: Role) -> String {
        let names = self.installation.names(role);
        self.turn += 1;
        names[self.turn % names.len()].clone()
    }

    async fn start_again(&mut self, name: &str, crash_at: Option<(Point, u64)>) -> Recovery {
        sleep(DOWN_FOR).await;
        let (started, sign) = (Instant::now(), self.sign_of_life());
        let role = self.installation.role(name);
        self.installation.start(name, role, crash_at);
        match self.works_again(name, role, &sign, started).await {
            Some(took) => {
                if took > RECOVERS_WITHIN {
                    self.traffic.violation(format!("{name} worked again {took:?} after its start"));
                }
                Recovery::of(took)
            }
            None => Recovery::default(),
        }
    }

    /// What has come so far; what comes beyond is a sign of life.
    fn sign_of_life(&self) -> Sign {
        Sign {
            saturated: self.ledger.saturated,
            first: self.traffic.handed(),
            matched: self.traffic.matched(),
            counted: self.receiver.counted(),
        }
    }

    /// How long until something new has passed through every partition that a role divides. `None` if the process has
    /// crashed before, as it was told to.
    async fn works_again(&mut self, name: &str, role: Role, sign: &Sign, started: Instant) -> Option<Duration> {
        let mut trouble = None;
        while trouble.is_none() {
            let works = match role.divides() {
                Some(divided) => self.flows(divided, sign, LOOK_EVERY).await,
                None => self.installation.ready(name, GIVE_UP).await.is_ok(),
            };
            if works {
                return Some(started.elapsed());
            }
            trouble = match self.installation.crashed(name) {
                Ok(true) => return None,
                Ok(false) if started.elapsed() < GIVE_UP => None,
                Ok(false) => {
                    let log = self.installation.program(name).log();
                    Some(format!("{name} does not work again: {}", last_lines(&log)))
                }
                Err(why) => Some(why),
            };
        }
        self.traffic.violation(trouble.unwrap_or_default());
        Some(started.elapsed())
    }

    /// Whether something new passes through every partition.
    ///
    /// Beside paced traffic that is the receipt of an event that was published after the sign was taken. At saturation
    /// such an event waits behind the others: there it is any request, or, for a matcher, any delivery in the topic.
    async fn flows(&self, divided: Divided, sign: &Sign, within: Duration) -> bool {
        if !sign.saturated {
            return self.receiver.flows(divided, sign.first, within).await;
        }
        let deadline = Instant::now() + within;
        loop {
            let (before, now) = match divided {
                Divided::Events => (&sign.matched, self.traffic.matched()),
                Divided::Deliveries => (&sign.counted, self.receiver.counted()),
            };
            if before.iter().zip(&now).all(|(before, now)| now > before) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    // --- zombies ---

    async fn overtaken(&mut self, role: Role) -> Recovery {
        let name = self.next_of(role);
        let asleep = Instant::now();
        self.installation.program(&name).signal("-STOP");
        sleep(ASLEEP_FOR).await;
        // Events of every partition pass, so others serve what was the sleeper's.
        let sign = self.sign_of_life();
        let served = match role.divides() {
            Some(divided) => self.flows(divided, &sign, GIVE_UP).await,
            None => true,
        };
        if !served {
            self.traffic.violation(format!("nobody took over from {name}, asleep for {:?}", asleep.elapsed()));
        }
        self.ledger.zombie(role);
        let before = self.installation.program(&name).log().len();
        self.installation.program(&name).signal("-CONT");
        let deadline = Instant::now() + FENCED_WITHIN;
        loop {
            let program = self.installation.program(&name);
            let log = program.log();
            let told = log.get(before..).is_some_and(|log| log.contains("partitions lost") || log.contains("fenced"));
            if told || program.end().is_some() {
                break;
            }
            if Instant::now() >= deadline {
                self.traffic.violation(format!("{name} was not told of its loss: {}", last_lines(&log)));
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        // It lives on as a member like any other; or it ends, because its transaction was taken from it too.
        self.flow_again(&name, ASLEEP_FOR).await
    }

    async fn replaced(&mut self, role: Role) -> Recovery {
        let name = self.next_of(role);
        let mut sleeper: Program = self.installation.take(&name);
        sleeper.signal("-STOP");
        let (started, sign) = (Instant::now(), self.sign_of_life());
        self.installation.start(&name, role, None);
        let took = self.works_again(&name, role, &sign, started).await;
        sleep(ASLEEP_FOR.saturating_sub(started.elapsed())).await;
        self.ledger.zombie(role);
        sleeper.signal("-CONT");
        // One of the two has to go. Kafka decides by who joins last: the sleeper's client may notice first that its session
        // is over, and join again by itself; then it is the successor that is fenced, and ends.
        let deadline = Instant::now() + FENCED_WITHIN;
        let ended = loop {
            if sleeper.end().is_some() {
                break Some(sleeper.log());
            }
            let successor = self.installation.program(&name);
            if successor.end().is_some() {
                break Some(successor.log());
            }
            if Instant::now() >= deadline {
                break None;
            }
            sleep(LOOK_EVERY).await;
        };
        match ended {
            Some(log) if log.contains("fenced") => {}
            Some(log) => self.traffic.violation(format!("{name} ended, but not fenced: {}", last_lines(&log))),
            None => self.traffic.violation(format!("two processes named {name} go on: {}", last_lines(&sleeper.log()))),
        }
        drop(sleeper);
        self.supervise();
        took.map_or(Recovery::default(), Recovery::of)
    }

    // --- servers and disks ---

    async fn restart(&mut self, server: Server) -> Recovery {
        // One of several brokers, each in its turn; or the only one.
        self.turn += 1;
        let one = (server == Server::Broker).then(|| self.turn % kafka::count() + 1);
        let away = Away::halt(server, one).await;
        away.resume().await;
        self.flow_again(&format!("the {}", name(server)), Duration::ZERO).await
    }

    /// A server is away, and comes back. Meanwhile who needs it is not ready, nobody ends, and nobody grows.
    async fn away(&mut self, server: Server, how_long: Duration) -> Recovery {
        let needy: Vec<String> = match server {
            Server::Broker => [Role::Api, Role::Match, Role::Send].map(|role| self.installation.names(role)).concat(),
            Server::Database => self.installation.names(Role::Send),
            Server::Registry => self.installation.names(Role::Match),
        };
        let before: Vec<u64> = needy.iter().map(|name| self.installation.memory_kib(name)).collect();
        let mut growth: Vec<u64> = vec![0; needy.len()];
        let (away, since) = (Away::down(server).await, Instant::now());
        while since.elapsed() < how_long {
            sleep(SAMPLE_EVERY).await;
            self.supervise();
            for (n, process) in needy.iter().enumerate() {
                if self.installation.program(process).end().is_some() {
                    let log = self.installation.program(process).log();
                    away.resume().await;
                    self.traffic.violation(format!("{process} ended: {}", last_lines(&log)));
                    return Recovery::default();
                }
                growth[n] = growth[n].max(self.installation.memory_kib(process).saturating_sub(before[n]));
            }
        }
        for (process, growth) in needy.iter().zip(&growth) {
            println!("the {} is away: {process} has grown by {growth} KiB", name(server));
            if *growth > MAX_GROWTH_KIB {
                self.traffic.violation(format!("{process} has grown by {growth} KiB; {MAX_GROWTH_KIB} may be"));
            }
            if self.installation.is_ready(process).await {
                let away = name(server);
                self.traffic.violation(format!("{process} is ready, though the {away} is away for {how_long:?}"));
            }
        }
        away.resume().await;
        let recovery = self.flow_again(&format!("the {}", name(server)), how_long).await;
        for process in &needy {
            if let Err(why) = self.installation.ready(process, SERVER_RECOVERS_WITHIN).await {
                self.traffic.violation(why);
            }
            // Whoever does not poll is thrown out of its group.
            if server != Server::Broker && self.installation.program(process).log().contains("partitions lost") {
                self.traffic.violation(format!("{process} lost its partitions while the {} was away", name(server)));
            }
        }
        recovery
    }

    /// By themselves, but for what a supervisor does: first anything in every partition, then what is published from now on,
    /// which waits behind what piled up.
    async fn flow_again(&mut self, what: &str, away_for: Duration) -> Recovery {
        let (back, fresh) = (Instant::now(), self.sign_of_life());
        let anything = Sign { saturated: true, ..self.sign_of_life() };
        let caught_up_within = SERVER_RECOVERS_WITHIN.max(away_for / 2);
        let stages = [(anything, SERVER_RECOVERS_WITHIN, "flows"), (fresh, caught_up_within, "caught up")];
        for (sign, within, stage) in stages {
            for divided in [Role::Match, Role::Send].into_iter().filter_map(Role::divides) {
                while !self.flows(divided, &sign, SAMPLE_EVERY).await {
                    if back.elapsed() >= within {
                        self.traffic.violation(format!("{divided:?}: not {stage} {within:?} after {what} is back"));
                        break;
                    }
                    self.supervise();
                }
            }
            println!("{what} is back; {stage} after {:.1} s", back.elapsed().as_secs_f64());
        }
        Recovery::default()
    }

    /// Starts again what has ended because it was fenced. Kafka fences not only a process whose name another has, but also
    /// one whose answer was lost while the broker died, or whose transaction was open for too long. A process cannot tell
    /// these from each other, so it ends, and its supervisor starts it again.
    fn supervise(&mut self) {
        for role in [Role::Match, Role::Send] {
            for name in self.installation.names(role) {
                let program = self.installation.program(&name);
                if program.end().is_some() && program.log().contains("fenced") {
                    println!("{name} ended fenced, and is started again");
                    self.ledger.fenced += 1;
                    self.installation.start(&name, role, None);
                }
            }
        }
    }

    async fn disk_full(&mut self, how_long: Duration) -> Recovery {
        let Some(disk) = self.disk else { return Recovery::default() };
        disk.fill();
        sleep(how_long).await;
        let acknowledged = self.traffic.acknowledged();
        sleep(how_long).await;
        if self.traffic.acknowledged() > acknowledged {
            self.traffic.violation("events were accepted while the disk was full".to_owned());
        }
        disk.make_room();
        let recovery = self.works_by_itself("the disk has room again").await;
        // What could not be stored meanwhile is, when its backoff is over: the next blow is to be judged by itself.
        sleep(STORED_AFTER).await;
        recovery
    }

    async fn disk_read_only(&mut self) -> Recovery {
        let Some(disk) = self.disk else { return Recovery::default() };
        let name = self.next_of(Role::Up);
        self.ledger.killed(Role::Up, None);
        self.installation.kill(&name).await;
        disk.read_only(true);
        let mut refused = self.installation.spawn(&name, Role::Up, None);
        let (status, _) = refused.ended(GIVE_UP).await;
        if status.success() || !refused.log().contains("Read-only file system") {
            self.traffic.violation(format!("a read-only disk was not named: {}", last_lines(&refused.log())));
        }
        disk.read_only(false);
        self.start_again(&name, None).await
    }

    async fn disk_fails(&mut self, how_long: Duration) -> Recovery {
        let Some(disk) = self.disk.filter(|disk| disk.can_fail()) else {
            // Past the macros, whose output a passing test swallows.
            std::io::stderr()
                .write_all(b"skipped: a disk that fails: no device for it here\n")
                .expect("standard error is open");
            return Recovery::default();
        };
        disk.fail();
        // What was under way has its answer by then.
        sleep(how_long).await;
        let acknowledged = self.traffic.acknowledged();
        sleep(how_long).await;
        if self.traffic.acknowledged() > acknowledged {
            self.traffic.violation("events were accepted while the disk took no writes".to_owned());
        }
        let name = self.next_of(Role::Up);
        let log = self.installation.program(&name).log();
        if !log.to_lowercase().contains("readonly")
            && !log.contains("Read-only file system")
            && !log.contains("disk I/O error")
        {
            self.traffic.violation(format!("a failing disk was not named: {}", last_lines(&log)));
        }
        self.ledger.killed(Role::Up, None);
        self.installation.kill(&name).await;
        disk.mend();
        self.start_again(&name, None).await
    }

    /// No process was started: what was in the way has gone.
    async fn works_by_itself(&mut self, what: &str) -> Recovery {
        let (since, sign) = (Instant::now(), self.sign_of_life());
        let name = self.next_of(Role::Up);
        let took = self.works_again(&name, Role::Up, &sign, since).await;
        println!("{what}; events flowed again after {took:?}");
        Recovery::default()
    }
}

// === impl Away ===

impl Away {
    /// Kills all of its processes, or the broker of this number.
    async fn halt(server: Server, broker: Option<usize>) -> Away {
        Away::control(server, "halt", broker).await;
        Away { server, resumed: false }
    }

    /// In good order, for Kafka does not survive the death of all its brokers at one moment: it elects a leader that lacks
    /// what others had acknowledged.
    async fn down(server: Server) -> Away {
        let action = if server == Server::Broker { "down" } else { "halt" };
        Away::control(server, action, None).await;
        Away { server, resumed: false }
    }

    async fn resume(mut self) {
        Away::control(self.server, "resume", None).await;
        self.resumed = true;
    }

    async fn control(server: Server, action: &'static str, broker: Option<usize>) {
        let done = tokio::task::spawn_blocking(move || control(server, action, broker)).await;
        assert!(done.expect("the script runs"), "the {} cannot be controlled here", name(server));
    }
}

impl Drop for Away {
    /// Other tests need it, whatever became of this one.
    fn drop(&mut self) {
        if !self.resumed {
            control(self.server, "resume", None);
        }
    }
}

fn control(server: Server, action: &str, broker: Option<usize>) -> bool {
    match server {
        Server::Broker => kafka::control(action, broker),
        Server::Database => postgres::control(&[action]),
        Server::Registry => registry::control(action),
    }
}

fn name(server: Server) -> &'static str {
    match server {
        Server::Broker => "broker",
        Server::Database => "database",
        Server::Registry => "registry",
    }
}

fn label(blow: Blow) -> String {
    match blow {
        Blow::Kill(role) => format!("{} killed", role.command()),
        Blow::Crash(role, point, _) => format!("{} killed, then at {}", role.command(), point.as_str()),
        Blow::Overtaken(role) => format!("{} asleep, overtaken", role.command()),
        Blow::Replaced(role) => format!("{} asleep, replaced", role.command()),
        Blow::Restart(server) => format!("{} restarted", name(server)),
        Blow::Away(server, how_long) => format!("{} away {} s", name(server), how_long.as_secs()),
        Blow::DiskFull(_) => "disk full".to_owned(),
        Blow::DiskReadOnly => "disk read-only".to_owned(),
        Blow::DiskFails(_) => "disk failing".to_owned(),
    }
}
