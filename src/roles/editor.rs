//! Edits of the directory: checked against the newest fold, appended as one group, visible when they return.
//!
//! All processes' writers take the store's lock in turn. The holder brings its fold up to the end of the topic, checks
//! the revisions of all edits that wait, appends those that hold in one transaction, and waits until its fold has
//! passed them. A former holder that slept is fenced by the appender. Producers outside Tidings take no lock: for
//! them the last write wins.

use std::sync::Arc;

use bytes::Bytes;
use tidings_core::domain::{Output, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use super::{directory::DirectoryView, stop::Stop};
use crate::{
    log::{Appender, Log, LogError},
    store::{Store, StoreError},
};

/// A change of one key.
#[derive(Clone, Debug)]
pub struct Edit {
    /// `sub/<team>/<id>` or `dst/<team>/<id>`.
    pub key: String,
    /// The object as JSON; its `revision` is set here. `None` deletes.
    pub value: Option<serde_json::Map<String, serde_json::Value>>,
    pub expected: Expected,
}

/// What the writer believes to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Anything,
    Absent,
    Present,
    Revision(u64),
}

/// Why a group of edits was not made. None of its edits was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EditError {
    #[error("{key} is at revision {found}, not {expected}")]
    Conflict { key: String, expected: u64, found: u64 },
    #[error("{0} exists already")]
    Exists(String),
    #[error("{0} does not exist")]
    Missing(String),
    #[error("the directory cannot be written now: {0}")]
    Unavailable(String),
}

/// Hands edits to the writer task. Cheap to clone.
#[derive(Clone)]
pub struct Editor(mpsc::Sender<Request>);

/// The writer task.
pub struct EditorTask<L, S> {
    log: L,
    store: S,
    topic: Arc<str>,
    view: DirectoryView,
    requests: mpsc::Receiver<Request>,
}

struct Request {
    edits: Vec<Edit>,
    answer: oneshot::Sender<Result<Vec<u64>, EditError>>,
}

/// Requests that may wait for the writer.
const MAX_WAITING: usize = 1_024;

pub fn editor<L: Log, S: Store>(log: L, store: S, topic: Arc<str>, view: DirectoryView) -> (EditorTask<L, S>, Editor) {
    let (sender, requests) = mpsc::channel(MAX_WAITING);
    (EditorTask { log, store, topic, view, requests }, Editor(sender))
}

// === impl Editor ===

