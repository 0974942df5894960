//! Every limit of this crate, with its unit and why it is what it is.

use std::time::Duration;

/// Bytes of a token: more than any header line that a hub takes, and hundreds of groups.
pub const TOKEN_MAX_BYTES: usize = 64 * 1024;
/// Nesting of JSON in a token, a discovery document or a JWKS: claims that are objects of lists nest four deep.
pub const JSON_MAX_DEPTH: usize = 32;
/// Values in one such text: twice as many as somebody in as many groups as may be has who is told of each twice. One
/// value of two bytes takes up to a hundred when it is read, and tokens are read before anything in them is believed.
pub const JSON_MAX_VALUES: usize = 2048;
/// Claims of one token. Entra ID and Keycloak with every option on give about forty.
pub const CLAIMS_MAX: usize = 128;
/// Bytes of all claims that are kept of a token, as JSON: they go along with a session and into its records.
pub const CLAIMS_MAX_BYTES: usize = 32 * 1024;
/// Groups of one person. Entra ID itself stops at 200; more means that somebody sends a whole directory.
pub const GROUPS_MAX: usize = 512;
/// How long after its end a token is still good: two clocks that are kept by NTP, and a request on its way.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// How far ahead a token's beginning may be: an issuer's clock that nobody looks after.
pub const FUTURE_LEEWAY: Duration = Duration::from_secs(5 * 60);

/// Bytes of a discovery document: the longest in use have 10 KiB.
pub const DISCOVERY_MAX_BYTES: usize = 64 * 1024;
/// Bytes of a JWKS: 64 RSA keys with a chain of certificates each.
pub const JWKS_MAX_BYTES: usize = 256 * 1024;
/// Keys of one JWKS: issuers have two to ten.
pub const JWKS_MAX_KEYS: usize = 64;
/// Bytes of a key's id: a thumbprint has 43, a URL with a hash is still short of this.
pub const KEY_ID_MAX_BYTES: usize = 256;
/// Bits of the smallest RSA key (RFC 7518 §3.3).
pub const RSA_MIN_BITS: usize = 2048;
/// Bits of the largest RSA key: what the library verifies; a larger one would only cost time.
pub const RSA_MAX_BITS: usize = 8192;

/// Both documents of one fetch together, from dialling to the last byte: a person waits for it.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a key id that nobody knows may make us ask the issuer: anybody can make up key ids.
pub const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(30);
/// How often tokens of an issuer without keys may make us ask it: people are waiting, and so is an issuer that just
/// came up.
pub const NO_KEYS_PAUSE: Duration = Duration::from_secs(5);
/// Tokens that may wait for one fetch of their issuer's keys; more are told to come again. Each takes up to 600 KiB in
/// its parts, and nobody has vouched for it. Keys that changed are there in a blink, and those who were told come back.
pub const WAITING_MAX: usize = 256;
/// How long keys are used before they are fetched again, when the issuer does not say.
pub const REFRESH_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// The shortest time that an issuer's `Cache-Control` may ask for: one that says 0 is not asked all the time.
pub const REFRESH_MIN: Duration = Duration::from_secs(5 * 60);
/// The longest: a key that was withdrawn is gone a day later.
pub const REFRESH_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The first pause after a failed fetch; it doubles.
pub const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause after a failed fetch: how late we notice that an issuer is back.
pub const RETRY_MAX: Duration = Duration::from_secs(60);
/// How old keys from before a restart may be: they stand in until the issuer has been asked, and no longer.
pub const RESTORED_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long keys are used when no newer ones can be had: past the longest time between two
/// fetches, with a night to repair what is broken; then somebody who keeps the issuer away could keep a stolen key.
pub const KEYS_MAX_AGE: Duration = Duration::from_secs(36 * 60 * 60);

/// Verdicts that are remembered: one for each person with a session or a busy laptop.
pub const VERDICTS_MAX: usize = 4096;
/// Bytes of all verdicts that are remembered, measured by their tokens: eight KiB each.
pub const VERDICTS_MAX_BYTES: usize = 32 * 1024 * 1024;
