//! What it costs to start the programs, by what is in them and not by the clock: `ssh` starts `kedge` up to four
//! times for one session.

use anyhow::{Context, Result};

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// See `docs/decisions/0003-one-crypto-provider.md`: 20 ms in each process that makes a key.
#[test]
fn randomness_is_the_kernels_and_not_gathered_from_the_clocks_jitter() -> Result<()> {
    let program = env!("CARGO_BIN_EXE_kedge");
    let bytes = std::fs::read(program).with_context(|| format!("read {program}"))?;
    // By the names of the C functions, which a program that was stripped would not show.
    assert!(contains(&bytes, "CRYPTO_sysrand"), "names of functions");
    assert!(
        !contains(&bytes, "jent_entropy_collector_alloc"),
        "AWS_LC_SYS_NO_JITTER_ENTROPY was not set when aws-lc-sys was built"
    );
    Ok(())
}
