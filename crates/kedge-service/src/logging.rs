//! Logs on standard error: JSON for machines, plain lines for people, the journal's own form under systemd, and a level
//! that can change while the daemon runs.
//!
//! JSON events are flat: `{"timestamp": …, "level": "INFO", "message": …, "target": …, <fields>}`. In the journal the
//! fields of audit events ([`AUDIT_TARGET`]) have no prefix, so that `message_id` is the journal's `MESSAGE_ID`
//! (`systemd.journal-fields(7)`); those of all others begin with `KEDGE_`, so that none is taken for the journal's own.

use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use tracing::Subscriber;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// The target of audit events.
pub const AUDIT_TARGET: &str = "kedge::audit";

/// How events are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LogFormat {
    /// `pretty` on a terminal, the journal's fields where it reads standard error, `json` elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// One line per event for people.
    Pretty,
}

/// The `[log]` table every daemon has.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, or a list that also names
    /// parts, such as `info,kedge_tunnel=debug`.
    #[schemars(default = "default_level_text", with = "String")]
    pub level: LogLevel,
    /// How it is written: `auto` is `pretty` on a terminal, fields of the journal under systemd, and `json` elsewhere.
    #[schemars(default = "default_format_text")]
    pub format: LogFormat,
}

fn default_level_text() -> &'static str {
    "info"
}

fn default_format_text() -> &'static str {
    "auto"
}

/// What is logged; `info` by default.
#[derive(Clone, Eq, PartialEq)]
pub struct LogLevel(String);

/// Why a text is no [`LogLevel`].
#[derive(Debug, Error)]
#[error("`{}` is no log level: use error, warn, info, debug or trace", text.escape_debug())]
pub struct LogLevelError {
    text: String,
}

impl LogLevel {
    fn filter(&self) -> EnvFilter {
        EnvFilter::builder().parse_lossy(&self.0)
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self(default_level_text().to_owned())
    }
}

impl FromStr for LogLevel {
    type Err = LogLevelError;

    fn from_str(text: &str) -> Result<Self, LogLevelError> {
        let refused = || LogLevelError {
            text: text.to_owned(),
        };
        // EnvFilter takes any word as the name of a part (`infoo` would silence everything), so
        // what stands where a level belongs must be one.
        let known = |level: &str| {
            let level = level.trim().to_ascii_lowercase();
            matches!(
                level.as_str(),
                "debug" | "error" | "info" | "off" | "trace" | "warn"
            )
        };
        let directives_hold = text
            .split(',')
            .all(|directive| known(directive.rsplit('=').next().unwrap_or_default()));
        if !directives_hold || EnvFilter::builder().parse(text).is_err() {
            return Err(refused());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Changes the level of a running daemon.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// Logs by `level` from now on.
    pub fn set_level(&self, level: &LogLevel) {
        // It fails only when the subscriber is gone, and then nothing logs any more.
        let _ = self.filter.reload(level.filter());
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").finish_non_exhaustive()
    }
}

/// A second subscriber was installed.
#[derive(Debug, Error)]
#[error("logging is set up already")]
pub struct LogError;

/// Sends this process's events to standard error, once.
///
/// # Errors
///
/// [`LogError`] when it was done before.
pub fn init(config: &LogConfig) -> Result<LogHandle, LogError> {
    let (filter, handle) = reload::Layer::new(config.level.filter());
    let layer = match config.format {
        LogFormat::Auto if is_journal(io::stderr(), std::env::var("JOURNAL_STREAM").ok()) => {
            // A sandbox without the journal's socket still has its stream.
            journal().unwrap_or_else(|_| json())
        }
        LogFormat::Auto if io::stderr().is_terminal() => pretty(),
        LogFormat::Auto | LogFormat::Json => json(),
        LogFormat::Pretty => pretty(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .map_err(|_| LogError)?;
    Ok(LogHandle { filter: handle })
}

/// A way out for events.
type Way<S> = Box<dyn Layer<S> + Send + Sync>;

fn pretty<S: Subscriber + for<'span> LookupSpan<'span>>() -> Way<S> {
    tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && colours())
        .boxed()
}

fn json<S: Subscriber + for<'span> LookupSpan<'span>>() -> Way<S> {
    tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .boxed()
}

/// Two ways to the journal, since a prefix is a layer's and not a field's. No span has the target of audit events, so
/// that none is noted by both.
fn journal<S: Subscriber + for<'span> LookupSpan<'span>>() -> io::Result<Way<S>> {
    let layer = |prefix: Option<&str>| {
        let layer = tracing_journald::layer()?
            .with_field_prefix(prefix.map(str::to_owned))
            .with_priority_mappings(PriorityMappings {
                error: Priority::Error,
                warn: Priority::Warning,
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
            });
        io::Result::Ok(layer)
    };
    let audit = layer(None)?.with_filter(filter_fn(|it| it.target() == AUDIT_TARGET));
    let others = layer(Some("KEDGE"))?.with_filter(filter_fn(|it| it.target() != AUDIT_TARGET));
    Ok(audit.and_then(others).boxed())
}

/// Whether a stream is the one that the service manager has connected to the journal (`systemd.exec(5)`,
/// `JOURNAL_STREAM`): it names the device and the inode. A variable that was inherited and is not about this stream says
/// nothing.
fn is_journal(stream: impl AsFd, named: Option<String>) -> bool {
    let named = named.as_deref().and_then(|named| named.split_once(':'));
    let Some((Ok(device), Ok(inode))) =
        named.map(|(device, inode)| (device.parse::<u64>(), inode.parse::<u64>()))
    else {
        return false;
    };
    rustix::fs::fstat(stream).is_ok_and(|there| (there.st_dev, there.st_ino) == (device, inode))
}

fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journals_stream_is_known_by_its_device_and_inode() {
        use std::os::unix::fs::MetadataExt as _;
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let (device, inode) = (metadata.dev(), metadata.ino());
        let is = |named: &str| is_journal(&file, Some(named.to_owned()));
        assert!(is(&format!("{device}:{inode}")));
        assert!(!is_journal(&file, None));
        for other in [
            format!("{device}:{}", inode + 1),
            format!("{}:{inode}", device + 1),
            format!("{device}"),
            String::new(),
            ":".to_owned(),
            "a:b".to_owned(),
        ] {
            assert!(!is(&other), "{other}");
        }
    }

    #[test]
    fn levels_are_checked_when_they_are_read() {
        for good in [
            "info",
            "WARN",
            "off",
            "info,kedge_tunnel=debug",
            "kedge_hub::audit=trace",
        ] {
            assert!(good.parse::<LogLevel>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "infoo",
            "info,",
            "info,kedge_tunnel=loud",
            "info kedge",
            "=",
            "\u{1b}[1m",
        ] {
            let error = bad.parse::<LogLevel>().unwrap_err();
            assert!(!error.to_string().contains('\u{1b}'), "{bad:?}");
        }
    }

    #[test]
    fn the_table_refuses_what_it_does_not_know() {
        let source = crate::Source::from_text("agent.toml", "[log]\nlevle = \"info\"\n");
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only whether it parses matters")]
        struct File {
            log: LogConfig,
        }
        let error = source.parse::<File>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "agent.toml:2:1: unknown key `log.levle`; did you mean `level`?"
        );
    }
}
