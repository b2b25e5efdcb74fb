//! Messages: what is a query, and how an answer is cut to what the asker can take.

use hickory_proto::op::{Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

/// The length of a header.
const HEADER: usize = 12;
/// The length of the record by which the server speaks EDNS.
const EDNS: usize = 11;
/// The most bytes of an answer over UDP without EDNS, and with it: the latter passes networks undivided, and bounds
/// what a forged source is sent.
const PLAIN_UDP: u16 = 512;
const EDNS_UDP: u16 = 1232;

/// The way on which a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What a message asks for.
#[derive(Debug)]
pub(super) struct Question {
    metadata: Metadata,
    pub(super) query: Option<Query>,
    /// Why it is not looked into.
    pub(super) fault: Option<ResponseCode>,
    edns: bool,
    /// The most bytes of an answer.
    pub(super) room: usize,
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) code: ResponseCode,
    pub(super) is_authoritative: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) additionals: Vec<Record>,
    /// Says without any record that there is more over TCP.
    pub(super) is_cut: bool,
}

impl Reply {
    pub(super) fn code(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }
}

/// Reads a message; none if it is not to be answered: an answer to an answer would be answered in turn.
pub(super) fn read(bytes: &[u8], transport: Transport) -> Option<Question> {
    let Header { metadata, counts } = Header::read(&mut BinDecoder::new(bytes)).ok()?;
    if metadata.message_type == MessageType::Response {
        return None;
    }
    let room = usize::from(if transport == Transport::Udp { PLAIN_UDP } else { u16::MAX });
    let question = Question { metadata, query: None, fault: None, edns: false, room };
    if metadata.op_code != OpCode::Query {
        return Some(Question { fault: Some(ResponseCode::NotImp), ..question });
    }
    // Checked before the rest is read, which would make room for as many as the header promises.
    // A request for the changes of a zone says in the authority section what it knows.
    let is_query = matches!(counts, HeaderCounts { queries: 1, answers: 0, authorities: 0 | 1, .. });
    let Some(message) = Message::from_vec(bytes).ok().filter(|_| is_query) else {
        return Some(Question { fault: Some(ResponseCode::FormErr), ..question });
    };
    let room = match &message.edns {
        Some(edns) if transport == Transport::Udp => usize::from(edns.max_payload().clamp(PLAIN_UDP, EDNS_UDP)),
        _ => room,
    };
    let fault = (message.version() != 0).then_some(ResponseCode::BADVERS);
    let edns = message.edns.is_some();
    Some(Question { query: message.queries.into_iter().next(), fault, edns, room, ..question })
}

/// Writes an answer. One that is too long ends before the first record that does not fit, and says so; additional
/// records are left out in silence.
pub(super) fn write(question: &Question, reply: &Reply) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    let place = encoder.place::<Header>().ok()?;
    if let Some(query) = &question.query {
        query.emit(&mut encoder).ok()?;
    }
    let edns = if question.edns { EDNS } else { 0 };
    let room = question.room.saturating_sub(edns);
    let (answers, is_whole) = if reply.is_cut { (0, false) } else { put(&mut encoder, &reply.answers, room) };
    let rest = |encoder: &mut _, records: &[Record]| if is_whole { put(encoder, records, room).0 } else { 0 };
    let authorities = rest(&mut encoder, &reply.authorities);
    let mut additionals = rest(&mut encoder, &reply.additionals);
    if question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_UDP).set_rcode_high(reply.code.high());
        Record::from(&edns).emit(&mut encoder).ok()?;
        additionals += 1;
    }
    let asked = &question.metadata;
    let mut metadata = Metadata::new(asked.id, MessageType::Response, asked.op_code);
    metadata.recursion_desired = asked.recursion_desired;
    metadata.checking_disabled = asked.checking_disabled;
    metadata.authoritative = reply.is_authoritative;
    metadata.truncation = !is_whole;
    metadata.response_code = reply.code;
    let queries = u16::from(question.query.is_some());
    let counts = HeaderCounts { queries, answers, authorities, additionals };
    place.replace(&mut encoder, Header { metadata, counts }).ok()?;
    (bytes.len() >= HEADER).then_some(bytes)
}

