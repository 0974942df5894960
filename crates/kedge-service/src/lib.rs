//! What every kedge daemon needs: configuration, logging, readiness, drain, metrics.
