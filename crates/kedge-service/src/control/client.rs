//! One question to a daemon's control socket, and its answer.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::defaults;

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// What came back is no answer.
    #[error("{} does not answer as a control socket does: {problem}", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The socket cannot be connected to.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The answer did not come in time.
    #[error("{} did not answer within {} s", path.display(), after.as_secs_f64())]
    Late {
        /// The socket.
        path: PathBuf,
        /// How long it was given.
        after: Duration,
    },
}

impl CallError {
    /// Why the socket could not be connected to, when that is what failed.
    #[must_use]
    pub fn connect(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Connect { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Asks the daemon behind the socket at `path`, without a body, and reads its whole answer.
///
/// # Cancel safety
///
/// When it is dropped, the daemon may have heard the question or not.
///
/// # Errors
///
/// [`CallError`]; a status that is none of success is no error here.
pub async fn call(
    path: &Path,
    method: Method,
    target: &str,
    limit: Duration,
) -> Result<Response<Bytes>, CallError> {
    let asked = timeout(limit, exchange(path, method, target)).await;
    asked.unwrap_or_else(|_| {
        Err(CallError::Late {
            path: path.to_owned(),
            after: limit,
        })
    })
}

async fn exchange(path: &Path, method: Method, target: &str) -> Result<Response<Bytes>, CallError> {
    let wrong = |problem: String| CallError::Answer {
        path: path.to_owned(),
        problem,
    };
    let connected = UnixStream::connect(path).await;
    let stream = connected.map_err(|source| CallError::Connect {
        path: path.to_owned(),
        source,
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(defaults::HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| wrong(error.to_string()))?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = target
        .parse::<Uri>()
        .map_err(|error| wrong(error.to_string()))?;
    let headers = request.headers_mut();
    // HTTP/1.1 wants one (RFC 9112 §3.2); a socket in a folder has no name to put there.
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let (head, body) = response.into_parts();
        let limit = defaults::CONTROL_ANSWER_BYTES;
        let body = to_bytes(Body::new(body), limit).await;
        let body = body.map_err(|error| wrong(crate::report::chain(&error)))?;
        Ok(Response::from_parts(head, body))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        done = &mut answer => done,
        // What has come before the end of the connection is still to be read.
        _ = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(path: &Path) -> Result<Response<Bytes>, CallError> {
        call(path, Method::GET, "/v1/status", Duration::from_secs(20)).await
    }

    #[tokio::test]
    async fn no_socket_and_nobody_behind_it_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let error = ask(&path).await.unwrap_err();
        assert_eq!(error.connect(), Some(io::ErrorKind::NotFound));
        drop(UnixListener::bind(&path).unwrap());
        let error = ask(&path).await.unwrap_err();
        assert_eq!(error.connect(), Some(io::ErrorKind::ConnectionRefused));
    }

    #[tokio::test]
    async fn whatever_a_stranger_says_is_an_error_in_bounded_time_and_space() {
        let folder = tempfile::tempdir().unwrap();
        for (number, said) in [
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            Vec::new(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".to_vec(),
            [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat(),
            [
                b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n".to_vec(),
                vec![b'x'; 1 << 20],
            ]
            .concat(),
        ]
        .into_iter()
        .enumerate()
        {
            let path = folder.path().join(format!("{number}.sock"));
            let listener = tokio::net::UnixListener::bind(&path).unwrap();
            let stranger = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut question = [0; 1024];
                let _ = stream.read(&mut question).await;
                let _ = stream.write_all(&said).await;
            };
            let (answer, ()) = tokio::join!(ask(&path), stranger);
            let error = answer.unwrap_err();
            assert!(matches!(error, CallError::Answer { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn silence_ends_when_the_time_is_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let limit = Duration::from_millis(50);
        let error = call(&path, Method::GET, "/", limit).await.unwrap_err();
        assert!(
            error.to_string().ends_with("did not answer within 0.05 s"),
            "{error}"
        );
    }
}