/// Writes records as long as they fit; returns their number, and whether they are all.
fn put(encoder: &mut BinEncoder<'_>, records: &[Record], room: usize) -> (u16, bool) {
    let mut count = 0;
    for record in records {
        let before = encoder.offset();
        if record.emit(encoder).is_err() || encoder.offset() > room {
            encoder.set_offset(before);
            encoder.trim();
            return (count, false);
        }
        count += 1;
    }
    (count, true)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use hickory_proto::rr::{Name, RData, RecordType};

    fn query(edns: Option<u16>) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("Web.tag.registry.").unwrap(), RecordType::A));
        if let Some(payload) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message
    }

    fn addresses(count: u8) -> Vec<Record> {
        let name = Name::from_ascii("Web.tag.registry.").unwrap();
        (0..count).map(|n| Record::from_rdata(name.clone(), 0, RData::A(Ipv4Addr::new(10, 0, 0, n).into()))).collect()
    }

    #[test]
    fn answer_takes_no_more_than_its_asker_can_take() {
        for (edns, transport, most) in [
            (None, Transport::Udp, 512),
            (Some(100), Transport::Udp, 512),
            (Some(800), Transport::Udp, 800),
            (Some(4096), Transport::Udp, 1232),
            (Some(512), Transport::Tcp, 65_535),
        ] {
            let question = read(&query(edns).to_vec().unwrap(), transport).unwrap();
            let reply = Reply { answers: addresses(200), additionals: addresses(1), ..Reply::default() };
            let bytes = write(&question, &reply).unwrap();
            let answer = Message::from_vec(&bytes).unwrap();
            assert!(bytes.len() <= most, "{edns:?} {transport:?}: {} bytes", bytes.len());
            assert_eq!(answer.metadata.truncation, transport == Transport::Udp, "{edns:?}");
            assert!(transport == Transport::Tcp || bytes.len() > most - 16, "as many as fit");
            assert_eq!((answer.edns.is_some(), answer.additionals.len()), (edns.is_some(), usize::from(most > 1232)));
            assert!(answer.queries[0].name().eq_case(&Name::from_ascii("Web.tag.registry.").unwrap()), "as asked");
        }
        let question = read(&query(None).to_vec().unwrap(), Transport::Udp).unwrap();
        let reply = Reply { answers: addresses(3), additionals: addresses(200), ..Reply::default() };
        let answer = Message::from_vec(&write(&question, &reply).unwrap()).unwrap();
        assert_eq!((answer.metadata.truncation, answer.answers.len()), (false, 3), "additional records may be missing");
        let cut = Message::from_vec(&write(&question, &Reply { is_cut: true, ..reply }).unwrap()).unwrap();
        assert_eq!((cut.metadata.truncation, cut.answers.len(), cut.additionals.len()), (true, 0, 0));
    }

    #[test]
    fn what_is_no_query_is_refused_or_ignored() {
        let code = |bytes: &[u8]| {
            let question = read(bytes, Transport::Udp)?;
            let code = question.fault.unwrap_or_default();
            assert!(write(&question, &Reply::code(code)).unwrap().len() <= bytes.len().max(HEADER) + EDNS);
            Some(code)
        };
        let good = query(None).to_vec().unwrap();
        assert_eq!(code(&good), Some(ResponseCode::NoError));
        let with = |index: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[index] = byte;
            bytes
        };
        assert_eq!(code(&with(2, 0x80)), None, "an answer");
        assert_eq!(code(&with(2, 0x28)), Some(ResponseCode::NotImp), "an update");
        for index in [4, 5, 6, 7, 8, 9, 10] {
            assert_eq!(code(&with(index, 0xff)), Some(ResponseCode::FormErr), "count at {index}");
        }
        for length in 0..good.len() {
            let expected = (length >= HEADER).then_some(ResponseCode::FormErr);
            assert_eq!(code(&good[..length]), expected, "{length} bytes");
        }
        let mut later = query(Some(1232));
        later.edns.as_mut().unwrap().set_version(1);
        assert_eq!(code(&later.to_vec().unwrap()), Some(ResponseCode::BADVERS));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let good = query(Some(1232)).to_vec().unwrap();
        fastrand::seed(1);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..fastrand::usize(1..6) {
                let index = fastrand::usize(..bytes.len());
                bytes[index] = fastrand::u8(..);
            }
            bytes.truncate(fastrand::usize(..=bytes.len()));
            if let Some(question) = read(&bytes, Transport::Udp) {
                write(&question, &Reply::default()).unwrap();
            }
        }
    }
}
