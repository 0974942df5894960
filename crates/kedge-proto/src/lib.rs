//! Frames, streams and links of the kedge tunnel as pure state machines.
