//! What happens to objects, as a hub tells it: one JSON value on each line.

use bytes::BytesMut;
use http_body_util::BodyExt;
use kedge_api::HubName;
use kedge_tunnel::{HubStream, ResponseBody};
use serde_json::Value;

use super::HubError;
use crate::defaults;

/// The events of a watch, one after the other.
/// Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    hub: HubName,
    body: ResponseBody<HubStream>,
    held: BytesMut,
}

impl Watch {
    pub(super) fn new(hub: HubName, body: ResponseBody<HubStream>) -> Self {
        Self {
            hub,
            body,
            held: BytesMut::new(),
        }
    }

    /// The next event, as JSON; `None` when the hub ended the watch or was silent for too long.
    ///
    /// # Errors
    ///
    /// [`HubError`] when the connection broke or an event cannot be read.
    ///
    /// # Cancel safety
    ///
    /// No event is lost.
    pub async fn next(&mut self) -> Result<Option<Value>, HubError> {
        loop {
            if let Some(line) = take_line(&mut self.held) {
                return serde_json::from_slice(&line).map(Some).map_err(|source| {
                    HubError::Answer {
                        hub: self.hub.clone(),
                        source,
                    }
                });
            }
            if self.held.len() > defaults::EVENT_BYTES {
                return Err(HubError::TooLong {
                    hub: self.hub.clone(),
                    limit: defaults::EVENT_BYTES,
                });
            }
            match tokio::time::timeout(defaults::WATCH_SILENCE, self.body.frame()).await {
                Err(_) | Ok(None) => return Ok(None),
                Ok(Some(Err(source))) => {
                    let cause = source.to_string();
                    return Err(HubError::Broken {
                        hub: self.hub.clone(),
                        cause,
                    });
                }
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.held.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

/// The first whole line that says something. An empty one only keeps a quiet watch's connection alive.
fn take_line(held: &mut BytesMut) -> Option<BytesMut> {
    while let Some(end) = held.iter().position(|&byte| byte == b'\n') {
        let line = held.split_to(end + 1);
        if !line.trim_ascii().is_empty() {
            return Some(line);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_watch_says_empty_lines_which_are_no_events() {
        let mut held = BytesMut::from("\n\r\n{\"type\":\"ADDED\"}\n\n{\"type\":");
        assert_eq!(take_line(&mut held).unwrap(), "{\"type\":\"ADDED\"}\n");
        assert_eq!(take_line(&mut held), None);
        assert_eq!(held, "{\"type\":");
        held.extend_from_slice(b"\"BOOKMARK\"}\n");
        assert_eq!(take_line(&mut held).unwrap(), "{\"type\":\"BOOKMARK\"}\n");
        assert_eq!(take_line(&mut held), None);
        assert!(held.is_empty());
    }
}
