//! What a connection that stays open was granted, looked at again now and then: its credentials may have ended, or a right been taken
//! away.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Access, Denied, Granted, Needs, Principal};

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
}

impl Held {
    /// `granted`: what `access` was granted of `needs`.
    pub fn new(access: Access, needs: Needs, granted: Granted) -> Self {
        Self { access, needs, granted }
    }

    /// Why it ends now. It goes on while nobody can say.
    pub async fn ended(&self) -> Option<Denied> {
        match self.access.again(self.needs).await {
            Ok(scope) if scope == *self.granted.scope => None,
            Ok(_) => Some(Denied::Forbidden("what may be followed here has changed; open it again".into())),
            Err(Denied::Undecided(_) | Denied::Throttled(_)) => None,
            Err(denied) => Some(denied),
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

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
        let check = async |said: Result<Option<Principal>, Denied>, status: Option<u16>| {
            *now.0.lock() = said.clone();
            assert_eq!(held.ended().await.map(|denied| denied.status().as_u16()), status, "{said:?}");
        };
        check(Ok(Some(alice.clone())), None).await;
        check(Err(Denied::Undecided("silent".into())), None).await;
        check(Err(Denied::Throttled(1)), None).await;
        check(Ok(None), Some(401)).await;
        check(Err(Denied::Unauthenticated("over".into())), Some(401)).await;
        check(Ok(Some(Principal { tenants: Some(vec!["bank".into()]), ..alice.clone() })), Some(403)).await;
        check(Ok(Some(Principal { tenants: Some(Vec::new()), ..alice })), Some(403)).await;
    }
}
