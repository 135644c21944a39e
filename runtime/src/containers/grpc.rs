//! Calls over a unix socket: as much of a gRPC client as containerd and CRI need. Used by [`super::containerd`] and
//! [`super::cri`], whose messages are written by hand: only the fields that are read.

use std::path::Path;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use weir_model::time::{SECOND, UnixNanos};

use crate::RuntimeError;

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// `None` for what no engine means: before 1970, or beyond what nanoseconds can say.
    pub fn nanos(&self) -> Option<UnixNanos> {
        let nanos = self.seconds.checked_mul(SECOND)?.checked_add(i64::from(self.nanos))?;
        (nanos > 0).then_some(nanos)
    }
}

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
    Unimplemented,
    /// Anything else.
    Failed(RuntimeError),
}

impl From<Refused> for RuntimeError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Failed(error) => error,
            Refused::Unimplemented => Self::Engine { engine: "grpc", address: String::new(), reason: "no such service".into() },
        }
    }
}

impl Client {
    /// Connects. The caller bounds the time.
    pub async fn connect(engine: &'static str, socket: &Path) -> Result<Self, RuntimeError> {
        let address = socket.display().to_string();
        let wrong = |reason: String| RuntimeError::Engine { engine, address: address.clone(), reason };
        // Asked first, because the transport hides the reason (no permission, nobody listens).
        tokio::net::UnixStream::connect(socket).await.map_err(|error| wrong(error.to_string()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{address}")).map_err(|error| wrong(error.to_string()))?;
        let channel = endpoint.connect().await.map_err(|error| wrong(error.to_string()))?;
        Ok(Self { engine, address, grpc: Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX) })
    }

    /// One call of `method` (`/package.Service/Method`), in a containerd namespace if one is given.
    pub async fn call<I, O>(&mut self, method: &'static str, namespace: Option<&str>, message: I) -> Result<O, Refused>
    where
        I: Message + 'static,
        O: Message + Default + 'static,
    {
        let failed =
            |reason: String| Refused::Failed(RuntimeError::Engine { engine: self.engine, address: self.address.clone(), reason });
        let mut request = Request::new(message);
        if let Some(namespace) = namespace {
            let value = MetadataValue::try_from(namespace).map_err(|_| failed(format!("bad namespace {namespace:?}")))?;
            request.metadata_mut().insert("containerd-namespace", value);
        }
        self.grpc.ready().await.map_err(|error| failed(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::default();
        let answer = self.grpc.unary(request, PathAndQuery::from_static(method), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status: Status| match status.code() {
            tonic::Code::Unimplemented => Refused::Unimplemented,
            code => failed(format!("{method}: {code}: {}", status.message())),
        })
    }

    /// A call that is answered with messages for as long as both sides live.
    pub async fn subscribe<I, O>(&mut self, method: &'static str, message: I) -> Result<Streaming<O>, Status>
    where
        I: Message + 'static,
        O: Message + Default + 'static,
    {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::default();
        let answer = self.grpc.server_streaming(Request::new(message), PathAndQuery::from_static(method), codec).await;
        answer.map(tonic::Response::into_inner)
    }
}
