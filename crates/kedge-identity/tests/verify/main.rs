//! Judging tokens: what is believed, what is refused and why, and what holds while an issuer misbehaves.

#![cfg(test)]

mod claims;
mod forged;
mod keys;
mod kinds;
mod outages;
mod world;
