//! The way of a call: which member gets it, for how long, with which token.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use hyper::http::uri::PathAndQuery;
use prost::Message;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::EtcdClient;
use super::error::{EtcdError, Failure, FailureKind};
use super::members::MemberAt;
use super::messages::{AuthenticateRequest, AuthenticateResponse};

/// How long one try at one member may take.
pub(super) const TRY: Duration = Duration::from_secs(2);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 64 << 20;

/// When a call goes to another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or the same a second time.
    Always,
    /// Only if the member before certainly did not take it.
    NotTaken,
}

/// A method of etcd's API: its path, whether it may be repeated, and the time for each try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) path: &'static str,
    pub(super) repeat: Repeat,
    pub(super) limit: Duration,
}

impl Method {
    pub(super) const fn new(path: &'static str, repeat: Repeat) -> Self {
        Self { path, repeat, limit: TRY }
    }
}

impl EtcdClient {
    /// Calls a method that has one answer, at one member after the other.
    pub(super) async fn call<Q, A>(&self, method: Method, request: Q) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut last = None;
        for (index, member) in self.members.in_turn() {
            let answer = self.call_at(&member, method, request.clone()).await;
            match answer {
                Err(failure) if is_repeated(method.repeat, failure.kind) => {
                    self.members.note(index, false);
                    // What one member may have carried out stays unclear, whatever the others say.
                    if last.as_ref().is_none_or(|last: &Failure| last.kind != FailureKind::Unclear) {
                        last = Some(failure);
                    }
                }
                other => {
                    self.members.note(index, !matches!(&other, Err(Failure { kind: FailureKind::Unclear, .. })));
                    return other;
                }
            }
        }
        Err(last.unwrap_or_else(|| Failure { kind: FailureKind::NotTaken, text: "etcd has no members".to_owned() }))
    }

    /// The same, at one member. Tries once more with a new token if the member refuses the one before.
    pub(super) async fn call_at<Q, A>(&self, member: &MemberAt, method: Method, request: Q) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        self.log_in(member).await?;
        match self.try_call(member, method, request.clone()).await {
            Err(Failure { kind: FailureKind::Token, .. }) if self.members.user.is_some() => {
                self.authenticate(member).await?;
                self.try_call(member, method, request).await
            }
            other => other,
        }
    }

    /// Sends one message at one member, and returns the first answer with the stream of all that follow. The stream of
    /// requests stays open until the answers are dropped.
    pub(super) async fn open_at<Q, A>(
        &self,
        member: &MemberAt,
        method: Method,
        request: Q,
    ) -> Result<(A, Streaming<A>), Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        self.log_in(member).await?;
        match self.try_open(member, method, request.clone()).await {
            Err(Failure { kind: FailureKind::Token, .. }) if self.members.user.is_some() => {
                self.authenticate(member).await?;
                self.try_open(member, method, request).await
            }
            other => other,
        }
    }

    async fn try_call<Q, A>(&self, member: &MemberAt, method: Method, request: Q) -> Result<A, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = PathAndQuery::from_static(method.path);
        let (mut grpc, request) = (grpc(member), self.request(request));
        let answered = async {
            grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
            grpc.unary(request, path, ProstCodec::<Q, A>::default()).await
        };
        match timeout(method.limit, answered).await {
            Ok(answer) => Ok(answer.map_err(|status| Failure::of(&member.url, &status))?.into_inner()),
            Err(_) => Err(late(member)),
        }
    }

    async fn try_open<Q, A>(&self, member: &MemberAt, method: Method, request: Q) -> Result<(A, Streaming<A>), Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = PathAndQuery::from_static(method.path);
        let requests = stream::once(std::future::ready(request)).chain(stream::pending());
        let (mut grpc, requests) = (grpc(member), self.request(requests));
        let opened = async {
            grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let mut answers = grpc.streaming(requests, path, ProstCodec::<Q, A>::default()).await?.into_inner();
            let first = answers.message().await?.ok_or_else(|| Status::unavailable("the stream has ended"))?;
            Ok((first, answers))
        };
        match timeout(method.limit, opened).await {
            Ok(opened) => opened.map_err(|status: Status| Failure::of(&member.url, &status)),
            Err(_) => Err(late(member)),
        }
    }

    /// Gets a token if one is needed and there is none.
    async fn log_in(&self, member: &MemberAt) -> Result<(), Failure> {
        let is_needed = self.members.user.is_some() && self.members.token().is_none();
        if is_needed { self.authenticate(member).await } else { Ok(()) }
    }

    /// Gets a token. Whatever fails here, the request itself was not sent.
    async fn authenticate(&self, member: &MemberAt) -> Result<(), Failure> {
        let Some((name, password)) = self.members.user.clone() else { return Ok(()) };
        self.members.set_token(None);
        let not_sent = |text: String| Failure { kind: FailureKind::NotTaken, text };
        let path = PathAndQuery::from_static("/etcdserverpb.Auth/Authenticate");
        let request = Request::new(AuthenticateRequest { name, password });
        let mut grpc = grpc(member);
        let answered = async {
            grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let codec = ProstCodec::<AuthenticateRequest, AuthenticateResponse>::default();
            grpc.unary(request, path, codec).await
        };
        let answer = timeout(TRY, answered).await.map_err(|_| not_sent(late(member).text))?;
        let answer = answer.map_err(|status| {
            let failure = Failure::of(&member.url, &status);
            let is_wrong = matches!(failure.kind, FailureKind::Refused | FailureKind::Token);
            let kind = if is_wrong { FailureKind::Login } else { FailureKind::NotTaken };
            let cure = "check --etcd-user and --etcd-password-file";
            Failure { kind, text: format!("{}: the login failed; {cure}", failure.text) }
        })?;
        let token = MetadataValue::try_from(answer.into_inner().token);
        let token = token.map_err(|_| not_sent(format!("etcd member {} gave no valid token", member.url)))?;
        self.members.set_token(Some(token));
        Ok(())
    }

    fn request<T>(&self, content: T) -> Request<T> {
        let mut request = Request::new(content);
        // A member that is cut off from the others refuses at once, and ends its watches.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = self.members.token() {
            request.metadata_mut().insert("token", token);
        }
        request
    }
}

/// The failure of a request that got no answer in time.
fn late(member: &MemberAt) -> Failure {
    member.reconnect();
    Failure { kind: FailureKind::Unclear, text: format!("etcd member {} did not answer in time", member.url) }
}

fn grpc(member: &MemberAt) -> Grpc<tonic::transport::Channel> {
    Grpc::new(member.channel()).max_decoding_message_size(LARGEST)
}

pub(super) fn is_repeated(repeat: Repeat, kind: FailureKind) -> bool {
    match kind {
        FailureKind::NotTaken | FailureKind::Login | FailureKind::Token => true,
        FailureKind::Unclear => repeat == Repeat::Always,
        FailureKind::NoSpace | FailureKind::Refused | FailureKind::TooLarge => false,
    }
}

/// The error of a call that may be repeated is never unclear to its caller: it may be called again.
pub(super) fn of_read(failure: Failure) -> EtcdError {
    match EtcdError::from(failure) {
        EtcdError::Unclear(text) => EtcdError::Unavailable(text),
        other => other,
    }
}
