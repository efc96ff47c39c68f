//! Whether a real decoder can decode what a viewer gets: its frames are piped to ffmpeg, which says how many became
//! pictures and what it complains of.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::guard::lock;
use crate::media::VideoCodec;
use crate::media::assemble::{Assembler, Piece, Whole};

/// The decoder.
const PROGRAM: &str = "ffmpeg";
/// Frames that wait for the decoder to read them: more than a gap holds back.
const WAITING: usize = 256;
/// A decoder that has been given all has so long to be done.
const FINISH: Duration = Duration::from_secs(3);
/// Longest line that is read of what it says, in bytes.
const LINE: usize = 512;

/// What came of the frames that a viewer's decoder was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decoded {
    /// Frames handed to the decoder, from the first keyframe on.
    pub handed: u64,
    /// Pictures that it made of them so far.
    pub decoded: u64,
    /// Lines that it complained in.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// Frames of which something was missing: not handed over.
    pub broken: u64,
    /// Whole frames that were not handed over because the decoder was too slow, up to the next keyframe.
    pub dropped: u64,
    /// All that it was given has been decoded, or it was ended.
    pub finished: bool,
}

impl Decoded {
    /// Frames that should have become pictures and did not; while it goes on only those that were not handed over.
    pub fn missing(&self) -> u64 {
        let lacking = if self.finished { self.handed.saturating_sub(self.decoded) } else { 0 };
        self.broken.saturating_add(lacking)
    }
}

/// Sees that the decoder can be started; says in one line what to do if not. Blocks for some milliseconds.
pub(crate) fn decoder_is_there() -> Result<(), String> {
    let run = std::process::Command::new(PROGRAM)
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match run {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{PROGRAM} cannot be used to decode: it ended with {status}")),
        Err(error) => {
            Err(format!("{PROGRAM} cannot be started: {error}; install it, or do without decoding viewers"))
        }
    }
}

/// Where frames go.
#[derive(Debug, Default)]
enum Feed {
    /// No keyframe came yet.
    #[default]
    Idle,
    Open(mpsc::Sender<Vec<u8>>, AbortHandle),
    Closed,
}

/// A viewer's decoder, shared between its task and those who ask.
#[derive(Debug, Default)]
pub(crate) struct Decoding {
    seen: Arc<Mutex<Decoded>>,
    feed: Mutex<Feed>,
    over: watch::Sender<bool>,
}

impl Decoding {
    /// What came of it so far.
    pub fn seen(&self) -> Decoded {
        lock(&self.seen).clone()
    }

    /// Gives the decoder nothing more and waits until it has decoded all; one that takes too long is ended.
    pub async fn finish(&self) {
        let feed = std::mem::replace(&mut *lock(&self.feed), Feed::Closed);
        if let Feed::Open(frames, task) = feed {
            drop(frames);
            let mut over = self.over.subscribe();
            if tokio::time::timeout(FINISH, over.wait_for(|over| *over)).await.is_err() {
                task.abort();
                complain(&self.seen, "it was ended: it was not done in time");
            }
        }
        lock(&self.seen).finished = true;
    }

    /// Hands a frame over; false if there is no room for it. Must be called inside a runtime.
    fn hand(&self, codec: VideoCodec, frame: Vec<u8>) -> bool {
        let mut feed = lock(&self.feed);
        if matches!(*feed, Feed::Idle) {
            let (sender, frames) = mpsc::channel(WAITING);
            let work = decode(codec, frames, Arc::clone(&self.seen), self.over.clone());
            *feed = Feed::Open(sender, tokio::spawn(work).abort_handle());
        }
        let Feed::Open(frames, _) = &*feed else { return true };
        if let Err(TrySendError::Full(_)) = frames.try_send(frame) {
            return false;
        }
        // One whose decoder is gone is as good as handed over: it will be missing.
        lock(&self.seen).handed += 1;
        true
    }
}

/// The session's side: packets come in.
pub(super) struct Decoder {
    decoding: Arc<Decoding>,
    source: Option<(u32, VideoCodec, Assembler)>,
    /// Frames wait for a keyframe: none came yet, or some before were dropped.
    waits: bool,
    begun: bool,
    first: Option<u32>,
    /// Broken frames of sources before this one.
    broken: u64,
}

impl Decoder {
    pub fn new(decoding: Arc<Decoding>) -> Self {
        Self { decoding, source: None, waits: true, begun: false, first: None, broken: 0 }
    }

