//! Maps paths to resources.
//!
//! It matches like the original's framework, because clients rely on it: letters in either case, one slash
//! at the end tolerated, two slashes in a row kept, ids decoded once. Today's routers behave differently.

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::registry::state::DomainError;

/// A resource of a tenant, and what is done with it. Ids are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Limits,
    Sessions,
    CreateSession,
    Session(Cow<'a, str>),
    UpdateSession(Cow<'a, str>),
    DeleteSession(Cow<'a, str>),
    SessionHeartbeat(Cow<'a, str>),
    Services,
    CreateService,
    Service(Cow<'a, str>),
    UpdateService(Cow<'a, str>),
    DeleteService(Cow<'a, str>),
    ServiceHeartbeat(Cow<'a, str>),
    Overview,
    /// The nodes and shards of a cluster.
    Cluster,
    Events,
    /// The rest of the path after `/configuration/`; empty for the list of all values.
    Configuration(Cow<'a, str>),
    SetValue(Cow<'a, str>),
    RemoveValue(Cow<'a, str>),
    /// The services as Prometheus discovers them.
    Prometheus,
}

/// The parts of a path that decide about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area<'a> {
    /// The login.
    Login,
    /// Below `/v1.0`: the tenant, if the path names one, and the rest.
    Api { tenant: Option<&'a str>, rest: &'a str },
    /// Any other path.
    Elsewhere,
}

impl<'a> Area<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        if ["/v2.0/tokens", "/v2.0/tokens/"].iter().any(|login| login.eq_ignore_ascii_case(path)) {
            return Self::Login;
        }
        let (version, rest) = path.split_at_checked(5).unwrap_or((path, ""));
        if !version.eq_ignore_ascii_case("/v1.0") || !(rest.is_empty() || rest.starts_with('/')) {
            return Self::Elsewhere;
        }
        let below = rest.strip_prefix('/').unwrap_or_default();
        let first = below.split('/').next().unwrap_or_default();
        if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Api { tenant: Some(first), rest: &below[first.len()..] };
        }
        Self::Api { tenant: None, rest }
    }
}

const PROMETHEUS: &str = "prometheus";

/// Returns whether a path is that of Prometheus' discovery.
pub(super) fn is_prometheus(rest: &str) -> bool {
    rest.trim_matches('/').eq_ignore_ascii_case(PROMETHEUS)
}

/// Returns whether a request is about the cluster, and so about no account: any node answers it.
#[cfg(feature = "etcd")]
pub(super) fn is_cluster(method: &Method, rest: &str) -> bool {
    strip_name(rest, "/views/").is_some() && matches!(route(method, rest), Ok(Some(Route::Cluster)))
}

/// Returns whether a path without a tenant starts with the name of a resource.
pub(super) fn is_resource(rest: &str) -> bool {
    let first = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
    let known = ["limits", "sessions", "services", "views", "configuration", "events", PROMETHEUS];
    rest.starts_with('/') && known.iter().any(|known| known.eq_ignore_ascii_case(first))
}

/// Returns the route of a path below a tenant; none if there is no such resource.
pub(super) fn route<'a>(method: &Method, rest: &'a str) -> Result<Option<Route<'a>>, DomainError> {
    let method = match *method {
        Method::HEAD => "GET",
        ref other => other.as_str(),
    };
    let below = strip_name(rest, "/configuration").filter(|below| below.is_empty() || below.starts_with('/'));
    if let Some(below) = below {
        return configuration(method, below);
    }
    let path = rest.strip_suffix('/').unwrap_or(rest);
    let mut segments = path.strip_prefix('/').unwrap_or_default().split('/');
    let [resource, id, last, more] = [(); 4].map(|()| segments.next());
    let is = |segment: Option<&str>, name: &str| segment.is_some_and(|segment| segment.eq_ignore_ascii_case(name));
    if !path.starts_with('/') || more.is_some() || id == Some("") {
        return Ok(None);
    }
    let id_or_none = || id.map(decode).transpose();
    let route = match (id.is_some(), last.is_some()) {
        (false, _) if is(resource, "sessions") => collection(method, Route::Sessions, Route::CreateSession),
        (false, _) if is(resource, "services") => collection(method, Route::Services, Route::CreateService),
        (false, _) if is(resource, "events") && method == "GET" => Some(Route::Events),
        (false, _) if is(resource, "limits") && method == "GET" => Some(Route::Limits),
        (false, _) if is(resource, PROMETHEUS) && method == "GET" => Some(Route::Prometheus),
        (true, false) if is(resource, "views") && method == "GET" => view(id),
        (true, false) if is(resource, "sessions") => id_or_none()?.and_then(|id| match method {
            "GET" => Some(Route::Session(id)),
            "PUT" => Some(Route::UpdateSession(id)),
            "DELETE" => Some(Route::DeleteSession(id)),
            _ => None,
        }),
        (true, false) if is(resource, "services") => id_or_none()?.and_then(|id| match method {
            "GET" => Some(Route::Service(id)),
            "PUT" => Some(Route::UpdateService(id)),
            "DELETE" => Some(Route::DeleteService(id)),
            _ => None,
        }),
        (true, true) if is(last, "heartbeat") && method == "POST" => {
            if is(resource, "sessions") {
                id_or_none()?.map(Route::SessionHeartbeat)
            } else if is(resource, "services") {
                id_or_none()?.map(Route::ServiceHeartbeat)
            } else {
                None
            }
        }
        _ => None,
    };
    Ok(route)
}

fn view(name: Option<&str>) -> Option<Route<'static>> {
    match name?.to_ascii_lowercase().as_str() {
        "overview" => Some(Route::Overview),
        "cluster" => Some(Route::Cluster),
        _ => None,
    }
}

fn collection<'a>(method: &str, list: Route<'a>, create: Route<'a>) -> Option<Route<'a>> {
    match method {
        "GET" => Some(list),
        "POST" => Some(create),
        _ => None,
    }
}

fn configuration<'a>(method: &str, below: &'a str) -> Result<Option<Route<'a>>, DomainError> {
    let Some(path) = below.strip_prefix('/') else {
        return Ok((method == "GET").then_some(Route::Configuration(Cow::Borrowed(""))));
    };
    Ok(match method {
        "GET" => Some(Route::Configuration(decode(path)?)),
        "PUT" => Some(Route::SetValue(decode(path)?)),
        "DELETE" => Some(Route::RemoveValue(decode(path)?)),
        _ => None,
    })
}

