//! A registry of metrics with those of the process itself, rendered as OpenMetrics text.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

/// The content type of what [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A daemon's metrics: names are `kedge_<component>_<noun>_<unit>`. Clones are handles.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// A registry whose metrics all start with `kedge_<component>_`, with `version` as an info
    /// metric and the process's memory, descriptors and tasks.
    #[must_use]
    pub fn new(component: &str, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix(format!("kedge_{component}"));
        registry.register(
            "build",
            "What runs here",
            Info::new(vec![("version", version)]),
        );
        registry.register_collector(Box::new(Process));
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds metrics: `register` gets the registry, which already has the prefix.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The metrics as OpenMetrics text.
    #[must_use]
    pub fn render(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a string fails only if a metric's own encoder says so; the text then ends
        // without "# EOF", which a scraper refuses as truncated.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

/// What the kernel and the runtime know about this process, read at each scrape.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: Option<i64>| {
            let Some(value) = value else { return Ok(()) };
            let metric = ConstGauge::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };
        gauge(
            "process_resident_bytes",
            "Memory the process holds in RAM",
            resident_bytes(),
        )?;
        gauge(
            "process_open_descriptors",
            "File descriptors that are open",
            open_descriptors(),
        )?;
        gauge("process_tasks", "Tasks alive on the runtime", tasks())
    }
}

fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .parse::<i64>()
        .ok()?
        .checked_mul(1024)
}

fn open_descriptors() -> Option<i64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the folder being read.
    i64::try_from(entries.saturating_sub(1)).ok()
}

fn tasks() -> Option<i64> {
    i64::try_from(Handle::try_current().ok()?.metrics().num_alive_tasks()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    fn value(text: &str, name: &str) -> i64 {
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn process_metrics_tell_the_truth() {
        let metrics = Metrics::new("test", "1.2.3");
        let before = metrics.render();
        assert!(
            before.contains("kedge_test_build_info{version=\"1.2.3\"} 1"),
            "{before}"
        );
        assert!(value(&before, "kedge_test_process_resident_bytes") > 1 << 20);
        let files: Vec<_> = (0..10).map(|_| tempfile::tempfile().unwrap()).collect();
        let after = metrics.render();
        let name = "kedge_test_process_open_descriptors";
        // Other tests open and close descriptors of this process meanwhile.
        assert!(value(&after, name) >= i64::try_from(files.len()).unwrap());
        assert!(after.ends_with("# EOF\n"));
    }

    #[test]
    fn own_metrics_carry_prefix_and_help() {
        let metrics = Metrics::new("agent", "1");
        let sessions = Counter::<u64>::default();
        metrics.register(|registry| {
            registry.register("sessions", "Sessions begun", sessions.clone());
        });
        sessions.inc();
        let text = metrics.render();
        assert!(
            text.contains("# HELP kedge_agent_sessions Sessions begun.\n"),
            "{text}"
        );
        assert!(text.contains("kedge_agent_sessions_total 1\n"), "{text}");
    }
}
