//! Logging in, at an issuer that behaves and at one that does not, over the HTTP that the daemons and the command line
//! use.

#![cfg(test)]

mod browser;
mod common;
mod device;
mod discovery;
mod redirect;
mod refresh;
mod revoke;
