use super::*;

/// A path in virtual time: a bottleneck with a queue, a delay each way, seeded loss. The sender sends when the window
/// allows and it has something to send; packets have 1,200 bytes.
struct Path {
    rate: u64,
    delay: Duration,
    loss: u64,
    queue_max: Duration,
}

#[derive(Debug, Default)]
struct Outcome {
    offered: u64,
    delivered: u64,
    /// Longest wait at the bottleneck over the second half.
    queue: Duration,
    /// Bytes a second that arrived over the second half.
    goodput: u64,
}

const SIZE: u64 = 1_200;

fn seeded(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Runs a sender that offers `demand` bytes a second in bursts of a thirtieth second; what does not fit within
/// 200 ms of waiting is dropped by it.
fn run(path: &Path, demand: u64, time: Duration, machine: &mut Congestion) -> Outcome {
    run_with(|_| (path.rate, path.delay), path, demand, time, machine)
}

fn run_with(
    at: impl Fn(Duration) -> (u64, Duration),
    path: &Path,
    demand: u64,
    time: Duration,
    machine: &mut Congestion,
) -> Outcome {
    // A second run with the same machine comes later.
    let origin = machine.newest_sent.map_or_else(Instant::now, |sent| sent + Duration::from_secs(1));
    let step = Duration::from_micros(250);
    let mut seed = 42;
    let mut outcome = Outcome::default();
    let mut backlog: VecDeque<Duration> = VecDeque::new();
    let mut free_at = Duration::ZERO;
    // When the acknowledgement comes, when it was sent, whether it arrived.
    let mut flying: VecDeque<(Duration, Duration, bool)> = VecDeque::new();
    let mut in_flight = 0_u64;
    let mut now = Duration::ZERO;
    let mut frame = Duration::ZERO;
    let mut tokens = 0_u64;
    let mut srtt = path.delay * 2;
    while now < time {
        let (rate, delay) = at(now);
        if now >= frame {
            let packets = demand / 30 / SIZE;
            backlog.extend((0..packets).map(|_| now));
            outcome.offered += packets;
            frame += Duration::from_millis(33);
        }
        while backlog.front().is_some_and(|since| now - *since > Duration::from_millis(200)) {
            backlog.pop_front();
        }
        // The pace of quinn: a quarter more than a window for each round trip, in bursts of ten packets.
        let more = per_second(machine.window(), srtt).saturating_mul(5) / 4;
        tokens = (tokens + carried(more, step)).min(SIZE * 10);
        while in_flight + SIZE < machine.window() && tokens >= SIZE && backlog.pop_front().is_some() {
            tokens -= SIZE;
            in_flight += SIZE;
            machine.handle_sent(origin + now, SIZE);
            free_at = free_at.max(now);
            let wait = free_at - now;
            if now > time / 2 {
                outcome.queue = outcome.queue.max(wait);
            }
            let lost = seeded(&mut seed) % 1_000 < path.loss || wait > path.queue_max;
            if wait <= path.queue_max {
                free_at += Duration::from_micros(SIZE * 1_000_000 / rate);
            }
            // A loss is noticed about when later packets are acknowledged.
            let arrival = if wait > path.queue_max { now + wait } else { free_at };
            flying.push_back((arrival + delay * 2, now, !lost));
        }
        let mut acked = false;
        let mut lost = 0;
        while flying.front().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, sent, arrived)) = flying.pop_front() else { break };
            in_flight -= SIZE;
            if arrived {
                machine.handle_ack(origin + now, origin + sent, SIZE);
                srtt = (srtt * 7 + (now - sent)) / 8;
                acked = true;
                outcome.delivered += 1;
                if now > time / 2 {
                    outcome.goodput += SIZE;
                }
            } else {
                lost += SIZE;
            }
        }
        if lost > 0 {
            machine.handle_loss(lost);
        }
        if acked {
            machine.handle_acks_end(origin + now, in_flight);
        }
        now += step;
    }
    outcome.goodput = per_second(outcome.goodput, time / 2);
    outcome
}

