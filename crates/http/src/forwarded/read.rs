//! From the fields of a request to what they say of it.

use std::net::IpAddr;
use std::num::NonZeroU8;

use super::element::{Element, Elements};
use super::name::Name;
use super::node::{Node, parse_port};
use crate::error::Refusal;
use crate::headers::{list_elements, trim};
use crate::request::{Field, Request};
use crate::target::is_host_and_port;

/// Which of a proxy's words are heeded. The scheme always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Who the client is.
    pub client: ClientFrom,
    /// Whether host and port are the proxy's to say.
    pub host: bool,
    /// Whether `SCRIPT_NAME` is.
    pub script_name: bool,
    /// Whether `X-Forwarded-Prefix` is.
    pub prefix: bool,
}

/// Who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientFrom {
    /// Whoever is at the other end of the connection.
    #[default]
    Peer,
    /// From the right, the first address that isn't a trusted proxy's; the leftmost if all are.
    Untrusted,
    /// So many addresses from the right, one for each proxy; the leftmost if there are fewer.
    Hops(NonZeroU8),
}

/// What proxies say of a request, as far as it is heeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims<'b> {
    /// Whether the client's connection is encrypted.
    pub secure: Option<bool>,
    /// The client.
    pub client: Option<Node>,
    /// What the client's request has as Host; never empty.
    pub host: Option<&'b [u8]>,
    /// The port that the client has connected to.
    pub port: Option<u16>,
    /// What stands before the app's own paths.
    pub prefix: Option<Prefix<'b>>,
}

