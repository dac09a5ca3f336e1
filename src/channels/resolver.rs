//! Names to addresses, none of which may be one that must not be called.
//!
//! This is the guard where it counts: the HTTP client connects to exactly the addresses this returns, with no second
//! look-up in which a hostile name could change its mind. A name with one refused address is refused as a whole;
//! calling "the good ones" would let a mixed answer probe the inside. Literal addresses never come here: see
//! [`UrlRules`].

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tidings_core::domain::address::{AddressPolicy, Blocked, UrlFault, UrlRules};
use tokio::sync::Semaphore;
use tower_service::Service;
use url::{Host, Url};

/// Looks names up and judges every address.
#[derive(Clone)]
pub struct Resolver {
    look_up: Arc<dyn LookUp>,
    policy: Arc<AddressPolicy>,
}

/// Where names are looked up, without any judgement.
pub trait LookUp: Send + Sync + 'static {
    fn look_up(&self, host: &str) -> LookingUp;
}

/// All addresses of a name.
pub type LookingUp = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// The operating system's resolver, so that `/etc/hosts` and search domains mean here what they mean elsewhere.
pub struct SystemLookUp {
    slots: Arc<Semaphore>,
}

/// Why a name has no address that may be called. Its text is fit for customers.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(transparent)]
    Blocked(#[from] Blocked),
    #[error("the host name has no address")]
    NoAddress,
    #[error("the host name did not resolve within {} s", DNS_TIMEOUT.as_secs())]
    TimedOut,
    /// What the resolver said is for the operator, not for the customer.
    #[error("the host name did not resolve")]
    Failed(#[source] io::Error),
}

/// Why a new URL is refused: by its form, or by where its name leads.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error(transparent)]
    Url(#[from] UrlFault),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

/// How long a look-up may take.
pub const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// The most addresses of one name that a connection is tried with.
pub const MAX_ADDRESSES: usize = 8;
/// The most look-ups at one time. Each holds a thread until the system's resolver gives up on it.
pub const MAX_LOOK_UPS: usize = 64;

/// Whether a URL may be stored: by its form, and by where its name leads now.
///
/// Where it leads later is judged at each connection. A name that does not resolve now is no reason to refuse it: the
/// receiver may not be up yet.
pub async fn check_place(url: &Url, rules: &UrlRules, look_up: Arc<dyn LookUp>) -> Result<(), PlaceError> {
    rules.check(url)?;
    let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
    let resolver = Resolver::new(look_up, Arc::new(rules.addresses.clone()));
    match resolver.resolve(name).await {
        Err(blocked @ ResolveError::Blocked(_)) => Err(blocked.into()),
        Ok(_) | Err(ResolveError::NoAddress | ResolveError::TimedOut | ResolveError::Failed(_)) => Ok(()),
    }
}

// === impl Resolver ===

impl Resolver {
    pub fn new(look_up: Arc<dyn LookUp>, policy: Arc<AddressPolicy>) -> Resolver {
        Resolver { look_up, policy }
    }

    /// At most [`MAX_ADDRESSES`], within [`DNS_TIMEOUT`]; all addresses of the name may be called, or none is returned.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let mut addresses = tokio::time::timeout(DNS_TIMEOUT, self.look_up.look_up(host))
            .await
            .map_err(|_| ResolveError::TimedOut)?
            .map_err(ResolveError::Failed)?;
        for address in &addresses {
            self.policy.check(*address)?;
        }
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() { Err(ResolveError::NoAddress) } else { Ok(addresses) }
    }
}

/// The HTTP client's way to an address: the only one for names.
impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str()).await?;
            // Port 0 is replaced by that of the URL.
            let addresses: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}

// === impl SystemLookUp ===

impl Default for SystemLookUp {
    fn default() -> SystemLookUp {
        SystemLookUp { slots: Arc::new(Semaphore::new(MAX_LOOK_UPS)) }
    }
}

impl LookUp for SystemLookUp {
    fn look_up(&self, host: &str) -> LookingUp {
        let (host, slots) = (host.to_owned(), self.slots.clone());
        Box::pin(async move {
            let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
            let look_up = tokio::task::spawn_blocking(move || {
                // Held by the thread: nobody can stop the system's resolver, even if nobody waits for it any more.
                let _slot = slot;
                let mut addresses: Vec<IpAddr> =
                    (host.as_str(), 0).to_socket_addrs()?.map(|socket| socket.ip()).collect();
                addresses.dedup();
                Ok(addresses)
            });
            look_up.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every name with the same addresses.
    struct Answers(&'static [&'static str]);

    impl LookUp for Answers {
        fn look_up(&self, _: &str) -> LookingUp {
            let addresses = self.0.iter().map(|text| text.parse().unwrap()).collect();
            Box::pin(async { Ok(addresses) })
        }
    }

    /// Never answers.
    struct Silent;

    impl LookUp for Silent {
        fn look_up(&self, _: &str) -> LookingUp {
            Box::pin(std::future::pending())
        }
    }

    async fn resolve(look_up: impl LookUp) -> Result<Vec<IpAddr>, ResolveError> {
        Resolver::new(Arc::new(look_up), Arc::default()).resolve("name.example").await
    }

    #[tokio::test]
    async fn one_refused_address_refuses_the_name() {
        assert_eq!(resolve(Answers(&["1.1.1.1", "2606:4700::1111"])).await.unwrap().len(), 2);
        for mixed in [&["1.1.1.1", "10.0.0.1"][..], &["::1", "1.1.1.1"], &["::ffff:169.254.169.254"]] {
            assert!(matches!(resolve(Answers(mixed)).await, Err(ResolveError::Blocked(_))), "{mixed:?}");
        }
        // Even beyond the addresses that would be tried.
        let many =
            &["1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.1", "127.0.0.1"];
        assert!(matches!(resolve(Answers(many)).await, Err(ResolveError::Blocked(_))));
        assert_eq!(resolve(Answers(&many[..8])).await.unwrap().len(), MAX_ADDRESSES);
    }

    #[tokio::test(start_paused = true)]
    async fn names_without_answer_end() {
        assert!(matches!(resolve(Answers(&[])).await, Err(ResolveError::NoAddress)));
        let started = tokio::time::Instant::now();
        assert!(matches!(resolve(Silent).await, Err(ResolveError::TimedOut)));
        assert_eq!(started.elapsed(), DNS_TIMEOUT);
    }

    #[tokio::test]
    async fn the_system_knows_localhost_and_no_invalid_name() {
        let addresses = SystemLookUp::default().look_up("localhost").await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty());
        assert!(SystemLookUp::default().look_up("no..name").await.is_err());
    }

    #[tokio::test]
    async fn a_new_url_is_judged_by_where_its_name_leads() {
        let check = async |url: &str, look_up: Arc<dyn LookUp>| {
            check_place(&url.parse().unwrap(), &UrlRules::default(), look_up).await.map_err(|error| error.to_string())
        };
        let inside = check("https://127.0.0.1.nip.io/", Arc::new(Answers(&["127.0.0.1"]))).await.unwrap_err();
        assert!(inside.contains("delivery.allow_networks") && !inside.contains("127.0.0.1"), "{inside}");
        assert!(check("https://10.0.0.1/", Arc::new(Silent)).await.is_err());
        assert_eq!(check("https://1.1.1.1/", Arc::new(Silent)).await, Ok(()));
        assert_eq!(check("https://new.example/", Arc::new(Answers(&[]))).await, Ok(()));
    }
}
