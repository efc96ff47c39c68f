//! The coordinator's clock, and agents that ask for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::message::{Clock, Question, now, subject};
use super::offset::{Estimate, Exchange, best};
use super::post::{Hearing, Post};
use crate::clock;

/// Questions at the start, of which the fastest is believed; and later ones.
const FIRST: u64 = 16;
const LATER: u64 = 8;
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_secs(5);
/// While nothing is known.
const IMPATIENCE: Duration = Duration::from_millis(200);
/// An answer that takes longer says little.
const ANSWER: Duration = Duration::from_millis(300);

/// Answers questions; ends with the bus.
pub(super) async fn answer(post: Arc<Post>, run: String, mut asked: Hearing) {
    while let Some((_, question)) = asked.next::<Question>().await {
        let read = now();
        let to = subject::told(&run, &question.agent);
        post.try_send(&to, &Question { read, answered: now(), ..question }).await;
    }
}

/// Asks now and again, sets this process's clock, and tells what is known; ends with the bus.
pub(super) async fn follow(post: Arc<Post>, run: String, agent: String, told: watch::Sender<Option<Clock>>) {
    let mut answers = post.hear(&subject::told(&run, &agent));
    let (mut estimate, mut nth) = (Estimate::default(), 0);
    loop {
        let known = estimate.at(own_now()).is_some();
        let mut exchanges = Vec::new();
        for _ in 0..if known { LATER } else { FIRST } {
            nth += 1;
            exchanges.extend(ask(&post, &run, &agent, nth, &mut answers).await);
        }
        let now = own_now();
        if let Some(offset) = best(&exchanges) {
            estimate.update(now, offset);
        }
        if let (Some(offset), Some(uncertainty)) = (estimate.at(now), estimate.worst(now)) {
            clock::correct(offset.micros);
            let jumped = estimate.jumped();
            told.send_replace(Some(Clock { offset: offset.micros, uncertainty, jumped }));
        }
        tokio::time::sleep(if estimate.at(now).is_some() { PAUSE } else { IMPATIENCE }).await;
    }
}

async fn ask(post: &Post, run: &str, agent: &str, nth: u64, answers: &mut Hearing) -> Option<Exchange> {
    let question = Question { agent: agent.to_owned(), nth, read: 0, answered: 0 };
    let asked = own_now();
    post.send(&subject::ask(run), &question).await.ok()?;
    let answer = async {
        loop {
            let (_, answer) = answers.next::<Question>().await?;
            let heard = own_now();
            // One to an earlier question was too slow.
            if answer.nth == nth {
                return Some(Exchange { asked, read: answer.read, answered: answer.answered, heard });
            }
        }
    };
    tokio::time::timeout(ANSWER, answer).await.ok().flatten()
}

fn own_now() -> u64 {
    clock::own_micros(Instant::now())
}
