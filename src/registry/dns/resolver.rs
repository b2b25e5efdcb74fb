//! The way of a query, from its bytes to those of the answer.

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use tokio::time::timeout;

use super::message::{self, Question, Reply, Transport};
use super::name::{self, Asked, Wanted};
use super::records::{Records, Zone};
use super::snapshots::Snapshots;
use crate::registry::http::App;

/// How long the data may take to be read: a read waits for the commits of what it saw, and in a cluster for an owner.
/// Then a resolver asks elsewhere.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// The most canonical names that are followed: they may lead in a circle.
const MAX_ALIASES: usize = 4;

#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) app: Arc<App>,
    pub(super) zone: Zone,
    /// The account of names without one.
    pub(super) account: Option<String>,
    pub(super) snapshots: Snapshots,
}

/// What becomes of a name.
enum Found {
    Records(Records),
    Nothing,
    /// The data could not be read in time.
    Late,
}

impl Resolver {
    /// Answers a message; none if it is not to be answered.
    pub(super) async fn answer(&self, bytes: Vec<u8>, transport: Transport) -> Option<Vec<u8>> {
        let question = message::read(&bytes, transport)?;
        let reply = self.reply(&question).await;
        self.app.count_dns_query(result(reply.code));
        message::write(&question, &reply)
    }

    /// Answers that there is more over TCP.
    pub(super) fn cut(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let question = message::read(bytes, Transport::Udp)?;
        let code = question.fault.unwrap_or_default();
        self.app.count_dns_query("cut");
        message::write(&question, &Reply { is_cut: true, ..Reply::code(code) })
    }

    /// Counts a query that gets no answer.
    pub(super) fn drop_query(&self) {
        self.app.count_dns_query("dropped");
    }

    async fn reply(&self, question: &Question) -> Reply {
        let (None, Some(query)) = (question.fault, &question.query) else {
            return Reply::code(question.fault.unwrap_or(ResponseCode::FormErr));
        };
        let is_transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
        if query.query_class() != DNSClass::IN || is_transfer {
            return Reply::code(ResponseCode::Refused);
        }
        let Some(asked) = name::parse(query.name(), &self.zone.domain) else {
            return Reply::code(ResponseCode::Refused);
        };
        let (code, Records { answers, additionals }) = match self.find(&asked, query, question.room).await {
            Found::Records(records) => (ResponseCode::NoError, records),
            Found::Nothing => (ResponseCode::NXDomain, Records::default()),
            Found::Late => return Reply::code(ResponseCode::ServFail),
        };
        let authorities = if answers.is_empty() { vec![self.zone.soa()] } else { Vec::new() };
        Reply { code, is_authoritative: true, answers, authorities, additionals, is_cut: false }
    }

    async fn find(&self, asked: &Asked, query: &Query, room: usize) -> Found {
        let of_type = query.query_type();
        let wanted = match asked {
            Asked::Nothing => return Found::Nothing,
            Asked::Between(Some(account)) if self.app.tenant_of(Some(account)).is_none() => return Found::Nothing,
            Asked::Services(wanted) => wanted,
            Asked::Apex | Asked::NameServer | Asked::Between(_) if of_type == RecordType::ANY => {
                return Found::Records(self.zone.any(query.name()));
            }
            Asked::Apex => return Found::Records(self.zone.apex(of_type)),
            Asked::NameServer => return Found::Records(self.zone.name_server(of_type)),
            Asked::Between(_) => return Found::Records(Records::default()),
        };
        match timeout(READ_LIMIT, self.services(wanted, query, room)).await {
            Ok(Some(records)) => Found::Records(records),
            Ok(None) => Found::Nothing,
            Err(_) => Found::Late,
        }
    }

    /// Returns the records of services; none if there is no such service. Canonical names in the zone are followed,
    /// since the C library's resolver leaves that to the server.
    async fn services(&self, wanted: &Wanted, query: &Query, room: usize) -> Option<Records> {
        let of_type = query.query_type();
        let mut records = self.services_of(wanted, query.name(), of_type, room).await?;
        for _ in 0..MAX_ALIASES {
            let Some(RData::CNAME(CNAME(name))) = records.answers.last().map(|record| &record.data) else { break };
            let (name, asked) = (name.clone(), name::parse(name, &self.zone.domain));
            let (Some(Asked::Services(wanted)), false) = (asked, of_type == RecordType::CNAME) else { break };
            let Some(more) = self.services_of(&wanted, &name, of_type, room).await else { break };
            if more.answers.is_empty() {
                break;
            }
            records.answers.extend(more.answers);
        }
        Some(records)
    }

    /// Returns the records of one name.
    async fn services_of(&self, wanted: &Wanted, name: &Name, of_type: RecordType, room: usize) -> Option<Records> {
        let tenant = self.app.tenant_of(wanted.account.as_deref().or(self.account.as_deref()))?;
        let snapshot = self.snapshots.get(&self.app, tenant, &wanted.selection).await;
        if snapshot.services.is_empty() {
            return None;
        }
        if of_type == RecordType::ANY {
            return Some(self.zone.any(name));
        }
        Some(self.zone.services(name, of_type, wanted, &snapshot, room))
    }
}

/// Returns what metrics call a result.
fn result(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "noerror",
        ResponseCode::FormErr => "formerr",
        ResponseCode::ServFail => "servfail",
        ResponseCode::NXDomain => "nxdomain",
        ResponseCode::NotImp => "notimp",
        ResponseCode::Refused => "refused",
        ResponseCode::BADVERS => "badvers",
        _ => "other",
    }
}
