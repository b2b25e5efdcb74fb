//! The page for people at `/`: HTML, style and script, put together into one text at compile time.
//!
//! In reading order: `body.html` has all parts of the page, `style.css` their look. Of the script, `life.js` is the life
//! of the page; `api.js` asks the registry, `store.js` and `history.js` keep what it says. `view.js` shows what the
//! address names: `views/` has the lists and timelines, the details beside them, and whatever changes something. `rows.js`
//! is a list of which only the visible rows exist, `controls.js` has the keys and buttons, `dom.js` what all need.
//!
//! The policy of the page names its style and its script by their hashes. So a browser runs nothing else, whatever the
//! names of services contain, and sends nothing to any other host. It also lets no script turn text into HTML.

use std::sync::LazyLock;

use argon2::password_hash::Encoding;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

use super::response::Answer;

const STYLE_TAGS: (&str, &str) = ("<style>", "</style>");
const SCRIPT_TAGS: (&str, &str) = ("<script type=\"module\">", "</script>");

const PAGE: &str = concat!(
    include_str!("head.html"),
    "<style>\n",
    include_str!("style.css"),
    "</style>\n",
    include_str!("body.html"),
    // Scripts ask for the page to learn the version.
    "<footer><span>service-registry ",
    env!("CARGO_PKG_VERSION"),
    "</span><span class=\"long\">The API is below <code>/v1.0/</code>; <a href=\"openapi.json\">openapi.json</a> ",
    "describes it.</span></footer>\n<script type=\"module\">\n",
    include_str!("script/dom.js"),
    include_str!("script/api.js"),
    include_str!("script/history.js"),
    include_str!("script/store.js"),
    include_str!("script/rows.js"),
    include_str!("script/views/timeline.js"),
    include_str!("script/views/lists.js"),
    include_str!("script/views/cluster.js"),
    include_str!("script/views/changes.js"),
    include_str!("script/views/details.js"),
    include_str!("script/view.js"),
    include_str!("script/life.js"),
    include_str!("script/controls.js"),
    "</script>\n</body>\n</html>\n",
);

/// Made once: the hashes need the whole text.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let sources = [SCRIPT_TAGS, STYLE_TAGS].map(|tags| source(between(PAGE, tags)));
    let [script, style] = sources;
    let policy = format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// Answers with the page.
pub(super) fn answer() -> Answer {
    Answer::html(PAGE)
        .header(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"))
        .header(CONTENT_SECURITY_POLICY, POLICY.clone())
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
        .header(REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
        .header(CACHE_CONTROL, HeaderValue::from_static("no-cache")) // it shows the version
}

fn between<'a>(text: &'a str, (start, end): (&str, &str)) -> &'a str {
    let rest = text.split_once(start).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or("", |(inside, _)| inside)
}

/// Names an inline style or script as a policy does: by the SHA-256 of its text, in base64.
fn source(text: &str) -> String {
    // That of TLS, instead of a crate for one hash.
    let hash = TLS13_AES_128_GCM_SHA256.tls13().map(|suite| suite.common.hash_provider.hash(text.as_bytes()));
    let mut buffer = [0; 64];
    let digits = hash.as_ref().and_then(|hash| Encoding::B64.encode(hash.as_ref(), &mut buffer).ok());
    format!("'sha256-{}='", digits.unwrap_or_default()) // 32 bytes need one sign of padding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_the_hash_of_the_text() {
        // printf %s 'alert(1)' | openssl sha256 -binary | base64
        assert_eq!(source("alert(1)"), "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='");
    }

    #[test]
    fn page_has_one_style_and_one_script_and_makes_no_html_of_data() {
        for (tag, times) in [("<style", 1), ("<script", 1), ("</script", 1)] {
            assert_eq!(PAGE.matches(tag).count(), times, "{tag}");
        }
        for part in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", " style="]
        {
            assert!(!PAGE.contains(part), "{part}");
        }
        let markup = PAGE.replace(between(PAGE, SCRIPT_TAGS), "");
        let foreign = regex_lite::Regex::new(r#"\son[a-z]+=|\ssrc=|url\(|@import|["']//|https?:"#).unwrap();
        assert_eq!(foreign.find(&markup).map(|found| found.as_str()), None);
    }
}
