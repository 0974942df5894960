//! Randomness, for the callers of this crate: nothing here calls it by itself.

use aws_lc_rs::rand;

/// The operating system gave no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct RandomError;

/// Fresh random bytes, fit for secrets.
///
/// # Errors
/// [`RandomError`] when the system's generator fails; nothing may go on without it.
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}
