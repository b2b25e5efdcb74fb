//! `/sessions` and `/views/overview`.

use hyper::StatusCode;

use crate::registry::engine::Scope;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::request::sessions::{new_session, presented_token, session_update};
use crate::registry::http::response::Answer;
use crate::registry::state::{HeartbeatTarget, State};

pub(crate) async fn list(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let page = context.page()?;
    let look =
        || async { Ok(context.read_swept(Scope::Sessions, |state| state.sessions(context.tenant, &page)).await) };
    context.list(page.limit, page.marker.as_deref(), look).await
}

pub(crate) async fn overview(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let page = context.page()?;
    let look =
        || async { Ok(context.read_swept(Scope::Overview, |state| state.overview(context.tenant, &page)).await) };
    context.list(page.limit, page.marker.as_deref(), look).await
}

pub(crate) async fn create(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let new = new_session(context.body)?;
    let (now, tenant, quota, by) = (context.now, context.tenant, &context.quotas.records, &context.attribution());
    let (id, token) = context.write(|state| state.create_session(now, tenant, quota, &new, by)).await?;
    Ok(Answer::token(StatusCode::CREATED, token).at(&context.url("sessions", id.as_str())))
}

pub(crate) async fn get(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let session = context.read_swept(Scope::Session(id), |state| state.session(context.tenant, id)).await?;
    Ok(Answer::json(StatusCode::OK, &session))
}

pub(crate) async fn update(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let update = session_update(context.body)?;
    let by = &context.attribution();
    context.write(|state| state.update_session(context.now, context.tenant, id, &update, by)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&context.url("sessions", id)))
}

pub(crate) async fn delete(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let by = &context.attributed_withdrawal()?;
    context.write(|state| state.delete_session(context.now, context.tenant, id, by)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn heartbeat(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let is_unset = id == "null" || id == "None"; // two clients send these for an id that they do not have
    let is_lenient = context.app.compatibility.lenient_heartbeats && is_unset;
    beat(context, if is_lenient { HeartbeatTarget::ByToken(id) } else { HeartbeatTarget::Session(id) }).await
}

/// Renews a lease. The time counts from when the heartbeat is handled, not from its arrival: the lease gets its whole
/// timeout.
pub(super) async fn beat(context: &RequestContext<'_>, target: HeartbeatTarget<'_>) -> Result<Answer, HttpError> {
    let token = presented_token(context.body)?;
    let beat = |state: &mut State| state.beat(context.now, context.tenant, target, token);
    let token = match context.read(Scope::Nothing, beat).await {
        // The lease may be gone only until a commit is rolled back, but a client that reads 404 gives up.
        Err(_) => context.read(scope(target), beat).await?,
        Ok(token) => token,
    };
    Ok(Answer::token(StatusCode::OK, token))
}

/// The records on which it depends that a heartbeat is refused.
fn scope(target: HeartbeatTarget<'_>) -> Scope<'_> {
    match target {
        HeartbeatTarget::Session(id) => Scope::Session(id),
        HeartbeatTarget::Service(id) => Scope::Service { id, with_session: false },
        HeartbeatTarget::ByToken(_) => Scope::Overview,
    }
}
