//! The reason and the cause for which a client removes something: query parameters.

use crate::client::Error;
use crate::wire::limits::REASON;

/// Returns the parameter; none for an empty reason.
pub(super) fn reason_query(reason: &str) -> Result<Vec<(&'static str, String)>, Error> {
    if reason.is_empty() {
        return Ok(Vec::new());
    }
    if reason.chars().any(char::is_control) {
        return Err(Error::invalid("the reason contains a control character".to_owned()));
    }
    let length = reason.encode_utf16().count();
    if length > REASON {
        return Err(Error::invalid(format!("the reason has {length} characters; {REASON} are allowed")));
    }
    Ok(vec![("reason", reason.to_owned())])
}

/// Returns the parameters of a removal by which the caller takes the place.
pub(super) fn replacement_query(reason: &str) -> Result<Vec<(&'static str, String)>, Error> {
    Ok(reason_query(reason)?.into_iter().chain([("cause", "replaced".to_owned())]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_bounded() {
        assert_eq!(reason_query("").unwrap(), []);
        assert_eq!(reason_query("exited 1").unwrap(), [("reason", "exited 1".to_owned())]);
        assert!(reason_query(&"x".repeat(255)).is_ok());
        for wrong in [&"x".repeat(256), "a\nb", "a\0"] {
            assert!(matches!(reason_query(wrong), Err(Error::InvalidArgument { .. })), "{wrong:?}");
        }
    }
}
