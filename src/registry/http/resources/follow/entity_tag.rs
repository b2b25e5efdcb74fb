//! Entity tags of lists, and waiting until a list has another one.
//!
//! The tag is a hash of what a page shows, except for the times of heartbeats. It is the same in every process, so
//! that a client needs no new list after a restart of the registry.

use std::future::Future;
use std::hash::Hasher;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::pause::Pause;
use crate::registry::engine::Topic;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::model::{Listing, ServiceInfo, ServiceKind};

/// A page's entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry::http::resources) struct EntityTag(u128);

impl EntityTag {
    pub(in crate::registry::http::resources) fn of<T: Tagged>(page: &Listing<T>) -> Self {
        of_page(&page.values, page.next.as_deref())
    }

    pub(in crate::registry::http::resources) fn header(self) -> HeaderValue {
        HeaderValue::try_from(self.text()).unwrap_or(HeaderValue::from_static("W/\"\"")) // it is always valid
    }

    fn text(self) -> String {
        format!("W/\"{:032x}\"", self.0)
    }
}

/// An entry with what its page's entity tag covers.
pub(in crate::registry::http::resources) trait Tagged {
    /// The service, and the timeout that it is shown with.
    fn shown(&self) -> (&ServiceInfo, Option<u8>);
}

/// Returns the entity tag of a page. Entries that a page has no room for, because it would exceed 1 MiB, count too.
fn of_page<T: Tagged>(values: &[T], next: Option<&str>) -> EntityTag {
    let mut hash = SipHasher13::new();
    for (info, timeout) in values.iter().map(Tagged::shown) {
        let (id, tags, metadata) = (info.id.as_bytes(), info.tags.bytes(), info.metadata.bytes());
        let (is_standalone, session) = match &info.kind {
            ServiceKind::InSession(session) => (0, session.as_str()),
            ServiceKind::Standalone { .. } => (1, ""),
        };
        // The lengths, and what is short, in one number: each write takes time. The API's limits leave room for all.
        let [id_length, tags_length, metadata_length] = [id, tags, metadata].map(|part| part.len() as u64);
        let short = u64::from(timeout.unwrap_or(0)) << 8 | is_standalone;
        hash.write_u64((id_length << 48 | tags_length << 32 | metadata_length << 16 | short).to_le());
        for part in [id, tags, metadata, session.as_bytes()] {
            hash.write(part);
        }
    }
    hash.write(next.unwrap_or_default().as_bytes());
    EntityTag(hash.finish128().as_u128())
}

/// The entity tags that a client knows, from `If-None-Match`.
#[derive(Debug)]
pub(in crate::registry::http::resources) struct KnownTags<'a>(Vec<&'a str>);

impl<'a> KnownTags<'a> {
    /// Returns none if the client names none.
    pub(in crate::registry::http::resources) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let tags: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        Some(Self(tags)).filter(|known| !known.0.is_empty())
    }

    /// Weak and strong tags compare equal.
    fn has(&self, tag: EntityTag) -> bool {
        let text = tag.text();
        let strong = text.trim_start_matches("W/");
        self.0.iter().any(|known| *known == "*" || known.trim_start_matches("W/") == strong)
    }
}

impl RequestContext<'_> {
    /// Waits until a list has none of the known entity tags, or until the end of the wait. Returns the response if the
    /// list is unchanged.
    pub(in crate::registry::http::resources) async fn wait_for_change<T, F>(
        &self,
        topic: Topic,
        known: &KnownTags<'_>,
        wait: Duration,
        look: impl Fn() -> F,
    ) -> Result<Option<Answer>, HttpError>
    where
        T: Tagged,
        F: Future<Output = Result<Listing<T>, HttpError>>,
    {
        let waiter = self.engine.waiter(self.tenant, topic);
        let mut pause = None;
        loop {
            let woken = waiter.woken();
            let tag = {
                let _turn = self.turn().await?;
                EntityTag::of(&look().await?)
            };
            if !known.has(tag) {
                return Ok(None);
            }
            let pause = match &mut pause {
                Some(pause) => pause,
                none => none.insert(Pause::begin(self, wait)?),
            };
            if pause.is_over() {
                let unchanged = Answer::empty(StatusCode::NOT_MODIFIED).header(ETAG, tag.header());
                return Ok(Some(if pause.is_stopping() { unchanged.closing() } else { unchanged }));
            }
            pause.wait(woken).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::model::StringList;

    impl Tagged for ServiceInfo {
        fn shown(&self) -> (&ServiceInfo, Option<u8>) {
            (self, None)
        }
    }

    #[test]
    fn tag_is_the_same_in_every_process_and_differs_with_content() {
        let info = |id: &str, tags: &[&str], metadata: &[&str]| ServiceInfo {
            id: id.into(),
            tags: StringList::new(tags.iter().copied()),
            metadata: StringList::new(metadata.iter().copied()),
            kind: ServiceKind::Standalone { timeout: 30 },
        };
        let page = |values: Vec<ServiceInfo>, next| of_page(&values, next);
        let all = [
            page(vec![], None),
            page(vec![], Some("a")),
            page(vec![info("a", &[], &[])], None),
            page(vec![info("a", &["b"], &[])], None),
            page(vec![info("a", &[], &["b"])], None),
            page(vec![info("a", &[], &[]), info("b", &[], &[])], None),
        ];
        for (at, tag) in all.iter().enumerate() {
            assert!(!all[..at].contains(tag), "{at}");
        }
        assert_eq!(all[0].text(), page(vec![], None).text());
    }

    #[test]
    fn known_tags_are_a_list() {
        let tag = EntityTag(7);
        let has = |text: &str| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, text.parse().unwrap())]);
            KnownTags::of(&headers).is_some_and(|known| known.has(tag))
        };
        let text = tag.text();
        assert!(has(&text) && has(text.trim_start_matches("W/")) && has(&format!("\"x\", {text}")) && has("*"));
        assert!(!has("") && !has("W/\"7\""));
        assert!(KnownTags::of(&HeaderMap::new()).is_none());
    }
}
