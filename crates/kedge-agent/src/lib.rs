//! The agent: it keeps one outbound tunnel and moves bytes to the sshd that is there.