    /// A packet of the source's video came.
    pub fn on_packet(&mut self, ssrc: u32, codec: VideoCodec, piece: Piece) {
        if self.source.as_ref().is_some_and(|(known, ..)| *known != ssrc) {
            // Another source has numbers of its own, and begins with a keyframe of its own.
            self.waits = true;
            self.source = None;
        }
        let (_, codec, assembler) = self.source.get_or_insert_with(|| (ssrc, codec, Assembler::new(codec)));
        let (codec, before) = (*codec, assembler.broken());
        let frames = assembler.push(piece);
        if self.begun {
            self.broken += assembler.broken() - before;
            lock(&self.decoding.seen).broken = self.broken;
        }
        frames.into_iter().for_each(|frame| self.frame(codec, frame));
    }

    fn frame(&mut self, codec: VideoCodec, frame: Whole) {
        self.waits &= !frame.keyframe;
        if !self.waits {
            let bytes = match codec {
                VideoCodec::H264 => frame.bytes,
                VideoCodec::Vp8 => self.ivf(frame.timestamp, &frame.bytes),
            };
            self.waits = !self.decoding.hand(codec, bytes);
            self.begun = true;
        }
        if self.waits && self.begun {
            lock(&self.decoding.seen).dropped += 1;
        }
    }

    /// A VP8 frame in IVF, whose header goes in front of the first one.
    fn ivf(&mut self, timestamp: u32, frame: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(frame.len() + 44);
        let first = *self.first.get_or_insert_with(|| {
            bytes.extend_from_slice(b"DKIF\0\0\x20\0VP80");
            // Width and height stand in the keyframe (RFC 6386 section 9.1).
            bytes.extend_from_slice(frame.get(6..10).unwrap_or(&[0; 4]));
            for number in [90_000_u32, 1, 0, 0] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            timestamp
        });
        bytes.extend_from_slice(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&u64::from(timestamp.wrapping_sub(first)).to_le_bytes());
        bytes.extend_from_slice(frame);
        bytes
    }
}

fn complain(seen: &Mutex<Decoded>, line: &str) {
    let mut seen = lock(seen);
    seen.errors += 1;
    seen.first_error.get_or_insert_with(|| line.to_owned());
}

async fn decode(
    codec: VideoCodec,
    frames: mpsc::Receiver<Vec<u8>>,
    seen: Arc<Mutex<Decoded>>,
    over: watch::Sender<bool>,
) {
    match start(codec) {
        Ok(child) => drive(child, frames, &seen).await,
        Err(error) => complain(&seen, &format!("{PROGRAM} cannot be started: {error}")),
    }
    lock(&seen).finished = true;
    over.send_replace(true);
}

fn start(codec: VideoCodec) -> std::io::Result<Child> {
    let format = match codec {
        VideoCodec::H264 => "h264",
        VideoCodec::Vp8 => "ivf",
    };
    let mut command = Command::new(PROGRAM);
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1", "-f", format]);
    command.args(["-i", "pipe:0", "-progress", "pipe:1", "-f", "null", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn()
}

async fn drive(mut child: Child, mut frames: mpsc::Receiver<Vec<u8>>, seen: &Mutex<Decoded>) {
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let writing = async {
        let Some(mut stdin) = stdin else { return };
        while let Some(frame) = frames.recv().await {
            if stdin.write_all(&frame).await.is_err() {
                // It has ended, and has said why.
                return;
            }
        }
    };
    let counting = lines(out, |line| {
        if let Some(count) = line.strip_prefix("frame=").and_then(|count| count.trim().parse().ok()) {
            lock(seen).decoded = count;
        }
    });
    let listening = lines(err, |line| complain(seen, line));
    tokio::join!(writing, counting, listening);
    let _ended = child.wait().await;
}

/// Reads lines to the end, of each as much as is bearable.
async fn lines(from: Option<impl AsyncRead + Unpin>, mut each: impl FnMut(&str)) {
    let Some(mut from) = from else { return };
    let (mut buffer, mut line) = ([0_u8; 4_096], Vec::new());
    let mut say = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).trim().to_owned();
        if !text.is_empty() {
            each(&text);
        }
        line.clear();
    };
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        for byte in buffer.get(..count).unwrap_or_default() {
            match byte {
                b'\n' => say(&mut line),
                _ if line.len() < LINE => line.push(*byte),
                _ => {}
            }
        }
    }
    say(&mut line);
}
