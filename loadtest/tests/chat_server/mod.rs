//! A scripted server of a room's chat, by hand on TCP: it loses, repeats and swaps the messages that it is told to, and
//! breaks off streams of events.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the server does wrong, by the number of the message that it stores, from 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Script {
    /// It is acknowledged, and nobody hears it.
    pub lose: Option<u64>,
    /// Everybody hears it twice.
    pub repeat: Option<u64>,
    /// Everybody hears the next one before it.
    pub swap: Option<u64>,
    /// Before it is stored it is refused once, with 429 and `Retry-After: 1`.
    pub refuse: Option<u64>,
    /// Streams that began at the beginning break off behind it.
    pub break_off: Option<u64>,
    /// Who has no such token is refused.
    pub token: Option<&'static str>,
}

#[derive(Default)]
struct Log {
    stored: u64,
    refused: bool,
    /// What is heard, in this order.
    heard: Vec<(u64, String)>,
    held: Option<(u64, String)>,
}

struct Shared {
    script: Script,
    log: Mutex<Log>,
    news: watch::Sender<usize>,
    streams: AtomicU64,
}

pub struct ChatServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ChatServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ChatServer {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script,
            log: Mutex::default(),
            news: watch::Sender::default(),
            streams: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away is no failure.
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared, task }
    }

    pub fn room(&self) -> String {
        format!("http://{}/v1/rooms/demo", self.address)
    }

    pub fn stored(&self) -> u64 {
        self.shared.log.lock().unwrap().stored
    }

    pub fn streams(&self) -> u64 {
        self.shared.streams.load(Ordering::Relaxed)
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut length, mut last_id, mut token) = (String::new(), 0, None, String::new());
        if stream.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "last-event-id" => last_id = Some(value.parse::<u64>().unwrap()),
                "authorization" => token = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let wanted = shared.script.token.map(|token| format!("Bearer {token}"));
        if wanted.is_some_and(|wanted| wanted != token) {
            answer(&mut stream, "401 Unauthorized", "", "{}").await?;
        } else if first.starts_with("GET /v1/rooms/demo/events ") {
            return listen(stream, shared, last_id).await;
        } else if first.starts_with("POST /v1/rooms/demo/chat ") {
            match store(&shared, &serde_json::from_slice(&body).unwrap()) {
                Some(receipt) => answer(&mut stream, "201 Created", "", &receipt.to_string()).await?,
                None => answer(&mut stream, "429 Too Many Requests", "retry-after: 1\r\n", "{}").await?,
            }
        } else {
            answer(&mut stream, "404 Not Found", "", "{}").await?;
        }
    }
}

async fn answer(
    stream: &mut BufReader<TcpStream>,
    status: &str,
    more: &str,
    body: &str,
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await
}

/// Stores a message; nothing if it is refused this time.
fn store(shared: &Shared, post: &Value) -> Option<Value> {
    let mut log = shared.log.lock().unwrap();
    let seq = log.stored + 1;
    if shared.script.refuse == Some(seq) && !std::mem::replace(&mut log.refused, true) {
        return None;
    }
    log.stored = seq;
    let message = json!({
        "id": post["id"], "from": post["from"], "text": post["text"], "at_ms": post["at_ms"], "seq": seq
    });
    let event = (seq, format!("event: chat\nid: {seq}\ndata: {message}\n\n"));
    if shared.script.swap == Some(seq) {
        log.held = Some(event);
    } else if shared.script.lose != Some(seq) {
        if shared.script.repeat == Some(seq) {
            log.heard.push(event.clone());
        }
        log.heard.push(event);
        let held = log.held.take();
        log.heard.extend(held);
    }
    shared.news.send_replace(log.heard.len());
    Some(json!({"seq": seq, "id": post["id"]}))
}

async fn listen(
    mut stream: BufReader<TcpStream>,
    shared: Arc<Shared>,
    last_id: Option<u64>,
) -> std::io::Result<()> {
    shared.streams.fetch_add(1, Ordering::Relaxed);
    let mut news = shared.news.subscribe();
    let mut next = {
        let log = shared.log.lock().unwrap();
        last_id.and_then(|id| log.heard.iter().rposition(|(seq, _)| *seq == id)).map_or(0, |place| place + 1)
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: snapshot\ndata: {}\n\n";
    stream.write_all(head.as_bytes()).await?;
    loop {
        let event = shared.log.lock().unwrap().heard.get(next).cloned();
        let Some((seq, text)) = event else {
            if news.changed().await.is_err() {
                return Ok(());
            }
            continue;
        };
        stream.write_all(text.as_bytes()).await?;
        next += 1;
        if last_id.is_none() && shared.script.break_off == Some(seq) {
            return stream.shutdown().await;
        }
    }
}
