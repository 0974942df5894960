//! HTTP as this crate sees it: one function that somebody else brings.

use std::fmt;
use std::sync::Arc;

use ::http::{Request, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Asks other servers: a function from a request with a whole URL, and the most bytes that its answer may have, to
/// the answer. Whoever makes it decides about TLS, proxies and the deadline of each step, and follows no redirects.
#[derive(Clone)]
pub struct HttpClient {
    send: Arc<SendFn>,
}

type SendFn = dyn Fn(Request<Bytes>, usize) -> BoxFuture<'static, Result<Response<Bytes>, HttpError>>
    + Send
    + Sync;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot ask {url}: {cause}")]
pub struct HttpError {
    /// Who was asked for what.
    pub url: String,
    /// The cause, with its own causes, on one line.
    pub cause: String,
}

impl HttpClient {
    /// A client that sends by this function: the request, and the most bytes of an answer's body.
    pub fn new(
        send: impl Fn(Request<Bytes>, usize) -> BoxFuture<'static, Result<Response<Bytes>, HttpError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            send: Arc::new(send),
        }
    }

    /// Sends one request and returns its answer, whatever its status.
    ///
    /// # Errors
    /// [`HttpError`] when there is no answer, or one with a body of more than `limit` bytes.
    ///
    /// # Cancel safety
    /// Safe: dropping it gives the answer up.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        limit: usize,
    ) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().to_string();
        let response = (self.send)(request, limit).await?;
        // Whoever made the function may have forgotten about it.
        if response.body().len() > limit {
            let cause = format!("the answer has more than {limit} bytes");
            return Err(HttpError { url, cause });
        }
        Ok(response)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_over_the_limit_is_none_whatever_the_function_does() {
        let client = HttpClient::new(|_, limit| {
            async move { Ok(Response::new(vec![0; limit + 1].into())) }.boxed()
        });
        let request = Request::get("https://id.example/x")
            .body(Bytes::new())
            .unwrap();
        let error = client.send(request, 100).await.unwrap_err();
        assert_eq!(error.url, "https://id.example/x");
        assert_eq!(
            error.to_string(),
            "cannot ask https://id.example/x: the answer has more than 100 bytes"
        );
    }
}
