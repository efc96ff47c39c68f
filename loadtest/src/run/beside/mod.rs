//! Those who are there beside publishers and viewers by WHEP: viewers of HLS, and those who chat.

mod address;
mod chat;
mod hls;
mod plan;

use std::time::{Duration, Instant};

pub(super) use self::chat::ChatCrowd;
pub(super) use self::hls::HlsCrowd;
pub use self::plan::{BesideAccess, BesidePlan, ChatPlan, HlsPlan};

use crate::client::ClientError;
use crate::report::{ChatReport, ChatSecond, HlsReport, HlsSecond};

/// What is under way when a run ends gets so long to arrive, at most.
const GRACE: Duration = Duration::from_secs(3);
/// Between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// All of them.
#[derive(Default)]
pub(super) struct Beside {
    hls: Option<HlsCrowd>,
    chat: Option<ChatCrowd>,
}

impl Beside {
    /// Sees whether they may ask whom they are to ask.
    pub async fn check(plan: &BesidePlan) -> Result<(), ClientError> {
        if let Some(hls) = &plan.hls {
            hls.gate.check(&hls.url_of(0)).await?;
        }
        if let Some(chat) = &plan.chat {
            chat.gate.check(&chat.url_of(0)).await?;
        }
        Ok(())
    }

    /// They come as they are due, from `start` on. Must be called inside a runtime.
    pub fn come(plan: &BesidePlan, start: Instant) -> Result<Self, ClientError> {
        let hls = plan.hls.as_ref().map(|hls| HlsCrowd::come(hls, start));
        let chat = plan.chat.as_ref().map(|chat| ChatCrowd::come(chat, start)).transpose()?;
        Ok(Self { hls, chat })
    }

    /// How they are, in a few words; empty where nobody is there.
    pub fn words(&self) -> String {
        let hls = self.hls.as_ref().map(HlsCrowd::words);
        let chat = self.chat.as_ref().map(ChatCrowd::words);
        hls.into_iter().chain(chat).collect::<Vec<_>>().join(" · ")
    }

    /// How they are, and what came since the last look.
    pub fn look(&mut self) -> (Option<HlsSecond>, Option<ChatSecond>) {
        (self.hls.as_mut().map(HlsCrowd::second), self.chat.as_mut().map(ChatCrowd::second))
    }

    /// The run is over: nothing is posted any more, and players are looked at a last time.
    pub fn close(&mut self) {
        if let Some(hls) = &mut self.hls {
            hls.close();
        }
        if let Some(chat) = &self.chat {
            chat.close();
        }
    }

    /// Waits a while for messages that are under way.
    pub fn settle(&self) {
        let until = Instant::now() + GRACE;
        while self.chat.as_ref().is_some_and(|chat| !chat.complete()) && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
    }

    /// What they saw, over so long a run.
    pub fn report(&self, elapsed: Duration) -> (Option<HlsReport>, Option<ChatReport>) {
        (self.hls.as_ref().map(|hls| hls.report(elapsed)), self.chat.as_ref().map(ChatCrowd::report))
    }
}
