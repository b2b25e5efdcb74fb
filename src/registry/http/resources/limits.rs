//! `/limits`, and the counting of requests against them.

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

use crate::registry::access::Usage;
use crate::registry::access::{Quotas, Rate};
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::model::Now;
use crate::registry::model::Resource;
use crate::wire::RateLimit;

/// The same document as `wire::Limits`, with its parts in their original order.
#[derive(Serialize)]
struct Limits {
    #[serde(serialize_with = "in_order")]
    resource: [(&'static str, u64); 3],
    #[serde(serialize_with = "in_order")]
    rate: Vec<(String, RateLimit)>,
}

fn in_order<S: Serializer, K: Serialize, V: Serialize>(
    pairs: &(impl AsRef<[(K, V)]> + ?Sized),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.as_ref().iter().map(|(key, value)| (key, value)))
}

pub(crate) fn show(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let quotas: &Quotas = context.quotas;
    let used = context.app.rate_limiter.used(context.now, context.tenant, &quotas.rates);
    let rate = quotas.rates.iter().zip(used).map(|(rate, used)| {
        let before = used.saturating_sub(u64::from(rate.matcher.is_match(context.path))); // without this very request
        (rate.path.clone(), rate_limit(rate, before))
    });
    let resources = [Resource::Session, Resource::Service, Resource::ConfigurationValue];
    let resource = resources.map(|resource| (resource.name(), quotas.records.of(resource)));
    Ok(Answer::json(StatusCode::OK, &Limits { resource, rate: rate.collect() }))
}

#[expect(clippy::cast_precision_loss, reason = "a number of hours with one decimal")]
fn rate_limit(rate: &Rate, used: u64) -> RateLimit {
    let window = format!("{:.1} hours", rate.period as f64 / 3600.0);
    RateLimit { limit: rate.limit, used, window }
}

/// Counts a request. Returns the use of its rate, which the response shows whatever it is, and a refusal.
pub(crate) fn count(context: &RequestContext<'_>) -> (Option<Usage>, Result<(), HttpError>) {
    let quotas: &Quotas = context.quotas;
    let usage = context.app.rate_limiter.count(context.now, context.tenant, &quotas.rates, context.path);
    let exceeded = usage.as_ref().filter(|usage| usage.exceeded).map(|usage| &quotas.rates[usage.rate]);
    let verdict = match exceeded {
        None => Ok(()),
        Some(Rate { path, limit, period, .. }) => {
            Err(HttpError::RateReached { limit: *limit, period: *period, path: path.clone() })
        }
    };
    (usage, verdict)
}

/// Adds the headers that show the use of a rate.
pub(crate) fn headers(answer: Answer, now: Now, rate: &Rate, used: u64) -> Answer {
    let answer = match HeaderValue::from_str(&rate.path) {
        Ok(path) => answer.header(HeaderName::from_static("x-ratelimit-path-regex"), path),
        Err(_) => answer, // the expression has characters that are invalid in a header
    };
    let window = HeaderValue::try_from(format!("{} seconds", rate.period));
    let answer = answer
        .header(HeaderName::from_static("x-ratelimit-limit"), rate.limit.into())
        .header(HeaderName::from_static("x-ratelimit-used"), used.into())
        .header(HeaderName::from_static("reply-after"), (now.wall / 1000 + rate.period).into());
    match window {
        Ok(window) => answer.header(HeaderName::from_static("x-ratelimit-window"), window),
        Err(_) => answer,
    }
}
