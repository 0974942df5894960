//! Logs on standard error: JSON for machines, plain lines for people, and a level that can change
//! while the daemon runs.
//!
//! JSON events are flat: `{"timestamp": …, "level": "INFO", "message": …, "target": …, <fields>}`.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// How events are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LogFormat {
    /// `pretty` on a terminal, `json` elsewhere.
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
    /// How it is written: `auto` is `pretty` on a terminal and `json` elsewhere.
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
    let format = match config.format {
        LogFormat::Auto if io::stderr().is_terminal() => LogFormat::Pretty,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match format {
        LogFormat::Pretty => lines
            .with_ansi(io::stderr().is_terminal() && colours())
            .boxed(),
        LogFormat::Auto | LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .map_err(|_| LogError)?;
    Ok(LogHandle { filter: handle })
}

fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

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
