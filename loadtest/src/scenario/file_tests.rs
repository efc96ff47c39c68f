use super::*;

fn read(text: &str) -> Result<Scenario, ScenarioError> {
    let variable = |name: &str| (name == "HERE").then(|| "http://127.0.0.1:8080".to_owned());
    Scenario::read(text, variable)
}

fn refused(text: &str) -> String {
    let said = read(text).unwrap_err().to_string();
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    said
}

const WHOLE: &str = r#"
name = "event"
duration = "2m"
time-limit = "5m"
seed = 7
expect = ["loss <= 0.1%", "first-keyframe-p99 < 2s"]

[publishers]
url = "${HERE}/whip/room-{i}"
count = 3
codec = "vp8"
bitrate = "1.5M"
fps = 25
gop = 50
audio = false
oversized = "30:1850"
media = "a/b.h264"
audio-media = "c.ogg"
token-env = "HOST_TOKEN"

[viewers]
url = "${HERE}/whep/room-{i}"
count = 500
arrival = "100@0s, 400@30s"
stay = "exponential 60s"
rooms = "zipf 1.2"
loss = "1%"
decode = 10
nack = false
retry-for = "20s"
bind = "127.0.0.3"
threads = 2

[server]
pids = [4711, 4712]
metrics = ["${HERE}/metrics"]
packets = "out_total{kind=\"rtp\"}"

[capacity]
to = 800
step-time = "5s"

[[events]]
at = "90s"
name = "a node dies"
kill = 4711

[[events]]
at = "30s"
impair = { share = "10%", loss = "2%", delay = "20ms", jitter = "5ms", rate = "1M", lasts = "10s" }

[[events]]
at = "60s"
call = { url = "${HERE}/v1/nodes/a/drain", token-env = "ADMIN" }

[[events]]
at = "61s"
command = ["systemctl", "restart", "it"]
"#;

#[test]
fn a_whole_file_is_read() {
    let scenario = read(WHOLE).unwrap();
    assert_eq!((scenario.name.as_str(), scenario.seed), ("event", 7));
    assert_eq!(scenario.duration, Duration::from_secs(120));
    assert_eq!(scenario.time_limit, Some(Duration::from_secs(300)));
    let publishers = &scenario.publishers;
    assert_eq!(publishers.url.as_deref(), Some("http://127.0.0.1:8080/whip/room-{i}"));
    assert_eq!((publishers.count, publishers.codec, publishers.fps), (3, Codec::Vp8, 25));
    assert_eq!(publishers.oversized, Some(Oversized { every: 30, bytes: 1_850 }));
    let files = [&publishers.media, &publishers.audio_media];
    assert_eq!(files, [&Some("a/b.h264".into()), &Some("c.ogg".into())]);
    assert_eq!((publishers.audio, publishers.token_env.as_str()), (false, "HOST_TOKEN"));
    let viewers = &scenario.viewers;
    assert_eq!(viewers.arrival, "100@0s,400@30s".parse().unwrap());
    assert_eq!((viewers.stay, viewers.rooms), (Stay::Exponential(Duration::from_secs(60)), Rooms::Zipf(1.2)));
    assert_eq!((viewers.loss, viewers.nack, viewers.threads), (0.01, false, Some(2)));
    assert_eq!(viewers.decode, Some(10));
    assert_eq!(scenario.server.pids, [4711, 4712]);
    assert_eq!(scenario.server.metrics, ["http://127.0.0.1:8080/metrics"]);
    let packets = scenario.server.packets.as_ref().map(ToString::to_string);
    assert_eq!((packets.as_deref(), &scenario.server.joins), (Some("out_total{kind=\"rtp\"}"), &None));
    let five = Duration::from_secs(5);
    assert_eq!(scenario.capacity, Climb { to: 800, step_time: five, ..Climb::default() });
    let said: Vec<String> = scenario.events.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "10 % of viewers: 2 % loss 20ms to 25ms late 1000 kbit/s for 10s",
            "POST http://127.0.0.1:8080/v1/nodes/a/drain",
            "systemctl restart it",
            "a node dies",
        ],
        "in the order of time"
    );
    assert_eq!(scenario.expect.len(), 2);
}

