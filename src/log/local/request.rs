//! What the writer is asked for, what it answers, and what it tells members unasked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tidings_core::domain::{Output, TopicPartition};
use tokio::sync::{Notify, oneshot};

use super::{assignment::MemberId, hold, hold::Hold, topic::Partition};
use crate::log::{LogError, Offsets, TopicSpec};

/// What the other threads may ask for. A dropped reply means that nobody waits any longer; the request is still done.
pub(super) enum Request {
    Write(Write),
    Create {
        spec: TopicSpec,
        reply: oneshot::Sender<Result<bool, LogError>>,
    },
    Join {
        group: String,
        topics: Vec<Arc<str>>,
        instance: String,
        mailbox: Arc<Mailbox>,
        reply: oneshot::Sender<Result<MemberId, LogError>>,
    },
    /// A member reads these topics too.
    Widen {
        group: String,
        member: MemberId,
        topics: Vec<Arc<str>>,
        reply: oneshot::Sender<Result<(), LogError>>,
    },
    Release {
        group: String,
        member: MemberId,
        partitions: Vec<TopicPartition>,
        reply: oneshot::Sender<Result<(), LogError>>,
    },
    /// Sent by a member that leaves, and by one that is dropped.
    Leave {
        group: String,
        member: MemberId,
        reply: oneshot::Sender<()>,
    },
    Appender {
        name: Arc<str>,
        reply: oneshot::Sender<u64>,
    },
    Hold(Hold),
    Committed {
        group: String,
        topic: Arc<str>,
        reply: oneshot::Sender<Offsets>,
    },
}

/// Records and offsets that become visible together or not at all.
pub(super) struct Write {
    pub author: Author,
    pub outputs: Vec<Output>,
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

/// Who writes: decides who may be fenced.
pub(super) enum Author {
    Anyone,
    Appender {
        name: Arc<str>,
        epoch: u64,
    },
    Member {
        group: String,
        member: MemberId,
        offsets: Offsets,
        /// Offsets without outputs, at least once: nothing else hangs on them and the next commit says them again. So
        /// those of partitions that are gone are left out, and a failure sends nobody back.
        loose: bool,
    },
}

/// Why a write was not done and, after [`LogError::Aborted`], where its member goes on.
#[derive(Debug)]
pub(super) struct Refusal {
    pub error: LogError,
    pub rewind: Offsets,
}

/// Where the writer leaves word for a member.
#[derive(Default)]
pub(super) struct Mailbox {
    pub notices: Mutex<VecDeque<Notice>>,
    /// Also notified when one of the member's topics has more.
    pub changed: Arc<Notify>,
}

pub(super) enum Notice {
    Assigned(Vec<(Arc<Partition>, i64)>),
    Revoking(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
    Fenced(String),
}

// === impl Mailbox ===

impl Mailbox {
    pub fn put(&self, notice: Notice) {
        hold(&self.notices).push_back(notice);
        self.changed.notify_one();
    }

    /// Whether the member has yet to hear that it lost this partition. The writer may ask while it serves the member's
    /// commit: the member does not listen meanwhile.
    pub fn loss_untold(&self, partition: &TopicPartition) -> bool {
        let lost = |notice: &Notice| matches!(notice, Notice::Lost(lost) if lost.contains(partition));
        hold(&self.notices).iter().any(lost)
    }
}

// === impl Refusal ===

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Refusal {
        Refusal { error, rewind: Offsets::new() }
    }
}
