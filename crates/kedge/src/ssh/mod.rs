//! `ssh` itself: what stands on its command line, and what kedge has it do.

pub mod arguments;
pub mod options;
pub mod run;
