//! Who tells many sessions in steps of [`STEP`] that something has come.
//!
//! A thread that sleeps is woken for each datagram, and that costs more than counting it by its header does. Media that
//! is counted so comes to many sessions at nearly the same time: the first datagram begins a step, and at its end all that has
//! come is taken, with one question to the kernel (a level-triggered epoll). The price is that times of arrival are late
//! by up to a step and the timer's millisecond. Sessions that connect, or decrypt everything, are told at once.

#[cfg(target_os = "linux")]
pub(super) use here::Ear;
#[cfg(not(target_os = "linux"))]
pub(super) use nowhere::Ear;

#[cfg(target_os = "linux")]
mod here {
    use std::io;
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, Weak};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use rustix::buffer::spare_capacity;
    use rustix::event::{Timespec, epoll};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::runtime::{Handle, Id};
    use tokio::sync::oneshot;

    use super::super::guard::lock;

    const STEP: Duration = Duration::from_millis(3);

    /// A socket that is listened to. The kernel forgets it when it is closed, so it goes first.
    #[derive(Debug)]
    pub struct Ear {
        socket: UdpSocket,
        hook: Hook,
    }

    /// Where its bell hangs.
    #[derive(Debug)]
    struct Hook {
        ears: Arc<Ears>,
        number: usize,
        bell: Arc<Bell>,
    }

    impl Drop for Hook {
        fn drop(&mut self) {
            if let Some(place) = lock(&self.ears.bells).get_mut(self.number) {
                *place = None;
            }
        }
    }

    #[derive(Debug, Default)]
    struct Bell {
        rung: AtomicBool,
        waker: Mutex<Option<Waker>>,
    }

    impl Bell {
        fn ring(&self) {
            if !self.rung.swap(true, Ordering::AcqRel)
                && let Some(waker) = &*lock(&self.waker)
            {
                waker.wake_by_ref();
            }
        }

        fn heard(&self) -> bool {
            // Without writing where nothing rang: every wake-up of the task asks.
            self.rung.load(Ordering::Acquire) && self.rung.swap(false, Ordering::AcqRel)
        }
    }

    impl Ear {
        /// There is such a thing here.
        pub const CAN_BE: bool = true;

        /// Takes a socket that does not block. Must be called inside a runtime.
        pub fn new(socket: UdpSocket) -> io::Result<Self> {
            let hook = Ears::of_runtime()?.hang();
            let data = epoll::EventData::new_u64(u64::try_from(hook.number).unwrap_or(u64::MAX));
            epoll::add(&*hook.ears.epoll, &socket, data, epoll::EventFlags::IN)?;
            Ok(Self { socket, hook })
        }

        pub fn socket(&self) -> &UdpSocket {
            &self.socket
        }

        /// Gives the socket back; nobody is told of it any more.
        pub fn into_socket(self) -> UdpSocket {
            let Self { socket, hook } = self;
            if let Err(error) = epoll::delete(&*hook.ears.epoll, &socket) {
                tracing::debug!(%error, "a socket stays listened to");
            }
            socket
        }

        /// Ready once for each step at which there was something to read.
        pub fn poll(&self, context: &Context<'_>) -> Poll<()> {
            let bell = &self.hook.bell;
            if bell.heard() {
                return Poll::Ready(());
            }
            {
                let mut waker = lock(&bell.waker);
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    *waker = Some(context.waker().clone());
                }
            }
            // It may have rung before it was known whom to wake.
            if bell.heard() { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    /// All of a runtime.
    #[derive(Debug)]
    struct Ears {
        epoll: Arc<OwnedFd>,
        bells: Mutex<Vec<Option<Arc<Bell>>>>,
        /// Gone with the last ear.
        _used: oneshot::Sender<()>,
    }

    impl Ears {
        fn of_runtime() -> io::Result<Arc<Self>> {
            static ALL: Mutex<Vec<(Id, Weak<Ears>)>> = Mutex::new(Vec::new());
            let runtime = Handle::current().id();
            let mut all = lock(&ALL);
            all.retain(|(_, ears)| ears.strong_count() > 0);
            let known = all.iter().find(|(id, _)| *id == runtime).and_then(|(_, ears)| ears.upgrade());
            if let Some(ears) = known {
                return Ok(ears);
            }
            let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
            let (_used, over) = oneshot::channel();
            let ears = Arc::new(Self { epoll: Arc::clone(&epoll), bells: Mutex::new(Vec::new()), _used });
            all.push((runtime, Arc::downgrade(&ears)));
            tokio::spawn(listen(Arc::downgrade(&ears), epoll, over));
            Ok(ears)
        }

        /// A bell in the first free place.
        fn hang(self: Arc<Self>) -> Hook {
            let bell = Arc::<Bell>::default();
            let mut bells = lock(&self.bells);
            let free = bells.iter().position(Option::is_none).unwrap_or(bells.len());
            match bells.get_mut(free) {
                Some(place) => *place = Some(Arc::clone(&bell)),
                None => bells.push(Some(Arc::clone(&bell))),
            }
            drop(bells);
            Hook { ears: self, number: free, bell }
        }

        /// Rings for all that have something to read.
        fn step(&self) -> io::Result<()> {
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let mut events = Vec::with_capacity(lock(&self.bells).len().max(1));
            epoll::wait(&*self.epoll, spare_capacity(&mut events), Some(&at_once))?;
            let bells = lock(&self.bells);
            for event in &events {
                let number = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                if let Some(Some(bell)) = bells.get(number) {
                    bell.ring();
                }
            }
            Ok(())
        }
    }

    /// Listens for as long as there is anybody to tell.
    async fn listen(ears: Weak<Ears>, epoll: Arc<OwnedFd>, mut over: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                came = something(&epoll) => if let Err(error) = came {
                    tracing::error!(%error, "nobody can tell any more what has come");
                    return;
                },
                _ = &mut over => return,
            }
            // Nothing that comes meanwhile wakes anybody.
            tokio::time::sleep(STEP).await;
            let Some(ears) = ears.upgrade() else { return };
            if let Err(error) = ears.step() {
                tracing::debug!(%error, "nobody was told what has come");
            }
        }
    }

    /// Waits until anything has come to anybody. The runtime knows of the epoll no longer than that.
    async fn something(epoll: &Arc<OwnedFd>) -> io::Result<()> {
        // What is deprecated is that a type could name another descriptor later on: this one cannot.
        #[expect(deprecated)]
        let waiting = AsyncFd::with_interest(Arc::clone(epoll), Interest::READABLE)?;
        waiting.readable().await.map(drop)
    }

    #[cfg(test)]
    mod tests {
        use std::future::poll_fn;
        use std::time::Instant;

        use super::*;

        fn pair() -> (UdpSocket, UdpSocket) {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.connect(socket.local_addr().unwrap()).unwrap();
            (sender, socket)
        }

        async fn rings(ear: &Ear) -> bool {
            let waiting = poll_fn(|context| ear.poll(context));
            tokio::time::timeout(Duration::from_millis(300), waiting).await.is_ok()
        }

        #[tokio::test]
        async fn what_is_left_is_told_again_and_what_is_read_is_not() {
            let (sender, socket) = pair();
            let ear = Ear::new(socket).unwrap();
            assert!(!rings(&ear).await, "nothing has come");
            for text in [b"1", b"2"] {
                sender.send(text).unwrap();
            }
            let mut buffer = [0; 8];
            for text in [b"1", b"2"] {
                assert!(rings(&ear).await);
                assert_eq!((ear.socket().recv(&mut buffer).unwrap(), &buffer[..1]), (1, &text[..]));
            }
            // It may have rung while the second one was read.
            rings(&ear).await;
            assert!(!rings(&ear).await, "all is read");
        }

        #[tokio::test]
        async fn one_of_many_is_told_within_some_steps_and_places_are_used_again() {
            let listen = |(sender, socket)| (sender, Ear::new(socket).unwrap());
            let mut pairs: Vec<_> = (0..200).map(|_| listen(pair())).collect();
            let (sender, ear) = pairs.remove(7);
            pairs.push(listen((sender, ear.into_socket())));
            drop(pairs.remove(9));
            pairs.push(listen(pair()));
            assert_eq!(lock(&pairs[0].1.hook.ears.bells).len(), 200);
            let began = Instant::now();
            for (sender, _) in &pairs {
                sender.send(b"x").unwrap();
            }
            for (_, ear) in &pairs {
                assert!(rings(ear).await);
            }
            assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
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
    }
}

/// Other kernels have no epoll: their sockets are told of at once.
#[cfg(any(test, not(target_os = "linux")))]
#[cfg_attr(target_os = "linux", allow(dead_code))]
mod nowhere {
    use std::io;
    use std::net::UdpSocket;
    use std::task::{Context, Poll};

    #[derive(Debug)]
    pub struct Ear {
        socket: UdpSocket,
    }

    impl Ear {
        pub const CAN_BE: bool = false;

        pub fn new(_socket: UdpSocket) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub fn socket(&self) -> &UdpSocket {
            &self.socket
        }

        pub fn into_socket(self) -> UdpSocket {
            self.socket
        }

        pub fn poll(&self, _context: &Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }
}
