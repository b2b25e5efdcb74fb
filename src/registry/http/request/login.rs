//! The body of a login: a key, a password or a token, for a tenant if one is named.

use super::json::Json;
use crate::registry::access::{Credentials, Proof};
use crate::registry::state::DomainError;

pub(crate) fn credentials(body: &Json) -> Result<Credentials<'_>, DomainError> {
    let auth = body.get("auth").ok_or_else(|| DomainError::malformed("auth is missing"))?;
    let text = |form: &str, field: &str| {
        let missing = || DomainError::Malformed(format!("auth.{form}.{field} is not a string"));
        auth.get(form).and_then(|form| form.text(field)).ok_or_else(missing)
    };
    let tenant = match auth.get("tenantName") {
        None | Some(Json::Null) => None,
        Some(Json::Text(tenant)) => Some(&**tenant),
        Some(_) => return Err(DomainError::malformed("auth.tenantName is not a string")),
    };
    const KEY: &str = "RAX-KSKEY:apiKeyCredentials";
    const PASSWORD: &str = "passwordCredentials";
    if auth.get(KEY).is_some() {
        Ok(Credentials { name: text(KEY, "username")?, tenant, proof: Proof::ApiKey(text(KEY, "apiKey")?) })
    } else if auth.get(PASSWORD).is_some() {
        Ok(Credentials {
            name: text(PASSWORD, "username")?,
            tenant,
            proof: Proof::Password(text(PASSWORD, "password")?),
        })
    } else if auth.get("token").is_some() {
        Ok(Credentials { name: "", tenant, proof: Proof::Token(text("token", "id")?) })
    } else {
        Err(DomainError::Malformed(format!("auth needs {KEY}, {PASSWORD} or token")))
    }
}
