//! A word to clients with whom HTTP is not begun.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cors::EXPOSED;

/// A last word to a client with which HTTP is not begun.
pub(super) async fn tell(mut stream: TcpStream, status: &str, problem: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: {EXPOSED}\r\n\
         Cache-Control: no-store\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{problem}",
        problem.len()
    );
    let mut asked = [0; 4096];
    let _asked = timeout(Duration::from_millis(100), stream.read(&mut asked)).await;
    let _told = timeout(Duration::from_millis(100), stream.write_all(answer.as_bytes())).await;
}
