//! A worker that has served enough.

use ironhorn_unix::{Received, State, ToMaster, ToWorker};

use crate::harness::{Server, Setup, echo};

fn next_message(server: &Server) -> Option<ToMaster> {
    match server.master().receive().unwrap() {
        Received::Message(message) => Some(message),
        _ => None,
    }
}

#[test]
fn the_master_is_told_once_and_the_worker_goes_on() {
    let setup = Setup::new().options(|options| {
        options.max_requests = Some(3);
        options.health_path = Some("/health".to_owned());
    });
    let server = setup.start(echo);
    let mut client = server.connect();
    for _ in 0..2 {
        client.get("/").response();
        // That is none of the app's.
        client.get("/health").response();
    }
    server.wait_for_requests(2);
    server.turns.time(2);
    assert_eq!(next_message(&server), None);
    client.get("/").response();
    server.wait_until("it is worn", || next_message(&server) == Some(ToMaster::Worn));
    for _ in 0..5 {
        let response = client.get("/").response();
        assert_eq!((response.text(), response.field("Connection")), ("/ ", None));
    }
    server.turns.time(2);
    assert_eq!(next_message(&server), None);

    assert_eq!(*server.entered.lock().unwrap(), [State::Ready]);
    drop(client);
    server.tell(ToWorker::Retire);
    server.left();
    assert_eq!(*server.entered.lock().unwrap(), [State::Ready, State::Draining]);
}
