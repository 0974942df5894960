//! The configuration for plain `ssh`: rendered, compared, installed, and its mapped logins.

pub mod command;
pub mod diff;
pub mod install;
pub mod logins;
pub mod render;
