//! What a client waits for, one step at a time: whatever comes to a stop is given up soon, and by its name.

use std::io;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::defaults;
use crate::target::up_to;

/// Does something that takes no longer than a step does.
///
/// # Errors
///
/// Its own, and that it stands still; both with its name.
pub(super) async fn within<T, E>(name: &str, step: impl Future<Output = Result<T, E>>) -> Result<T>
where
    Result<T, E>: anyhow::Context<T, E>,
{
    let after = defaults::STEP_TIME;
    match timeout(after, step).await {
        Ok(done) => done.with_context(|| name.to_owned()),
        Err(_) => anyhow::bail!("{name} stood still for {} s", after.as_secs()),
    }
}

/// Reads exactly `bytes` and forgets them. However many they are, the next ones come within a step.
pub(super) async fn take(
    name: &str,
    stream: &mut (impl AsyncRead + Unpin),
    bytes: u64,
) -> Result<()> {
    let mut buffer = vec![0; defaults::BUFFER];
    let mut left = bytes;
    while left > 0 {
        let len = up_to(&buffer, left).len();
        let room = buffer.get_mut(..len).unwrap_or_default();
        let reading = async {
            match stream.read(room).await? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => io::Result::Ok(read),
            }
        };
        let read = within(name, reading).await;
        left -= read.with_context(|| format!("{left} of {bytes} bytes are missing"))? as u64;
    }
    Ok(())
}

/// Sends `bytes` of a [seamless](crate::order::seamless) buffer, each piece within a step.
pub(super) async fn give(
    name: &str,
    stream: &mut (impl AsyncWrite + Unpin),
    sent: &[u8],
    bytes: u64,
) -> Result<()> {
    let mut left = bytes;
    while left > 0 {
        let piece = up_to(sent, left);
        let written = within(name, stream.write_all(piece)).await;
        written.with_context(|| format!("{left} of {bytes} bytes are not sent"))?;
        left -= piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::order;

    #[tokio::test(start_paused = true)]
    async fn what_stands_still_is_given_up_by_its_name() {
        // Room for some, and nobody who reads it.
        let (mut near, _far) = duplex(1000);
        let error = give("an upload", &mut near, &order::seamless(300), 5000).await;
        let said = format!("{:#}", error.unwrap_err());
        assert!(said.contains("an upload stood still for 30 s"), "{said}");
        assert!(said.contains("of 5000 bytes are not sent"), "{said}");
        let (mut near, mut far) = duplex(1000);
        far.write_all(&[1; 600]).await.unwrap();
        let error = take("a download", &mut near, 601).await;
        let said = format!("{:#}", error.unwrap_err());
        assert_eq!(
            said,
            "1 of 601 bytes are missing: a download stood still for 30 s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_slow_is_waited_for() {
        let (mut near, mut far) = duplex(1000);
        let slow = async {
            for _ in 0..10 {
                tokio::time::sleep(defaults::STEP_TIME * 9 / 10).await;
                far.write_all(&[1; 10]).await.unwrap();
            }
        };
        let (taken, ()) = tokio::join!(take("a download", &mut near, 100), slow);
        taken.unwrap();
    }

    #[tokio::test]
    async fn what_breaks_off_is_named_too() {
        let (mut near, far) = duplex(1000);
        drop(far);
        let said = take("a download", &mut near, 1).await.unwrap_err();
        assert!(format!("{said:#}").contains("a download: unexpected end of file"));
    }
}
