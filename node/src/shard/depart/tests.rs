//! A system that takes what it wants to take.

use std::collections::VecDeque;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::forward::train::TrainLimits;

/// Takes in each call so many packets as it has been told to, and all when it has not been told.
#[derive(Default)]
struct System {
    room: VecDeque<usize>,
    /// Refuses the first packet of each call.
    refuses: bool,
    /// Packets of the first train that is left that have gone.
    half: usize,
    calls: usize,
    pauses: usize,
    /// Serial numbers of packets that have gone, by destination.
    gone: Vec<(SocketAddr, u32)>,
}

impl Exit for System {
    fn try_send(&mut self, arena: &[u8], trains: &[Train]) -> Sent {
        self.calls += 1;
        let mut room = self.room.pop_front().unwrap_or(usize::MAX);
        let mut sent = Sent { refused: usize::from(self.refuses), ..Sent::default() };
        for train in trains {
            let packets = arena[train.range.clone()].chunks(train.segment).skip(self.half);
            for packet in packets {
                if room == 0 {
                    sent.stop = Some(Stop::Blocked);
                    return sent;
                }
                room -= 1;
                self.half += 1;
                sent.packets += 1;
                self.gone.push((train.dst, serial(packet)));
            }
            self.half = 0;
            sent.trains += 1;
        }
        sent
    }

    fn give_up(&mut self, left: &[Train]) -> usize {
        left.iter().map(Train::segments).sum::<usize>() - std::mem::take(&mut self.half)
    }

    fn pause(&mut self) {
        self.pauses += 1;
    }
}

fn serial(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[..4].try_into().unwrap())
}

fn to(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 20_000 + n))
}

/// A shard's arena, and the system below it.
struct Stage {
    trains: Trains,
    lost: Lost,
    system: System,
    /// To whom the last packet goes: one more to the same rides in the same train.
    last: Option<u16>,
}

impl Stage {
    fn new(system: System) -> Self {
        let trains = Trains::new(TrainLimits { arena: 1_000, ..TrainLimits::default() });
        Self { trains, lost: Lost::default(), system, last: None }
    }

    /// Puts a packet in; a full arena is emptied first.
    fn put(&mut self, (n, len): (u16, usize), serial: u32) {
        if self.last.replace(n) != Some(n) {
            self.trains.begin(to(n), None);
        }
        if self.trains.slot(len).is_none() {
            self.trains.end();
            self.empty();
            assert!(self.trains.is_empty(), "there is room again");
            self.trains.begin(to(n), None);
        }
        let slot = self.trains.slot(len).unwrap();
        slot[..len].fill(7);
        slot[..4].copy_from_slice(&serial.to_be_bytes());
        self.trains.commit(len);
    }

    fn empty(&mut self) {
        self.lost.empty(&mut self.trains, &mut self.system);
    }

    /// A turn ends: what there is room for goes.
    fn send(&mut self) -> Option<Stop> {
        self.trains.end();
        self.last = None;
        self.lost.send(&mut self.trains, &mut self.system)
    }
}

#[test]
fn what_a_full_socket_does_not_take_is_given_up_after_twenty_tries_and_counted() {
    let mut stage = Stage::new(System::default());
    (0..10).for_each(|serial| stage.put((u16::from(serial >= 5), 100), serial));
    stage.trains.end();
    assert_eq!(stage.trains.pending().len(), 2, "five packets to each of two viewers");
    stage.system.room = [2].into_iter().chain([0; 40]).collect();
    stage.empty();
    assert_eq!((stage.system.calls, stage.system.pauses), (BUSY_TRIES, BUSY_TRIES));
    assert_eq!(stage.system.gone, [(to(0), 0), (to(0), 1)], "then there was no room any more");
    assert_eq!((stage.lost.dropped, stage.lost.refused), (8, 0));
    assert!(stage.trains.is_empty() && stage.trains.slot(1_000).is_some(), "the whole arena is there again");
    stage.system.room.clear();
    (10..15).for_each(|serial| stage.put((0, 100), serial));
    assert_eq!(stage.send(), None);
    let after: Vec<u32> = stage.system.gone[2..].iter().map(|(_, serial)| *serial).collect();
    assert_eq!((after, stage.lost.dropped), ((10..15).collect(), 8), "what comes after goes whole");
}

#[test]
fn what_finds_room_in_time_is_not_given_up_and_what_is_refused_is_counted() {
    let mut stage = Stage::new(System { room: [0; 19].into(), refuses: true, ..System::default() });
    (0..10).for_each(|serial| stage.put((u16::from(serial >= 5), 100), serial));
    stage.trains.end();
    stage.empty();
    let System { calls, pauses, gone, .. } = &stage.system;
    assert_eq!((*calls, *pauses, gone.len()), (BUSY_TRIES, BUSY_TRIES - 1, 10));
    assert_eq!((stage.lost.dropped, stage.lost.refused), (0, 20));
}

proptest! {
    #[test]
    fn whatever_room_there_is_packets_go_in_order_and_the_rest_is_counted(
        packets in proptest::collection::vec((0..2_u16, prop_oneof![Just(100), 4..300_usize]), 1..60),
        rooms in proptest::collection::vec((0..4_usize, 1..30_usize), 0..8),
    ) {
        let room = rooms.iter().flat_map(|(room, times)| std::iter::repeat_n(*room, *times)).collect();
        let mut stage = Stage::new(System { room, ..System::default() });
        for (serial, packet) in (0..).zip(&packets) {
            stage.put(*packet, serial);
        }
        while stage.send().is_some() {}
        let (system, lost) = (stage.system, stage.lost);
        let gone: Vec<u32> = system.gone.iter().map(|(_, serial)| *serial).collect();
        prop_assert!(gone.is_sorted_by(|one, next| one < next), "{:?}", gone);
        prop_assert_eq!(gone.len() as u64 + lost.dropped, packets.len() as u64);
        for (dst, serial) in &system.gone {
            prop_assert_eq!(*dst, to(packets[*serial as usize].0));
        }
    }
}
