//! Where a request comes from, as far as it can be believed.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// Whether it is one of the proxies that are trusted.
    pub(crate) fn is_trusted(self, trusted: &[IpNet]) -> bool {
        includes(trusted, self.0.ip().to_canonical())
    }
}

/// The header in which a proxy says for whom it asks.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that policies, limits and audit go by: the connection's, or, when that is a trusted proxy, the last
/// address in `X-Forwarded-For` that is not one. What stands further left was written by whoever asks.
#[must_use]
pub(super) fn address(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer.0.ip().to_canonical();
    if !peer.is_trusted(trusted) {
        return address;
    }
    let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let hops = lines
        .iter()
        .rev()
        .flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
    for hop in hops {
        // A hop that is no address ends what can be believed.
        let Ok(hop) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        address = hop.to_canonical();
        if !includes(trusted, address) {
            break;
        }
    }
    address
}

fn includes(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        address(Peer(peer.parse().unwrap()), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        assert_eq!(from("192.0.2.1:5", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(from("[::ffff:192.0.2.1]:5", &["198.51.100.7"]), "192.0.2.1");
    }

    #[test]
    fn a_trusted_proxy_is_believed_about_the_last_hop_only() {
        assert_eq!(
            from("10.1.1.1:5", &["203.0.113.9, 198.51.100.7"]),
            "198.51.100.7"
        );
        assert_eq!(
            from("10.1.1.1:5", &["203.0.113.9", "198.51.100.7, 10.2.2.2"]),
            "198.51.100.7"
        );
        assert_eq!(from("[::1]:5", &["2001:db8::1"]), "2001:db8::1");
    }

    #[test]
    fn nonsense_from_a_trusted_proxy_is_the_proxy() {
        assert_eq!(from("10.1.1.1:5", &[]), "10.1.1.1");
        assert_eq!(from("10.1.1.1:5", &["unknown"]), "10.1.1.1");
        assert_eq!(from("10.1.1.1:5", &["198.51.100.7, evil"]), "10.1.1.1");
        assert_eq!(from("10.1.1.1:5", &["10.3.3.3"]), "10.3.3.3");
    }
}
