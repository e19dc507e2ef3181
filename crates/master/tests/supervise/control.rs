//! Operators at the control socket.

use std::time::Duration;

use ironhorn_master::Options;
use ironhorn_unix::{Forked, NoHooks, Signal, exit_now, fork};
use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{Uid, seteuid},
};
use serde_json::{Value, json};

use crate::{
    Test,
    server::{Operator, Server, options},
    worker::Conduct,
};

pub(crate) const TESTS: &[Test] = &[
    ("status_says_how_the_server_is", status_says_how_the_server_is),
    ("status_before_anybody_serves", status_before_anybody_serves),
    ("workers_are_listed", workers_are_listed),
    ("requests_in_flight_are_listed", requests_in_flight_are_listed),
    ("requests_in_threads_are_listed", requests_in_threads_are_listed),
    ("a_reload_is_answered_at_once", a_reload_is_answered_at_once),
    ("a_reload_is_waited_for", a_reload_is_waited_for),
    ("a_failed_reload_is_told_with_its_reason", a_failed_reload_is_told_with_its_reason),
    ("a_start_that_waits_is_begun_anew", a_start_that_waits_is_begun_anew),
    ("wrong_settings_are_told_at_once", wrong_settings_are_told_at_once),
    ("a_superseded_reload_is_told_of_the_later_one", a_superseded_reload_is_told_of_the_later_one),
    ("a_reload_under_way_outlives_a_refusal", a_reload_under_way_outlives_a_refusal),
    ("a_reload_that_the_stop_ends_is_told", a_reload_that_the_stop_ends_is_told),
    ("a_reload_that_winch_ends_is_told", a_reload_that_winch_ends_is_told),
    ("one_who_waits_may_go_away", one_who_waits_may_go_away),
    ("workers_are_scaled", workers_are_scaled),
    ("a_worker_is_recycled", a_worker_is_recycled),
    ("stacks_are_shown", stacks_are_shown),
    ("stacks_of_one_who_is_stopped", stacks_of_one_who_is_stopped),
    ("logs_are_reopened_on_request", logs_are_reopened_on_request),
    ("stop_and_quit_are_answered_first", stop_and_quit_are_answered_first),
    ("a_server_that_stops_still_answers", a_server_that_stops_still_answers),
    ("deaths_are_remembered", deaths_are_remembered),
    ("nonsense_is_refused", nonsense_is_refused),
    ("too_many_are_sent_away", too_many_are_sent_away),
    ("the_slow_are_dropped", the_slow_are_dropped),
    ("a_flood_disturbs_nobody", a_flood_disturbs_nobody),
    ("workers_inherit_no_operators", workers_inherit_no_operators),
    ("another_user_is_refused", another_user_is_refused),
];

fn command(name: &str) -> Value {
    json!({ "command": name })
}

#[track_caller]
fn assert_refused(answer: &Value, reason: &str) {
    assert_eq!(answer["ok"], json!(false), "{answer}");
    let error = answer["error"].as_str().expect("a reason");
    assert!(error.contains(reason), "{error}");
}

/// One who has asked for a reload and waits for its end.
fn waiting(server: &Server) -> Operator {
    let mut operator = server.connect();
    operator.say("{\"command\":\"reload\",\"wait\":true}\n");
    operator
}

fn status_says_how_the_server_is() {
    let mut server = Server::start(options(3), &[Conduct::Serve]);
    server.expect_ready(3);
    let status = server.ask(&command("status"));
    assert_eq!(status["ok"], json!(true));
    assert_eq!(status["version"], json!("9.9"));
    assert_eq!(status["pid"], json!(server.master().as_raw()));
    assert_eq!(status["state"], json!("serving"));
    assert_eq!(status["generation"], json!(1));
    let workers = json!({ "target": 3, "ready": 3, "booting": 0, "retiring": 0 });
    assert_eq!(status["workers"], workers);
    assert_eq!(status["last_reload"], json!({ "state": "none" }));
    assert_eq!(status["upgrade"], Value::Null);
    assert_eq!(status["listeners"], json!(["127.0.0.1:80"]));
    assert_eq!(status["app"], json!("pretended:app"));
    assert_eq!(status["directory"], json!("/"));
    assert!(status["uptime"].as_f64().is_some_and(|uptime| (0.0..30.0).contains(&uptime)));
    server.stop();
}

