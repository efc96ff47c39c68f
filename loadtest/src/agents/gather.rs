//! Finds agents and gives each its share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_cluster::bus::nats::NatsConfig;
use tokio::runtime::Builder;

use super::field::Member;
use super::message::{Brief, Call, Hello, Order, Word, subject, version};
use super::post::{Hearing, Post};
use super::{AgentsError, BEAT, Field, clocks};
use crate::num;
use crate::run::RunPlan;

/// Between two calls.
const CALL: Duration = Duration::from_millis(500);
/// Agents have so long to prepare their shares.
pub(super) const PREPARE: Duration = Duration::from_secs(30);

/// What is wanted of agents.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where they are met.
    pub nats: NatsConfig,
    /// How many are needed, and no more are taken.
    pub agents: u32,
    /// They are called for so long.
    pub within: Duration,
    /// Latency counts while every agent's clock is known at least so well.
    pub clock: Duration,
}

/// Finds agents and has them prepare their shares of a plan. `brief` describes it; each gets its own number. Blocks; must
/// not run inside a runtime. `say` is told of agents that cannot be used.
pub fn gather(
    wanted: &Wanted,
    brief: &Brief,
    plan: &RunPlan,
    say: impl FnMut(&str),
) -> Result<Arc<Field>, AgentsError> {
    let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("agents").enable_all().build();
    let runtime =
        runtime.map_err(|error| AgentsError::Host(format!("threads cannot be started: {error}")))?;
    let brief = Brief { limit: plan.time_limit, ..brief.clone() };
    let gathered = runtime.block_on(find(wanted, &brief, say));
    match gathered {
        Ok(Gathered { post, run, heard, members }) => {
            Ok(Field::open(runtime, post, run, heard, members, plan, wanted.clock))
        }
        Err(error) => {
            runtime.shutdown_background();
            Err(error)
        }
    }
}

struct Gathered {
    post: Arc<Post>,
    run: String,
    heard: Hearing,
    members: Vec<Member>,
}

async fn find(wanted: &Wanted, brief: &Brief, say: impl FnMut(&str)) -> Result<Gathered, AgentsError> {
    let post = Arc::new(Post::connect(wanted.nats.clone()).await?);
    let run = format!("{:016x}", rand::random::<u64>());
    let mut heard = post.hear(&subject::from(&run, "*"));
    let asked = post.hear(&subject::ask(&run));
    tokio::spawn(clocks::answer(Arc::clone(&post), run.clone(), asked));
    let mut agents = call(wanted, &post, &run, &mut heard, say).await?;
    // The same machines get the same seats in each run.
    agents.sort_by(|one, other| (&one.name, &one.agent).cmp(&(&other.name, &other.agent)));
    for (share, agent) in (0..).zip(&agents) {
        let brief = Box::new(Brief { share, of: wanted.agents, ..brief.clone() });
        let order = Order::Prepare { run: run.clone(), brief };
        post.send(&subject::agent(&agent.agent), &order).await?;
    }
    let prepared = prepared(&post, &run, agents, &mut heard).await;
    if prepared.is_err() {
        post.try_send(&subject::to(&run), &Order::Over).await;
        post.settle().await;
    }
    Ok(Gathered { post, run, heard, members: prepared? })
}

/// Calls until so many have answered as are needed.
async fn call(
    wanted: &Wanted,
    post: &Post,
    run: &str,
    heard: &mut Hearing,
    mut say: impl FnMut(&str),
) -> Result<Vec<Hello>, AgentsError> {
    let call = Call { run: run.to_owned(), version: version() };
    let (mut found, mut refused): (Vec<Hello>, Vec<(String, String)>) = (Vec::new(), Vec::new());
    let end = Instant::now() + wanted.within;
    let mut again = tokio::time::interval(CALL);
    while num::len(found.len()) < u64::from(wanted.agents) {
        tokio::select! {
            _ = again.tick() => post.try_send(subject::CALL, &call).await,
            came = heard.next::<Word>() => {
                let Some((_, word)) = came else { return Err(AgentsError::Nats("it is closed".into())) };
                let Word::Hello(hello) = word else { continue };
                let known = found.iter().any(|one| one.agent == hello.agent);
                if known || refused.iter().any(|(agent, _)| *agent == hello.agent) {
                    continue;
                }
                if hello.version == call.version {
                    found.push(hello);
                } else {
                    let why = format!("agent {} is version {} and this is {}", hello.name, hello.version, call.version);
                    say(&why);
                    refused.push((hello.agent, why));
                }
            }
            () = tokio::time::sleep_until(end.into()) => {
                let refused = refused.into_iter().map(|(_, why)| why).collect();
                let (wanted, within) = (wanted.agents, wanted.within);
                return Err(AgentsError::TooFew { wanted, found: found.len(), within, refused });
            }
        }
    }
    Ok(found)
}

/// Waits until each is ready.
async fn prepared(
    post: &Post,
    run: &str,
    agents: Vec<Hello>,
    heard: &mut Hearing,
) -> Result<Vec<Member>, AgentsError> {
    let mut members: Vec<Member> = agents.into_iter().map(Member::new).collect();
    let end = Instant::now() + PREPARE;
    let mut beat = tokio::time::interval(BEAT);
    loop {
        let Some(waiting) = members.iter().find(|member| !member.ready) else { return Ok(members) };
        let name = waiting.hello.name.clone();
        tokio::select! {
            _ = beat.tick() => post.try_send(&subject::to(run), &Order::Beat).await,
            came = heard.next::<Word>() => {
                let Some((from, word)) = came else { return Err(AgentsError::Nats("it is closed".into())) };
                let Some(member) = members.iter_mut().find(|member| from.ends_with(&member.hello.agent)) else {
                    continue;
                };
                let agent = member.hello.name.clone();
                match word {
                    Word::Ready { viewers, clock } => {
                        (member.ready, member.viewers, member.count.clock) = (true, viewers, clock);
                    }
                    Word::Refused(why) | Word::Gone(why) => return Err(AgentsError::Refused { agent, why }),
                    _ => {}
                }
            }
            () = tokio::time::sleep_until(end.into()) => {
                return Err(AgentsError::NotReady { agent: name, within: PREPARE });
            }
        }
    }
}
