//! What is made of events, and of which runtimes; the stream over a socket with a runtime of the test's own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic_prost::ProstCodec;

use super::*;
use crate::proto::cri::{ContainerMetadata, ContainerStatus, ImageSpec, PodSandboxMetadata, PodSandboxStatus, VersionRequest};

fn version(name: &str, version: &str) -> VersionResponse {
    VersionResponse { runtime_name: name.into(), runtime_version: version.into() }
}

fn stopped(reason: &str) -> ContainerEventResponse {
    let labels = |pairs: [(&str, &str); 1]| BTreeMap::from(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let other = ContainerStatus { id: "other".into(), ..ContainerStatus::default() };
    let own = ContainerStatus {
        id: "abc".into(),
        metadata: Some(ContainerMetadata { name: "web".into(), attempt: 2 }),
        started_at: 5,
        finished_at: 9,
        exit_code: 137,
        image: Some(ImageSpec { image: "shop:1".into() }),
        reason: reason.into(),
        labels: labels([("own", "b")]),
        log_path: String::new(),
    };
    ContainerEventResponse {
        container_id: "abc".into(),
        container_event_type: ContainerEventType::ContainerStoppedEvent.into(),
        pod_sandbox_status: Some(PodSandboxStatus {
            id: "pod".into(),
            metadata: Some(PodSandboxMetadata { name: "front-1".into(), uid: "u".into(), namespace: "shop".into() }),
            labels: labels([("app", "front")]),
        }),
        containers_statuses: vec![other, own],
    }
}

#[test]
fn the_end_of_a_container() {
    let events = read(Engine::Crio, &stopped("OOMKilled"));
    let told: Vec<_> = events.iter().map(|event| (event.at, event.what)).collect();
    assert_eq!(told, [(9, What::Died(Some(137))), (9, What::OutOfMemory)]);
    let container = &events[0].container;
    assert_eq!((container.id.as_str(), container.name.as_str(), container.restarts), ("abc", "web", Some(2)));
    assert_eq!((container.namespace.as_str(), container.pod.as_str(), container.image.as_str()), ("shop", "front-1", "shop:1"));
    assert_eq!((container.labels["app"].as_str(), container.labels["own"].as_str()), ("front", "b"));
    assert_eq!(read(Engine::Crio, &stopped("Error")).len(), 1);

    let sandbox = ContainerEventResponse { container_id: "pod".into(), ..stopped("") };
    assert!(read(Engine::Crio, &sandbox).is_empty(), "a sandbox is no container");
    let started =
        ContainerEventResponse { container_event_type: ContainerEventType::ContainerStartedEvent.into(), ..stopped("") };
    assert!(read(Engine::Crio, &started).is_empty());
    let mut early = stopped("");
    early.containers_statuses[1].finished_at = 0;
    assert!(read(Engine::Crio, &early).is_empty(), "when it ended is not known");
}

#[test]
fn who_tells_everybody() {
    for (name, number, expected) in [
        ("containerd", "v2.0.0", true),
        ("containerd", "2.1.4-k3s1", true),
        ("containerd", "v1.7.27", false),
        ("cri-o", "1.28.0", true),
        ("cri-o", "2.0.0", true),
        ("cri-o", "1.27.8", false),
        ("cri-o", "", false),
        ("another", "9.9.9", false),
    ] {
        assert_eq!(tells_everybody(&version(name, number)), expected, "{name} {number}");
    }
}

/// A runtime of this name and version.
#[derive(Clone)]
struct Runtime {
    version: VersionResponse,
    /// What it tells; `None` where it has no such call.
    tells: Option<Vec<ContainerEventResponse>>,
}

impl NamedService for Runtime {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

struct Version(VersionResponse);

impl UnaryService<VersionRequest> for Version {
    type Response = VersionResponse;
    type Future = Ready<Result<tonic::Response<VersionResponse>, tonic::Status>>;

    fn call(&mut self, _: tonic::Request<VersionRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new(self.0.clone())))
    }
}

struct Tell(Vec<ContainerEventResponse>);

impl ServerStreamingService<GetEventsRequest> for Tell {
    type Response = ContainerEventResponse;
    type ResponseStream = BoxStream<'static, Result<ContainerEventResponse, tonic::Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, tonic::Status>>;

    fn call(&mut self, _: tonic::Request<GetEventsRequest>) -> Self::Future {
        let events = std::mem::take(&mut self.0).into_iter().map(Ok);
        ready(Ok(tonic::Response::new(stream::iter(events).boxed())))
    }
}

impl Service<http::Request<Body>> for Runtime {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            Ok(match (request.uri().path(), own.tells) {
                ("/runtime.v1.RuntimeService/Version", _) => {
                    Grpc::new(ProstCodec::default()).unary(Version(own.version), request).await
                }
                (EVENTS, Some(events)) => Grpc::new(ProstCodec::default()).server_streaming(Tell(events), request).await,
                _ => tonic::Status::unimplemented("no such call").into_http(),
            })
        })
    }
}

/// What is heard of a runtime until it ends its answer.
async fn heard(runtime: Runtime) -> Vec<What> {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let connections =
        stream::unfold(listener, |listener| async move { Some((listener.accept().await.map(|(stream, _)| stream), listener)) });
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        let served = tonic::transport::Server::builder().add_service(runtime);
        served.serve_with_incoming(Box::pin(connections)).await.expect("it serves");
    });
    let (tx, mut events) = mpsc::channel(16);
    let listened = tokio::time::timeout(Duration::from_secs(60), listen(&socket, &tx)).await.expect("it ends");
    listened.expect("nothing goes wrong");
    drop(tx);
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        told.push(event.what);
    }
    told
}

#[tokio::test]
async fn a_runtime_is_listened_to_if_it_tells_everybody() {
    let tells = Some(vec![stopped("Error"), stopped("OOMKilled")]);
    let died = What::Died(Some(137));
    let of = |name: &str, number: &str, tells: &Option<Vec<_>>| Runtime { version: version(name, number), tells: tells.clone() };
    assert_eq!(heard(of("cri-o", "1.30.1", &tells)).await, [died, died, What::OutOfMemory]);
    assert_eq!(heard(of("containerd", "v2.0.1", &tells)).await, [died, died, What::OutOfMemory]);
    assert_eq!(heard(of("containerd", "v1.7.1", &tells)).await, [], "kubelet's events are left to it");
    assert_eq!(heard(of("containerd", "v2.0.1", &None)).await, [], "it has no such call, which is no error");
}
