//! When and where a report was made. Figures of two machines cannot be compared, so a report says which it was.

use std::fs;

use kedge_testkit::machine;

use super::measure::Pace;

/// When, where and with what.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The moment, in UTC.
    pub(crate) made: String,
    /// How many rounds.
    pub(crate) pace: &'static str,
    /// The machine.
    pub(crate) machine: Vec<(&'static str, String)>,
}

impl Facts {
    /// Of this machine now.
    pub(crate) fn now(pace: Pace) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut machine = vec![
            (
                "processor",
                colon_field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            ),
            ("cores", cores.to_string()),
        ];
        machine.extend(colon_field("/proc/meminfo", "MemTotal").map(|all| ("memory", all)));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        machine.push(("kernel", kernel.trim().to_owned()));
        if let Ok((major, minor)) = machine::openssh_version() {
            machine.push(("OpenSSH", format!("{major}.{minor}")));
        }
        Self {
            made: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
            pace: match pace {
                Pace::Full => "full: medians of 5 interleaved rounds",
                Pace::Quick => "quick: medians of 3 interleaved rounds",
            },
            machine,
        }
    }
}

fn colon_field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_not_empty() {
        let facts = Facts::now(Pace::Quick);
        assert!(facts.made.ends_with('Z') && facts.made.len() == 20);
        assert!(facts.machine.iter().all(|(_, value)| !value.is_empty()));
        assert!(facts.machine.iter().any(|(name, _)| *name == "cores"));
    }
}
