//! Finds placeholders in a text, and replaces them.

use anyhow::Result;

/// Returns the value of a placeholder by its name and its argument; nothing for a name that is none.
pub trait Value: Fn(&str, Option<&str>) -> Option<Result<String>> {}

impl<F: Fn(&str, Option<&str>) -> Option<Result<String>>> Value for F {}

/// Replaces the placeholders in a text. `{{` becomes a brace; anything else in braces stays as it is. `value` returns
/// nothing for a name that it does not know.
///
/// # Errors
///
/// Those of `value`.
pub fn expand(text: &str, value: &impl Value) -> Result<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        expanded.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('{') {
            expanded.push('{');
            rest = after;
            continue;
        }
        let found = rest.split_once('}').and_then(|(inside, after)| {
            let (name, argument) = match inside.split_once(':') {
                Some((name, argument)) => (name, Some(argument)),
                None => (inside, None),
            };
            Some((value(name, argument)?, after))
        });
        match found {
            Some((value, after)) => {
                expanded.push_str(&value?);
                rest = after;
            }
            None => expanded.push('{'),
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn expanded(text: &str) -> String {
        let value = |name: &str, argument: Option<&str>| match (name, argument) {
            ("ip", None) => Some(Ok("10.0.0.1".to_owned())),
            ("env", Some(name)) => Some(Ok(format!("{name}'s value"))),
            ("fails", _) => Some((|| bail!("no such thing"))()),
            _ => None,
        };
        expand(text, &value).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn placeholders_are_replaced_and_other_braces_stay() {
        for (text, result) in [
            ("", ""),
            ("plain", "plain"),
            ("{ip}", "10.0.0.1"),
            ("a{ip}b{ip}", "a10.0.0.1b10.0.0.1"),
            ("{env:A:B}!", "A:B's value!"),
            ("{env}{unknown}{ip:x}{}", "{env}{unknown}{ip:x}{}"),
            ("{{ip}", "{ip}"),
            ("{{{ip}}}", "{10.0.0.1}}"),
            ("{ip", "{ip"),
            ("{", "{"),
            ("{a{ip}", "{a10.0.0.1"),
            ("}{ü}", "}{ü}"),
            ("x{fails}", "no such thing"),
        ] {
            assert_eq!(expanded(text), result, "{text}");
        }
    }
}