impl Editor {
    /// Makes all of these edits or none; answers their new revisions once every reader of this process sees them.
    pub async fn edit(&self, edits: Vec<Edit>) -> Result<Vec<u64>, EditError> {
        let gone = || EditError::Unavailable("the process is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.0.send(Request { edits, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

// === impl EditorTask ===

impl<L: Log, S: Store> EditorTask<L, S> {
    /// Serves until the order to stop.
    pub async fn run(mut self, mut stop: Stop) {
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                biased;
                _ = stop.ordered() => return,
                received = self.requests.recv_many(&mut waiting, MAX_WAITING) => {
                    if received == 0 {
                        return;
                    }
                }
            }
            self.serve(std::mem::take(&mut waiting)).await;
        }
    }

    async fn serve(&mut self, requests: Vec<Request>) {
        let (edits, answers): (Vec<_>, Vec<_>) = requests.into_iter().map(|r| (r.edits, r.answer)).unzip();
        let results = match self.write(&edits).await {
            Ok(results) => results,
            Err(why) => edits.iter().map(|_| Err(EditError::Unavailable(why.to_string()))).collect(),
        };
        for (answer, result) in answers.into_iter().zip(results) {
            // The asker may have gone; its edits stand all the same.
            let _ = answer.send(result);
        }
    }

    /// One turn with the lock: check all, append what holds in one transaction, wait until the fold has it.
    async fn write(&mut self, groups: &[Vec<Edit>]) -> Result<Vec<Result<Vec<u64>, EditError>>, WriteError> {
        let partition = TopicPartition { topic: self.topic.clone(), partition: 0 };
        let _guard = self.store.lock_directory().await?;
        // Named after the topic, so that installations on one cluster do not fence each other.
        let mut appender = self.log.appender(&self.topic).await?;
        let end = self.log.bounds(partition.clone()).await?.end;
        let directory = self.view.wait_for(end).await.ok_or(WriteError::NoDirectory)?;
        let mut revisions = Revisions::new(|key| directory.revision(key));
        let mut outputs = Vec::new();
        let mut results = Vec::with_capacity(groups.len());
        for edits in groups {
            let checked = revisions.check(edits);
            if let Ok(new) = &checked {
                outputs.extend(edits.iter().zip(new).map(|(edit, revision)| self.output(edit, *revision)));
            }
            results.push(checked);
        }
        if !outputs.is_empty() {
            appender.append(outputs).await?;
            let end = self.log.bounds(partition).await?.end;
            self.view.wait_for(end).await.ok_or(WriteError::NoDirectory)?;
        }
        Ok(results)
    }

    fn output(&self, edit: &Edit, revision: u64) -> Output {
        let value = edit.value.clone().map(|mut object| {
            object.insert("revision".to_owned(), revision.into());
            Bytes::from(serde_json::Value::Object(object).to_string())
        });
        let (topic, key) = (self.topic.clone(), Some(Bytes::from(edit.key.clone())));
        Output { topic, partition: Some(0), key, value, headers: Vec::new() }
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the directory is no longer followed")]
    NoDirectory,
}

/// Revisions as they will be after the edits accepted so far.
struct Revisions<F> {
    stored: F,
    changed: std::collections::BTreeMap<String, Option<u64>>,
}

// === impl Revisions ===

impl<F: Fn(&str) -> Option<u64>> Revisions<F> {
    fn new(stored: F) -> Revisions<F> {
        Revisions { stored, changed: Default::default() }
    }

    /// The new revisions, if every edit of the group holds; then the next groups are checked against them.
    fn check(&mut self, edits: &[Edit]) -> Result<Vec<u64>, EditError> {
        let mut group = self.changed.clone();
        let mut new = Vec::with_capacity(edits.len());
        for edit in edits {
            let found = group.get(&edit.key).copied().unwrap_or_else(|| (self.stored)(&edit.key));
            let key = edit.key.clone();
            match (edit.expected, found) {
                (Expected::Absent, Some(_)) => return Err(EditError::Exists(key)),
                (Expected::Present | Expected::Revision(_), None) => return Err(EditError::Missing(key)),
                (Expected::Revision(expected), Some(found)) if expected != found => {
                    return Err(EditError::Conflict { key, expected, found });
                }
                _ => {}
            }
            let revision = found.unwrap_or(0) + 1;
            group.insert(key, edit.value.is_some().then_some(revision));
            new.push(revision);
        }
        self.changed = group;
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, expected: Expected) -> Edit {
        Edit { key: key.to_owned(), value: Some(Default::default()), expected }
    }

    #[test]
    fn edits_of_one_turn_see_each_other_and_a_group_is_all_or_nothing() {
        let mut revisions = Revisions::new(|key| (key == "sub/a/old").then_some(7));
        let of = |group: Result<Vec<u64>, EditError>| group.map_err(|error| error.to_string());
        assert_eq!(of(revisions.check(&[put("sub/a/new", Expected::Absent)])), Ok(vec![1]));
        assert_eq!(
            of(revisions.check(&[put("sub/a/x", Expected::Absent), put("sub/a/new", Expected::Absent)])),
            Err("sub/a/new exists already".to_owned())
        );
        assert_eq!(of(revisions.check(&[put("sub/a/x", Expected::Absent)])), Ok(vec![1]));
        assert_eq!(of(revisions.check(&[put("sub/a/old", Expected::Revision(7))])), Ok(vec![8]));
        assert_eq!(
            of(revisions.check(&[put("sub/a/old", Expected::Revision(7))])),
            Err("sub/a/old is at revision 8, not 7".to_owned())
        );
        let delete = Edit { key: "sub/a/old".to_owned(), value: None, expected: Expected::Present };
        assert_eq!(of(revisions.check(&[delete])), Ok(vec![9]));
        assert_eq!(
            of(revisions.check(&[put("sub/a/old", Expected::Present)])),
            Err("sub/a/old does not exist".to_owned())
        );
    }
}
