//! Text of others, as it may reach a terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns text whose control characters are written as escapes: `\n`, `\u{1b}`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return text.into();
    }
    let escape =
        |character: char| if acts(character) { character.escape_default().to_string() } else { character.into() };
    text.chars().map(escape).collect::<String>().into()
}

/// Returns JSON in which the characters that it need not escape are escaped, too. They stand in texts only.
pub(crate) fn visible_json(json: String) -> String {
    if !json.contains(acts_in_json) {
        return json;
    }
    let mut visible = String::with_capacity(json.len());
    for character in json.chars() {
        if acts_in_json(character) {
            let _ = write!(visible, "\\u{:04x}", u32::from(character)); // a text takes everything
        } else {
            visible.push(character);
        }
    }
    visible
}

/// Returns whether a character does something to a terminal: the control characters, and those that change the
/// direction of the text behind them.
pub(super) fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn acts_in_json(character: char) -> bool {
    character != '\n' && acts(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(visible("stra\u{df}e \u{1f600}"), "stra\u{df}e \u{1f600}");
        assert_eq!(visible("a\u{1b}[2J\tb\n\u{9b}\u{202e}"), "a\\u{1b}[2J\\tb\\n\\u{9b}\\u{202e}");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"a\u{7f}": ["\u{1b}[2J\u{9b}\u{85}", "\u{202e}x", "\u{df}"]});
        let text = visible_json(format!("{value:#}"));
        assert!(!text.chars().any(acts_in_json), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
