//! The kinds of requests, as metrics name them.

use hyper::Method;

use crate::registry::http::router::{self, Area, Route};

/// A request that waits for a change, or whose response goes on: its time to answer says nothing about the registry.
pub(in crate::registry::http) const FOLLOW: &str = "follow";

/// A request of another node, for its client.
#[cfg(feature = "etcd")]
pub(in crate::registry::http) const FORWARDED: &str = "forwarded";

const SESSION_HEARTBEAT: &str = "session_heartbeat";
const SERVICE_HEARTBEAT: &str = "service_heartbeat";

pub(super) fn is_heartbeat(kind: &str) -> bool {
    kind == SESSION_HEARTBEAT || kind == SERVICE_HEARTBEAT
}

pub(in crate::registry::http) fn of_route(route: &Route<'_>) -> &'static str {
    match route {
        Route::Limits => "limits",
        Route::Sessions => "session_list",
        Route::CreateSession => "session_create",
        Route::Session(_) => "session_get",
        Route::UpdateSession(_) => "session_update",
        Route::DeleteSession(_) => "session_delete",
        Route::SessionHeartbeat(_) => SESSION_HEARTBEAT,
        Route::Services => "service_list",
        Route::CreateService => "service_create",
        Route::Service(_) => "service_get",
        Route::UpdateService(_) => "service_update",
        Route::DeleteService(_) => "service_delete",
        Route::ServiceHeartbeat(_) => SERVICE_HEARTBEAT,
        Route::Overview => "overview",
        Route::Cluster => "cluster",
        Route::Events => "event_list",
        Route::Configuration(_) => "configuration_get",
        Route::SetValue(_) => "configuration_set",
        Route::RemoveValue(_) => "configuration_remove",
        Route::Prometheus => "prometheus",
    }
}

/// Returns the kind of a request that was answered before it had a route: it was refused, or is not below an account.
pub(in crate::registry::http) fn of_path(method: &Method, path: &str) -> &'static str {
    match Area::of(path) {
        Area::Api { rest, .. } => router::route(method, rest).ok().flatten().map_or("other", |route| of_route(&route)),
        Area::Login => "login",
        Area::Elsewhere if method == Method::OPTIONS => "options",
        Area::Elsewhere => match path {
            "/" => "page",
            "/health" => "health",
            "/metrics" => "metrics",
            "/openapi.json" => "openapi",
            _ => "other",
        },
    }
}
