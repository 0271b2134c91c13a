//! The shells of both processes: what goes between the links and the network.

use causeway_wire::{ConnId, DialFailure, Frame, Input, Link, RelayConfig, decode};

use super::{World, ms};
use crate::net::{Happening, Way};

impl World {
    pub(super) fn happen(&mut self, what: Happening) {
        let now = self.net.now;
        match what {
            Happening::Opened { wire, way } => self.opened(wire, way),
            Happening::Closed { wire, way } => self.closed(wire, way),
            Happening::DialFailed { edge_run, conn } => {
                if let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == edge_run) {
                    edge.link.handle_input(now, Input::DialFailed(ConnId(conn), DialFailure::Unreachable));
                }
            }
            Happening::Message { wire, way, text } => self.message(wire, way, &text),
            Happening::Pump => {}
            Happening::EdgeApp(run, call) => self.edge_app(run, call),
            Happening::RelayApp(run, call) => self.relay_app(run, call),
        }
    }

    fn opened(&mut self, id: u64, way: Way) {
        let now = self.net.now;
        let Some(wire) = self.net.wires.get_mut(&id) else {
            return;
        };
        match way {
            Way::ToEdge => {
                if let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == wire.edge_run) {
                    wire.edge_open = true;
                    edge.link.handle_input(now, Input::Connected(ConnId(wire.edge_conn)));
                }
            }
            Way::ToRelay => wire.relay_open = self.relay_up && wire.relay_run == self.relay_run,
        }
    }

    fn closed(&mut self, id: u64, way: Way) {
        let now = self.net.now;
        let Some(wire) = self.net.wires.get_mut(&id) else {
            return;
        };
        match way {
            Way::ToEdge => {
                let (was_open, conn) = (std::mem::take(&mut wire.edge_open), wire.edge_conn);
                if let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == wire.edge_run && was_open) {
                    edge.link.handle_input(now, Input::Closed(ConnId(conn)));
                }
            }
            Way::ToRelay => {
                wire.relay_open = false;
                if let Some(instance) = self.belongs.remove(&id)
                    && let Some((_, link)) = self.relay.iter_mut().find(|(of, _)| *of == instance)
                {
                    link.handle_input(now, Input::Closed(ConnId(id)));
                }
            }
        }
        if self.net.wires.get(&id).is_some_and(|wire| !wire.edge_open && !wire.relay_open) {
            self.net.wires.remove(&id);
        }
    }

    fn message(&mut self, id: u64, way: Way, text: &str) {
        let now = self.net.now;
        let Some(wire) = self.net.wires.get(&id).filter(|wire| !wire.silent) else {
            return;
        };
        if self.record {
            self.frames.push((now - self.start, way, decode(text).unwrap()));
        }
        match way {
            Way::ToEdge if wire.edge_open => {
                let conn = ConnId(wire.edge_conn);
                let run = wire.edge_run;
                self.note_heard(id, way, text);
                if let Some(edge) = self.edge.as_mut().filter(|edge| edge.run == run) {
                    edge.link.handle_input(now, Input::Message(conn, text));
                }
            }
            Way::ToRelay if wire.relay_open => {
                self.note_heard(id, way, text);
                self.relay_message(id, text);
            }
            Way::ToEdge | Way::ToRelay => {}
        }
    }

    /// The relay's shell: finds or makes the link by the first message, `hello`.
    fn relay_message(&mut self, id: u64, text: &str) {
        let now = self.net.now;
        if !self.belongs.contains_key(&id) {
            let Ok(Frame::Hello(hello)) = decode(text) else {
                return;
            };
            if !self.relay.iter().any(|(of, _)| *of == hello.instance) {
                for (_, old) in &mut self.relay {
                    old.supersede(now);
                }
                let config = RelayConfig {
                    instance: self.relay_instance,
                    software: "test".to_owned(),
                    limits: self.limits,
                    max_connections: self.connections,
                };
                let rng = self.rng();
                self.relay.push((hello.instance, Link::relay(config, &hello, rng, now)));
            }
            self.belongs.insert(id, hello.instance);
            let link = &mut self.relay.iter_mut().find(|(of, _)| *of == hello.instance).unwrap().1;
            link.handle_input(now, Input::Connected(ConnId(id)));
        }
        let instance = self.belongs[&id];
        if let Some((_, link)) = self.relay.iter_mut().find(|(of, _)| *of == instance) {
            link.handle_input(now, Input::Message(ConnId(id), text));
        }
    }

    /// Delivers events and sends what can be sent, until nothing moves.
    pub(crate) fn drain(&mut self) {
        loop {
            let mut moved = false;
            while let Some(event) = self.edge.as_mut().and_then(|edge| edge.link.poll_event()) {
                moved = true;
                self.edge_event(event);
            }
            for place in 0..self.relay.len() {
                while let Some(event) = self.relay.get_mut(place).and_then(|(_, link)| link.poll_event()) {
                    moved = true;
                    self.relay_event(event);
                }
            }
            moved |= self.pump();
            if !moved {
                return;
            }
        }
    }

    fn pump(&mut self) -> bool {
        let now = self.net.now;
        let mut moved = false;
        let wires: Vec<u64> = self.net.wires.keys().copied().collect();
        for id in wires {
            let wire = &self.net.wires[&id];
            let (conn, edge_open, relay_open) = (ConnId(wire.edge_conn), wire.edge_open, wire.relay_open);
            let edge_run = wire.edge_run;
            while edge_open && self.net.can_take(id, Way::ToRelay) {
                let edge = self.edge.as_mut().filter(|edge| edge.run == edge_run);
                let Some(text) = edge.and_then(|edge| edge.link.poll_transmit(now, conn)) else {
                    break;
                };
                self.note_sent(Way::ToRelay, &text);
                self.net.send(id, Way::ToRelay, text);
                moved = true;
            }
            let Some(instance) = self.belongs.get(&id).copied() else {
                continue;
            };
            while relay_open && self.net.can_take(id, Way::ToEdge) {
                let link = self.relay.iter_mut().find(|(of, _)| *of == instance);
                let Some(text) = link.and_then(|(_, link)| link.poll_transmit(now, ConnId(id))) else {
                    break;
                };
                self.note_sent(Way::ToEdge, &text);
                self.net.send(id, Way::ToEdge, text);
                moved = true;
            }
        }
        moved
    }

    pub(super) fn shut(&mut self, id: u64, by: Way) {
        if let Some(wire) = self.net.wires.get_mut(&id) {
            wire.closing[by as usize] = true;
        }
        // What was queued goes first; the other end learns of it after that.
        self.pump();
        let (here, there) = match by {
            Way::ToEdge => (Way::ToEdge, Way::ToRelay),
            Way::ToRelay => (Way::ToRelay, Way::ToEdge),
        };
        self.net.at(self.net.now, Happening::Closed { wire: id, way: here });
        let silent = self.net.wires.get(&id).is_none_or(|wire| wire.silent);
        if !silent {
            let wait = self.net.faults.delay + self.net.faults.jitter + ms(1);
            self.net.after(wait, Happening::Closed { wire: id, way: there });
        }
    }
}
