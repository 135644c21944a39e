//! Calls over a unix socket, as containerd and CRI want them. Used by [`super::containerd`], [`super::cri`] and their events.

use std::path::Path;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::RuntimeError;
use crate::error::with_causes;

/// A list of 500 containers with their specifications has about 8 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// One connection.
pub(super) struct Client {
    engine: &'static str,
    address: String,
    grpc: Grpc<Channel>,
}

/// Why a call gave nothing.
pub(super) enum Refused {
    /// The service is not there.
    Unimplemented(RuntimeError),
    /// What the call is about is not there.
    NotFound(RuntimeError),
    Failed(RuntimeError),
}

impl From<Refused> for RuntimeError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unimplemented(error) | Refused::NotFound(error) | Refused::Failed(error) => error,
        }
    }
}

impl Client {
    /// Connects. The caller bounds the time.
    pub async fn connect(engine: &'static str, socket: &Path) -> Result<Self, RuntimeError> {
        let address = socket.display().to_string();
        let wrong = |error: tonic::transport::Error| RuntimeError::Engine {
            engine,
            address: address.clone(),
            reason: with_causes(&error),
        };
        let endpoint = Endpoint::from_shared(format!("unix://{address}")).map_err(wrong)?;
        let channel = endpoint.connect().await.map_err(wrong)?;
        Ok(Self { engine, address, grpc: Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX) })
    }

    /// One call of `method` (`/package.Service/Method`), in a containerd namespace if one is given.
    pub async fn call<I, O>(&mut self, method: &'static str, namespace: Option<&str>, message: I) -> Result<O, Refused>
    where
        I: Message + 'static,
        O: Message + Default + 'static,
    {
        let mut request = Request::new(message);
        if let Some(namespace) = namespace {
            let value = MetadataValue::try_from(namespace);
            let value = value.map_err(|_| Refused::Failed(self.wrong(format!("bad namespace {namespace:?}"))))?;
            request.metadata_mut().insert("containerd-namespace", value);
        }
        self.ready().await?;
        let codec = tonic_prost::ProstCodec::default();
        let answer = self.grpc.unary(request, PathAndQuery::from_static(method), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.refused(method, &status))
    }

    /// A call that is answered with messages for as long as both sides live.
    pub async fn subscribe<I, O>(&mut self, method: &'static str, message: I) -> Result<Subscription<O>, Refused>
    where
        I: Message + 'static,
        O: Message + Default + 'static,
    {
        self.ready().await?;
        let codec = tonic_prost::ProstCodec::default();
        let answer = self.grpc.server_streaming(Request::new(message), PathAndQuery::from_static(method), codec).await;
        let messages = answer.map_err(|status| self.refused(method, &status))?.into_inner();
        Ok(Subscription { method, messages })
    }

    /// The next message; `None` when the engine has ended the answer.
    pub async fn next<O>(&self, subscription: &mut Subscription<O>) -> Result<Option<O>, RuntimeError> {
        let next = subscription.messages.message().await;
        next.map_err(|status| self.refused(subscription.method, &status).into())
    }

    async fn ready(&mut self) -> Result<(), Refused> {
        let ready = self.grpc.ready().await;
        ready.map_err(|error| Refused::Failed(self.wrong(with_causes(&error))))
    }

    fn refused(&self, method: &str, status: &Status) -> Refused {
        let (code, message) = (status.code(), status.message());
        let error = self.wrong(format!("{method}: {code}: {message}"));
        match code {
            Code::Unimplemented => Refused::Unimplemented(error),
            Code::NotFound => Refused::NotFound(error),
            // Not every runtime says it by the code.
            _ if message.contains("not found") => Refused::NotFound(error),
            _ => Refused::Failed(error),
        }
    }

    fn wrong(&self, reason: String) -> RuntimeError {
        RuntimeError::Engine { engine: self.engine, address: self.address.clone(), reason }
    }
}

/// The answer of [`Client::subscribe`], read with [`Client::next`].
pub(super) struct Subscription<O> {
    method: &'static str,
    messages: Streaming<O>,
}
