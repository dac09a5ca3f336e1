//! What the demo shows: the commands once, and below them figures, on a terminal drawn again in place, elsewhere a line
//! now and then. The figures are less than 80 columns and 24 rows, so that they move up and down in any terminal alike.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use super::{
    cast::Cast,
    commands::Command,
    counts::Counts,
    receivers::{Manner, Percentiles, Seen},
};

/// Everything that is shown at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub running: Duration,
    pub counts: Counts,
    pub percentiles: Option<Percentiles>,
    pub receivers: Vec<Seen>,
}

/// What does not change while the demo runs.
#[derive(Clone, Debug)]
pub struct Frame {
    pub api: String,
    pub events_per_second: u32,
    pub cast: Cast,
    pub commands: Vec<Command>,
}

/// Where it is shown.
pub struct Screen {
    is_terminal: bool,
    /// Lines of the picture that stands on the terminal.
    drawn: usize,
    /// When the last line was printed.
    shown: Duration,
}

/// Between two pictures on a terminal.
pub const PICTURE_EVERY: Duration = Duration::from_millis(250);
/// Between two lines elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Clears the rest of the line, and of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

// === impl Screen ===

impl Screen {
    /// Tells what does not change.
    pub fn open(frame: &Frame) -> io::Result<Screen> {
        let mut out = io::stdout().lock();
        out.write_all(frame.text().as_bytes())?;
        out.flush()?;
        Ok(Screen { is_terminal: io::stdout().is_terminal(), drawn: 0, shown: Duration::ZERO })
    }

    pub fn show(&mut self, view: &View) -> io::Result<()> {
        if self.is_terminal {
            self.draw(&format!("{}\n  Ctrl-C stops the demo.\n", picture(view)))
        } else if view.running.saturating_sub(self.shown) >= LINE_EVERY {
            self.shown = view.running;
            self.draw(&format!("{}\n", line(view)))
        } else {
            Ok(())
        }
    }

    /// Leaves the last picture where it is, and says what came of it all.
    pub fn close(mut self, view: &View) -> io::Result<()> {
        self.draw(&format!("{}\n  {}\n", picture(view), totals(view)))
    }

    fn draw(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_terminal {
            let up = if self.drawn > 0 { format!("\r\x1b[{}A", self.drawn) } else { String::new() };
            // Line by line over what is there: nothing flickers.
            write!(out, "{up}{}{CLEAR_BELOW}", text.replace('\n', &format!("{CLEAR_LINE}\n")))?;
            self.drawn = text.lines().count();
        } else {
            out.write_all(text.as_bytes())?;
        }
        out.flush()
    }
}

// === impl Frame ===

impl Frame {
    fn text(&self) -> String {
        let Cast { destinations, subscriptions } = self.cast;
        let mut text = format!(
            "Tidings demo: {} events a second of four platforms, {subscriptions} subscriptions, {destinations} \
             destinations\nAPI at {}\n\nTo try in a second terminal, in this folder:\n",
            self.events_per_second, self.api
        );
        for Command { shows, line } in &self.commands {
            text.push_str(&format!("\n  # {shows}\n  {line}\n"));
        }
        text
    }
}

fn picture(view: &View) -> String {
    counts_text(view) + &receivers_text(view)
}

fn counts_text(view: &View) -> String {
    let Counts { events, matched, delivered, waiting, retrying, failed, set_aside, .. } = view.counts;
    let columns = [
        ("events", 9, events),
        ("matched", 9, matched),
        ("delivered", 11, delivered),
        ("waiting", 9, waiting),
        ("retrying", 10, retrying),
        ("failed", 8, failed),
        ("unreadable", 12, set_aside),
    ];
    let titles: String = columns.iter().map(|(title, width, _)| format!("{title:>width$}")).collect();
    let values: String = columns.iter().map(|(_, width, value)| format!("{:>width$}", grouped(*value))).collect();
    let times = match view.percentiles {
        Some(Percentiles { p50_ms, p99_ms }) => format!("p50 {p50_ms} ms   p99 {p99_ms} ms"),
        None => "nothing received yet".to_owned(),
    };
    format!(
        "\n  {:>7}{titles}\n  {:>7}{values}\n\n  event to receipt (healthy one, last 10 s):   {times}\n",
        "time",
        clock(view.running)
    )
}

fn receivers_text(view: &View) -> String {
    let mut text =
        format!("\n  {:<9}{:>9}{:>10}{:>8}   {}\n", "receiver", "received", "verified", "forged", "how it behaves");
    for seen in &view.receivers {
        let figures = match seen.manner {
            Manner::Healthy | Manner::Flaky => {
                let figure = |number: u64, width: usize| format!("{:>width$}", grouped(number));
                figure(seen.received, 9) + &figure(seen.verified, 10) + &figure(seen.forged, 8)
            }
            Manner::Silent => format!("{:>9}{:>10}{:>8}", grouped(seen.received), "-", "-"),
            Manner::Dead => format!("{:>9}{:>10}{:>8}", "-", "-", "-"),
        };
        text.push_str(&format!("  {:<9}{figures}   {}\n", seen.name, behaviour(seen, &view.counts)));
    }
    text
}

