//! The client against a server of a few lines.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

const SOON: Duration = Duration::from_secs(5);
const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Serves one connection: reads a request, sends the pieces one by one, gives the socket back.
async fn serving(pieces: &'static [&'static str]) -> (String, JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream
    });
    (address, task)
}

#[tokio::test]
async fn events_are_read_from_chunks_as_they_come() {
    let (address, server) = serving(&[
        HEAD,
        "1A\r\nevent: put\nid: 1\ndata: a\n\n\r\n8",
        "\r\ndata: b\n\r\n1\r\n\n\r\n",
    ])
    .await;
    let mut stream = EventStream::expect_open(&address, &Subscription::all().request()).await;
    assert_eq!(stream.last_id(), "");
    assert_eq!(stream.expect("put", SOON).await.data, "a");
    assert_eq!(stream.expect("message", SOON).await.data, "b");
    assert_eq!(stream.last_id(), "1");
    let socket = server.await.unwrap();
    assert_eq!(stream.next(Duration::from_millis(50)).await, Next::Silence);
    drop(socket);
    assert_eq!(stream.next(SOON).await, Next::End("closed".to_owned()));
}

#[tokio::test]
async fn a_client_breaks_off_in_the_middle_of_an_event() {
    let (address, _server) = serving(&[HEAD, "1C\r\ndata: a\nid: 1\n\ndata: b\nid:2\n\r\n"]).await;
    let mut stream = EventStream::expect_open(&address, &Subscription::all().request()).await;
    stream.cut_after(20);
    assert!(matches!(stream.next(SOON).await, Next::Event(event) if event.data == "a"));
    assert!(matches!(stream.next(SOON).await, Next::End(_)));
    assert!(stream.is_inside());
    assert_eq!(stream.last_id(), "1");
}

#[tokio::test]
async fn an_end_of_the_chunks_is_the_end_and_a_bad_chunk_is_said() {
    let (address, _server) = serving(&[HEAD, "9\r\ndata: a\n\n\r\n0\r\n\r\n"]).await;
    let mut stream = EventStream::expect_open(&address, &Subscription::all().request()).await;
    let (events, end) = stream.ended_within(SOON).await.unwrap();
    assert_eq!((events.len(), end.as_str()), (1, "ended"));

    let (address, _server) = serving(&[HEAD, "zz\r\n"]).await;
    let mut stream = EventStream::expect_open(&address, &Subscription::all().request()).await;
    let (_, end) = stream.ended_within(SOON).await.unwrap();
    assert!(end.starts_with("broken"), "{end}");
}

#[tokio::test]
async fn another_answer_is_given_whole() {
    let (address, _server) =
        serving(&["HTTP/1.1 410 Gone\r\ncontent-type: x\r\ncontent-length: 2\r\n\r\nno"]).await;
    let opened = EventStream::open(&address, &Subscription::all().since(1)).await;
    let Ok(Opened::Refused(response)) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!((response.status, response.text().as_str()), (410, "no"));
}

#[test]
fn a_subscription_is_a_query() {
    let asked = Subscription::all()
        .prefix("a/")
        .prefix("b")
        .types(&["put", "lock"]);
    let request = asked.clone().names_only().or_snapshot().since(7);
    assert_eq!(
        request.target,
        "/api/events?prefix=a/&prefix=b&types=put,lock&values=false&on_compacted=snapshot&since=7"
    );
    assert!(asked.matches("put", "a/x") && asked.matches("lock", "bc"));
    assert!(!asked.matches("delete", "a/x") && !asked.matches("put", "c"));
    assert!(Subscription::all().prefix("z").matches("member", ""));
}
