//! Session tickets that every worker of a server can read (RFC 5077, RFC 8446 section 4.6.1).
//!
//! rustls has a ticketer of its own, but each process that has a copy of it makes new keys by
//! itself in time, and refuses tickets longer than those it has made: what one worker gave, another
//! wouldn't take. Here the master makes the key, and whoever is forked has it as it is.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;

/// How long a ticket is good for, in seconds.
const LIFETIME: u32 = 12 * 60 * 60;
/// The longest ticket that is looked at: one holds the client's certificate chain, if there is one.
const LONGEST: usize = 1 << 16;
const NAME: usize = 16;
const KEY: usize = 32;
/// Of the moment that a ticket was made at, before what it holds.
const MADE_AT: usize = 8;

/// The keys to a server's session tickets.
#[derive(Clone, Debug)]
pub struct TicketKeys {
    current: Arc<Key>,
    /// That of the generation before, whose tickets are still taken.
    former: Option<Arc<Key>>,
}

impl TicketKeys {
    /// A new key, which takes no tickets but its own; `None` if there are no random numbers.
    pub fn new() -> Option<Self> {
        Some(Self { current: Arc::new(Key::new()?), former: None })
    }

    /// A new key that takes the tickets made with the current one too.
    pub fn succeed(&self) -> Option<Self> {
        Some(Self { current: Arc::new(Key::new()?), former: Some(Arc::clone(&self.current)) })
    }

    fn decrypt_at(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        if ticket.len() > LONGEST {
            return None;
        }
        let (name, sealed) = ticket.split_at_checked(NAME)?;
        let mut keys = [Some(&self.current), self.former.as_ref()].into_iter().flatten();
        let mut held = keys.find(|key| key.name == name)?.open(sealed)?;
        let (made_at, _) = held.split_first_chunk::<MADE_AT>()?;
        let age = now.checked_sub(u64::from_be_bytes(*made_at))?;
        if age >= u64::from(LIFETIME) {
            return None;
        }
        held.drain(..MADE_AT);
        Some(held)
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current.seal(&seconds(), plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(ticket, u64::from_be_bytes(seconds()))
    }
}

/// The time as a ticket holds it.
fn seconds() -> [u8; MADE_AT] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().to_be_bytes()
}

struct Key {
    /// By which a ticket says whose it is.
    name: [u8; NAME],
    key: LessSafeKey,
}

impl Key {
    fn new() -> Option<Self> {
        let (name, key): ([u8; NAME], [u8; KEY]) = (random()?, random()?);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).ok()?;
        Some(Self { name, key: LessSafeKey::new(key) })
    }

    fn seal(&self, made_at: &[u8; MADE_AT], plain: &[u8]) -> Option<Vec<u8>> {
        // Not counted: other processes have this key too, and a count would tell of traffic.
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = [made_at, plain].concat();
        let aad = Aad::from(self.name);
        let nonce_and_key = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce_and_key, aad, &mut sealed).ok()?;
        Some([&self.name, &nonce[..], &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, Aad::from(self.name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_its_own_tickets_and_those_of_the_one_before() {
        let first = TicketKeys::new().unwrap();
        let second = first.succeed().unwrap();
        let third = second.succeed().unwrap();
        let ticket = first.encrypt(b"session").unwrap();
        assert_eq!(first.clone().decrypt(&ticket).unwrap(), b"session");
        assert_eq!(second.decrypt(&ticket).unwrap(), b"session");
        assert_eq!(third.decrypt(&ticket), None);
        assert_eq!(TicketKeys::new().unwrap().decrypt(&ticket), None);
        assert_eq!(first.decrypt(&second.encrypt(b"session").unwrap()), None);
    }

    #[test]
    fn a_ticket_is_good_for_a_time_and_only_whole() {
        let keys = TicketKeys::new().unwrap();
        let ticket = keys.current.seal(&1000_u64.to_be_bytes(), b"session").unwrap();
        let last = 1000 + u64::from(LIFETIME) - 1;
        assert_eq!(keys.decrypt_at(&ticket, last).unwrap(), b"session");
        assert_eq!(keys.decrypt_at(&ticket, last + 1), None);
        assert_eq!(keys.decrypt_at(&ticket, 999), None);
        for cut in 0..ticket.len() {
            assert_eq!(keys.decrypt_at(&ticket[..cut], 1000), None);
            let mut changed = ticket.clone();
            changed[cut] ^= 1;
            assert_eq!(keys.decrypt_at(&changed, 1000), None);
        }
        assert_eq!(keys.decrypt_at(&[ticket, vec![0; LONGEST]].concat(), 1000), None);
    }
}
