//! Rules: the bounds of what is held.

use bytes::Bytes;
use causeway_wire::Code;
use causeway_wire::limits::TOTAL_BUFFER;

use crate::hand::{Hand, open_for};
use crate::world::stream_id;

#[test]
fn the_fullest_stream_fails_when_the_process_is_full() {
    let mut hand = Hand::edge_with(100);
    let conn = hand.up();
    let block = Bytes::from(vec![b'x'; 1024 * 1024]);
    let count = u64::try_from(TOTAL_BUFFER / (7 * block.len())).unwrap();
    for call in 0..=count {
        hand.message(conn, &open_for(&hand, stream_id(call)));
    }
    for call in 0..=count {
        for _ in 0..if call == 3 { 8 } else { 7 } {
            hand.link.send(hand.now, stream_id(call), block.clone()).unwrap();
            hand.drain();
            assert!(hand.link.status().buffered <= TOTAL_BUFFER);
        }
    }
    assert_eq!(hand.failed, [(stream_id(3), Code::SlowReader)]);
}
