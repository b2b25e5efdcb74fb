//! The URL of the registry, and the paths below it.

use std::borrow::Cow;

use url::Url;

use crate::client::error::{Error, printable};

/// The URL to which all paths of the API are appended: `http://host:port/v1.0`.
#[derive(Clone, Debug)]
pub(crate) struct ApiUrl(Url);

impl ApiUrl {
    /// Parses the registry's address, with or without `/v1.0` or a slash at its end.
    pub(crate) fn parse(given: &str) -> Result<Self, Error> {
        let mut url = parse(given, "registry URL")?;
        let path = url.path().trim_end_matches('/');
        if path.starts_with("/v1.0/") {
            return Err(Error::invalid(
                "the registry URL goes on behind /v1.0; leave that out, logging in tells the account",
            ));
        }
        if !matches!(path, "" | "/v1.0") {
            let origin = url.origin().ascii_serialization();
            return Err(Error::invalid(format!(
                "the registry URL has the path {}, but the API is at /v1.0; did you mean {origin}?",
                printable(path)
            )));
        }
        url.set_path("/v1.0");
        Ok(Self(url))
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// Returns the default address of the login: `/v2.0/tokens` of the same host.
    pub(crate) fn login(&self) -> Url {
        let mut url = self.0.clone();
        url.set_path("/v2.0/tokens");
        url
    }

    /// Returns the URL of a resource. Ids are percent-encoded; one that would lead to another resource is refused.
    pub(super) fn join(
        &self,
        tenant: Option<&str>,
        path: &[&str],
        query: &[(Cow<'static, str>, String)],
    ) -> Result<Url, Error> {
        let mut url = self.0.clone();
        {
            let mut segments = url.path_segments_mut().map_err(|()| Error::invalid("the registry URL has no path"))?;
            for segment in tenant.iter().chain(path) {
                if segment.contains(char::is_control) {
                    // The URL would drop some of them, and lead to the resource with the remaining id.
                    return Err(Error::invalid("an id must not have control characters, such as a line's end"));
                }
                if matches!(*segment, "." | "..") {
                    return Err(Error::invalid("an id must not have `.` or `..` as a part"));
                }
                segments.push(segment);
            }
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

/// Parses an address of a login, with or without `/v2.0/tokens`.
pub(crate) fn parse_login(given: &str) -> Result<Url, Error> {
    let mut url = parse(given, "auth URL")?;
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/tokens").unwrap_or(path);
    let path = path.strip_suffix("/v2.0").unwrap_or(path).trim_end_matches('/').to_owned();
    url.set_path(&format!("{path}/v2.0/tokens"));
    Ok(url)
}

/// Checks an id before it becomes part of a path: an empty one would name the list.
pub(crate) fn not_empty<'a>(id: &'a str, what: &str) -> Result<&'a str, Error> {
    if id.is_empty() { Err(Error::invalid(format!("the {what} is empty"))) } else { Ok(id) }
}

fn parse(given: &str, what: &str) -> Result<Url, Error> {
    // A text with `@` is not repeated: it may contain a password.
    let is_plain = !given.contains('@');
    let authority = given.split_once("://").map(|(_, behind)| behind.split(['/', '?', '#']).next().unwrap_or_default());
    let Some(authority) = authority else {
        let cure = if is_plain && !given.is_empty() {
            format!("did you mean http://{}?", printable(given))
        } else {
            "write http://host:port or https://host".to_owned()
        };
        return Err(Error::invalid(format!("the {what} does not begin with http:// or https://; {cure}")));
    };
    if authority.matches(':').count() > 1 && !authority.contains(['[', '@']) {
        return Err(Error::invalid(format!(
            "the {what} has an IPv6 address without brackets; write it as in http://[::1]:7117"
        )));
    }
    let url = Url::parse(given).map_err(|error| {
        Error::invalid(format!("the {what} is no URL ({error}); write http://host:port or https://host"))
    })?;
    if url.port() == Some(0) {
        return Err(Error::invalid(format!("the {what} has port 0, on which nothing listens; write the real port")));
    }
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = printable(url.scheme());
        return Err(Error::invalid(format!(
            "the {what} begins with {scheme}:; write http://host:port or https://host"
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid(format!(
            "the {what} holds a user name or password; give them apart from it, as the credentials"
        )));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::invalid(format!("the {what} has a `?` or `#` part; leave it out")));
    }
    Ok(url)
}

/// The longest id of a created resource, in bytes.
const LONGEST_ID: usize = 255;

/// Returns whether this can be an id of the registry. It becomes a part of paths.
pub(super) fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(is_plain) && !matches!(text, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_url_is_refused_with_a_cure() {
        for (given, cure) in [
            ("h:7117", "did you mean http://h:7117?"),
            ("http://h/registry/", "did you mean http://h?"),
            ("http://h/v1.0/7777", "goes on behind /v1.0"),
            ("http://h:0", "port 0"),
            ("http://::1:80", "http://[::1]:7117"),
        ] {
            let error = ApiUrl::parse(given).unwrap_err().to_string();
            assert!(error.contains(cure), "{error}");
        }
        assert!(!ApiUrl::parse("joe:key@h").unwrap_err().to_string().contains("key"));
    }

    #[test]
    fn version_and_trailing_slashes_are_accepted() {
        for given in ["http://h:1", "http://h:1/", "http://h:1/v1.0", "http://h:1/v1.0/", "http://h:1//"] {
            assert_eq!(ApiUrl::parse(given).unwrap().url().as_str(), "http://h:1/v1.0", "{given}");
        }
        assert_eq!(ApiUrl::parse("https://h").unwrap().login().as_str(), "https://h/v2.0/tokens");
        for given in ["http://a", "http://a/v2.0", "http://a/v2.0/", "http://a/v2.0/tokens"] {
            assert_eq!(parse_login(given).unwrap().as_str(), "http://a/v2.0/tokens", "{given}");
        }
    }

    #[test]
    fn invalid_url_is_refused_and_not_repeated() {
        let tenant = "http://h/v1.0/7001/";
        for given in
            ["", "localhost:7117", "ftp://h", "http://me:secret@h", "http://h/?a=b", "http://h/#a", "http://", tenant]
        {
            let said = ApiUrl::parse(given).unwrap_err().to_string();
            assert!(said.starts_with("the registry URL "), "{given}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
        assert!(!ApiUrl::parse("http://me:secret@h:port").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn id_cannot_change_the_path() {
        let base = ApiUrl::parse("http://h").unwrap();
        let join = |path: &[&str]| base.join(Some("7"), path, &[]).map(|url| url.to_string());
        assert_eq!(join(&["services", "a/b?c#d%2e"]).unwrap(), "http://h/v1.0/7/services/a%2Fb%3Fc%23d%252e");
        assert_eq!(join(&["configuration", "", "ns", "key"]).unwrap(), "http://h/v1.0/7/configuration//ns/key");
        assert_eq!(join(&["configuration", "ns", ""]).unwrap(), "http://h/v1.0/7/configuration/ns/");
        for id in ["..", "web0\n", "a\tb", "\t", ".\t."] {
            assert!(join(&["services", id]).is_err(), "{id:?}");
        }
        assert!(join(&["services", "."]).is_err());
    }
}
