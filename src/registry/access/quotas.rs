//! The limits of a tenant: quotas for records, and rates for GET requests.

use regex_lite::Regex;

use crate::registry::model::Quota;

#[derive(Clone, Debug, Default)]
pub(crate) struct Quotas {
    pub(crate) records: Quota,
    pub(crate) rates: Vec<Rate>,
}

/// A number of GET requests to some paths that is allowed in a period.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    /// The expression as it was written: responses show it.
    pub(crate) path: String,
    /// The same, anchored at the start of the path.
    pub(crate) matcher: Regex,
    pub(crate) limit: u64,
    /// In seconds.
    pub(crate) period: u64,
}

impl Rate {
    pub(super) fn new(path: String, limit: u64, period: u64) -> Result<Self, regex_lite::Error> {
        let matcher = Regex::new(&format!("^(?:{path})"))?;
        Ok(Self { path, matcher, limit, period })
    }
}
