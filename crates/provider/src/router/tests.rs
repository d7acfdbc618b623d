//! Real TLS clients through the door to an enclave's side of the channel that
//! ends TLS itself, as the real one does.

use std::{collections::HashMap, net::SocketAddr};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use wire::channel::{
    EnclaveMessage, HostMessage, MAX_DATA_BYTES, STREAM_WINDOW, StreamId, decode_frame,
    encode_frame, frame_length,
};

use super::*;
use crate::channel::{Incoming, Outbox, read_frames};

/// What an enclave does with a connection after TLS.
#[derive(Clone, Copy)]
enum Service {
    /// Says its own letter, then echoes.
    Echo(u8),
    /// Drops every stream as soon as it is opened.
    Drop,
    /// Takes the ClientHello and says nothing.
    Silent,
}

struct Door {
    router: Arc<Router>,
    address: SocketAddr,
    roots: RootCertStore,
}

async fn door(idle: Duration) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Arc::new(Router::default());
    tokio::spawn(router.clone().serve(listener, 64, idle));
    Door {
        router,
        address,
        roots: RootCertStore::empty(),
    }
}

impl Door {
    /// Starts an enclave's side for `name` and routes to it.
    fn add(&mut self, name: &str, number: u8, service: Service) -> Arc<Streams> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let certificate = made.cert.der().clone();
        self.roots.add(certificate.clone()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let outbox = Arc::new(Outbox::default());
        let streams = Arc::new(Streams::new(outbox.clone()));
        let (host, enclave) = tokio::io::duplex(256 * 1024);
        let (read, write) = tokio::io::split(host);
        tokio::spawn(async move { outbox.write_to(write).await });
        tokio::spawn({
            let streams = streams.clone();
            async move {
                let receive = |incoming: Incoming<'_>| {
                    match incoming {
                        Incoming::Data(stream, bytes) => streams.data(stream, bytes),
                        Incoming::Message(EnclaveMessage::Finish { stream }) => {
                            streams.finish(stream);
                        }
                        Incoming::Message(EnclaveMessage::Reset { stream }) => {
                            streams.reset(stream);
                        }
                        Incoming::Message(EnclaveMessage::Credit { stream, bytes }) => {
                            streams.credit(stream, bytes);
                        }
                        Incoming::Message(other) => panic!("{other:?}"),
                    }
                    Ok(())
                };
                read_frames(read, receive).await
            }
        });
        tokio::spawn(enclave_side(
            enclave,
            TlsAcceptor::from(Arc::new(config)),
            service,
        ));
        let name = name.parse().unwrap();
        self.router
            .add(&name, ContractId([number; 32]), streams.clone());
        streams
    }

    async fn connect(&self, name: &str) -> std::io::Result<impl AsyncRead + AsyncWrite + use<>> {
        let config = ClientConfig::builder()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    /// The first byte that the service of `name` says.
    async fn letter(&self, name: &str) -> std::io::Result<u8> {
        let mut tls = self.connect(name).await?;
        tls.read_u8().await
    }
}

