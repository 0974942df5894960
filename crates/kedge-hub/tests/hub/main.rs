//! The hub in this process, on free loopback ports, with agents and people made from the tunnel's own parts.

#[cfg(test)]
mod agents;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod history;
#[cfg(test)]
mod host_keys;
#[cfg(test)]
mod hostile_http;
#[cfg(test)]
mod issuers;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod session_kills;
#[cfg(test)]
mod session_limits;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod shared_store;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod unreadable;
#[cfg(test)]
mod watches;
