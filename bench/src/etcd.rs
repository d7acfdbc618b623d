//! Three etcd members on loopback, and a client for `Put` over gRPC.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tonic::{client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

/// `etcdserverpb.PutRequest`, the two fields that are used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`; what it holds is not looked at.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// A running cluster; stopped and removed when dropped.
pub struct Cluster {
    members: Vec<Child>,
    clients: Vec<String>,
    _directory: TempDir,
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Cluster {
    /// Starts `count` members with their default settings and waits until one
    /// answers a write.
    pub async fn start(count: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let ports: Vec<(u16, u16)> = (0..count)
            .map(|_| Ok((free_port()?, free_port()?)))
            .collect::<Result<_>>()?;
        let initial = ports
            .iter()
            .enumerate()
            .map(|(index, (peer, _))| format!("m{index}=http://127.0.0.1:{peer}"))
            .collect::<Vec<_>>()
            .join(",");
        let mut members = Vec::new();
        for (index, (peer, client)) in ports.iter().enumerate() {
            let peer = format!("http://127.0.0.1:{peer}");
            let client = format!("http://127.0.0.1:{client}");
            let member = Command::new("etcd")
                .args(["--name", &format!("m{index}")])
                .arg("--data-dir")
                .arg(directory.path().join(format!("m{index}")))
                .args([
                    "--listen-peer-urls",
                    &peer,
                    "--initial-advertise-peer-urls",
                    &peer,
                ])
                .args([
                    "--listen-client-urls",
                    &client,
                    "--advertise-client-urls",
                    &client,
                ])
                .args(["--initial-cluster", &initial, "--log-level", "error"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("etcd does not start: install it (script/setup --bench)")?;
            members.push(member);
        }
        let clients = ports
            .iter()
            .map(|(_, port)| format!("http://127.0.0.1:{port}"))
            .collect();
        let cluster = Self {
            members,
            clients,
            _directory: directory,
        };
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let attempt = async { self.connect(0).await?.put(b"ready".to_vec(), vec![]).await };
            match attempt.await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => bail!("etcd is not ready: {error:#}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// A connection to member `index`, modulo their number.
    pub async fn connect(&self, index: usize) -> Result<Client> {
        let url = self.clients[index % self.clients.len()].clone();
        let channel = Channel::from_shared(url)?
            .tcp_nodelay(true)
            .connect()
            .await?;
        Ok(Client {
            grpc: Grpc::new(channel),
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // A member that has already ended needs no signal.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

/// A client of one member; clones share its connection.
#[derive(Clone)]
pub struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    /// Writes and waits for the quorum's acknowledgement.
    pub async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.grpc.ready().await?;
        let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let request = tonic::Request::new(PutRequest { key, value });
        self.grpc.unary(request, path, codec).await?;
        Ok(())
    }
}
