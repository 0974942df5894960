//! Helpers for kedge's tests: real sshd, real daemons, links that stall and cut.