/// An enclave's end of the channel, in as few lines as the protocol allows.
async fn enclave_side(pipe: DuplexStream, acceptor: TlsAcceptor, service: Service) {
    let (mut read, mut write) = tokio::io::split(pipe);
    let (frames, mut outgoing) = tokio::sync::mpsc::unbounded_channel::<EnclaveMessage>();
    tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            let mut frame = Vec::new();
            encode_frame(&message, &mut frame).unwrap();
            if write.write_all(&frame).await.is_err() {
                return;
            }
        }
    });
    let mut inward: HashMap<StreamId, tokio::sync::mpsc::UnboundedSender<Vec<u8>>> = HashMap::new();
    let mut credits: HashMap<StreamId, Arc<Semaphore>> = HashMap::new();
    loop {
        let mut header = [0; 4];
        if read.read_exact(&mut header).await.is_err() {
            return;
        }
        let mut body = vec![0; frame_length(header).unwrap()];
        read.read_exact(&mut body).await.unwrap();
        match decode_frame::<HostMessage>(&body).unwrap() {
            HostMessage::Open { stream } => {
                if let Service::Drop = service {
                    frames.send(EnclaveMessage::Reset { stream }).unwrap();
                    continue;
                }
                let (near, far) = tokio::io::duplex(64 * 1024);
                let (outward, input) = tokio::io::split(near);
                let credit = Arc::new(Semaphore::new(STREAM_WINDOW as usize));
                let (data, incoming) = tokio::sync::mpsc::unbounded_channel();
                inward.insert(stream, data);
                tokio::spawn(take_in(stream, incoming, input, frames.clone()));
                credits.insert(stream, credit.clone());
                tokio::spawn(send_out(stream, outward, credit, frames.clone()));
                tokio::spawn(serve(far, acceptor.clone(), service));
            }
            HostMessage::Data { stream, bytes } => {
                if let Some(input) = inward.get(&stream) {
                    let _ = input.send(bytes);
                }
            }
            HostMessage::Finish { stream } => {
                inward.remove(&stream);
            }
            HostMessage::Reset { stream } => {
                inward.remove(&stream);
            }
            HostMessage::Credit { stream, bytes } => {
                credits[&stream].add_permits(bytes as usize);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Hands a stream's bytes to its service, and credit back as it takes them.
async fn take_in(
    stream: StreamId,
    mut incoming: tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>,
    mut input: tokio::io::WriteHalf<DuplexStream>,
    frames: tokio::sync::mpsc::UnboundedSender<EnclaveMessage>,
) {
    while let Some(bytes) = incoming.recv().await {
        if input.write_all(&bytes).await.is_err() {
            return;
        }
        let bytes = bytes.len() as u32;
        let _ = frames.send(EnclaveMessage::Credit { stream, bytes });
    }
    let _ = input.shutdown().await;
}

/// Sends what a stream says, within its credit.
async fn send_out(
    stream: StreamId,
    mut outward: tokio::io::ReadHalf<DuplexStream>,
    credit: Arc<Semaphore>,
    frames: tokio::sync::mpsc::UnboundedSender<EnclaveMessage>,
) {
    let mut buffer = vec![0; MAX_DATA_BYTES];
    loop {
        let read = outward.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            let _ = frames.send(EnclaveMessage::Finish { stream });
            return;
        }
        credit.acquire_many(read as u32).await.unwrap().forget();
        let bytes = buffer[..read].to_vec();
        let _ = frames.send(EnclaveMessage::Data { stream, bytes });
    }
}

async fn serve(stream: DuplexStream, acceptor: TlsAcceptor, service: Service) {
    let Service::Echo(letter) = service else {
        let mut stream = stream;
        let mut sink = vec![0; 4096];
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        return;
    };
    let Ok(mut tls) = acceptor.accept(stream).await else {
        return;
    };
    tls.write_all(&[letter]).await.unwrap();
    let (mut read, mut write) = tokio::io::split(tls);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_name_reaches_its_own_enclave() {
    let mut door = door(PATIENT).await;
    door.add("one.internal", 1, Service::Echo(b'1'));
    door.add("two.internal", 2, Service::Echo(b'2'));
    for _ in 0..3 {
        assert_eq!(door.letter("one.internal").await.unwrap(), b'1');
        assert_eq!(door.letter("two.internal").await.unwrap(), b'2');
    }
    assert_eq!(door.router.counts().refused, 0);
}

#[tokio::test]
async fn replicas_of_one_name_take_turns() {
    let mut door = door(PATIENT).await;
    door.add("one.internal", 1, Service::Echo(b'a'));
    door.add("one.internal", 2, Service::Echo(b'b'));
    let mut letters = Vec::new();
    for _ in 0..6 {
        letters.push(door.letter("one.internal").await.unwrap());
    }
    let of = |letter| letters.iter().filter(|l| **l == letter).count();
    assert_eq!((of(b'a'), of(b'b')), (3, 3));
    door.router.remove(ContractId([1; 32]));
    for _ in 0..3 {
        assert_eq!(door.letter("one.internal").await.unwrap(), b'b');
    }
}

#[tokio::test]
async fn an_unknown_name_is_told_so_by_a_tls_alert() {
    let mut door = door(PATIENT).await;
    door.add("one.internal", 1, Service::Echo(b'1'));
    let error = door.letter("other.internal").await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    door.router.remove(ContractId([1; 32]));
    assert!(door.letter("one.internal").await.is_err());
    assert_eq!(door.router.counts().refused, 2);
    assert_eq!(door.router.counts().names, 0);
}

#[tokio::test]
async fn what_is_no_client_hello_is_refused() {
    let door = door(PATIENT).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[22, 3, 1, 255, 255],
        &[0; 600],
    ] {
        let mut tcp = TcpStream::connect(door.address).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Whether an alert came or a reset, nothing of a service did.
        let _ = tcp.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
}

#[tokio::test]
async fn a_client_hello_may_come_byte_by_byte() {
    let mut door = door(PATIENT).await;
    door.add("one.internal", 1, Service::Echo(b'1'));
    let config = ClientConfig::builder()
        .with_root_certificates(door.roots.clone())
        .with_no_client_auth();
    let tcp = TcpStream::connect(door.address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let (near, far) = tokio::io::duplex(1);
    tokio::spawn(async move {
        let (mut far, mut tcp) = (far, tcp);
        // The duplex passes one byte at a time.
        tokio::io::copy_bidirectional_with_sizes(&mut far, &mut tcp, 1, 1).await
    });
    let name = ServerName::try_from("one.internal").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut tls = connector.connect(name, near).await.unwrap();
    assert_eq!(tls.read_u8().await.unwrap(), b'1');
}

#[tokio::test]
async fn megabytes_pass_both_ways_unchanged_beside_a_client_that_does_not_read() {
    let mut door = door(PATIENT).await;
    let streams = door.add("one.internal", 1, Service::Echo(b'1'));
    // This client sends and never reads: its stream stops, the other goes on.
    let stuck = door.connect("one.internal").await.unwrap();
    let (_unread, mut stuck) = tokio::io::split(stuck);
    let stuck = tokio::spawn(async move {
        let _ = stuck.write_all(&vec![1; 32 * 1024 * 1024]).await;
    });
    let mut tls = door.connect("one.internal").await.unwrap();
    assert_eq!(tls.read_u8().await.unwrap(), b'1');
    let sent: Vec<u8> = (0..16_000_000u32).map(|n| (n % 253) as u8).collect();
    let (mut read, mut write) = tokio::io::split(tls);
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    read.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();
    assert!(received == expected);
    assert!(!stuck.is_finished());
    stuck.abort();
    assert!(streams.carried() > 32_000_000);
}

#[tokio::test]
async fn a_dropped_stream_drops_the_client_and_is_forgotten() {
    let mut door = door(PATIENT).await;
    let streams = door.add("one.internal", 1, Service::Drop);
    assert!(door.letter("one.internal").await.is_err());
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while streams.count() > 0 {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_silent_connection_is_dropped_after_the_idle_limit() {
    let mut door = door(Duration::from_millis(200)).await;
    let streams = door.add("one.internal", 1, Service::Silent);
    let started = std::time::Instant::now();
    assert!(door.letter("one.internal").await.is_err());
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(streams.count(), 0);
}

#[tokio::test]
async fn an_enclave_that_is_gone_drops_all_its_clients() {
    let mut door = door(PATIENT).await;
    let streams = door.add("one.internal", 1, Service::Echo(b'1'));
    let mut tls = door.connect("one.internal").await.unwrap();
    assert_eq!(tls.read_u8().await.unwrap(), b'1');
    streams.reset_all();
    assert!(tls.read_u8().await.is_err());
}
