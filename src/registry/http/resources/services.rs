//! `/services`.

use hyper::StatusCode;

use super::sessions::beat;
use crate::registry::engine::Scope;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::state::HeartbeatTarget;
use crate::registry::state::services::wanted_tag;

pub(crate) async fn list(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let page = context.page()?;
    let tags = context.query.values("tag");
    let tag = wanted_tag(&tags)?;
    let look =
        || async { Ok(context.run_swept(Scope::Services, |state| state.services(context.tenant, &page, tag)).await) };
    context.list(page.limit, page.marker.as_deref(), look).await
}

/// The two forms are answered differently: a service of its own gets a token, one in a session an empty body.
pub(crate) async fn create(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let (tenant, quotas) = (context.tenant, context.quotas);
    let created = context.write(|state| state.create_service(context.now, tenant, quotas, context.body)).await?;
    let answer = match created.token {
        Some(token) => Answer::token(StatusCode::CREATED, token),
        None => Answer::empty(StatusCode::CREATED),
    };
    Ok(answer.at(&context.url("services", &created.id)))
}

pub(crate) async fn get(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let service = context.run_swept(Scope::Service(id), |state| state.service(context.tenant, id)).await?;
    Ok(Answer::json(StatusCode::OK, &service))
}

pub(crate) async fn update(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    context.write(|state| state.update_service(context.tenant, id, context.body)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&context.url("services", id)))
}

pub(crate) async fn delete(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    context.write(|state| state.delete_service(context.now, context.tenant, id)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn heartbeat(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    beat(context, HeartbeatTarget::Service(id)).await
}