fn status_before_anybody_serves() {
    let mut server = Server::start(options(1), &[Conduct::HangInBoot, Conduct::Serve]);
    server.expect(&["booting"]);
    assert_eq!(server.ask(&command("status"))["state"], json!("starting"));
    // The start begins anew; it is this one's end that is waited for.
    let mut operator = waiting(&server);
    let answer = operator.hear();
    assert_eq!((&answer["ok"], &answer["generation"]), (&json!(true), &json!(2)), "{answer}");
    let status = server.ask(&command("status"));
    assert_eq!(status["last_reload"]["state"], json!("done"));
    assert_eq!((&status["state"], &status["generation"]), (&json!("serving"), &json!(2)));
    server.stop();
}

fn workers_are_listed() {
    let mut server = Server::start(options(2), &[Conduct::Work { nr: 2 }]);
    server.expect_ready(2);
    server.expect_ever(&["working"]);
    let answer = server.ask(&command("workers"));
    let workers = answer["workers"].as_array().expect("a list");
    assert_eq!(workers.len(), 2);
    for (worker, nr) in workers.iter().zip(1..) {
        assert_eq!(worker["worker"], json!(nr));
        assert_eq!(worker["pid"], json!(server.pid_of(nr).as_raw()));
        assert_eq!((&worker["generation"], &worker["state"]), (&json!(1), &json!("ready")));
        assert_eq!((&worker["requests"], &worker["connections"]), (&json!(0), &json!(0)));
        assert!(worker["memory"].as_u64().is_some_and(|bytes| bytes > 0), "{worker}");
        assert!(worker["age"].is_f64(), "{worker}");
    }
    assert_eq!(workers[0]["request"], Value::Null);
    assert_eq!(workers[1]["request"]["path"], json!("/work"));
    server.open_gate();
    server.stop();
}

fn requests_in_flight_are_listed() {
    let mut server = Server::start(options(2), &[Conduct::Work { nr: 2 }]);
    server.expect_ready(2);
    server.expect_ever(&["working"]);
    let answer = server.ask(&command("requests"));
    let requests = answer["requests"].as_array().expect("a list");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["worker"], json!(2));
    assert_eq!(requests[0]["pid"], json!(server.pid_of(2).as_raw()));
    assert_eq!(requests[0]["method"], json!("GET"));
    assert_eq!(requests[0]["path"], json!("/work"));
    assert!(requests[0]["age"].is_f64());
    assert_eq!(requests[0]["thread"], Value::Null, "it has no others");
    server.open_gate();
    server.stop();
}

fn requests_in_threads_are_listed() {
    let patient = Options { graceful_timeout: Duration::ZERO, ..options(2) };
    let mut server = Server::start(patient, &[Conduct::GetStuckInThreads { nr: 2 }]);
    server.expect_ready(2);
    server.expect_ever(&["working"]);
    let answer = server.ask(&command("requests"));
    let requests = answer["requests"].as_array().expect("a list");
    let threads = requests.iter().map(|request| (&request["thread"], &request["path"]));
    let expected = [(&json!(2), &json!("/slow")), (&json!(3), &json!("/encrypted"))];
    assert_eq!(threads.collect::<Vec<_>>(), expected);
    assert!(requests.iter().all(|request| request["worker"] == json!(2)));
    let workers = server.ask(&command("workers"))["workers"].clone();
    assert_eq!((&workers[0]["running"], &workers[1]["running"]), (&json!(0), &json!(2)));
    assert_eq!(workers[1]["requests"], json!(1));
    assert_eq!(workers[1]["request"]["method"], json!("GET"));

    server.kill(server.pid_of(2), Signal::SIGKILL);
    server.expect(&["worker died", "worker=2"]);
    let deaths = server.ask(&command("deaths"))["deaths"].clone();
    let requests = deaths[0]["requests"].as_array().expect("a list");
    let lost = requests.iter().map(|it| (&it["thread"], &it["method"], &it["path"], &it["status"]));
    let expected = [
        (&json!(2), &json!("GET"), &json!("/slow"), &Value::Null),
        (&json!(3), &json!("PUT"), &json!("/encrypted"), &Value::Null),
    ];
    assert_eq!(lost.collect::<Vec<_>>(), expected);
    assert!(requests.iter().all(|request| request["age"].is_f64()), "{requests:?}");
    server.stop();
}

