//! `/sessions` and `/views/overview`.

use hyper::StatusCode;

use crate::registry::engine::Scope;
use crate::registry::http::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::state::State;
use crate::registry::state::{HeartbeatTarget, PresentedToken};

pub(crate) async fn list(asked: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let page = asked.page()?;
    let look = || async { Ok(asked.run_swept(Scope::Sessions, |state| state.sessions(asked.tenant, &page)).await) };
    asked.list(page.limit, page.marker.as_deref(), look).await
}

pub(crate) async fn overview(asked: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let page = asked.page()?;
    let look = || async { Ok(asked.run_swept(Scope::Overview, |state| state.overview(asked.tenant, &page)).await) };
    asked.list(page.limit, page.marker.as_deref(), look).await
}

pub(crate) async fn create(asked: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let (tenant, allowance) = (asked.tenant, asked.allowance);
    let created = asked.write(|state| state.create_session(asked.now, tenant, allowance, asked.body)).await;
    let (id, token) = created?;
    Ok(Answer::token(StatusCode::CREATED, token).at(&asked.url("sessions", id.as_str())))
}

pub(crate) async fn get(asked: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let session = asked.run_swept(Scope::Session(id), |state| state.session(asked.tenant, id)).await?;
    Ok(Answer::json(StatusCode::OK, &session))
}

pub(crate) async fn update(asked: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    asked.write(|state| state.update_session(asked.tenant, id, asked.body)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&asked.url("sessions", id)))
}

pub(crate) async fn delete(asked: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    asked.write(|state| state.delete_session(asked.now, asked.tenant, id)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn heartbeat(asked: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let is_nobody = id == "null" || id == "None"; // what two clients make of an id they have not got
    let is_lenient = asked.front.compatibility.lenient_heartbeats && is_nobody;
    beat(asked, if is_lenient { HeartbeatTarget::Unnamed(id) } else { HeartbeatTarget::Session(id) }).await
}

/// A heartbeat is timed when it is handled, not when it arrived: the holder gets its whole timeout.
pub(super) async fn beat(asked: &RequestContext<'_>, who: HeartbeatTarget<'_>) -> Result<Answer, HttpError> {
    let shown = PresentedToken::read(asked.body)?;
    let beat = |state: &mut State| state.beat(asked.now, asked.tenant, who, shown);
    let token = match asked.run(Scope::Nothing, beat).await {
        // It may be gone, or another one, only until the disk refuses that. Who is told so gives up.
        Err(_) => asked.run(who.scope(), beat).await?,
        Ok(token) => token,
    };
    Ok(Answer::token(StatusCode::OK, token))
}
