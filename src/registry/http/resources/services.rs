//! `/services`.

use hyper::StatusCode;
use tokio::task::yield_now;

use super::follow::{EntityTag, KnownTags, Tagged, wait};
use super::lists::Form;
use super::sessions::beat;
use crate::registry::engine::{Scope, Topic};
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::representation::ShapedService;
use crate::registry::http::request::services::{check_id, filter, new_service, service_update};
use crate::registry::http::response::Answer;
use crate::registry::model::{Listing, ServiceInfo};
use crate::registry::state::{HeartbeatTarget, State};

impl Tagged for ShapedService {
    fn shown(&self) -> (&ServiceInfo, Option<u8>) {
        (&self.service.info, self.service.timeout)
    }
}

pub(crate) async fn list(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let page = context.page()?;
    let filter = filter(context.query)?;
    let wait = wait(&context.query.values("wait"))?.unwrap_or_default();
    let shape = context.app.service_shape;
    let with_sessions = shape.needs_session();
    let look = || async {
        let scope = Scope::Services { with_sessions };
        let (mut services, mut page) = (Listing::default(), page.clone());
        loop {
            let look = |state: &mut State| state.services(context.tenant, &page, &filter, with_sessions);
            let (part, rest) = context.read_swept(scope, look).await;
            services.extend(part, page.limit);
            match rest.filter(|_| services.next.is_none()) {
                Some(next) => page.marker = Some(next.to_string()),
                None => break,
            }
            yield_now().await;
        }
        Ok(services.map(|service| ShapedService { service, shape }))
    };
    if let Some(known) = KnownTags::of(context.headers()) {
        let topic = filter.tags.first().map_or(Topic::Services, |tag| Topic::Tag(tag.clone()));
        if let Some(unchanged) = Box::pin(context.wait_for_change(topic, &known, wait, look)).await? {
            return Ok(unchanged);
        }
    }
    let form = Form { limit: page.limit, marker: page.marker.as_deref(), position: None };
    context.list_with(&form, |page| Some(EntityTag::of(page).header()), look).await
}

/// A service with heartbeats of its own is answered with a token, one in a session with an empty body.
pub(crate) async fn create(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let new = new_service(context.body)?;
    let (now, tenant, quota, by) = (context.now, context.tenant, &context.quotas.records, &context.attribution());
    let created = context.write(|state| state.create_service(now, tenant, quota, &new, by)).await?;
    let answer = match created.token {
        Some(token) => Answer::token(StatusCode::CREATED, token),
        None => Answer::empty(StatusCode::CREATED),
    };
    Ok(answer.at(&context.url("services", &created.id)))
}

pub(crate) async fn get(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    check_id(id)?;
    let shape = context.app.service_shape;
    let with_session = shape.needs_session();
    let scope = Scope::Service { id, with_session };
    let service = context.read_swept(scope, |state| state.service(context.tenant, id, with_session)).await?;
    Ok(Answer::json(StatusCode::OK, &ShapedService { service, shape }))
}

pub(crate) async fn update(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    check_id(id)?;
    let read = |kind| service_update(context.body, id, kind);
    let by = &context.attribution();
    context.write(|state| state.update_service(context.now, context.tenant, id, read, by)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&context.url("services", id)))
}

pub(crate) async fn delete(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    let by = &context.attributed_withdrawal()?;
    check_id(id)?;
    context.write(|state| state.delete_service(context.now, context.tenant, id, by)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn heartbeat(context: &RequestContext<'_>, id: &str) -> Result<Answer, HttpError> {
    beat(context, HeartbeatTarget::Service(id)).await
}
