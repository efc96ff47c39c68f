//! What to do about an address that cannot be bound: each kind of failure has another remedy.

use std::io::{Error, ErrorKind};

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
    use std::net::TcpListener;

    use super::*;

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