fn mbit(n: u64) -> u64 {
    n * 125_000
}

fn path(rate: u64, rtt_ms: u64, loss: u64) -> Path {
    Path {
        rate: mbit(rate),
        delay: Duration::from_millis(rtt_ms) / 2,
        loss,
        queue_max: Duration::from_secs(1),
    }
}

const TIME: Duration = Duration::from_secs(20);

#[test]
fn random_loss_up_to_ten_percent_costs_only_itself() {
    for loss in [0, 20, 50, 100] {
        for rtt in [2, 20, 60, 200] {
            let mut machine = Congestion::new(1_200);
            let out = run(&path(30, rtt, loss), mbit(20), TIME, &mut machine);
            let expected = out.offered * (1_000 - loss) / 1_000;
            assert!(out.delivered * 100 >= expected * 94, "start: loss {loss} rtt {rtt}: {out:?}");
            let expected = mbit(20) * (1_000 - loss) / 1_000;
            assert!(out.goodput * 100 >= expected * 98, "loss {loss} rtt {rtt}: {out:?}");
        }
    }
}

#[test]
fn too_much_media_fills_the_path_and_queues_a_bounded_time() {
    for rtt in [2, 20, 60, 200] {
        for loss in [0, 50] {
            let mut machine = Congestion::new(1_200);
            let out = run(&path(10, rtt, loss), mbit(20), TIME, &mut machine);
            let capacity = mbit(10) * (1_000 - loss) / 1_000;
            assert!(out.goodput * 100 >= capacity * 85, "rtt {rtt} loss {loss}: {out:?}");
            let bound = queue(Duration::from_millis(rtt)) * 2 + Duration::from_millis(30);
            assert!(out.queue <= bound, "rtt {rtt} loss {loss}: {out:?}, bound {bound:?}");
        }
    }
}

#[test]
fn a_path_that_becomes_slower_is_followed_within_a_second() {
    let mut machine = Congestion::new(1_200);
    let shape = path(30, 60, 0);
    // What is measured begins 600 ms later.
    let slower = TIME / 2 - Duration::from_millis(600);
    let slow = |now| (if now < slower { mbit(30) } else { mbit(5) }, shape.delay);
    let out = run_with(slow, &shape, mbit(20), TIME, &mut machine);
    assert!(out.goodput * 100 >= mbit(5) * 85, "{out:?}");
    assert!(out.queue < Duration::from_millis(120), "{out:?}");
}

#[test]
fn a_path_that_becomes_longer_is_followed() {
    for demand in [mbit(10), mbit(40)] {
        let mut machine = Congestion::new(1_200);
        let shape = path(20, 40, 0);
        let longer = |now| (shape.rate, if now < TIME / 4 { shape.delay } else { shape.delay * 4 });
        let out = run_with(longer, &shape, demand, TIME * 2, &mut machine);
        let expected = demand.min(shape.rate);
        assert!(out.goodput * 100 >= expected * 80, "{demand}: {out:?}");
        assert!(machine.base().unwrap() >= shape.delay * 7, "{:?}", machine.base());
    }
}

#[test]
fn a_short_queue_does_not_make_a_storm_of_losses() {
    for rtt in [2, 20, 60] {
        let mut machine = Congestion::new(1_200);
        let shape = Path { queue_max: Duration::from_millis(5), ..path(10, rtt, 0) };
        let out = run(&shape, mbit(20), TIME, &mut machine);
        assert!(out.goodput * 100 >= mbit(10) * 75, "rtt {rtt}: {out:?}");
        assert!(machine.loss() <= 250, "rtt {rtt}: {} of 1000 lost", machine.loss());
    }
}

#[test]
fn a_quiet_link_keeps_its_window_for_the_next_burst() {
    let mut machine = Congestion::new(1_200);
    run(&path(100, 60, 0), mbit(1), TIME, &mut machine);
    assert!(machine.window() >= INITIAL_WINDOW, "nothing has shown that the path carries less");
}

