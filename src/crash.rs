//! Crash points: named places at which a development build can be told to die, between two steps of which the first is
//! done and the second is not. `tests/kill/` kills Tidings there and looks whether its promises still hold.
//!
//! `TIDINGS_CRASH_AT=offsets_sent:20` ends the process when it passes [`Point::OffsetsSent`] for the twentieth time. It
//! dies as from SIGKILL: nothing is unwound, flushed or said goodbye to. (By SIGABRT, so that whoever started it can tell
//! that it died where it should.) A release build has none of this: [`point`] is empty there and the variable unread.

/// Where a process can be told to die, in the order an event comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A transaction is open and empty.
    TransactionBegun,
    /// Its records are handed over; the input offsets are not.
    Produced,
    /// Everything is in it, acknowledged; it is not committed.
    OffsetsSent,
    /// It is committed; the role does not know yet.
    Committed,
    /// The receiver has answered; nobody has heard of it yet.
    Answered,
    /// The attempts are in the store; their offsets are not settled yet.
    Stored,
}

/// Every point, for tests.
pub const POINTS: [Point; 6] =
    [Point::TransactionBegun, Point::Produced, Point::OffsetsSent, Point::Committed, Point::Answered, Point::Stored];

#[cfg(debug_assertions)]
pub use armed::{arm, point};

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    use super::{POINTS, Point};

    const VARIABLE: &str = "TIDINGS_CRASH_AT";

    /// The point and how often it may yet be passed.
    static ARMED: OnceLock<(Point, AtomicU64)> = OnceLock::new();

    /// Reads the variable. A point that does not exist must not pass for one that was never reached.
    pub fn arm() -> anyhow::Result<()> {
        let Ok(text) = std::env::var(VARIABLE) else { return Ok(()) };
        let (point, pass) = read(&text).map_err(|why| anyhow::anyhow!("{VARIABLE} {why}"))?;
        // A killed process leaves no core file, and writing one would take a while.
        rlimit::setrlimit(rlimit::Resource::CORE, 0, 0)?;
        tracing::warn!(point = point.as_str(), pass, "armed: this process is going to crash");
        ARMED.set((point, AtomicU64::new(pass))).ok();
        Ok(())
    }

    /// Dies here, if this is the place and the time.
    pub fn point(here: Point) {
        let Some((point, left)) = ARMED.get() else { return };
        if *point == here && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    }

    /// `<point>:<nth pass>`.
    pub(super) fn read(text: &str) -> Result<(Point, u64), String> {
        let names = || POINTS.map(Point::as_str).join(", ");
        let (name, pass) =
            text.split_once(':').ok_or_else(|| format!("is {text:?}; `<point>:<nth pass>` is expected"))?;
        let point = POINTS.into_iter().find(|point| point.as_str() == name);
        let point = point.ok_or_else(|| format!("names the point {name:?}; there are {}", names()))?;
        let pass = pass.parse().ok().filter(|pass| *pass > 0);
        let pass = pass.ok_or_else(|| format!("is {text:?}; the pass is a number from 1 on"))?;
        Ok((point, pass))
    }
}

#[cfg(not(debug_assertions))]
pub fn arm() -> anyhow::Result<()> {
    Ok(())
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_: Point) {}

// === impl Point ===

impl Point {
    pub fn as_str(self) -> &'static str {
        match self {
            Point::TransactionBegun => "transaction_begun",
            Point::Produced => "produced",
            Point::OffsetsSent => "offsets_sent",
            Point::Committed => "committed",
            Point::Answered => "answered",
            Point::Stored => "stored",
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::{armed::read, *};

    #[test]
    fn what_is_no_point_is_refused_with_what_is() {
        assert_eq!(read("stored:3"), Ok((Point::Stored, 3)));
        for point in POINTS {
            assert_eq!(read(&format!("{}:1", point.as_str())), Ok((point, 1)));
        }
        for (text, expected) in [
            ("stored", "`<point>:<nth pass>` is expected"),
            ("sent:1", "there are transaction_begun, produced"),
            ("stored:0", "from 1 on"),
            ("stored:soon", "from 1 on"),
        ] {
            let refusal = read(text).unwrap_err();
            assert!(refusal.contains(expected), "{refusal}");
        }
    }
}
