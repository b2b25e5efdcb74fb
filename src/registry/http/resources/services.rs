//! `/services`.

use hyper::StatusCode;

use super::sessions::beat;
use crate::registry::engine::Scope;
use crate::registry::http::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::state::HeartbeatTarget;
use crate::registry::state::services::wanted_tag;

pub(crate) async fn list(asked: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let page = asked.page()?;
    let tags = asked.query.values("tag");
    let tag = wanted_tag(&tags)?;
    let look =
        || async { Ok(asked.run_swept(Scope::Services, |state| state.services(asked.tenant, &page, tag)).await) };
    asked.list(page.limit, page.marker.as_deref(), look).await
}

/// The two forms are answered differently: a service of its own gets a token, one in a session an empty body.
pub(crate) async fn create(asked: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let (tenant, allowance) = (asked.tenant, asked.allowance);
    let created = asked.write(|state| state.create_service(asked.now, tenant, allowance, asked.body)).await?;
    let answer = match created.token {
        Some(token) => Answer::token(StatusCode::CREATED, token),
        None => Answer::empty(StatusCode::CREATED),
    };
    Ok(answer.at(&asked.url("services", &created.id)))
}

pub(crate) async fn get(asked: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let service = asked.run_swept(Scope::Service(id), |state| state.service(asked.tenant, id)).await?;
    Ok(Answer::json(StatusCode::OK, &service))
}

pub(crate) async fn update(asked: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    asked.write(|state| state.update_service(asked.tenant, id, asked.body)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&asked.url("services", id)))
}

pub(crate) async fn delete(asked: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    asked.write(|state| state.delete_service(asked.now, asked.tenant, id)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn heartbeat(asked: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    beat(asked, HeartbeatTarget::Service(id)).await
}