fn strip_name<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let (head, tail) = path.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then_some(tail)
}

/// Decodes once. Refuses an invalid escape, and text that is not UTF-8.
fn decode(text: &str) -> Result<Cow<'_, str>, DomainError> {
    let malformed = || DomainError::malformed("URI malformed");
    let is_escape = |at: usize| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if text.match_indices('%').all(|(at, _)| is_escape(at)) {
        percent_decode_str(text).decode_utf8().map_err(|_| malformed())
    } else {
        Err(malformed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(rest: &str) -> Option<Route<'_>> {
        route(&Method::GET, rest).unwrap()
    }

    #[test]
    fn path_is_split_at_the_tenant() {
        let api = |tenant, rest| Area::Api { tenant, rest };
        assert_eq!(Area::of("/v1.0/7/services"), api(Some("7"), "/services"));
        assert_eq!(Area::of("/V1.0/7"), api(Some("7"), ""));
        assert_eq!(Area::of("/v1.0/undefined/services"), api(None, "/undefined/services"));
        assert_eq!(Area::of("/v1.0/7x/services"), api(None, "/7x/services"));
        assert_eq!(Area::of("/v1.0"), api(None, ""));
        assert_eq!(Area::of("/v1.0//7/services"), api(None, "//7/services"));
        for path in ["/", "/v1.00", "/v1", "/favicon.png", "/v2.0", "/v2.0/tokens/x", "*", ""] {
            assert_eq!(Area::of(path), Area::Elsewhere, "{path}");
        }
        assert_eq!(Area::of("/v2.0/tokens/"), Area::Login);
    }

    #[test]
    fn case_and_one_trailing_slash_are_ignored() {
        assert_eq!((get("/services"), get("/SerVices/")), (Some(Route::Services), Some(Route::Services)));
        assert_eq!(get("/services/Web-A/"), Some(Route::Service("Web-A".into())));
        assert_eq!((get("/views/Overview/"), get("/views")), (Some(Route::Overview), None));
        assert_eq!((get("/views/CLUSTER"), get("/views/x")), (Some(Route::Cluster), None));
        for rest in [
            "",
            "/",
            "//services",
            "/services//",
            "/services/a//",
            "/services/a/b",
            "/gadgets",
            "services",
            "/configurations",
            "/services/a/heartbeat",
            "/services//heartbeat",
        ] {
            assert_eq!(get(rest), None, "{rest}");
        }
    }

    #[test]
    fn ids_are_decoded_once() {
        assert_eq!(get("/services/a%20b%2Fc%2525"), Some(Route::Service("a b/c%25".into())));
        assert_eq!(get("/%73ervices"), None, "names are not");
        for rest in ["/services/%", "/services/%2", "/services/%zz", "/services/%ff", "/configuration/%E0%A4%A"] {
            assert_eq!(route(&Method::GET, rest), Err(DomainError::malformed("URI malformed")), "{rest}");
        }
    }

    #[test]
    fn slashes_below_configuration_are_kept() {
        let rest = |path| match get(path) {
            Some(Route::Configuration(rest)) => rest.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!((rest("/configuration"), rest("/Configuration/")), (String::new(), String::new()));
        assert_eq!((rest("/configuration//a/b"), rest("/configuration/a/")), ("/a/b".into(), "a/".into()));
        assert_eq!(rest("/configuration/%2Fa%2Fb"), "/a/b");
        assert_eq!(route(&Method::PUT, "/configuration"), Ok(None));
        assert_eq!(route(&Method::PUT, "/configuration/"), Ok(Some(Route::SetValue("".into()))));
    }

    #[test]
    fn other_method_has_no_route() {
        let all = [
            "/limits",
            "/sessions",
            "/sessions/x",
            "/sessions/x/heartbeat",
            "/services",
            "/services/x",
            "/services/x/heartbeat",
            "/views/overview",
            "/views/cluster",
            "/events",
            "/configuration",
            "/configuration/x",
            "/prometheus",
        ];
        let allowed = [
            "GET /limits",
            "GET /sessions",
            "POST /sessions",
            "GET /sessions/x",
            "PUT /sessions/x",
            "DELETE /sessions/x",
            "POST /sessions/x/heartbeat",
            "GET /services",
            "POST /services",
            "GET /services/x",
            "PUT /services/x",
            "DELETE /services/x",
            "POST /services/x/heartbeat",
            "GET /views/overview",
            "GET /views/cluster",
            "GET /events",
            "GET /configuration",
            "GET /configuration/x",
            "PUT /configuration/x",
            "DELETE /configuration/x",
            "GET /prometheus",
        ];
        for path in all {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
                let name = format!("{} {path}", method.replace("HEAD", "GET"));
                let found = route(&method.parse().unwrap(), path).unwrap();
                assert_eq!(found.is_some(), allowed.contains(&&*name), "{method} {path}: {found:?}");
            }
        }
    }

    #[test]
    fn paths_of_resources_are_recognised() {
        assert!(is_resource("/services") && is_resource("/Configuration//a") && is_resource("/views/overview"));
        assert!(!is_resource("/undefined/services") && !is_resource("") && !is_resource("/servicesx"));
    }
}
