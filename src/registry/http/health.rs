//! `/health`: whether the registry can take writes, for load balancers and checks of containers. It needs no token, and
//! says nothing that needs one.

use hyper::StatusCode;
use serde::Serialize;

use super::app::{App, Home};
use super::response::Answer;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn answer(app: &App) -> Answer {
    match fault(app).await {
        None => Answer::json(StatusCode::OK, &Health { status: "ok", reason: None }),
        reason => Answer::json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "failing", reason }).retry(),
    }
}

/// Returns why the registry can take no writes.
pub(super) async fn fault(app: &App) -> Option<String> {
    match &app.home {
        Home::Alone(engine) => engine.storage_fault().await,
        #[cfg(feature = "etcd")]
        Home::Cluster(cluster) => cluster.node.fault().await,
    }
}
