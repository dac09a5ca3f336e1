//! A member of a consumer group, as a role sees it. The work is done by a [thread](super::worker) of its own, because
//! librdkafka's calls block and its rebalances happen inside of polling; this is the task's end of the line.

use std::{
    sync::{Arc, atomic::AtomicBool, mpsc},
    thread,
};

use tidings_core::domain::{Output, Record, TopicPartition};
use tokio::sync::oneshot;

use super::{
    admin::Cluster,
    inbox::{Inbox, Taken},
    worker::{Command, Wake, Worker},
};
use crate::log::{Group, Input, LogError, Member, Offsets};

pub struct KafkaMember {
    inbox: Arc<Inbox>,
    commands: mpsc::Sender<Command>,
    wake: Wake,
}

/// Ends the inbox when the thread ends, in whatever way: nobody waits for a thread that is gone.
struct EndsInbox(Arc<Inbox>);

// === impl KafkaMember ===

impl KafkaMember {
    pub(super) async fn join(cluster: Arc<Cluster>, group: Group) -> Result<KafkaMember, LogError> {
        let (commands, received) = mpsc::channel();
        let inbox = Arc::new(Inbox::new(group.batch));
        let wake = Wake { commands: commands.clone(), pending: Arc::new(AtomicBool::new(false)) };
        let (ready, joined) = oneshot::channel();

        let (inbox_of_thread, wake_of_thread) = (inbox.clone(), wake.clone());
        thread::Builder::new()
            .name(format!("kafka {}", group.instance))
            .spawn(move || {
                let _end = EndsInbox(inbox_of_thread.clone());
                match Worker::join(cluster, group, inbox_of_thread, wake_of_thread) {
                    // If nobody waits any more, the first command is that the member was dropped.
                    Ok(worker) => {
                        ready.send(Ok(())).ok();
                        worker.run(received);
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })
            .map_err(|error| LogError::Unavailable(format!("starting a thread: {error}")))?;

        let member = KafkaMember { inbox, commands, wake };
        joined.await.map_err(|_| member.gone())??;
        Ok(member)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, LogError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())
    }

    fn gone(&self) -> LogError {
        self.inbox.ended().unwrap_or_else(|| LogError::Refused("the member's thread has ended".into()))
    }
}

impl Member for KafkaMember {
    async fn next(&mut self) -> Result<Input, LogError> {
        loop {
            match self.inbox.take() {
                Taken::Input(input) => return input,
                Taken::FullBatch(records) => {
                    self.wake.wake();
                    return Ok(Input::Records(records));
                }
                Taken::Nothing => self.inbox.changed().await,
            }
        }
    }

    async fn commit(&mut self, outputs: Vec<Output>, offsets: Offsets) -> Result<(), LogError> {
        let done = self.ask(|answer| Command::Commit { outputs, offsets, answer }).await.flatten();
        self.inbox.open_after(&done);
        done
    }

    async fn commit_holding(&mut self, outputs: Vec<Output>, offsets: Offsets) -> Result<bool, LogError> {
        let clearings = self.inbox.clearings();
        self.commit(outputs, offsets).await?;
        Ok(clearings == self.inbox.clearings())
    }

    async fn commit_ahead(
        &mut self,
        outputs: Vec<Output>,
        offsets: Offsets,
        ahead: impl FnOnce(Vec<Record>) + Send,
    ) -> Result<bool, LogError> {
        let committed = self.ask(|answer| Command::Commit { outputs, offsets, answer });
        tokio::pin!(committed);
        let (mut ahead, mut given) = (Some(ahead), None);
        loop {
            tokio::select! {
                biased;
                done = &mut committed => {
                    let done = done.flatten();
                    self.inbox.open_after(&done);
                    // The outcome may have been learnt by going back to the committed offsets: from there they come again.
                    return done.map(|()| given.is_none_or(|clearings| clearings == self.inbox.clearings()));
                }
                (records, clearings) = self.inbox.more(), if ahead.is_some() => {
                    given = Some(clearings);
                    if let Some(ahead) = ahead.take() {
                        ahead(records);
                    }
                }
            }
        }
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let partitions = partitions.to_vec();
        self.ask(|answer| Command::Release { partitions, answer }).await?
    }

    async fn pause(&mut self) -> Result<(), LogError> {
        self.ask(|answer| Command::Pause { paused: true, answer }).await?
    }

    async fn resume(&mut self) -> Result<(), LogError> {
        self.ask(|answer| Command::Pause { paused: false, answer }).await?
    }

    async fn read_also(&mut self, topics: Vec<Arc<str>>) -> Result<(), LogError> {
        self.ask(|answer| Command::ReadAlso { topics, answer }).await?
    }

    async fn leave(self) {
        // If the thread is gone already, so is the membership.
        self.ask(|answer| Command::Leave { answer: Some(answer) }).await.ok();
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        self.commands.send(Command::Leave { answer: None }).ok();
    }
}

impl Drop for EndsInbox {
    fn drop(&mut self) {
        self.0.end(LogError::Refused("the member has left".into()));
    }
}
