//! Does what a scenario wants done in a run, and writes down what came of it.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::RunPlan;
use super::audience::Audience;
use crate::client::call;
use crate::report::Happening;
use crate::scenario::{Act, Call, Event};

/// A program that takes longer is ended.
const PROGRAM_TIME: Duration = Duration::from_secs(60);
/// So much is kept of what a program or a server says, in characters.
const WORDS_MAX: usize = 200;

/// What was done so far.
#[derive(Clone, Default)]
pub(super) struct Acts(Arc<Mutex<Done>>);

#[derive(Default)]
struct Done {
    happenings: Vec<Happening>,
    /// Which events of the plan are over, or have begun to hold.
    events: BTreeSet<usize>,
}

impl Acts {
    fn done(&self) -> MutexGuard<'_, Done> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does each event of the plan when it is due. Must be called inside a runtime.
    pub fn begin(&self, plan: &Arc<RunPlan>, audience: &Arc<Audience>, start: Instant) {
        for (nth, event) in plan.events.iter().cloned().enumerate() {
            let (acts, plan, audience) = (self.clone(), Arc::clone(plan), Arc::clone(audience));
            tokio::spawn(async move {
                tokio::time::sleep_until((start + event.at).into()).await;
                acts.act(nth, &event, &plan, &audience, start).await;
            });
        }
    }

    async fn act(&self, nth: usize, event: &Event, plan: &RunPlan, audience: &Audience, start: Instant) {
        let at = start.elapsed();
        let outcome = match &event.act {
            Act::Kill(pid) => kill(*pid),
            Act::Command(words) => program(words).await,
            Act::Call(what) => request(what, plan).await,
            Act::Impair(impairment) => {
                let (bad, count) = audience.impair(*impairment);
                self.done().events.insert(nth);
                self.happened(at, event.to_string(), Ok(format!("{count} viewers who are there")));
                let Some(lasts) = impairment.lasts else { return };
                tokio::time::sleep(lasts).await;
                if audience.heal(bad) {
                    self.happened(start.elapsed(), format!("end of: {event}"), Ok(String::new()));
                }
                return;
            }
        };
        self.done().events.insert(nth);
        self.happened(at, event.to_string(), outcome);
    }

    fn happened(&self, at: Duration, what: String, outcome: Result<String, String>) {
        let (ok, said) = match outcome {
            Ok(said) => (true, said),
            Err(said) => (false, said),
        };
        self.done().happenings.push(Happening { at_s: at.as_secs_f64(), what, ok, said });
    }

    /// What was done, in the order of time. Events of the plan whose end was not seen are told, too.
    pub fn take(&self, plan: &RunPlan) -> Vec<Happening> {
        let Done { happenings: mut all, events } = std::mem::take(&mut *self.done());
        for (nth, event) in plan.events.iter().enumerate() {
            let what = event.to_string();
            if !events.contains(&nth) {
                let said = "it was not done when the run ended".to_owned();
                all.push(Happening { at_s: event.at.as_secs_f64(), what, ok: false, said });
            }
        }
        all.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
        all
    }

    /// What was done so far.
    pub fn so_far(&self) -> Vec<Happening> {
        self.done().happenings.clone()
    }
}

fn kill(pid: u32) -> Result<String, String> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.ok_or_else(|| format!("{pid} is no process"))?;
    kill_process(process, Signal::KILL).map(|()| "killed".to_owned()).map_err(|error| error.to_string())
}

async fn program(words: &[String]) -> Result<String, String> {
    let (name, arguments) = words.split_first().ok_or("it names no program")?;
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(PROGRAM_TIME, command.output()).await {
        Ok(output) => output.map_err(|error| format!("{name}: {error}"))?,
        Err(_) => return Err(format!("it took longer than {PROGRAM_TIME:?} and was ended")),
    };
    let text = if output.stderr.is_empty() { output.stdout } else { output.stderr };
    let said = last_line(&String::from_utf8_lossy(&text));
    if output.status.success() { Ok(said) } else { Err(format!("{}: {said}", output.status)) }
}

async fn request(what: &Call, plan: &RunPlan) -> Result<String, String> {
    let token = match &what.token_env {
        Some(name) => Some(std::env::var(name).map_err(|_| format!("the environment has no {name}"))?),
        None => None,
    };
    let viewer = &plan.viewer;
    let answer = call(&what.method, &what.url, token, what.body.as_deref(), viewer).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let said = format!("{} {}", answer.status, last_line(&answer.text()));
    if answer.status < 400 { Ok(said) } else { Err(said) }
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().chars().filter(|character| !character.is_control()).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_says_how_it_went() {
        let run = async |words: &[&str]| {
            program(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).await
        };
        assert_eq!(run(&["sh", "-c", "echo one; echo two"]).await, Ok("two".to_owned()));
        let failed = run(&["sh", "-c", "echo why >&2; exit 3"]).await.unwrap_err();
        assert!(failed.contains('3') && failed.contains("why"), "{failed}");
        assert!(run(&["/nowhere/at-all"]).await.unwrap_err().contains("/nowhere/at-all"));
        assert!(run(&[]).await.is_err());
    }

    #[test]
    fn a_process_is_killed() {
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(kill(sleeper.id()), Ok("killed".to_owned()));
        assert!(!sleeper.wait().unwrap().success());
        assert!(kill(sleeper.id()).is_err(), "it is there no more");
        assert!(kill(0).is_err());
    }

    #[test]
    fn of_what_is_said_a_line_is_kept() {
        assert_eq!(last_line("a\n b\u{1b}[1m \n\n"), "b[1m");
        assert_eq!(last_line(&"x".repeat(9_999)).len(), WORDS_MAX);
    }
}
