//! A pod made over CRI as kubelet would: on the host's network, since there is no CNI.

use std::collections::HashMap;
use std::path::Path;

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

#[derive(Clone, PartialEq, prost::Message)]
struct Namespaces {
    /// 2: the node's.
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Security {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxPod {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security: Option<Security>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodMetadata>,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(map = "string, string", tag = "6")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPod>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPod {
    #[prost(message, optional, tag = "1")]
    config: Option<PodConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Name {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxSecurity {
    #[prost(message, optional, tag = "3")]
    namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxContainer {
    #[prost(message, optional, tag = "2")]
    security: Option<LinuxSecurity>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Name>,
    #[prost(message, optional, tag = "2")]
    image: Option<Name>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(map = "string, string", tag = "9")]
    labels: HashMap<String, String>,
    #[prost(string, tag = "11")]
    log_path: String,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainer>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pod_config: Option<PodConfig>,
}

/// A pod and its container.
pub struct Pod {
    pub sandbox: String,
    pub container: String,
}

async fn call<I, O>(grpc: &mut Grpc<Channel>, method: &'static str, message: I) -> O
where
    I: prost::Message + 'static,
    O: prost::Message + Default + 'static,
{
    grpc.ready().await.expect("it is ready");
    let codec = tonic_prost::ProstCodec::default();
    let answer = grpc.unary(tonic::Request::new(message), PathAndQuery::from_static(method), codec).await;
    answer.unwrap_or_else(|status| panic!("{method}: {status}")).into_inner()
}

async fn connect(socket: &Path) -> Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).expect("an address");
    Grpc::new(endpoint.connect().await.expect("containerd listens"))
}

/// Pod `shop/front-1` with the container `web`, which says hello and sleeps.
pub async fn run_pod(socket: &Path, here: &Path) -> Pod {
    let mut grpc = connect(socket).await;
    let node = || Some(Namespaces { network: 2 });
    let config = PodConfig {
        metadata: Some(PodMetadata { name: "front-1".into(), uid: "uid-1".into(), namespace: "shop".into() }),
        log_directory: here.join("pods/shop_front-1_uid-1").display().to_string(),
        labels: HashMap::from([("app".to_owned(), "front".to_owned())]),
        linux: Some(LinuxPod {
            cgroup_parent: format!("/weir-test-{}", std::process::id()),
            security: Some(Security { namespaces: node() }),
        }),
    };
    let Name { name: sandbox } =
        call(&mut grpc, "/runtime.v1.RuntimeService/RunPodSandbox", RunPod { config: Some(config.clone()) }).await;
    let container = ContainerConfig {
        metadata: Some(Name { name: "web".into() }),
        image: Some(Name { name: "localhost/weir-test:1".into() }),
        command: ["/bin/sh", "-c", "echo hello; exec /bin/sleep 1000"].map(str::to_owned).to_vec(),
        labels: HashMap::from([("io.kubernetes.container.name".to_owned(), "web".to_owned())]),
        log_path: "web/0.log".into(),
        linux: Some(LinuxContainer { security: Some(LinuxSecurity { namespaces: node() }) }),
    };
    std::fs::create_dir_all(here.join("pods/shop_front-1_uid-1/web")).expect("a directory");
    let create = CreateContainer { pod: sandbox.clone(), config: Some(container), pod_config: Some(config) };
    let Name { name: container } = call(&mut grpc, "/runtime.v1.RuntimeService/CreateContainer", create).await;
    let _: Name = call(&mut grpc, "/runtime.v1.RuntimeService/StartContainer", Name { name: container.clone() }).await;
    Pod { sandbox, container }
}

impl Pod {
    /// Ends and removes it.
    pub async fn remove(&self, socket: &Path) {
        let mut grpc = connect(socket).await;
        let _: Name = call(&mut grpc, "/runtime.v1.RuntimeService/StopPodSandbox", Name { name: self.sandbox.clone() }).await;
        let _: Name = call(&mut grpc, "/runtime.v1.RuntimeService/RemovePodSandbox", Name { name: self.sandbox.clone() }).await;
    }
}