#[test]
fn what_is_not_said_is_as_on_the_command_line() {
    let scenario = read("[viewers]\nurl = \"http://127.0.0.1/whep/r\"").unwrap();
    assert_eq!(
        scenario,
        Scenario {
            viewers: Viewers { url: "http://127.0.0.1/whep/r".to_owned(), ..Viewers::default() },
            ..Scenario::default()
        }
    );
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_its_place() {
    for (text, says) in [
        ("name = \"x\"\nspeed = 3", &["line 2", "unknown field `speed`"][..]),
        ("[viewers]\n\n\narrival = \"often\"", &["line 4", "poisson 20/s"]),
        ("[viewers]\ncount = -1", &["line 2", "-1"]),
        ("duration = 30", &["line 1", "string"]),
        ("duration = \"30\"", &["500ms, 30s or 2m"]),
        ("expect = [\"loss\"]", &["needs < or >"]),
        ("[publishers]\ncodec = \"av1\"", &["line 2", "h264", "vp8", "opus"]),
        ("[[events]]\nat = \"1s\"", &["one of kill, command, call and impair"]),
        ("[[events]]\nat = \"1s\"\nkill = 4711\ncommand = [\"x\"]", &["one of kill"]),
        ("[[events]]\nkill = 4711", &["missing field `at`"]),
        ("[[events]]\nat = \"1s\"\nkill = 1", &["may be killed"]),
        ("[[events]]\nat = \"1s\"\ncommand = []", &["name of a program"]),
        ("[[events]]\nat = \"1s\"\ncommand = [\"\", \"x\"]", &["name of a program"]),
        ("[[events]]\nat = \"1s\"\nimpair = { delay = \"6s\" }", &["5s late at most"]),
        ("[[events]]\nat = \"1s\"\nimpair = { los = \"6%\" }", &["unknown field `los`", "loss"]),
        ("name = \"\nx", &["line 2", "expected"]),
        ("\n\nurl = \"${NOWHERE}\"", &["line 3", "no NOWHERE", "${NOWHERE:-a value}"]),
        ("url = \"${HERE", &["not closed"]),
    ] {
        let said = refused(text);
        for word in says {
            assert!(said.contains(word), "{text}: {said}");
        }
    }
    assert!(refused(&"#".repeat(FILE_MAX + 1)).contains("bytes at most"));
}

#[test]
fn variables_stand_for_what_the_environment_has() {
    assert_eq!(read("name = \"${HERE}-${ELSE:-b}\"").unwrap().name, "http://127.0.0.1:8080-b");
    assert_eq!(read("# ${NOWHERE}\n  # ${x\nname = \"a\"").unwrap().name, "a", "not in comments");
    assert_eq!(read("seed = ${N:-12}").unwrap().seed, 12, "numbers, too");
}

#[test]
fn those_beside_are_read() {
    let scenario = read(
        "[hls]\nurl = \"${HERE}/live.m3u8\"\nviewers = 20\narrival = \"storm 2s\"\nallow-hosts = [\"cdn\"]\n\
         [chat]\nclients = 5\nrate = \"30/m\"\n",
    )
    .unwrap();
    let (hls, chat) = (&scenario.hls, &scenario.chat);
    assert_eq!((hls.url.as_str(), hls.viewers), ("http://127.0.0.1:8080/live.m3u8", Some(20)));
    assert_eq!(
        (hls.allow_hosts.as_slice(), chat.clients, chat.rate),
        (&["cdn".to_owned()][..], Some(5), 0.5)
    );
    assert!(refused("[hls]\nspeed = 1\n").contains("line 2: unknown field `speed`"));
    assert!(refused("[chat]\nrate = \"2\"\n").contains("50/s"));
}
