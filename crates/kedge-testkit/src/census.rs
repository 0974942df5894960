//! What a running daemon holds: descriptors, threads, memory, tasks. Counted, not assumed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};

use crate::defaults;

/// One look at a process.
#[derive(Clone, Debug)]
pub struct Census {
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory in KiB.
    pub resident_kib: u64,
}

impl Census {
    /// Looks at a process now.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let count = |what: &str| -> Result<usize> {
            let path = format!("/proc/{pid}/{what}");
            Ok(fs::read_dir(&path)
                .with_context(|| format!("read {path}"))?
                .count())
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("VmRSS")?;
        let kib = resident.trim().trim_end_matches("kB").trim().parse()?;
        Ok(Self {
            descriptors: count("fd")?,
            threads: count("task")?,
            resident_kib: kib,
        })
    }
}

/// Plain HTTP GET, for the admin endpoints. Answers status and body.
///
/// # Errors
///
/// When nobody answers in time.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, defaults::SOON)?;
    stream.set_read_timeout(Some(defaults::SOON))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("no end of the headers")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    ensure!(!chunked, "the admin endpoint answers with a length");
    Ok((status, body.to_owned()))
}

/// The samples of a metrics endpoint, by name with labels as written.
///
/// # Errors
///
/// When nobody answers, or not with metrics.
pub fn metrics(address: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let (status, body) = get(address, "/metrics")?;
    ensure!(status == 200, "/metrics answers {status}: {body}");
    let samples = body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
    Ok(samples.collect())
}

/// The sum of all samples whose name (before the labels) is `name`.
#[must_use]
pub fn total(metrics: &BTreeMap<String, f64>, name: &str) -> Option<f64> {
    let matching: Vec<f64> = metrics
        .iter()
        .filter(|(key, _)| key.split('{').next() == Some(name))
        .map(|(_, value)| *value)
        .collect();
    (!matching.is_empty()).then(|| matching.iter().sum())
}
