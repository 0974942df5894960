//! The command line of kedge.