/// What stands before the app's own paths: it begins with `/`, doesn't end so, and is percent-encoded
/// as the path of the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix<'b> {
    /// The request's path still begins with it.
    Kept(&'b [u8]),
    /// The proxy has taken it away.
    Taken(&'b [u8]),
}

impl<'b> Claims<'b> {
    /// Reads the fields of a request that a trusted proxy has sent. `trusts` says of an address
    /// whether it is a trusted proxy's too.
    pub fn read(
        request: &Request<'_, 'b>,
        policy: &Policy,
        trusts: &dyn Fn(IpAddr) -> bool,
    ) -> Result<Self, Refusal> {
        // Most requests have no such field: they cost one look at each name.
        let mut named =
            request.fields.iter().filter(|field| Name::find(field.name.as_bytes()).is_some());
        if named.next().is_none() {
            return Ok(Self::default());
        }
        let mut claims = Self::default();
        claims.read_elders(request.fields, policy)?;
        claims.client = client(request.fields, policy.client, trusts)?;
        if let Some(element) = hop(request.fields, policy.client, trusts)? {
            claims.read_standard(&element, policy)?;
        }
        if let Some(Prefix::Kept(prefix)) = claims.prefix
            && !is_below(request.path(), prefix)
        {
            return Err(Refusal::ForwardedPrefixElsewhere);
        }
        Ok(claims)
    }

    /// `X-Forwarded-*`, but for the client.
    fn read_elders(&mut self, fields: &[Field<'b>], policy: &Policy) -> Result<(), Refusal> {
        for field in fields {
            match Name::find(field.name.as_bytes()) {
                Some(name @ (Name::Proto | Name::Protocol | Name::Ssl)) => {
                    for value in values(field.value) {
                        self.say_secure(scheme(name, value)?)?;
                    }
                }
                Some(Name::Host) if policy.host => {
                    values(field.value).try_for_each(|value| self.say_host(value))?;
                }
                Some(Name::Port) if policy.host => {
                    for value in values(field.value) {
                        let port = parse_port(value).filter(|&port| port > 0);
                        let port = port.ok_or(Refusal::ForwardedHostInvalid)?;
                        agree(&mut self.port, port, Refusal::ForwardedHostsDiffer)?;
                    }
                }
                Some(Name::ScriptName) if policy.script_name => {
                    self.say_prefix(field.value, Prefix::Kept)?;
                }
                Some(Name::Prefix) if policy.prefix => {
                    self.say_prefix(field.value, Prefix::Taken)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The element of `Forwarded` by the proxy that knows the client.
    fn read_standard(&mut self, element: &Element<'b>, policy: &Policy) -> Result<(), Refusal> {
        if let Some(proto) = element.proto {
            self.say_secure(scheme(Name::Forwarded, proto)?)?;
        }
        if let (Some(host), true) = (element.host, policy.host) {
            self.say_host(host)?;
        }
        let Some(node) = element.r#for else { return Ok(()) };
        let node = Node::parse(node).ok_or(Refusal::ForwardedMalformed)?;
        if policy.client == ClientFrom::Peer {
            return Ok(());
        }
        match (self.client.and_then(Node::address), node.address()) {
            (Some(elder), Some(address)) if elder != address => {
                return Err(Refusal::ForwardedClientsDiffer);
            }
            // A name that tells nothing contradicts nothing.
            (Some(_), _) => {}
            (None, _) => self.client = Some(node),
        }
        Ok(())
    }

    fn say_secure(&mut self, secure: bool) -> Result<(), Refusal> {
        agree(&mut self.secure, secure, Refusal::ForwardedSchemesDiffer)
    }

    fn say_host(&mut self, host: &'b [u8]) -> Result<(), Refusal> {
        if !is_host_and_port(host) {
            return Err(Refusal::ForwardedHostInvalid);
        }
        match self.host.replace(host) {
            Some(former) if !former.eq_ignore_ascii_case(host) => {
                Err(Refusal::ForwardedHostsDiffer)
            }
            _ => Ok(()),
        }
    }

    fn say_prefix(
        &mut self,
        value: &'b [u8],
        prefix: impl Fn(&'b [u8]) -> Prefix<'b>,
    ) -> Result<(), Refusal> {
        let mut path = value;
        while let [rest @ .., b'/'] = path {
            path = rest;
        }
        let visible = |&byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
        if !path.iter().all(visible) || !(path.is_empty() || path.starts_with(b"/")) {
            return Err(Refusal::ForwardedPrefixInvalid);
        }
        if path.is_empty() {
            return Ok(());
        }
        agree(&mut self.prefix, prefix(path), Refusal::ForwardedPrefixesDiffer)
    }
}

/// A value where there is none yet, or the same as is there.
fn agree<T: PartialEq + Copy>(
    said: &mut Option<T>,
    value: T,
    refusal: Refusal,
) -> Result<(), Refusal> {
    if said.is_some_and(|former| former != value) {
        return Err(refusal);
    }
    *said = Some(value);
    Ok(())
}

/// The elements of a list that aren't empty: an empty field says nothing.
fn values(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list_elements(list).filter(|value| !value.is_empty())
}

/// Whether a word means https; WebSocket's schemes are begun by requests of HTTP's (RFC 6455 §1.7).
fn scheme(name: Name, word: &[u8]) -> Result<bool, Refusal> {
    let is_one_of = |words: &[&[u8]]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    let (secure, plain): (&[&[u8]], &[&[u8]]) = match name {
        Name::Ssl => (&[b"on"], &[b"off"]),
        Name::Protocol => (&[b"ssl", b"https", b"wss"], &[b"http", b"ws"]),
        _ => (&[b"https", b"wss"], &[b"http", b"ws"]),
    };
    match (is_one_of(secure), is_one_of(plain)) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(Refusal::ForwardedSchemeUnknown),
    }
}

/// Whether `path` is `prefix`, or goes on below it.
fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

/// The client by `X-Forwarded-For`. What stands left of it is the client's own word, and isn't
/// looked at.
fn client(
    fields: &[Field<'_>],
    from: ClientFrom,
    trusts: &dyn Fn(IpAddr) -> bool,
) -> Result<Option<Node>, Refusal> {
    let hops = match from {
        ClientFrom::Peer => return Ok(None),
        ClientFrom::Untrusted => None,
        ClientFrom::Hops(hops) => Some(usize::from(hops.get())),
    };
    let lists =
        fields.iter().rev().filter(|field| Name::find(field.name.as_bytes()) == Some(Name::For));
    let entries = lists.flat_map(|field| field.value.rsplit(|&byte| byte == b',').map(trim));
    let mut client = None;
    for (nr, entry) in entries.filter(|entry| !entry.is_empty()).enumerate() {
        let node = Node::parse_entry(entry).ok_or(Refusal::ForwardedClientInvalid)?;
        client = Some(node);
        let found = match hops {
            Some(hops) => nr + 1 == hops,
            None => !node.address().is_some_and(trusts),
        };
        if found {
            break;
        }
    }
    Ok(client)
}

/// The element of `Forwarded` by the proxy that knows the client, found by the same rule; if the
/// client isn't asked for, the last.
fn hop<'b>(
    fields: &[Field<'b>],
    from: ClientFrom,
    trusts: &dyn Fn(IpAddr) -> bool,
) -> Result<Option<Element<'b>>, Refusal> {
    let fields =
        || fields.iter().filter(|field| Name::find(field.name.as_bytes()) == Some(Name::Forwarded));
    let elements = || fields().flat_map(|field| Elements::of(field.value));
    let mut count = 0;
    for element in elements() {
        element.map_err(|_| Refusal::ForwardedMalformed)?;
        count += 1;
    }
    // From here on none is malformed.
    let mut elements = elements().flatten();
    Ok(match from {
        ClientFrom::Peer => elements.last(),
        ClientFrom::Hops(hops) => {
            elements.nth(usize::saturating_sub(count, usize::from(hops.get())))
        }
        ClientFrom::Untrusted => elements.reduce(|found, next| {
            let node = next.r#for.and_then(Node::parse);
            let goes_on = node.and_then(Node::address).is_some_and(trusts);
            if goes_on { found } else { next }
        }),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
