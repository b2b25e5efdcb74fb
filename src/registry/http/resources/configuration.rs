//! `/configuration`.

use hyper::StatusCode;

use crate::registry::engine::Scope;
use crate::registry::http::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::state::Place;
use crate::registry::state::configuration::key;

/// A list or a value, as the path has it. Page parameters are checked for both.
pub(crate) async fn read(asked: &RequestContext<'_>, path: &str) -> Result<Answer, HttpError> {
    let page = asked.page()?;
    let namespace = match Place::to_read(path) {
        Place::Key(id) => {
            let value = asked.run(Scope::Value(&id), |state| state.value(asked.tenant, &id)).await?;
            return Ok(Answer::json(StatusCode::OK, &value));
        }
        Place::Namespace(namespace) => Some(namespace),
        Place::All => None,
    };
    let look = || async {
        Ok(asked.run(Scope::Values, |state| state.values(asked.tenant, &page, namespace.as_deref())).await)
    };
    asked.list(page.limit, page.marker.as_deref(), look).await
}

pub(crate) async fn set(asked: &RequestContext<'_>, path: &str) -> Result<Answer, HttpError> {
    let id = key(path);
    let (tenant, allowance) = (asked.tenant, asked.allowance);
    asked.write(|state| state.set_value(asked.now, tenant, allowance, &id, asked.body)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).at(&asked.url("configuration", &id)))
}

pub(crate) async fn remove(asked: &RequestContext<'_>, path: &str) -> Result<Answer, HttpError> {
    asked.write(|state| state.remove_value(asked.now, asked.tenant, &key(path))).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
