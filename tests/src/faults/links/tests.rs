//! Tests of the links: this process dials as node 0, an echo server is node 1.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

/// Nothing came for so long: it is held.
const QUIET: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(10);

/// Two nodes: this process, and an echo server with no process of its own.
struct Pair {
    links: Links,
    proxy: u16,
}

impl Pair {
    async fn start() -> Self {
        let links = Links::start();
        let own = ProcessId::default();
        own.set(std::process::id());
        links.add(0, &own);
        let ports = links.add(1, &ProcessId::default());
        let listener = TcpListener::bind(("127.0.0.1", ports.listen))
            .await
            .unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    drop(tokio::io::copy(&mut reader, &mut writer).await);
                    drop(writer.shutdown().await);
                });
            }
        });
        let proxy = ports.raft;
        Self { links, proxy }
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.proxy)).await.unwrap()
    }
}

async fn expect(stream: &mut TcpStream, wanted: &[u8]) {
    let mut bytes = vec![0; wanted.len()];
    let read = timeout(SOON, stream.read_exact(&mut bytes)).await;
    read.expect("an echo").expect("a connection");
    assert_eq!(bytes, wanted);
}

async fn expect_nothing(stream: &mut TcpStream) {
    let read = timeout(QUIET, stream.read_u8()).await;
    assert!(read.is_err(), "something came: {read:?}");
}

/// Waits for the end of the connection, orderly or not.
async fn expect_end(stream: &mut TcpStream) {
    let read = timeout(SOON, stream.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
}

#[tokio::test]
async fn many_bytes_come_through_in_order_over_lossy_links() {
    let pair = Pair::start().await;
    pair.links.loss(0, 1, 0.05);
    pair.links.loss(1, 0, 0.05);
    pair.links.delay(1, 0, Duration::from_millis(5));
    let mut random = Random::new(1);
    let sent: Vec<u8> = (0..400_000)
        .map(|_| random.number().to_le_bytes()[0])
        .collect();
    let mut stream = pair.dial().await;
    let (mut reader, mut writer) = stream.split();
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let read = reader.read_to_end(&mut received);
    let (_, read) = timeout(SOON, async { tokio::join!(write, read) })
        .await
        .unwrap();
    read.unwrap();
    assert!(received == sent, "{} of {}", received.len(), sent.len());
}

#[tokio::test]
async fn what_a_cut_holds_arrives_in_order_when_it_is_healed_and_then_the_end() {
    let pair = Pair::start().await;
    let mut stream = pair.dial().await;
    stream.write_all(b"before ").await.unwrap();
    expect(&mut stream, b"before ").await;
    pair.links.cut(0, 1);
    stream.write_all(b"held, ").await.unwrap();
    expect_nothing(&mut stream).await;
    stream.write_all(b"and more").await.unwrap();
    stream.shutdown().await.unwrap();
    expect_nothing(&mut stream).await;
    pair.links.heal();
    expect(&mut stream, b"held, and more").await;
    expect_end(&mut stream).await;
}

#[tokio::test]
async fn a_cut_of_one_way_lets_the_other_way_pass() {
    let pair = Pair::start().await;
    let mut stream = pair.dial().await;
    stream.write_all(b"a").await.unwrap();
    expect(&mut stream, b"a").await;
    // The echo of what passes one way is held on the other.
    pair.links.cut(1, 0);
    stream.write_all(b"b").await.unwrap();
    expect_nothing(&mut stream).await;
    pair.links.heal();
    pair.links.cut(0, 1);
    expect(&mut stream, b"b").await;
    stream.write_all(b"c").await.unwrap();
    expect_nothing(&mut stream).await;
}

#[tokio::test]
async fn a_new_connection_waits_for_both_ways() {
    for (from, to) in [(0, 1), (1, 0)] {
        let pair = Pair::start().await;
        pair.links.cut(from, to);
        let mut stream = pair.dial().await;
        stream.write_all(b"hello").await.unwrap();
        expect_nothing(&mut stream).await;
        pair.links.heal();
        expect(&mut stream, b"hello").await;
    }
}

#[tokio::test]
async fn a_delay_is_kept_and_does_not_add_up() {
    const DELAY: Duration = Duration::from_millis(150);
    let pair = Pair::start().await;
    let mut stream = pair.dial().await;
    pair.links.delay(0, 1, DELAY);
    pair.links.delay(1, 0, DELAY);
    let started = Instant::now();
    for byte in b"abcdefghij" {
        stream.write_u8(*byte).await.unwrap();
    }
    expect(&mut stream, b"abcdefghij").await;
    let took = started.elapsed();
    assert!((DELAY * 2..DELAY * 8).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_lost_piece_comes_later() {
    let pair = Pair::start().await;
    let mut stream = pair.dial().await;
    pair.links.loss(0, 1, 1.0);
    let started = Instant::now();
    stream.write_all(b"a").await.unwrap();
    expect(&mut stream, b"a").await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
}

#[tokio::test]
async fn a_reset_ends_the_connections_that_there_are_and_no_later_one() {
    let pair = Pair::start().await;
    let mut first = pair.dial().await;
    first.write_all(b"a").await.unwrap();
    expect(&mut first, b"a").await;
    pair.links.isolate(0);
    let mut waiting = pair.dial().await;
    expect_nothing(&mut waiting).await;
    pair.links.reset(1, 0);
    expect_end(&mut first).await;
    expect_end(&mut waiting).await;
    pair.links.heal();
    let mut second = pair.dial().await;
    second.write_all(b"b").await.unwrap();
    expect(&mut second, b"b").await;
}

#[tokio::test]
async fn a_dialler_that_is_no_node_is_hung_up_on() {
    let pair = Pair::start().await;
    let other = ProcessId::default();
    pair.links.0.shared.nodes.lock().unwrap()[0] = other.clone();
    let mut stream = pair.dial().await;
    expect_end(&mut stream).await;
    other.set(std::process::id());
    let mut stream = pair.dial().await;
    stream.write_all(b"a").await.unwrap();
    expect(&mut stream, b"a").await;
}
