//! What the test does to the world.

use causeway_wire::InstanceId;

use super::{Plan, World};
use crate::script::Script;

impl World {
    pub(crate) fn carry_out(&mut self, plan: Plan) {
        let now = self.net.now;
        let wires: Vec<u64> = self.net.wires.keys().copied().collect();
        match plan {
            Plan::Open(call) => {
                let script = Script::draw(self.seed ^ (call << 20), 400_000);
                self.open(call, script);
            }
            Plan::OpenBriefly(call) => {
                let mut script = Script::draw(self.seed ^ (call << 20), 400_000);
                script.cancel_ms = Some(call % 4 * 8);
                script.abrupt = false;
                self.open(call, script);
            }
            Plan::ResetAll => wires.iter().for_each(|wire| self.net.reset(*wire)),
            Plan::ResetOne => {
                if let Some(wire) = wires.first() {
                    self.net.reset(*wire);
                }
            }
            Plan::SilenceOne => {
                if let Some(wire) = wires.last().and_then(|wire| self.net.wires.get_mut(wire)) {
                    wire.silent = true;
                }
            }
            Plan::Cut(cut) => {
                self.net.cut = cut;
                if cut {
                    wires.iter().for_each(|wire| self.net.reset(*wire));
                }
            }
            Plan::RestartEdge => {
                self.edge = None;
                wires.iter().for_each(|wire| self.net.reset(*wire));
                self.start_edge();
            }
            Plan::RestartRelay => {
                self.relay.clear();
                self.belongs.clear();
                self.relay_run += 1;
                self.relay_instance = InstanceId::new((u128::from(self.seed) << 8) + u128::from(self.relay_run));
                wires.iter().for_each(|wire| self.net.reset(*wire));
            }
            Plan::Rotate => self.edge.as_mut().unwrap().link.rotate(now),
            Plan::DrainEdge => self.edge.as_mut().unwrap().link.drain(now),
            Plan::Reconnect => self.edge.as_mut().unwrap().link.reconnect_now(now),
        }
    }
}
