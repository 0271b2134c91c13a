//! Edges' sockets that have not shown a certificate yet: how many there may be, and from one network.
//!
//! Invariant: whoever opens sockets and says nothing takes places from no other network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::auth::network;
use crate::core::limits::{MAX_HANDSHAKES, MAX_HANDSHAKES_OF_ONE};

/// All handshakes under way.
#[derive(Default)]
pub(crate) struct Handshakes {
    by_network: Mutex<HashMap<IpAddr, usize>>,
}

/// One of the places; free again when dropped.
pub(crate) struct Handshake {
    all: Arc<Handshakes>,
    network: IpAddr,
}

impl Handshakes {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a socket from this address, if there is one.
    pub(crate) fn begin(self: &Arc<Self>, address: IpAddr) -> Option<Handshake> {
        let network = network(address);
        let mut places = self.lock();
        let taken: usize = places.values().sum();
        let own = places.get(&network).copied().unwrap_or_default();
        if taken >= MAX_HANDSHAKES || own >= MAX_HANDSHAKES_OF_ONE {
            return None;
        }
        places.insert(network, own + 1);
        drop(places);
        Some(Handshake { all: Arc::clone(self), network })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut places = self.all.lock();
        let own = places.remove(&self.network).unwrap_or_default();
        if own > 1 {
            places.insert(self.network, own - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_sockets_of_one_network_leave_places_to_every_other() {
        let all = Arc::new(Handshakes::default());
        let silent = IpAddr::from([192, 0, 2, 1]);
        let mut held: Vec<_> = std::iter::from_fn(|| all.begin(silent)).collect();
        assert_eq!(held.len(), MAX_HANDSHAKES_OF_ONE);
        assert!(all.begin(IpAddr::from([192, 0, 2, 2])).is_some());
        held.pop();
        assert!(all.begin(silent).is_some(), "a place is given back");
        held.clear();
        assert!(all.lock().is_empty(), "nothing is remembered of who is gone");
    }

    #[test]
    fn all_networks_together_are_bounded() {
        let all = Arc::new(Handshakes::default());
        let address = |number: usize| IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
        let held: Vec<_> = (0..2 * MAX_HANDSHAKES).filter_map(|number| all.begin(address(number))).collect();
        assert_eq!(held.len(), MAX_HANDSHAKES);
    }
}
