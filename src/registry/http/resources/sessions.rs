//! `/sessions` and `/views/overview`.

use hyper::StatusCode;

use crate::registry::engine::Scope;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::state::State;
use crate::registry::state::{HeartbeatTarget, PresentedToken};

pub(crate) async fn list(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let page = context.page()?;
    let look = || async { Ok(context.run_swept(Scope::Sessions, |state| state.sessions(context.tenant, &page)).await) };
    context.list(page.limit, page.marker.as_deref(), look).await
}

pub(crate) async fn overview(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let page = context.page()?;
    let look = || async { Ok(context.run_swept(Scope::Overview, |state| state.overview(context.tenant, &page)).await) };
    context.list(page.limit, page.marker.as_deref(), look).await
}

pub(crate) async fn create(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let (tenant, quotas) = (context.tenant, context.quotas);
    let created = context.write(|state| state.create_session(context.now, tenant, quotas, context.body)).await;
    let (id, token) = created?;
    Ok(Answer::token(StatusCode::CREATED, token).at(&context.url("sessions", id.as_str())))
}

pub(crate) async fn get(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let session = context.run_swept(Scope::Session(id), |state| state.session(context.tenant, id)).await?;
    Ok(Answer::json(StatusCode::OK, &session))
}

pub(crate) async fn update(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    context.write(|state| state.update_session(context.tenant, id, context.body)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&context.url("sessions", id)))
}

pub(crate) async fn delete(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    context.write(|state| state.delete_session(context.now, context.tenant, id)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn heartbeat(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let is_nobody = id == "null" || id == "None"; // what two clients make of an id they have not got
    let is_lenient = context.app.compatibility.lenient_heartbeats && is_nobody;
    beat(context, if is_lenient { HeartbeatTarget::Unnamed(id) } else { HeartbeatTarget::Session(id) }).await
}

/// A heartbeat is timed when it is handled, not when it arrived: the holder gets its whole timeout.
pub(super) async fn beat(context: &RequestContext<'_>, who: HeartbeatTarget<'_>) -> Result<Answer, HttpError> {
    let shown = PresentedToken::read(context.body)?;
    let beat = |state: &mut State| state.beat(context.now, context.tenant, who, shown);
    let token = match context.run(Scope::Nothing, beat).await {
        // It may be gone, or another one, only until the disk refuses that. Who is told so gives up.
        Err(_) => context.run(who.scope(), beat).await?,
        Ok(token) => token,
    };
    Ok(Answer::token(StatusCode::OK, token))
}
