//! A watch tells that something has changed, never what: events can be lost or compacted, so whoever watches reads the
//! range itself.

use tonic::Streaming;

use super::EtcdClient;
use super::call::{Method, Repeat, is_repeated};
use super::error::{EtcdError, Failure, FailureKind};
use super::messages::{WatchCreateRequest, WatchRequest, WatchResponse};

/// A watch of a range, at one member, until that fails.
#[derive(Debug)]
pub(crate) struct Watching {
    member: String,
    answers: Streaming<WatchResponse>,
}

impl EtcdClient {
    /// Watches a range for changes from now on. A read that begins after this has returned misses none.
    pub(crate) async fn watch(&self, from: &[u8], to: &[u8]) -> Result<Watching, EtcdError> {
        let create = WatchCreateRequest { key: from.to_vec(), range_end: to.to_vec() };
        let request = WatchRequest { create: Some(create) };
        let method = Method::new("/etcdserverpb.Watch/Watch", Repeat::Always);
        let mut last = Failure { kind: FailureKind::NotTaken, text: "etcd has no members".to_owned() };
        for (index, member) in self.members.in_turn() {
            let mut opened = self.open_at::<_, WatchResponse>(&member, method, request.clone()).await;
            if matches!(&opened, Ok((first, _)) if first.canceled) && self.members.user.is_some() {
                // A token that is no longer valid is told like a range that the user may not read.
                self.members.set_token(None);
                opened = self.open_at(&member, method, request.clone()).await;
            }
            match opened {
                // The first answer says that the watch is there.
                Ok((first, answers)) => {
                    let watching = Watching { member: member.url.clone(), answers };
                    watching.check(&first)?;
                    return Ok(watching);
                }
                Err(failure) if is_repeated(method.repeat, failure.kind) => {
                    self.members.note(index, false);
                    last = failure;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(last.into())
    }
}

impl Watching {
    /// Waits for a change in the range. Fails when the watch has ended; then a new one is needed.
    pub(crate) async fn changed(&mut self) -> Result<(), EtcdError> {
        loop {
            let answer = self.answers.message().await.map_err(|status| Failure::of(&self.member, &status))?;
            let answer = answer.ok_or_else(|| self.ended("the stream has ended"))?;
            self.check(&answer)?;
            if !answer.events.is_empty() {
                return Ok(());
            }
        }
    }

    fn check(&self, answer: &WatchResponse) -> Result<(), EtcdError> {
        if answer.canceled { Err(self.ended(&answer.cancel_reason)) } else { Ok(()) }
    }

    fn ended(&self, reason: &str) -> EtcdError {
        EtcdError::Refused(format!("etcd member {}: the watch has ended: {reason}", self.member))
    }
}