fn behaviour(seen: &Seen, counts: &Counts) -> String {
    match (seen.manner, seen.name) {
        (Manner::Healthy, "limited") => "takes no more than 75 requests a minute".to_owned(),
        (Manner::Healthy, _) => "answers 204".to_owned(),
        (Manner::Flaky, _) => format!("answered 500 to {}", grouped(seen.failed)),
        (Manner::Dead, _) => format!("port closed: refused {}", grouped(counts.refused)),
        (Manner::Silent, _) => {
            format!("no answers: {} timed out, {} open", grouped(counts.timed_out), grouped(seen.open))
        }
    }
}

fn line(view: &View) -> String {
    let Counts { events, matched, delivered, waiting, retrying, failed, set_aside, .. } = view.counts;
    let times = view.percentiles.map_or(String::new(), |p| format!(", p50 {} ms, p99 {} ms", p.p50_ms, p.p99_ms));
    format!(
        "{} {events} events, {matched} matched, {delivered} delivered, {waiting} waiting, {retrying} retrying, \
         {failed} failed, {set_aside} unreadable{times}",
        clock(view.running)
    )
}

fn totals(view: &View) -> String {
    let received: u64 = view.receivers.iter().map(|seen| seen.verified + seen.forged).sum();
    let forged: u64 = view.receivers.iter().map(|seen| seen.forged).sum();
    let signatures = match forged {
        0 => format!("the signature of each of {} requests was verified", grouped(received)),
        _ => format!("{} of {} requests had a WRONG SIGNATURE", grouped(forged), grouped(received)),
    };
    format!(
        "Stopped after {}: {} of {} notifications delivered, {}.",
        clock(view.running),
        grouped(view.counts.delivered),
        grouped(view.counts.matched),
        signatures
    )
}

/// Minutes and seconds; hours too, if there are any.
fn clock(time: Duration) -> String {
    let s = time.as_secs();
    match s / 3600 {
        0 => format!("{:02}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// 12345 as `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &'static str, manner: Manner, received: u64, failed: u64) -> Seen {
        Seen { name, manner, received, verified: received, forged: 0, failed, open: 0 }
    }

    fn view() -> View {
        View {
            running: Duration::from_secs(42),
            counts: Counts {
                events: 2_100,
                matched: 1_234,
                delivered: 1_190,
                waiting: 7,
                retrying: 31,
                failed: 6,
                set_aside: 4,
                refused: 18,
                timed_out: 9,
            },
            percentiles: Some(Percentiles { p50_ms: 6, p99_ms: 14 }),
            receivers: vec![
                seen("healthy", Manner::Healthy, 987, 0),
                seen("flaky", Manner::Flaky, 210, 63),
                Seen { open: 1, verified: 0, ..seen("silent", Manner::Silent, 10, 0) },
                seen("dead", Manner::Dead, 0, 0),
            ],
        }
    }

    #[test]
    fn the_picture_says_it_all() {
        let expected = "
     time   events  matched  delivered  waiting  retrying  failed  unreadable
    00:42    2,100    1,234      1,190        7        31       6           4

  event to receipt (healthy one, last 10 s):   p50 6 ms   p99 14 ms

  receiver  received  verified  forged   how it behaves
  healthy        987       987       0   answers 204
  flaky          210       210       0   answered 500 to 63
  silent          10         -       -   no answers: 9 timed out, 1 open
  dead             -         -       -   port closed: refused 18
";
        let text = picture(&view());
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn after_hours_it_still_fits_a_terminal() {
        let mut view = view();
        let n = 999_999;
        view.running = Duration::from_secs(35_999);
        view.counts = Counts {
            events: n,
            matched: n,
            delivered: n,
            waiting: n,
            retrying: n,
            failed: n,
            set_aside: n,
            refused: n,
            timed_out: n,
        };
        view.percentiles = Some(Percentiles { p50_ms: 99_999, p99_ms: 99_999 });
        view.receivers
            .iter_mut()
            .for_each(|seen| (seen.received, seen.verified, seen.forged, seen.failed) = (n, n, n, n));
        for line in picture(&view).lines() {
            assert!(line.chars().count() < 80, "{line}");
        }
    }

    #[test]
    fn a_wrong_signature_cannot_be_overlooked() {
        assert!(totals(&view()).contains("each of 1,197 requests was verified"), "{}", totals(&view()));
        let mut view = view();
        view.receivers[0].forged = 1;
        assert!(totals(&view).contains("1 of 1,198 requests had a WRONG SIGNATURE"), "{}", totals(&view));
    }

    #[test]
    fn figures_are_easy_to_read() {
        let check = |number: u64, expected: &str| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
        assert_eq!(clock(Duration::from_secs(3_725)), "1:02:05");
    }
}