#[test]
fn behind_an_outage_the_window_is_small_and_what_it_left_does_not_stand_in_the_way() {
    let mut machine = Congestion::new(1_200);
    run(&path(30, 60, 0), mbit(20), Duration::from_secs(5), &mut machine);
    let start = machine.newest_sent.unwrap() + Duration::from_millis(100);
    let ms = Duration::from_millis;
    machine.handle_acks_end(start, 0);
    for _ in 0..100 {
        machine.handle_sent(start, SIZE);
    }
    // Two seconds later a probe gets through.
    let probe = start + ms(2_000);
    machine.handle_sent(probe, SIZE);
    machine.handle_ack(probe + ms(60), probe, SIZE);
    machine.handle_acks_end(probe + ms(60), 100 * SIZE);
    assert_eq!(machine.window(), WINDOW_MIN + 100 * SIZE, "a small window besides what is left");
    let base = machine.base();
    machine.handle_ack(probe + ms(80), start, SIZE);
    assert_eq!(machine.base(), base, "a packet that waited out the outage says nothing of the path");
    assert_eq!(machine.window(), WINDOW_MIN + 99 * SIZE);
    machine.handle_loss(99 * SIZE);
    assert_eq!(machine.window(), WINDOW_MIN);
    assert_eq!(machine.loss(), 0, "the outage is not loss of the path");
    machine.handle_acks_end(probe + ms(90), 0);
    let out = run(&path(30, 60, 0), mbit(20), Duration::from_secs(5), &mut machine);
    assert!(out.goodput * 100 >= mbit(20) * 95, "{out:?}");
}

#[test]
fn silence_of_the_application_is_no_outage() {
    let mut machine = Congestion::new(1_200);
    run(&path(30, 60, 0), mbit(20), Duration::from_secs(5), &mut machine);
    let before = machine.window();
    let start = machine.newest_sent.unwrap() + Duration::from_millis(100);
    machine.handle_acks_end(start, 0);
    machine.handle_sent(start + Duration::from_secs(9), SIZE);
    machine.handle_ack(start + Duration::from_millis(9_060), start + Duration::from_secs(9), SIZE);
    machine.handle_acks_end(start + Duration::from_millis(9_060), 0);
    let after = machine.window();
    assert!(after * 100 >= before * 95, "{before} became {after}");
}

#[test]
fn bare_acknowledgements_on_a_quiet_link_are_no_outage_and_fill_no_window() {
    let mut machine = Congestion::new(1_200);
    run(&path(30, 60, 0), mbit(20), Duration::from_secs(5), &mut machine);
    let (window, rate) = (machine.window(), machine.rate());
    let stands = |machine: &Congestion| {
        let after = (machine.window(), machine.rate());
        assert!(after.0 * 100 >= window * 95, "{window} became {after:?}");
        assert!(after.1 * 100 >= rate * 95, "{rate} became {after:?}");
    };
    let start = machine.newest_sent.unwrap() + Duration::from_millis(100);
    machine.handle_acks_end(start, 0);
    // The other end alone sends; we acknowledge, and ping once a second.
    let ms = Duration::from_millis;
    for second in 0..5 {
        let at = start + ms(1_000) * second;
        for nth in 1..200 {
            machine.handle_sent(at + ms(4) * nth, BARE_MAX - 1);
        }
        machine.handle_sent(at + ms(900), 100);
        machine.handle_ack(at + ms(960), at + ms(900), 100);
        machine.handle_acks_end(at + ms(960), 0);
    }
    stands(&machine);
    // Then a frame goes; nothing was lost before it.
    let at = start + ms(5_500);
    machine.handle_sent(at, 30 * SIZE);
    machine.handle_ack(at + ms(60), at, 2 * SIZE);
    machine.handle_acks_end(at + ms(60), 28 * SIZE);
    stands(&machine);
}