fn a_reload_is_answered_at_once() {
    let mut server = Server::start(options(1), &[Conduct::Serve, Conduct::HangInBoot]);
    server.expect_ready(1);
    let answer = server.ask(&command("reload"));
    assert_eq!(answer, json!({ "ok": true, "generation": 2 }));
    let status = server.ask(&command("status"));
    assert_eq!(status["state"], json!("reloading"));
    assert_eq!(status["last_reload"]["state"], json!("running"));
    assert_eq!(status["last_reload"]["generation"], json!(2));
    server.stop();
}

fn a_reload_is_waited_for() {
    let mut server = Server::start(options(2), &[Conduct::Serve]);
    server.expect_ready(2);
    for generation in [2, 3] {
        let answer = waiting(&server).hear();
        assert_eq!(answer["ok"], json!(true));
        assert_eq!(answer["generation"], json!(generation));
        assert!(answer["after"].is_f64());
        let last = server.ask(&command("status"))["last_reload"].clone();
        assert_eq!((&last["state"], &last["reason"]), (&json!("done"), &Value::Null));
        assert!(last["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    }
    server.stop();
}

fn a_failed_reload_is_told_with_its_reason() {
    let mut server = Server::start(options(2), &[Conduct::Serve, Conduct::FailToBoot(3)]);
    server.expect_ready(2);
    assert_refused(&waiting(&server).hear(), "could not boot: boot failure");
    let status = server.ask(&command("status"));
    assert_eq!(status["state"], json!("serving"));
    assert_eq!(status["last_reload"]["state"], json!("failed"));
    let reason = status["last_reload"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("could not boot"), "{reason}");
    server.stop();
}

fn a_start_that_waits_is_begun_anew() {
    for preload in [false, true] {
        let options = Options { keep_trying: true, preload, ..options(2) };
        let conducts = [Conduct::FailToBoot(3), Conduct::FailToBoot(4), Conduct::Serve];
        let mut server = Server::start(options, &conducts);
        server.expect(&["died", "reason=\"boot failure\""]);
        assert_refused(&waiting(&server).hear(), "boot failure");
        let status = server.ask(&command("status"));
        assert_eq!(status["state"], json!("waiting"), "{status}");
        assert_eq!(status["last_reload"]["state"], json!("failed"));
        assert_eq!(waiting(&server).hear()["generation"], json!(3));
        server.stop();
    }
}

fn wrong_settings_are_told_at_once() {
    let mut server = Server::start(options(1), &[Conduct::Serve, Conduct::WrongSettings]);
    server.expect_ready(1);
    assert_refused(&waiting(&server).hear(), "no such setting");
    assert_refused(&server.ask(&command("reload")), "no such setting");
    server.stop();
}

fn a_superseded_reload_is_told_of_the_later_one() {
    let conducts = [Conduct::Serve, Conduct::HangInBoot, Conduct::Serve];
    let mut server = Server::start(options(2), &conducts);
    server.expect_ready(2);
    let mut first = waiting(&server);
    server.expect(&["booting", "generation=2"]);
    let second = waiting(&server).hear();
    assert_eq!(second["generation"], json!(3));
    assert_eq!(first.hear(), second);
    server.stop();
}

fn a_reload_under_way_outlives_a_refusal() {
    let conducts = [Conduct::Serve, Conduct::BootAtGate, Conduct::WrongSettings];
    let mut server = Server::start(options(1), &conducts);
    server.expect_ready(1);
    let mut first = waiting(&server);
    server.expect(&["booting", "generation=2"]);
    assert_refused(&waiting(&server).hear(), "no such setting");
    server.open_gate();
    assert_eq!(first.hear()["generation"], json!(2));
    server.stop();
}

fn a_reload_that_the_stop_ends_is_told() {
    for (signal, delay) in [
        (Signal::SIGTERM, Duration::ZERO),
        (Signal::SIGINT, Duration::ZERO),
        (Signal::SIGTERM, Duration::from_millis(50)),
    ] {
        let options = Options { shutdown_delay: delay, ..options(1) };
        let mut server = Server::start(options, &[Conduct::Serve, Conduct::HangInBoot]);
        server.expect_ready(1);
        let mut operator = waiting(&server);
        server.expect(&["booting", "generation=2"]);
        server.signal(signal);
        assert_refused(&operator.hear(), "the server is stopping");
        assert_eq!(server.end(), 0);
    }
}

fn a_reload_that_winch_ends_is_told() {
    let mut server = Server::start(options(1), &[Conduct::Serve, Conduct::HangInBoot]);
    server.expect_ready(1);
    let mut operator = waiting(&server);
    server.expect(&["booting", "generation=2"]);
    server.signal(Signal::SIGWINCH);
    assert_refused(&operator.hear(), "the workers were told to leave");
    server.expect(&["WARN", "reload ended", "generation=2", "the workers were told to leave"]);
    let status = server.ask(&command("status"));
    assert_eq!(status["state"], json!("retired"));
    assert_eq!(status["last_reload"]["state"], json!("failed"));
    server.stop();
    server.assert_said(&["ERROR"], 0);
}

fn one_who_waits_may_go_away() {
    let mut server = Server::start(options(1), &[Conduct::Serve, Conduct::BootAtGate]);
    server.expect_ready(1);
    for _ in 0..40 {
        // Each begins the reload anew.
        let operator = waiting(&server);
        server.expect(&["booting"]);
        drop(operator);
    }
    assert_eq!(server.ask(&command("status"))["ok"], json!(true));
    server.open_gate();
    server.expect(&["reloaded"]);
    server.stop();
}

fn workers_are_scaled() {
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect_ready(1);
    let scale = |workers: usize| json!({ "command": "scale", "workers": workers });
    assert_eq!(server.ask(&scale(3)), json!({ "ok": true, "workers": 3 }));
    server.expect_ready(2);
    assert_eq!(server.ask(&scale(1)), json!({ "ok": true, "workers": 1 }));
    server.expect(&["exited", "reason=asked"]);
    server.expect(&["exited", "reason=asked"]);
    assert_refused(&server.ask(&scale(0)), "workers stay 1");
    assert_refused(&server.ask(&scale(100_000)), "workers stay 1");
    server.stop();
}

fn a_worker_is_recycled() {
    let mut server = Server::start(options(2), &[Conduct::Serve]);
    server.expect_ready(2);
    let pid = server.pid_of(1).as_raw();
    let answer = server.ask(&json!({ "command": "recycle", "pid": pid }));
    assert_eq!(answer, json!({ "ok": true, "worker": 1, "pid": pid }));
    server.expect(&["recycling", "worker=1"]);
    server.expect(&["ready", "worker=3"]);
    server.expect(&["INFO", "exited", "worker=1", "reason=recycled"]);
    let recycle = json!({ "command": "recycle", "pid": pid });
    assert_refused(&server.ask(&recycle), "no worker has the process id");
    server.stop();
    server.assert_no_trouble();
}

fn stacks_are_shown() {
    let mut server = Server::start(options(2), &[Conduct::Serve]);
    server.expect_ready(2);
    let pid = server.pid_of(2).as_raw();
    let stack = json!({ "command": "stack", "pid": pid });
    let answer = server.ask(&stack);
    let expected = json!({ "ok": true, "worker": 2, "pid": pid, "stack": "stacks of worker 2" });
    assert_eq!(answer, expected);
    // A pretender writes nothing more.
    assert_refused(&server.ask(&stack), "wrote no stacks");
    let stack = json!({ "command": "stack", "pid": server.master().as_raw() });
    assert_refused(&server.ask(&stack), "no worker has the process id");
    server.stop();
}

fn stacks_of_one_who_is_stopped() {
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect_ready(1);
    let pid = server.pid_of(1);
    let stack = json!({ "command": "stack", "pid": pid.as_raw() });
    assert_eq!(server.ask(&stack)["ok"], json!(true));
    server.kill(pid, Signal::SIGSTOP);
    assert_refused(&server.ask(&stack), "wrote no stacks");
    let mut operator = server.connect();
    operator.say(&format!("{stack}\n"));
    server.kill(pid, Signal::SIGKILL);
    assert_refused(&operator.hear(), "");
    server.stop();
}

fn logs_are_reopened_on_request() {
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect_ready(1);
    assert_eq!(server.ask(&command("reopen")), json!({ "ok": true }));
    server.expect(&["reopened", "by the master"]);
    server.expect_ever(&["reopened", "worker=1"]);
    server.stop();
}

fn stop_and_quit_are_answered_first() {
    for (name, mode) in [("stop", "graceful"), ("quit", "quick")] {
        let mut server = Server::start(options(2), &[Conduct::Serve]);
        server.expect_ready(2);
        assert_eq!(server.ask(&command(name)), json!({ "ok": true }));
        server.expect(&["stopping", &format!("mode={mode}")]);
        assert_eq!(server.end(), 0);
    }
}

fn a_server_that_stops_still_answers() {
    let mut server = Server::start(options(1), &[Conduct::FinishAtGate { nr: 1 }]);
    server.expect_ready(1);
    assert_eq!(server.ask(&command("stop")), json!({ "ok": true }));
    server.expect(&["finishing"]);
    assert_eq!(server.ask(&command("status"))["state"], json!("stopping"));
    for name in ["reload", "reopen"] {
        assert_refused(&server.ask(&command(name)), "the server is stopping");
    }
    let scale = json!({ "command": "scale", "workers": 3 });
    assert_refused(&server.ask(&scale), "the server is stopping");
    server.open_gate();
    assert_eq!(server.end(), 0);
}

fn deaths_are_remembered() {
    let mut server = Server::start(options(2), &[Conduct::Work { nr: 1 }]);
    server.expect_ready(2);
    server.expect_ever(&["working"]);
    assert_eq!(server.ask(&command("deaths")), json!({ "ok": true, "deaths": [] }));
    let pid = server.pid_of(1);
    server.kill(pid, Signal::SIGKILL);
    server.expect(&["worker died"]);
    let answer = server.ask(&command("deaths"));
    let death = &answer["deaths"][0];
    assert_eq!((&death["worker"], &death["pid"]), (&json!(1), &json!(pid.as_raw())));
    assert_eq!((&death["generation"], &death["served"]), (&json!(1), &json!(0)));
    assert_eq!(death["reason"], json!("signal SIGKILL"));
    assert_eq!(death["signal"], json!("SIGKILL"));
    assert_eq!(death["requests"][0]["path"], json!("/work"));
    assert_eq!(death["stacks"], json!("stacks of worker 1"));
    assert!(death["peak_memory"].as_u64().is_some_and(|bytes| bytes > 0));
    assert!(death["at"].is_string());
    server.expect(&["working"]);
    server.open_gate();
    server.stop();
}

fn nonsense_is_refused() {
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect_ready(1);
    for (text, reason) in [
        ("\n", "not a request"),
        ("GET / HTTP/1.1\r\n", "not a request"),
        ("{\"command\":\"dance\"}\n", "unknown variant"),
        ("{\"command\":\"scale\"}\n", "missing field"),
        ("{\"command\":\"status\"\n", "EOF"),
    ] {
        let mut operator = server.connect();
        operator.say(text);
        assert_refused(&operator.hear(), reason);
        operator.expect_dropped();
    }
    let mut operator = server.connect();
    operator.say(&"x".repeat(4097));
    assert_refused(&operator.hear(), "too long");
    // One request a connection; what follows is not heard.
    let mut operator = server.connect();
    operator.say("{\"command\":\"status\"}\n{\"command\":\"quit\"}\n");
    assert_eq!(operator.hear()["ok"], json!(true));
    operator.expect_dropped();
    server.stop();
    server.assert_no_trouble();
}

fn too_many_are_sent_away() {
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect_ready(1);
    let mut first: Vec<Operator> = (0..16).map(|_| server.connect()).collect();
    let mut last = server.connect();
    assert_refused(&last.hear(), "16 others");
    last.expect_dropped();
    first[7].say("{\"command\":\"status\"}\n");
    assert_eq!(first[7].hear()["ok"], json!(true));
    assert_eq!(server.ask(&command("status"))["ok"], json!(true));
    server.stop();
}

fn the_slow_are_dropped() {
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect_ready(1);
    let mut slow: Vec<Operator> = (0..16).map(|_| server.connect()).collect();
    slow[3].say("{\"comm");
    for operator in &mut slow {
        operator.expect_dropped();
    }
    assert_eq!(server.ask(&command("status"))["ok"], json!(true));
    server.stop();
}

fn a_flood_disturbs_nobody() {
    let mut server = Server::start(options(2), &[Conduct::Serve]);
    server.expect_ready(2);
    for _ in 0..2_000 {
        let mut operator = server.connect();
        operator.say("{\"command\":\"workers\"}\n");
    }
    server.kill(server.pid_of(1), Signal::SIGKILL);
    server.expect(&["worker died", "worker=1"]);
    server.expect(&["ready", "worker=1"]);
    assert_eq!(server.ask(&command("status"))["ok"], json!(true));
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.master()));
    let open = open.expect("procfs").count();
    assert!(open < 40, "{open} descriptors are open");
    server.stop();
}

fn workers_inherit_no_operators() {
    for preload in [false, true] {
        let options = Options { preload, ..options(1) };
        let mut server = Server::start(options, &[Conduct::Serve]);
        server.expect_ready(1);
        let mut operators: Vec<Operator> = (0..5).map(|_| server.connect()).collect();
        operators[0].say("{\"command\":\"status\"}\n");
        assert_eq!(operators[0].hear()["ok"], json!(true));
        server.kill(server.pid_of(1), Signal::SIGKILL);
        server.expect(&["booting"]);
        server.signal(Signal::SIGHUP);
        server.expect(&["reloaded"]);
        // A copy of a connection in another process would keep it open.
        server.stop();
        for operator in &mut operators {
            operator.expect_dropped();
        }
        let counts: Vec<&str> = server
            .lines()
            .filter(|line| line.contains("booting"))
            .filter_map(|line| Some(line.split_once("descriptors=")?.1))
            .collect();
        assert!(
            counts.len() >= 3 && counts.windows(2).all(|pair| pair[0] == pair[1]),
            "{counts:?}"
        );
    }
}

/// The name of the socket is no file, so that nothing but the check keeps another user out.
fn another_user_is_refused() {
    if !Uid::effective().is_root() {
        return;
    }
    let mut server = Server::start(options(1), &[Conduct::Serve]);
    server.expect_ready(1);
    let child = match fork(&NoHooks).expect("a fork") {
        Forked::Parent { child } => child,
        Forked::Child { mask: _mask } => {
            seteuid(Uid::from_raw(65_534)).expect("root may");
            let mut operator = server.connect();
            let answer = operator.hear();
            let refused = answer["error"].as_str().is_some_and(|error| error.contains("65534"));
            exit_now(i32::from(!refused));
        }
    };
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
    server.expect(&["WARN", "operator refused"]);
    assert_eq!(server.ask(&command("status"))["ok"], json!(true));
    server.stop();
}
