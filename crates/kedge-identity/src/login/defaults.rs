//! Limits, deadlines and sizes of logging in: each with its unit and its reason.

use std::time::Duration;

/// Time a person has to log in with their browser: to find the second factor, too.
pub const BROWSER_TIME: Duration = Duration::from_secs(5 * 60);

/// The longest a device's code is waited for, whatever the issuer says: nobody types longer.
pub const DEVICE_TIME: Duration = Duration::from_secs(30 * 60);

/// The shortest time between two questions whether a device's code was entered: an issuer that says 0 is not
/// to be flooded.
pub const DEVICE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The longest time between two questions that an issuer may want. More is a mistake: a login would seem to hang.
pub const DEVICE_INTERVAL_MAX: Duration = Duration::from_secs(120);

/// Characters of the code that a person types: the longest in use has 11.
pub const USER_CODE_CHARS: usize = 64;

/// Time one request to the issuer may take in all, over the deadlines of its steps.
pub const REQUEST_TIME: Duration = Duration::from_secs(60);

/// Bytes of a discovery document: the largest in use has 15 KB.
pub const METADATA_BYTES: usize = 256 << 10;

/// Bytes of a token endpoint's answer: an ID token of 64 KiB, and two more tokens.
pub const ANSWER_BYTES: usize = 256 << 10;

/// Bytes of an endpoint's URL.
pub const ENDPOINT_BYTES: usize = 2048;

/// How much earlier than our question a proof may seem to be that was given after it, as clocks differ.
pub const REAUTHENTICATION_LEEWAY: Duration = Duration::from_secs(60);

/// Time a browser has to send the head of its request.
pub const REDIRECT_HEAD_TIME: Duration = Duration::from_secs(5);

/// Bytes the head of a browser's request may have: the cookies of everything else on this machine come along.
pub const REDIRECT_HEAD_BYTES: usize = 64 << 10;

/// Header lines a browser's request may have: browsers send about 20.
pub const REDIRECT_HEADERS: usize = 64;

/// Connections at a time: browsers open some in advance, and other programs of the machine may knock.
pub const REDIRECT_CONNECTIONS: usize = 32;

/// Time the last page has to reach the browser.
pub const REDIRECT_GOODBYE: Duration = Duration::from_secs(2);

/// Time between two attempts to accept a connection, when the machine has no descriptors left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
