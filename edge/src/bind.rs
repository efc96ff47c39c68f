//! Sockets that take connections, and what to do about an address that cannot be bound: each kind of failure has another
//! remedy.

use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Most connections that wait in the kernel to be taken; it takes fewer if `net.core.somaxconn` is less. An audience comes
/// all at once: one for whom there is no room has its SYN dropped, and tries again a second later.
const WAITING: u32 = 4096;

/// Takes connections at the address. Must be called inside a tokio runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a process that has ended do not hold the address. Elsewhere the option means something else.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// What whoever starts a process is told to do. `address` is the setting that names the address, `port` the one that names
/// the port; often it is one.
pub fn remedy(error: &Error, address: &str, port: &str) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!("choose another {port}, or stop who holds it"),
        ErrorKind::AddrNotAvailable => {
            format!("the address is not one of this machine: name one that it has in {address}")
        }
        ErrorKind::PermissionDenied => format!(
            "a port below 1024 needs a privilege: choose a higher one in {port}, or give the process \
             CAP_NET_BIND_SERVICE"
        ),
        _ => format!("look whether this machine has what {address} names"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn a_crowd_that_comes_at_once_finds_room() {
        // As many as the kernel leaves us, but not more than descriptors allow.
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse::<usize>();
        let crowd = most.unwrap().min(400);
        let listener = super::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let began = Instant::now();
        let held: Vec<_> = (0..crowd)
            .map(|nth| {
                TcpStream::connect_timeout(&address, Duration::from_millis(900))
                    .unwrap_or_else(|e| panic!("connection {nth} of {crowd}: {e}"))
            })
            .collect();
        assert_eq!(held.len(), crowd, "{:?}", began.elapsed());
    }

    #[test]
    fn each_kind_of_failure_is_told_its_own_remedy() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = TcpListener::bind(held.local_addr().unwrap()).unwrap_err();
        // RFC 5737: nobody's own.
        let elsewhere = TcpListener::bind("192.0.2.1:0").unwrap_err();
        // Whoever runs the tests may have the privilege.
        let forbidden = Error::from(ErrorKind::PermissionDenied);
        let strange = Error::from(ErrorKind::Unsupported);
        for (error, right, wrong) in [
            (taken, "choose another --udp-port, or stop who holds it", "this machine"),
            (elsewhere, "not one of this machine: name one that it has in --udp-bind", "stop who holds it"),
            (forbidden, "choose a higher one in --udp-port", "stop who holds it"),
            (strange, "has what --udp-bind names", "stop who holds it"),
        ] {
            let told = remedy(&error, "--udp-bind", "--udp-port");
            assert!(told.contains(right) && !told.contains(wrong), "{error}: {told}");
        }
    }
}
