//! Calls about the etcd cluster itself: its members, their state, and the space on their disks.

use std::time::Duration;

use super::EtcdClient;
use super::call::{Method, Repeat, of_read};
use super::error::EtcdError;
use super::messages::{
    Alarm, AlarmRequest, AlarmResponse, CompactionRequest, Empty, Member, MemberListResponse, Status,
};

/// The time for work on a whole file. A member answers nothing else while it is defragmented.
const LONG: Duration = Duration::from_secs(120);

/// The action of [`AlarmRequest`] that clears an alarm.
const DEACTIVATE: i32 = 2;

impl EtcdClient {
    /// Returns the members of the cluster, as they know each other.
    pub(crate) async fn members(&self) -> Result<Vec<Member>, EtcdError> {
        let method = Method::new("/etcdserverpb.Cluster/MemberList", Repeat::Always);
        let answer: MemberListResponse = self.call(method, Empty {}).await.map_err(of_read)?;
        Ok(answer.members)
    }

    /// Returns the state of one member.
    pub(crate) async fn status(&self, member: &Member) -> Result<Status, EtcdError> {
        let method = Method::new("/etcdserverpb.Maintenance/Status", Repeat::Always);
        self.call_member(member, method, Empty {}).await
    }

    /// Returns the alarms that are raised.
    pub(crate) async fn alarms(&self) -> Result<Vec<Alarm>, EtcdError> {
        let request = AlarmRequest { action: 0, member: 0, alarm: 0 };
        let method = Method::new("/etcdserverpb.Maintenance/Alarm", Repeat::Always);
        let answer: AlarmResponse = self.call(method, request).await.map_err(of_read)?;
        Ok(answer.alarms)
    }

    /// Clears an alarm. A member that still has the cause raises it again.
    pub(crate) async fn disarm(&self, Alarm { member, alarm }: Alarm) -> Result<(), EtcdError> {
        let request = AlarmRequest { action: DEACTIVATE, member, alarm };
        let method = Method::new("/etcdserverpb.Maintenance/Alarm", Repeat::Always);
        Ok(self.call::<_, AlarmResponse>(method, request).await.map(drop)?)
    }

    /// Drops everything that was overwritten before a revision, and returns once its space can be used again. A
    /// revision that is compacted already is no error.
    pub(crate) async fn compact(&self, revision: i64) -> Result<(), EtcdError> {
        let method = Method { limit: LONG, ..Method::new("/etcdserverpb.KV/Compact", Repeat::Always) };
        let request = CompactionRequest { revision, physical: true };
        match self.call::<_, Empty>(method, request).await.map_err(EtcdError::from) {
            Err(EtcdError::Refused(text)) if text.contains("has been compacted") => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Gives unused space of one member's file back. It answers nothing else meanwhile.
    pub(crate) async fn defragment(&self, member: &Member) -> Result<(), EtcdError> {
        let method = Method { limit: LONG, ..Method::new("/etcdserverpb.Maintenance/Defragment", Repeat::Always) };
        self.call_member::<_, Empty>(member, method, Empty {}).await.map(drop)
    }

    async fn call_member<Q, A>(&self, member: &Member, method: Method, request: Q) -> Result<A, EtcdError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let at = self.members.at(&member.urls).map_err(|error| EtcdError::Refused(error.to_string()))?;
        Ok(self.call_at(&at, method, request).await?)
    }
}
