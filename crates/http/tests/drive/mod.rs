//! Feeds a connection as a server would, in pieces of any size, and keeps all that comes of it.
//!
//! Checks on the way what must hold for every input: no more is consumed than was given, content is
//! never empty, and a head parsed again by itself is the same.

use ironhorn_http::{
    BodyEvent, BodyLength, Connection, FieldStorage, Limits, Received, Refusal, Request, Version,
};

/// What came of a connection's bytes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) requests: Vec<Seen>,
    pub(crate) last: Last,
}

/// A request, as the server would have seen it.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: Version,
    pub(crate) path: Vec<u8>,
    pub(crate) query: Vec<u8>,
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: BodyLength,
    pub(crate) persistent: bool,
    pub(crate) expects_continue: bool,
    pub(crate) content: Vec<u8>,
}

/// How the bytes ended.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Last {
    /// With the last request.
    #[default]
    Clean,
    IncompleteHead,
    IncompleteBody,
    Refused(Refusal),
}

/// Feeds `input`, of which `ends` says how much has arrived at each turn.
pub(crate) fn drive(
    input: &[u8],
    ends: impl IntoIterator<Item = usize>,
    limits: &Limits,
) -> Outcome {
    let mut connection = Connection::new();
    let mut outcome = Outcome::default();
    let mut at = 0;
    let mut in_body = false;
    for end in ends {
        loop {
            let given = &input[at..end];
            let step = if in_body {
                step_body(&mut connection, given, limits, &mut outcome)
            } else {
                step_head(&mut connection, given, limits, &mut outcome)
            };
            match step {
                Err(refusal) => {
                    outcome.last = Last::Refused(refusal);
                    return outcome;
                }
                Ok(step) => {
                    assert!(step.consumed <= given.len(), "more consumed than given");
                    at += step.consumed;
                    in_body = step.in_body;
                    if step.needs_more {
                        break;
                    }
                }
            }
        }
    }
    outcome.last = match in_body {
        true => Last::IncompleteBody,
        false if at < input.len() => Last::IncompleteHead,
        false => Last::Clean,
    };
    outcome
}

struct Step {
    consumed: usize,
    in_body: bool,
    needs_more: bool,
}

fn step_head(
    connection: &mut Connection,
    given: &[u8],
    limits: &Limits,
    outcome: &mut Outcome,
) -> Result<Step, Refusal> {
    let mut storage = FieldStorage::new();
    let request = match connection.receive_head(given, &mut storage, limits)? {
        Received::Incomplete => {
            return Ok(Step { consumed: 0, in_body: false, needs_more: true });
        }
        Received::Complete(request) => request,
    };
    let seen = Seen::new(&request);
    let consumed = request.head_len;
    let mut again = FieldStorage::new();
    match Request::parse(&given[..consumed], &mut again, limits) {
        Ok(request) => assert_eq!(Seen::new(&request), seen, "parsed again"),
        Err(refusal) => panic!("parsed again: {refusal}"),
    }
    outcome.requests.push(seen);
    Ok(Step { consumed, in_body: true, needs_more: false })
}

fn step_body(
    connection: &mut Connection,
    given: &[u8],
    limits: &Limits,
    outcome: &mut Outcome,
) -> Result<Step, Refusal> {
    let step = match connection.receive_body(given, limits)? {
        BodyEvent::Data { content, consumed } => {
            assert!(!content.is_empty() && content.len() <= consumed, "content of {consumed}");
            assert!(given[..consumed].ends_with(content), "content is where consumption ends");
            if let Some(seen) = outcome.requests.last_mut() {
                seen.content.extend_from_slice(content);
            }
            Step { consumed, in_body: true, needs_more: false }
        }
        BodyEvent::Incomplete { consumed } => Step { consumed, in_body: true, needs_more: true },
        BodyEvent::End { consumed } => {
            assert!(connection.body_finished(), "the end finishes the body");
            connection.next_cycle();
            Step { consumed, in_body: false, needs_more: false }
        }
    };
    Ok(step)
}

impl Seen {
    fn new(request: &Request<'_, '_>) -> Self {
        Self {
            method: request.method.to_owned(),
            target: request.target.to_owned(),
            version: request.version,
            path: request.path().to_vec(),
            query: request.query().to_vec(),
            authority: request.authority().map(<[u8]>::to_vec),
            fields: request.fields.iter().map(|f| (f.name.to_owned(), f.value.to_vec())).collect(),
            body: request.body,
            persistent: request.persistent,
            expects_continue: request.expects_continue,
            content: Vec::new(),
        }
    }
}
