//! Agents, for human eyes.

use super::{AgentReport, text};

/// Viewers, packets, clock, CPU, and what went wrong.
pub fn cells(agent: &AgentReport) -> [String; 5] {
    let unknown = || text::UNKNOWN.to_owned();
    let viewers = format!("{} of {}", text::count(agent.connected), text::count(agent.viewers));
    let clock = agent.clock_offset_ms.zip(agent.clock_uncertainty_ms);
    let clock = clock.map_or("clock unknown".to_owned(), |(offset, by)| {
        format!("{} ms ± {} ms", text::number(offset, 2), text::number(by, 2))
    });
    let why = agent.clock_doubt.as_deref().map(|why| format!(", for {why}")).unwrap_or_default();
    let clock = if agent.latency_refused { format!("{clock}: no latency{why}") } else { clock };
    let cores = agent.cpu_cores.map_or_else(unknown, text::cores);
    let cpu = format!("{cores} of {} cores", text::count(agent.host_cores));
    let lost = match (&agent.lost, agent.heard_s) {
        (Some(why), Some(at)) => format!("LOST after {}: {why}", text::clock(at)),
        (Some(why), None) => format!("LOST: {why}"),
        (None, _) => String::new(),
    };
    [viewers, text::count(agent.packets), clock, cpu, lost]
}

/// All of these in words.
pub fn words(agent: &AgentReport) -> String {
    let [viewers, packets, clock, cpu, lost] = cells(agent);
    let drops = agent.socket_drops.map_or("unknown".to_owned(), text::count);
    let lost = if lost.is_empty() { lost } else { format!("; {lost}") };
    format!(
        "{viewers} viewers connected, {packets} packets, clock corrected by {clock}, {cpu}, {drops} datagrams dropped there{lost}"
    )
}

/// An agent in a line of the table.
pub fn line(agent: &AgentReport) -> String {
    format!("{}: {}", text::plain(&agent.name), words(agent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{html, markdown, sample, table};

    #[test]
    fn who_was_lost_and_whose_clock_is_vague_is_said_everywhere() {
        let mut report = sample::full();
        let ada = AgentReport {
            name: "ada <1>".to_owned(),
            viewers: 30,
            connected: 29,
            packets: 12_345,
            clock_offset_ms: Some(-3_000.25),
            clock_uncertainty_ms: Some(0.4),
            cpu_cores: Some(1.5),
            host_cores: 4,
            socket_drops: Some(0),
            ..AgentReport::default()
        };
        let ben = AgentReport {
            name: "ben".to_owned(),
            latency_refused: true,
            clock_doubt: Some("its clock is not known".to_owned()),
            lost: Some("it was not heard for 5s".to_owned()),
            heard_s: Some(7.0),
            ..AgentReport::default()
        };
        report.agents = vec![ada, ben];
        for text in [table(&report), markdown(&report), html(&report)] {
            for part in ["29 of 30", "12,345", "-3,000.25 ms ± 0.40 ms", "1.50 of 4 cores"] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(
                text.contains("clock unknown: no latency, for its clock is not known")
                    && text.contains("LOST after 7"),
                "{text}"
            );
        }
        assert!(!html(&report).contains("<1>") && !markdown(&report).contains("<1>"));
    }
}
