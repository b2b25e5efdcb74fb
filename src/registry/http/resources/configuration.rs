//! `/configuration`.

use hyper::StatusCode;

use crate::registry::engine::Scope;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::state::Place;
use crate::registry::state::configuration::key;

/// A list or a value, as the path has it. Page parameters are checked for both.
pub(crate) async fn read(context: &RequestContext<'_>, path: &str) -> Result<Answer, HttpError> {
    let page = context.page()?;
    let namespace = match Place::to_read(path) {
        Place::Key(id) => {
            let value = context.run(Scope::Value(&id), |state| state.value(context.tenant, &id)).await?;
            return Ok(Answer::json(StatusCode::OK, &value));
        }
        Place::Namespace(namespace) => Some(namespace),
        Place::All => None,
    };
    let look = || async {
        Ok(context.run(Scope::Values, |state| state.values(context.tenant, &page, namespace.as_deref())).await)
    };
    context.list(page.limit, page.marker.as_deref(), look).await
}

pub(crate) async fn set(context: &RequestContext<'_>, path: &str) -> Result<Answer, HttpError> {
    let id = key(path);
    let (tenant, quotas) = (context.tenant, context.quotas);
    context.write(|state| state.set_value(context.now, tenant, quotas, &id, context.body)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&context.url("configuration", &id)))
}

pub(crate) async fn remove(context: &RequestContext<'_>, path: &str) -> Result<Answer, HttpError> {
    context.write(|state| state.remove_value(context.now, context.tenant, &key(path))).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
