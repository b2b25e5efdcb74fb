//! Leases: keys that end with a lease are gone when it is not renewed.

use std::time::Duration;

use super::EtcdClient;
use super::call::{Method, Repeat, is_repeated, of_read};
use super::error::{EtcdError, Failure, FailureKind};
use super::messages::{Empty, LeaseGrantRequest, LeaseRequest, LeaseResponse};

/// The time for a renewal at one member: leases are short.
const RENEWAL: Duration = Duration::from_secs(1);

impl EtcdClient {
    /// Makes a lease of some seconds, and returns its id. A lease whose answer was lost ends by itself.
    pub(crate) async fn grant(&self, ttl: i64) -> Result<i64, EtcdError> {
        let method = Method::new("/etcdserverpb.Lease/LeaseGrant", Repeat::Always);
        let answer: LeaseResponse = self.call(method, LeaseGrantRequest { ttl }).await?;
        Ok(answer.id)
    }

    /// Renews a lease once, and returns for how many seconds it is valid; 0 if it is gone.
    pub(crate) async fn keep_alive(&self, lease: i64) -> Result<i64, EtcdError> {
        let mut method = Method::new("/etcdserverpb.Lease/LeaseKeepAlive", Repeat::Always);
        method.limit = RENEWAL;
        let mut last = Failure { kind: FailureKind::NotTaken, text: "etcd has no members".to_owned() };
        for (index, member) in self.members.in_turn() {
            let opened = self.open_at::<_, LeaseResponse>(&member, method, LeaseRequest { id: lease }).await;
            self.members.note(index, opened.is_ok());
            match opened {
                Ok((answer, _)) => return Ok(answer.ttl.max(0)),
                Err(failure) if is_repeated(method.repeat, failure.kind) => last = failure,
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(last.into())
    }

    /// Ends a lease, and with it its keys. One that is gone already is no error.
    pub(crate) async fn revoke(&self, lease: i64) -> Result<(), EtcdError> {
        let method = Method::new("/etcdserverpb.Lease/LeaseRevoke", Repeat::Always);
        match self.call::<_, Empty>(method, LeaseRequest { id: lease }).await {
            Err(Failure { kind: FailureKind::Refused, text }) if text.contains("lease not found") => Ok(()),
            answer => Ok(answer.map(drop)?),
        }
    }

    /// Returns the seconds that are left of a lease; 0 or less if it is gone.
    pub(crate) async fn time_to_live(&self, lease: i64) -> Result<i64, EtcdError> {
        let method = Method::new("/etcdserverpb.Lease/LeaseTimeToLive", Repeat::Always);
        let answer: LeaseResponse = self.call(method, LeaseRequest { id: lease }).await.map_err(of_read)?;
        Ok(answer.ttl)
    }
}
