//! What the Kubernetes store promises beyond what every store must, against a real API server.

#![cfg(test)]

mod foreign;
mod hostile;
mod lease;
mod outage;
mod refusals;
mod secrets;
mod site;
mod transfer;
