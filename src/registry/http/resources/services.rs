//! `/services`.

use hyper::StatusCode;

use super::sessions::beat;
use crate::registry::engine::Scope;
use crate::registry::http::Asked;
use crate::registry::http::error::Problem;
use crate::registry::http::response::Answer;
use crate::registry::state::Beating;
use crate::registry::state::services::wanted_tag;

pub(crate) async fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let page = asked.page()?;
    let tags = asked.query.values("tag");
    let tag = wanted_tag(&tags)?;
    let look =
        || async { Ok(asked.run_swept(Scope::Services, |state| state.services(asked.tenant, &page, tag)).await) };
    asked.list(page.limit, page.marker.as_deref(), look).await
}

/// The two forms are answered differently: a service of its own gets a token, one in a session an empty body.
pub(crate) async fn create(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let (tenant, allowance) = (asked.tenant, asked.allowance);
    let created = asked.write(|state| state.create_service(asked.now, tenant, allowance, asked.body)).await?;
    let answer = match created.token {
        Some(token) => Answer::token(StatusCode::CREATED, token),
        None => Answer::empty(StatusCode::CREATED),
    };
    Ok(answer.at(&asked.url("services", &created.id)))
}

pub(crate) async fn get(asked: &Asked<'_>, id: &str) -> Result<Answer, Problem> {
    let service = asked.run_swept(Scope::Service(id), |state| state.service(asked.tenant, id)).await?;
    Ok(Answer::json(StatusCode::OK, &service))
}

pub(crate) async fn update(asked: &Asked<'_>, id: &str) -> Result<Answer, Problem> {
    asked.write(|state| state.update_service(asked.tenant, id, asked.body)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&asked.url("services", id)))
}

pub(crate) async fn delete(asked: &Asked<'_>, id: &str) -> Result<Answer, Problem> {
    asked.write(|state| state.delete_service(asked.now, asked.tenant, id)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn heartbeat(asked: &Asked<'_>, id: &str) -> Result<Answer, Problem> {
    beat(asked, Beating::Service(id)).await
}
