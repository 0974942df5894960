//! Every limit of this crate, with its unit and why it is what it is.

/// Bytes of a message of the agent protocol: OpenSSH's `AGENT_MAX_LEN`.
pub(crate) const MESSAGE_BYTES: usize = 256 * 1024;
/// Bytes of a file with a private key: an RSA key of 8192 bits in PEM has 7 KiB.
pub const KEY_FILE_BYTES: usize = 64 * 1024;
/// Bits of the smallest RSA key that signs: less is no longer thought safe.
pub(crate) const RSA_BITS_MIN: usize = 2048;
/// Bits of the largest RSA key that signs: what the library of cryptography takes.
pub(crate) const RSA_BITS_MAX: usize = 8192;
/// Bytes of the shortest session id: a SHA-1 hash, the smallest of SSH's key exchanges (RFC 4253 §7.2).
pub(crate) const SESSION_ID_MIN: usize = 20;
/// Bytes of the longest session id: a SHA-512 hash.
pub(crate) const SESSION_ID_MAX: usize = 64;
