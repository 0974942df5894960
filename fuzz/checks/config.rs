//! What must hold for any text as an agent's configuration. Shared by the fuzz target and the test
//! that runs its corpus.

use kedge_agent::config::AgentConfig;
use kedge_agent::target::LocalTarget;
use kedge_service::{ConfigError, Source, logging::LogLevel};
use kedge_tunnel::CertificatePin;

/// Reads the text as a configuration and as its values: nothing panics, an error stays on one
/// printable line that begins with the file's name and points into the text, and what was accepted
/// leads to no other machine.
pub(crate) fn config(text: &str) {
    match AgentConfig::parse(&Source::from_text("agent.toml", text)) {
        Ok(config) => local(&config.target),
        Err(error) => {
            let line = error.to_string();
            assert!(line.starts_with("agent.toml:"), "{line:?}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
            if let Some(at) = error.position() {
                assert!(
                    at.line >= 1 && at.line <= text.matches('\n').count() + 1,
                    "{line:?}"
                );
                assert!(at.column >= 1, "{line:?}");
            }
            if let ConfigError::UnknownKey {
                nearest: Some(nearest),
                ..
            } = &error
            {
                assert!(!text.is_empty() && !nearest.is_empty());
            }
        }
    }
    if let Ok(target) = text.parse::<LocalTarget>() {
        assert_eq!(target.to_string().parse(), Ok(target.clone()));
        local(&target);
    }
    if let Ok(level) = text.parse::<LogLevel>() {
        assert_eq!(level.to_string(), text);
    }
    if let Ok(pin) = text.parse::<CertificatePin>() {
        assert_eq!(pin.to_string().parse(), Ok(pin));
    }
}

fn local(target: &LocalTarget) {
    let text = target.to_string();
    let here = ["tcp:127.", "tcp:[::1]:", "tcp:localhost:", "unix:/"];
    assert!(here.iter().any(|prefix| text.starts_with(prefix)), "{text}");
}
