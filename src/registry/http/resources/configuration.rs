//! `/configuration`.

use hyper::StatusCode;

use crate::registry::engine::Scope;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::request::configuration::{Target, check_id, id_of_path, new_value};
use crate::registry::http::response::Answer;

/// Answers with a list or a value, as the path says. The parameters of pages are checked for both.
pub(crate) async fn read(context: &RequestContext<'_>, path: &str) -> Result<Answer, HttpError> {
    let page = context.page()?;
    let namespace = match Target::of_path(path) {
        Target::Value(id) => {
            check_id(&id)?;
            let value = context.read(Scope::Value(&id), |state| state.value(context.tenant, &id)).await?;
            return Ok(Answer::json(StatusCode::OK, &value));
        }
        Target::Namespace(namespace) => Some(namespace),
        Target::All => None,
    };
    let look = || async {
        Ok(context.read(Scope::Values, |state| state.values(context.tenant, &page, namespace.as_deref())).await)
    };
    context.list(page.limit, page.marker.as_deref(), look).await
}

pub(crate) async fn set(context: &RequestContext<'_>, path: &str) -> Result<Answer, HttpError> {
    let id = id_of_path(path);
    check_id(&id)?;
    let new = new_value(context.body)?;
    let (tenant, quota, by) = (context.tenant, &context.quotas.records, &context.attribution());
    context.write(|state| state.set_value(context.now, tenant, quota, &id, &new, by)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&context.url("configuration", &id)))
}

pub(crate) async fn remove(context: &RequestContext<'_>, path: &str) -> Result<Answer, HttpError> {
    let by = &context.attributed_removal()?;
    let id = id_of_path(path);
    check_id(&id)?;
    context.write(|state| state.remove_value(context.now, context.tenant, &id, by)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
