//! What one process writes on the board the others read.

use std::time::Duration;

use ironhorn_unix::{
    Board, Exit, LANES, Monotonic, ONE_REPORT, Received, State, ToMaster, channel,
};

use crate::{Case, await_readable, end_of, spawn};

pub(crate) const CASES: &[Case] = &[
    ("board::is_seen_across_a_fork", seen),
    ("board::outlives_a_writer_killed_while_writing", killed_writer),
    ("board::one_of_many_reports_a_failed_boot", boot_report),
];

fn seen() {
    let board = Board::new(3).unwrap();
    let slot = board.slot(2);
    let (ours, theirs) = channel().unwrap();
    let child = spawn(|_| {
        slot.set_state(State::Ready);
        slot.beat(Monotonic::from_nanos(5));
        slot.set_connections(7);
        let (first, last) = (slot.lane(0), slot.lane(LANES - 1));
        first.begin_request(b"POST", b"/a?b=c", Monotonic::from_nanos(6));
        first.end_request();
        first.begin_request(b"GET", b"/\x1b\xff", Monotonic::from_nanos(8));
        first.progress(Monotonic::from_nanos(9));
        last.begin_request(b"PUT", b"/", Monotonic::from_nanos(10));
        theirs.send(ToMaster::Ready).unwrap();
        0
    });
    await_readable(&ours);
    assert_eq!(ours.receive().unwrap(), Received::Message(ToMaster::Ready));
    assert_eq!(end_of(child), Exit::Code(0));
    let read = slot.read();
    assert_eq!(read.state, State::Ready);
    assert_eq!(read.heartbeat, Monotonic::from_nanos(5));
    assert_eq!((read.connections, read.requests), (7, 1));
    let running = read.running.iter().map(|it| (it.lane, it.busy_since, it.request.as_str()));
    let first = (0, Monotonic::from_nanos(9), "GET /\\x1b\\xff");
    let last = (LANES - 1, Monotonic::from_nanos(10), "PUT /");
    assert_eq!(running.collect::<Vec<_>>(), [first, last]);
    assert_eq!(board.slot(1).read().state, State::Empty);
    assert_eq!(board.slot(3).read().state, State::Empty);
}

fn killed_writer() {
    let board = Board::new(1).unwrap();
    let slot = board.slot(1);
    let (ours, theirs) = channel().unwrap();
    let child = spawn(|_| {
        let lane = slot.lane(0);
        theirs.send(ToMaster::Ready).unwrap();
        loop {
            lane.begin_request(b"GET", &[b'a'; 300], Monotonic::from_nanos(1));
            lane.begin_request(b"PUT", &[b'b'; 300], Monotonic::from_nanos(2));
        }
    });
    await_readable(&ours);
    let lane = slot.lane(0);
    let request = || lane.read().map(|running| running.request).unwrap_or_default();
    for _ in 0..10_000 {
        let request = request();
        let known = |c: char| "GETPUT ab.".contains(c);
        assert!(request.is_empty() || (request.len() == 195 && request.chars().all(known)));
    }
    ironhorn_unix::kill(child, ironhorn_unix::Signal::SIGKILL).unwrap();
    end_of(child);
    slot.reset();
    assert_eq!(request(), "");
    lane.begin_request(b"GET", b"/", Monotonic::from_nanos(3));
    assert_eq!(request(), "GET /");
}

fn boot_report() {
    let board = Board::new(8).unwrap();
    let now = Monotonic::now();
    let children: Vec<_> =
        (0..8).map(|_| spawn(|_| i32::from(board.claim_boot_report(1, now)))).collect();
    let claims = children.into_iter().filter(|&child| end_of(child) == Exit::Code(1)).count();
    assert_eq!(claims, 1);
    assert!(!board.claim_boot_report(1, now));
    assert!(board.claim_boot_report(2, now));
    assert!(!board.claim_boot_report(2, now + ONE_REPORT / 2));
    assert!(board.claim_boot_report(2, now + ONE_REPORT * 2));
    assert!(board.claim_boot_report(1, now + ONE_REPORT * 2));

    // Who has not claimed waits for who has.
    let writer = spawn(|_| {
        board.boot_report_is_written();
        0
    });
    board.wait_for_boot_report(Duration::from_secs(60));
    assert_eq!(end_of(writer), Exit::Code(0));
    board.wait_for_boot_report(Duration::ZERO);
}
