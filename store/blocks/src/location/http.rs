//! The HTTP client of the remote object stores: hyper, and rustls where the endpoint is not plain, with the certificates of
//! `[store.tls]`. `object_store`'s own knows no client certificates, and no other server name.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error as HyperError, connect::HttpConnector as Tcp};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpService,
};
use weir_tls::ClientTls;

/// A machine of the same network answers in milliseconds; one that is gone is known to be after this.
const CONNECT: Duration = Duration::from_secs(3);

/// A request without a body worth mentioning, and its answer.
const ANSWER: Duration = Duration::from_secs(20);

/// … and a second more for each MiB sent.
const SEND_BYTES_A_SECOND: u64 = 1 << 20;

/// Kept open for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// How an endpoint is spoken to.
#[derive(Clone, Debug)]
pub(super) enum Transport {
    /// Its URL says `http://`.
    Plain,
    /// Anything else.
    Tls(ClientTls),
}

/// Makes the client when a store is built.
#[derive(Debug)]
pub(super) struct Http(pub Transport);

impl HttpConnector for Http {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = Tcp::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let mut pool = Client::builder(TokioExecutor::new());
        pool.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
        match &self.0 {
            Transport::Plain => Ok(HttpClient::new(Service(pool.build::<_, HttpRequestBody>(tcp)))),
            Transport::Tls(tls) => {
                tcp.enforce_http(false);
                let wrong =
                    |error: weir_tls::TlsError| object_store::Error::Generic { store: "store.tls", source: Box::new(error) };
                let builder = HttpsConnectorBuilder::new().with_tls_config(weir_tls::client_config(tls).map_err(wrong)?);
                let mut builder = builder.https_or_http();
                if let Some(name) = tls.name().map_err(wrong)? {
                    builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
                }
                let connector: HttpsConnector<Tcp> = builder.enable_http1().wrap_connector(tcp);
                Ok(HttpClient::new(Service(pool.build(connector))))
            }
        }
    }
}

#[derive(Debug)]
struct Service<C>(Client<C, HttpRequestBody>);

#[async_trait]
impl<C> HttpService for Service<C>
where
    C: hyper_util::client::legacy::connect::Connect + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    /// The whole answer: what is read is a range of a block, a page of a listing or a manifest, never a whole block.
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let patience = ANSWER + Duration::from_secs(request.body().content_length() as u64 / SEND_BYTES_A_SECOND);
        let answered = async {
            let (head, body) = self.0.request(request).await.map_err(refused)?.into_parts();
            let body = body.collect().await.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
            Ok(HttpResponse::from_parts(head, body.to_bytes().into()))
        };
        tokio::time::timeout(patience, answered).await.unwrap_or_else(|late| Err(HttpError::new(HttpErrorKind::Timeout, late)))
    }
}

fn refused(error: HyperError) -> HttpError {
    let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
    // Its own text says where, and not why: "client error (SendRequest)".
    let first: &(dyn std::error::Error + 'static) = &error;
    let cause = std::iter::successors(first.source(), |error| error.source()).last();
    let text = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    HttpError::new(kind, std::io::Error::other(text))
}
