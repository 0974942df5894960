//! The tokio, WebSocket and TLS shell around kedge-proto.
