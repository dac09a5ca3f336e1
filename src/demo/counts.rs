//! The demo's figures are the product's: read from what `/metrics` says.

/// What became of events until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted by the API.
    pub events: u64,
    /// Notifications made of them.
    pub matched: u64,
    pub delivered: u64,
    /// In the sender's memory: waiting for their turn, or for an answer.
    pub waiting: u64,
    /// Tried without success, and parked until the next try.
    pub retrying: u64,
    /// Ended without delivery: every retry was used up, or it grew too old.
    pub failed: u64,
    /// Records that could not be read.
    pub set_aside: u64,
    /// Attempts whose connection was refused.
    pub refused: u64,
    /// Attempts that got no answer in time.
    pub timed_out: u64,
}

// === impl Counts ===

impl Counts {
    /// Reads Prometheus' text format.
    pub fn read(text: &str) -> Counts {
        let sum = |name: &str, label: &str| -> u64 {
            let values = text.lines().filter_map(|line| value(line, name, label));
            values.sum::<f64>() as u64
        };
        let ended = sum("tidings_notifications_total", "");
        let matched = sum("tidings_matched_total", "");
        let waiting = sum("tidings_queued", "") + sum("tidings_in_flight", "");
        Counts {
            events: sum("tidings_events_published_total", ""),
            matched,
            delivered: sum("tidings_notifications_total", "outcome=\"delivered\""),
            waiting,
            // What has begun, has not ended and is not in memory is parked, or for a moment on its way.
            retrying: matched.saturating_sub(ended + waiting),
            failed: sum("tidings_notifications_total", "outcome=\"exhausted\"")
                + sum("tidings_notifications_total", "outcome=\"expired\""),
            set_aside: sum("tidings_deadlettered_total", ""),
            refused: sum("tidings_attempts_total", "class=\"connect\""),
            timed_out: sum("tidings_attempts_total", "class=\"timeout\""),
        }
    }
}

/// The value of a line such as `name{label="x"} 7`, if it is of this metric and has this label.
fn value(line: &str, name: &str, label: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_once("} ")?,
        None => ("", rest.strip_prefix(' ')?),
    };
    if labels.contains(label) { value.trim().parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_metrics() {
        let text = "# TYPE tidings_notifications_total counter\n\
            tidings_notifications_total{outcome=\"delivered\"} 90\ntidings_notifications_total{outcome=\"exhausted\"} 2\n\
            tidings_matched_total 100\ntidings_queued 3\ntidings_queued_bytes 7000\ntidings_in_flight 1\n\
            tidings_deadlettered_total{reason=\"decode\"} 1\ntidings_deadlettered_total{reason=\"no_team\"} 2\n\
            tidings_attempts_total{class=\"connect\"} 6\ntidings_events_published_total 250\n";
        let expected = Counts {
            events: 250,
            matched: 100,
            delivered: 90,
            waiting: 4,
            retrying: 4,
            failed: 2,
            set_aside: 3,
            refused: 6,
            timed_out: 0,
        };
        assert_eq!(Counts::read(text), expected);
        assert_eq!(Counts::read(""), Counts::default());
    }
}
