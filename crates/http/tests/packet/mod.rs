//! Packs variables, and says in words what comes of the bytes of a connection.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::fmt::Write;

use ironhorn_http::uwsgi::{Packet, Translation};
use ironhorn_http::{BodyEvent, BodyLength, Connection, FieldStorage, Limits, Received, Refusal};

/// A packet with modifier1 0.
pub(crate) struct Packed(Vec<u8>);

impl Packed {
    pub(crate) fn of<T: AsRef<[u8]>>(variables: impl Iterator<Item = (T, T)>) -> Self {
        let mut bytes = vec![0; 4];
        for (name, value) in variables {
            for text in [name.as_ref(), value.as_ref()] {
                bytes.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
                bytes.extend_from_slice(text);
            }
        }
        let size = u16::try_from(bytes.len() - 4).unwrap();
        bytes[1..3].copy_from_slice(&size.to_le_bytes());
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What comes of `input` if it arrives in pieces that end there, in the words of an `.expect` file.
pub(crate) fn outcome(input: &[u8], ends: impl IntoIterator<Item = usize>) -> String {
    let mut said = String::new();
    if let Err(refusal) = receive(input, ends, &mut said) {
        writeln!(said, "refusal: {refusal:?} {}", refusal.status()).unwrap();
    }
    said
}

fn receive(
    input: &[u8],
    ends: impl IntoIterator<Item = usize>,
    said: &mut String,
) -> Result<(), Refusal> {
    let limits = Limits::default();
    let mut ends = ends.into_iter();
    let packet = loop {
        let Some(end) = ends.next() else {
            said.push_str("incomplete: packet\n");
            return Ok(());
        };
        if let Received::Complete(packet) = Packet::receive(&input[..end])? {
            break packet;
        }
    };
    let translation = Translation::of(&packet)?;
    for line in translation.head.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            writeln!(said, "head: {}", line.escape_ascii()).unwrap();
        }
    }
    for (name, value) in translation.variables.iter() {
        writeln!(said, "variable: {}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
    }
    if let Some(client) = translation.client {
        writeln!(said, "client: {client}").unwrap();
    }
    if translation.secure {
        said.push_str("secure: yes\n");
    }

    let mut storage = FieldStorage::new();
    let mut connection = Connection::new();
    let head = connection.receive_head(&translation.head, &mut storage, &limits)?;
    let Received::Complete(head) = head else { panic!("a head that isn't whole") };
    if head.body != BodyLength::None {
        let mut body = &input[packet.len..];
        let mut content = Vec::new();
        while let BodyEvent::Data { content: piece, consumed } =
            connection.receive_body(body, &limits)?
        {
            content.extend_from_slice(piece);
            body = &body[consumed..];
        }
        let whole = if connection.body_finished() { "content" } else { "incomplete: body" };
        writeln!(said, "{whole}: {}", content.escape_ascii()).unwrap();
    }
    Ok(())
}
