//! Addresses that are never contacted, whatever a name resolves to: link-local and cloud metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services outside the link-local ranges: AWS (IPv6), Alibaba, Azure's wire server.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];

/// Whether an address must not be contacted.
#[must_use]
pub fn is_denied(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_denied(IpAddr::V4(v4)),
            None => v6.is_unicast_link_local() || v6 == METADATA_V6,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_and_link_local_addresses_are_denied_in_every_form() {
        for text in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "168.63.129.16"] {
            assert!(is_denied(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn loopback_and_private_addresses_are_allowed() {
        for text in ["127.0.0.1", "::1", "10.0.0.7", "192.168.1.2", "fd00::7"] {
            assert!(!is_denied(text.parse().unwrap()), "{text}");
        }
    }
}
