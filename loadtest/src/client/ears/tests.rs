#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::slice::Chunks;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::guard::lock;
use super::{Due, Ear, Tap};

fn pair() -> (UdpSocket, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(socket.local_addr().unwrap()).unwrap();
    (sender, socket)
}

async fn rings(ear: &Ear) -> bool {
    let waiting = poll_fn(|context| ear.poll(context));
    tokio::time::timeout(Duration::from_millis(300), waiting).await.is_ok()
}

/// Counts what begins with an `m`, and has something to send every so often.
#[derive(Default)]
struct Counter(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    media: Vec<(Vec<u8>, Instant)>,
    every: Option<Duration>,
    due: Option<Instant>,
    let_go: bool,
}

impl Tap for Counter {
    fn take(&self, datagrams: Chunks<'_, u8>, at: Instant, aside: &mut dyn FnMut(&[u8])) {
        for datagram in datagrams {
            if datagram.starts_with(b"m") {
                lock(&self.0).media.push((datagram.to_vec(), at));
            } else {
                aside(datagram);
            }
        }
    }

    fn due(&self, now: Instant) -> Due {
        let mut counted = lock(&self.0);
        let Some(every) = counted.every else { return Due::default() };
        let due = *counted.due.get_or_insert(now);
        if due > now {
            return Due { send: Vec::new(), next: Some(due) };
        }
        counted.due = Some(now + every);
        Due { send: vec![b"report".to_vec()], next: counted.due }
    }

    fn let_go(&self) {
        lock(&self.0).let_go = true;
    }
}

#[tokio::test]
async fn what_nobody_counts_waits_for_its_session() {
    let (sender, socket) = pair();
    let ear = Ear::new(socket).unwrap();
    let from = sender.local_addr().unwrap();
    assert!(!rings(&ear).await, "nothing has come");
    for text in [b"1", b"2"] {
        sender.send(text).unwrap();
    }
    let (mut buffer, mut came) = ([0; 8], Vec::new());
    while came.len() < 2 {
        assert!(rings(&ear).await);
        while let Ok((length, source)) = ear.try_recv_from(&mut buffer) {
            came.push((buffer[..length].to_vec(), source));
        }
    }
    assert_eq!(came, [(b"1".to_vec(), from), (b"2".to_vec(), from)]);
    assert_eq!(ear.try_recv_from(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    // It may have rung while the second one was read.
    rings(&ear).await;
    assert!(!rings(&ear).await, "all is read");
}

#[tokio::test]
async fn media_is_counted_when_it_came_and_the_rest_is_the_sessions() {
    let (sender, socket) = pair();
    let ear = Ear::new(socket).unwrap();
    let counter = Arc::new(Counter::default());
    ear.tap(sender.local_addr().unwrap(), Arc::clone(&counter) as Arc<dyn Tap>);
    let began = Instant::now();
    for text in ["m1", "other", "m2"] {
        sender.send(text.as_bytes()).unwrap();
    }
    let sent = Instant::now();
    // Nobody reads meanwhile: this is the only thread.
    std::thread::sleep(Duration::from_millis(50));
    let mut buffer = [0; 8];
    assert!(rings(&ear).await);
    assert_eq!(ear.try_recv_from(&mut buffer).unwrap().0, 5);
    assert_eq!(&buffer[..5], b"other");
    while lock(&counter.0).media.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (media, slack) = (lock(&counter.0).media.clone(), Duration::from_millis(1));
    assert_eq!(media.iter().map(|(text, _)| &text[..]).collect::<Vec<_>>(), [b"m1", b"m2"]);
    assert!(media.iter().all(|(_, at)| *at + slack >= began && *at <= sent + slack), "{media:?} {sent:?}");
    // What comes from elsewhere is none of this session's media.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(b"m3", ear_address(&sender)).unwrap();
    assert!(rings(&ear).await);
    assert_eq!(ear.try_recv_from(&mut buffer).unwrap(), (2, stranger.local_addr().unwrap()));
    assert_eq!(lock(&counter.0).media.len(), 2);
}

fn ear_address(sender: &UdpSocket) -> SocketAddr {
    sender.peer_addr().unwrap()
}

#[tokio::test]
async fn what_is_due_is_sent_though_nothing_comes() {
    let (sender, socket) = pair();
    let ear = Ear::new(socket).unwrap();
    let counter = Arc::new(Counter::default());
    lock(&counter.0).every = Some(Duration::from_millis(200));
    ear.tap(sender.local_addr().unwrap(), counter);
    sender.set_nonblocking(true).unwrap();
    let (mut buffer, mut reports, began) = ([0; 8], 0, Instant::now());
    while reports < 4 && began.elapsed() < Duration::from_secs(10) {
        reports += u32::from(sender.recv(&mut buffer).is_ok());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The first within a second: until then nothing is known of it.
    assert_eq!(reports, 4);
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_reads_itself_again_gets_what_has_come() {
    let (sender, socket) = pair();
    let ear = Ear::new(socket).unwrap();
    let counter = Arc::new(Counter::default());
    ear.tap(sender.local_addr().unwrap(), Arc::clone(&counter) as Arc<dyn Tap>);
    for text in [b"m1", b"m2"] {
        sender.send(text).unwrap();
    }
    ear.untap().unwrap();
    let mut buffer = [0; 8];
    for text in [b"m1", b"m2"] {
        assert_eq!((ear.try_recv_from(&mut buffer).unwrap().0, &buffer[..2]), (2, &text[..]));
    }
    assert!(lock(&counter.0).let_go && lock(&counter.0).media.is_empty());
    let socket = ear.into_socket().unwrap();
    sender.send(b"m3").unwrap();
    assert_eq!((socket.recv(&mut buffer).unwrap(), &buffer[..2]), (2, &b"m3"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_many_are_read_and_places_are_used_again() {
    let listen = |(sender, socket)| (sender, Ear::new(socket).unwrap());
    let mut pairs: Vec<_> = (0..200).map(|_| listen(pair())).collect();
    let (sender, ear) = pairs.remove(7);
    pairs.push(listen((sender, ear.into_socket().unwrap())));
    drop(pairs.remove(9));
    pairs.push(listen(pair()));
    let began = Instant::now();
    for (sender, _) in &pairs {
        sender.send(b"x").unwrap();
    }
    for (_, ear) in &pairs {
        assert!(rings(ear).await);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(pairs.iter().all(|(_, ear)| ear.number() < 200));
}

#[test]
fn each_runtime_has_ears_of_its_own() {
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (sender, socket) = pair();
            let ear = Ear::new(socket).unwrap();
            sender.send(b"x").unwrap();
            assert!(rings(&ear).await);
        });
    }
}
