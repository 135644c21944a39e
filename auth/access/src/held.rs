//! What a connection that stays open was granted, looked at again now and then: its credentials may have ended, or a right been taken
//! away.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Access, Denied, Granted, Needs, Principal};

/// A connection ends when nobody could say for so long whether it may go on. Outages of an authenticator are shorter as a rule; without
/// an end, whoever lost a right could keep the connection by having the address throttled.
const UNDECIDED_MAX: Duration = Duration::from_secs(60);

/// The credentials of one request, which can be looked at again.
#[async_trait]
pub trait Reauthenticate: Debug + Send + Sync {
    /// Whom they stand for now; `None` for nobody.
    async fn principal(&self) -> Result<Option<Arc<Principal>>, Denied>;
}

/// See above.
#[derive(Debug)]
pub struct Held {
    access: Access,
    needs: Needs,
    granted: Granted,
    /// When the first of the last looks that nobody could decide began.
    undecided_since: Mutex<Option<Instant>>,
}

impl Held {
    /// `granted`: what `access` was granted of `needs`.
    pub fn new(access: Access, needs: Needs, granted: Granted) -> Self {
        Self { access, needs, granted, undecided_since: Mutex::default() }
    }

    /// Why it ends now. While nobody can say, it goes on for [`UNDECIDED_MAX`].
    pub async fn ended(&self) -> Option<Denied> {
        self.ended_at(Instant::now()).await
    }

    async fn ended_at(&self, now: Instant) -> Option<Denied> {
        let again = self.access.again(self.needs).await;
        let mut undecided_since = self.undecided_since.lock();
        match again {
            Err(denied @ (Denied::Undecided(_) | Denied::Throttled(_))) => {
                let since = *undecided_since.get_or_insert(now);
                return (now.duration_since(since) >= UNDECIDED_MAX).then_some(denied);
            }
            Ok(scope) if scope == *self.granted.scope => {}
            Ok(_) => return Some(Denied::Forbidden("what may be followed here has changed; open it again".into())),
            Err(denied) => return Some(denied),
        }
        *undecided_since = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Authorizer, Telemetry, Verb};
    use super::*;

    #[derive(Debug)]
    struct Now(Mutex<Result<Option<Principal>, Denied>>);

    #[async_trait]
    impl Reauthenticate for Now {
        async fn principal(&self) -> Result<Option<Arc<Principal>>, Denied> {
            self.0.lock().clone().map(|principal| principal.map(Arc::new))
        }
    }

    #[tokio::test]
    async fn it_ends_with_its_credentials_or_with_what_they_may() {
        let alice = Principal { tenants: Some(vec!["shop".into()]), ..Principal::anonymous() };
        let now = Arc::new(Now(Mutex::new(Ok(Some(alice.clone())))));
        let access = Access::new(Some(Arc::new(alice.clone())), Vec::new(), Arc::new(Authorizer::allow("own")));
        let access = access.with_credentials(Arc::clone(&now) as Arc<_>);
        let needs = Needs::Tenant(Verb::Tail, Telemetry::Logs);
        let held = Held::new(access.clone(), needs, access.grant(needs).await.unwrap());
        let start = Instant::now();
        let check = async |second: u64, said: Result<Option<Principal>, Denied>, status: Option<u16>| {
            *now.0.lock() = said.clone();
            let ended = held.ended_at(start + Duration::from_secs(second)).await;
            assert_eq!(ended.map(|denied| denied.status().as_u16()), status, "{said:?} after {second} s");
        };
        check(0, Ok(Some(alice.clone())), None).await;
        check(0, Err(Denied::Undecided("silent".into())), None).await;
        check(59, Err(Denied::Throttled(1)), None).await;
        check(60, Err(Denied::Throttled(1)), Some(429)).await;
        check(60, Err(Denied::Undecided("silent".into())), Some(503)).await;
        check(61, Ok(Some(alice.clone())), None).await;
        check(62, Err(Denied::Throttled(1)), None).await;
        check(63, Ok(None), Some(401)).await;
        check(63, Err(Denied::Unauthenticated("over".into())), Some(401)).await;
        check(63, Ok(Some(Principal { tenants: Some(vec!["bank".into()]), ..alice.clone() })), Some(403)).await;
        check(63, Ok(Some(Principal { tenants: Some(Vec::new()), ..alice })), Some(403)).await;
    }
}
