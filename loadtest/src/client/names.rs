//! Names of hosts, looked up where a connection is made.

use std::io;
use std::net::SocketAddr;

use hyper_util::client::legacy::connect::dns::Name;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::target::is_near;

/// Gives the addresses of a name.
pub(super) type Names = BoxCloneSyncService<Name, std::vec::IntoIter<SocketAddr>, io::Error>;

/// Looks names up as the system does. What was near when a URL was checked may be far a moment later, for whoever owns the
/// name: unless public addresses may be loaded, a name that has one is refused here, too.
pub(super) fn names(allow_public: bool) -> Names {
    BoxCloneSyncService::new(service_fn(move |name: Name| async move {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
        match found.iter().find(|address| !allow_public && !is_near(address.ip())) {
            Some(far) => {
                Err(io::Error::other(format!("{name} is {} now, neither loopback nor private", far.ip())))
            }
            None => Ok(found.into_iter()),
        }
    }))
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_name_that_has_become_public_is_not_connected_to() {
        let look = async |name: &str, allow_public| names(allow_public).oneshot(name.parse().unwrap()).await;
        assert!(look("localhost", false).await.unwrap().all(|address| address.ip().is_loopback()));
        // An address is a name that needs no looking up.
        let refused = look("192.0.2.1", false).await.unwrap_err();
        assert!(refused.to_string().contains("192.0.2.1 now, neither"), "{refused}");
        assert_eq!(look("192.0.2.1", true).await.unwrap().len(), 1);
    }
}
