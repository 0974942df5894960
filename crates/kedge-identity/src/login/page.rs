//! The pages a person sees in the browser when a login ends: no script, nothing from elsewhere, nothing kept.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use kedge_api::text::Printable;

/// A page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Page {
    /// The login failed, for this reason.
    Failure(String),
    /// Not a request that a browser sends here.
    Method,
    /// Another host was meant.
    OtherHost,
    /// Not the answer to the login that is under way.
    OtherLogin,
    /// There is nothing at this path.
    Nothing,
    /// The issuer has said who the person is. What the hub says to that is not known yet.
    Success,
    /// The answer was taken already.
    Used,
}

impl Page {
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let (status, title, text) = match self {
            Self::Failure(cause) => (
                StatusCode::BAD_REQUEST,
                "The login failed",
                format!("{cause}. Nothing was kept. This page may be closed."),
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "This is no such page",
                "Only a browser's GET is answered here.".to_owned(),
            ),
            Self::OtherHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "This is another machine's page",
                "What was asked for is not served here.".to_owned(),
            ),
            Self::OtherLogin => (
                StatusCode::BAD_REQUEST,
                "This answers another login",
                "The login that is under way still waits for its own answer. This page may be closed."
                    .to_owned(),
            ),
            Self::Nothing => (
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "A login waits for its answer on another page.".to_owned(),
            ),
            Self::Success => (
                StatusCode::OK,
                "The issuer has answered",
                "What comes of the login stands in the terminal. \
                 You may close this page and go back to the terminal."
                    .to_owned(),
            ),
            Self::Used => (
                StatusCode::CONFLICT,
                "This login was answered already",
                "What came of it stands in the terminal. This page may be closed.".to_owned(),
            ),
        };
        let title = escaped(title);
        let text = escaped(&text);
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>kedge: {title}</title>\n\
             </head>\n<body>\n<h1>{title}</h1>\n<p>{text}</p>\n</body>\n</html>\n"
        );
        let mut response = Response::new(Full::new(Bytes::from(html)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if *self == Self::Method {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

/// Makes text harmless in HTML, and in a line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(['&', '<', '>', '"', '\'']) {
        let Some(last) = part.chars().next_back() else {
            continue;
        };
        let entity = match last {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&#39;",
            _ => {
                out.push_str(part);
                continue;
            }
        };
        out.push_str(part.strip_suffix(last).unwrap_or_default());
        out.push_str(entity);
    }
    out
}

/// What a failure's cause may become on a page: bounded, and without characters that play tricks.
pub(super) fn failure(cause: &str) -> Page {
    Page::Failure(Printable::new(cause).to_string())
}

/// On every page: the address it came by holds a code, which is nobody else's, and nothing on it runs.
const HEADERS: [(header::HeaderName, &str); 7] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONNECTION, "close"),
];

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_becomes_markup(text in "(\\PC|[<>&\"'\u{0}-\u{1f}\u{202a}-\u{202e}]){0,80}") {
            let escaped = escaped(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']), "{escaped}");
            let back = ["&lt;<", "&gt;>", "&quot;\"", "&#39;'", "&amp;&"];
            let back = back.iter().fold(escaped, |text, pair| {
                let (entity, character) = pair.split_at(pair.len() - 1);
                text.replace(entity, character)
            });
            prop_assert_eq!(back, text);
        }
    }

    async fn text(page: &Page) -> String {
        let body = page.response().into_body().collect().await.unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn nothing_on_a_page_runs_or_is_kept() {
        for page in [
            Page::Failure("cause".to_owned()),
            Page::Method,
            Page::Nothing,
            Page::OtherHost,
            Page::OtherLogin,
            Page::Success,
            Page::Used,
        ] {
            let response = page.response();
            let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap();
            assert!(header("content-security-policy").starts_with("default-src 'none';"));
            assert_eq!(header("cache-control"), "no-store");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert_eq!(response.status() == StatusCode::OK, page == Page::Success);
            let text = text(&page).await;
            assert!(
                !text.contains("<script") && !text.contains("style"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn hostile_causes_stay_text() {
        let page = failure("<script>alert('1')</script>&\"\u{202e}\u{0}");
        let text = text(&page).await;
        assert!(
            !text.contains("<script") && !text.contains('\u{202e}'),
            "{text}"
        );
        assert!(
            text.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"),
            "{text}"
        );
        let long = failure(&"x".repeat(100_000));
        assert!(super::tests::text(&long).await.len() < 2000);
    }
}
