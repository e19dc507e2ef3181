use super::*;
use crate::limits::Limits;
use crate::request::FieldStorage;
use proptest::prelude::*;

/// What `lines` say, if 10.0.0.0/8 and 192.168.0.1 are proxies.
fn read(lines: &[&str], policy: &Policy) -> Result<Told, Refusal> {
    read_at("/shop/cart?x", lines, policy)
}

/// [`Claims`] that own what they hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    secure: Option<bool>,
    client: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    prefix: Option<(String, bool)>,
}

fn read_at(target: &str, lines: &[&str], policy: &Policy) -> Result<Told, Refusal> {
    let fields: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let mut storage = FieldStorage::new();
    let request = Request::parse(head.as_bytes(), &mut storage, &Limits::default()).unwrap();
    let claims = Claims::read(&request, policy, &is_proxy)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ok(Told {
        secure: claims.secure,
        client: claims.client.map(|node| match node {
            Node::Address(address, None) => address.to_string(),
            Node::Address(address, Some(port)) => format!("{address} {port}"),
            Node::Unnamed => "unnamed".to_owned(),
        }),
        host: claims.host.map(text),
        port: claims.port,
        prefix: claims.prefix.map(|prefix| match prefix {
            Prefix::Kept(path) => (text(path), true),
            Prefix::Taken(path) => (text(path), false),
        }),
    })
}

fn is_proxy(address: IpAddr) -> bool {
    address.to_string().starts_with("10.") || address.to_string() == "192.168.0.1"
}

fn hops(hops: u8) -> Policy {
    Policy { client: ClientFrom::Hops(NonZeroU8::new(hops).unwrap()), ..Policy::default() }
}

const UNTRUSTED: Policy =
    Policy { client: ClientFrom::Untrusted, host: false, script_name: false, prefix: false };
const HOST: Policy =
    Policy { client: ClientFrom::Peer, host: true, script_name: false, prefix: false };
const PREFIXES: Policy =
    Policy { client: ClientFrom::Peer, host: false, script_name: true, prefix: true };

#[test]
fn nothing_is_said() {
    let everything = Policy { script_name: true, prefix: true, host: true, ..UNTRUSTED };
    let empty = ["X-Forwarded-Proto:", "X-Forwarded-For: ,", "Forwarded:", "X-Forwarded-Host:"];
    for lines in [&[][..], &["Accept: x", "X-Own: y"], &empty, &["X-Forwarded-Prefix: /"]] {
        assert_eq!(read(lines, &everything), Ok(Told::default()), "{lines:?}");
    }
}

#[test]
fn the_scheme() {
    for (lines, secure) in [
        (&["X-Forwarded-Proto: https"][..], true),
        (&["x-forwarded-PROTO: HTTPS"], true),
        (&["X-Forwarded-Proto: http"], false),
        (&["X-Forwarded-Proto: wss"], true),
        (&["X-Forwarded-Proto: https, https", "X-Forwarded-Proto: https"], true),
        (&["X-Forwarded-Ssl: on"], true),
        (&["X-Forwarded-Ssl: off"], false),
        (&["X-Forwarded-Protocol: ssl"], true),
        (&["X-Forwarded-Protocol: http"], false),
        (&["Forwarded: proto=https"], true),
        (&["Forwarded: proto=\"HTTPS\""], true),
        (&["Forwarded: for=_a;proto=http, for=_b;proto=https"], true),
        (&["Forwarded: proto=https", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"], true),
    ] {
        let told = Told { secure: Some(secure), ..Told::default() };
        assert_eq!(read(lines, &Policy::default()), Ok(told), "{lines:?}");
    }
}

#[test]
fn schemes_that_are_refused() {
    for (lines, refusal) in [
        (&["X-Forwarded-Proto: https, http"][..], Refusal::ForwardedSchemesDiffer),
        (&["X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"], Refusal::ForwardedSchemesDiffer),
        (&["X-Forwarded-Proto: http", "Forwarded: proto=https"], Refusal::ForwardedSchemesDiffer),
        (&["X-Forwarded-Proto: on"], Refusal::ForwardedSchemeUnknown),
        (&["X-Forwarded-Proto: https;q=1"], Refusal::ForwardedSchemeUnknown),
        (&["X-Forwarded-Ssl: https"], Refusal::ForwardedSchemeUnknown),
        (&["X-Forwarded-Protocol: tls"], Refusal::ForwardedSchemeUnknown),
        (&["Forwarded: proto=ftp"], Refusal::ForwardedSchemeUnknown),
        (&["Forwarded: for=\"10.0.0.1"], Refusal::ForwardedMalformed),
        (&["Forwarded: for=client.example"], Refusal::ForwardedMalformed),
        (&["Forwarded: for=_a", "Forwarded: proto"], Refusal::ForwardedMalformed),
    ] {
        assert_eq!(read(lines, &Policy::default()), Err(refusal), "{lines:?}");
    }
}

#[track_caller]
fn expect_client(lines: &[&str], policy: &Policy, client: Option<&str>) {
    let told = read(lines, policy).map(|told| told.client);
    assert_eq!(told, Ok(client.map(str::to_owned)), "{lines:?} {policy:?}");
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_no_proxy() {
    for (lines, client) in [
        (&["X-Forwarded-For: 203.0.113.9"][..], "203.0.113.9"),
        (&["X-Forwarded-For: 203.0.113.9, 10.0.0.1, 192.168.0.1"], "203.0.113.9"),
        (&["X-Forwarded-For: 198.51.100.6, 203.0.113.9, 10.0.0.1"], "203.0.113.9"),
        (&["X-Forwarded-For: nonsense, 203.0.113.9"], "203.0.113.9"),
        (&["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 10.0.0.1"], "203.0.113.9"),
        (&["X-Forwarded-For: 203.0.113.9,,  ,10.0.0.1,"], "203.0.113.9"),
        (&["X-Forwarded-For: 10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (&["X-Forwarded-For: 203.0.113.9:4711"], "203.0.113.9 4711"),
        (&["X-Forwarded-For: 2001:db8::9"], "2001:db8::9"),
        (&["X-Forwarded-For: [2001:db8::9]:4711, ::ffff:10.0.0.1"], "2001:db8::9 4711"),
        (&["X-Forwarded-For: 203.0.113.9, unknown"], "unnamed"),
        (&["Forwarded: for=203.0.113.9, for=10.0.0.1"], "203.0.113.9"),
        (
            &["Forwarded: for=198.51.100.6, for=203.0.113.9;proto=https, for=10.0.0.1"],
            "203.0.113.9",
        ),
        (&["Forwarded: for=\"203.0.113.9:4711\""], "203.0.113.9 4711"),
        (&["Forwarded: for=10.0.0.3", "Forwarded: for=10.0.0.2"], "10.0.0.3"),
        (&["Forwarded: for=203.0.113.9, for=_hidden"], "unnamed"),
        (&["Forwarded: for=_hidden", "X-Forwarded-For: 203.0.113.9"], "203.0.113.9"),
        (&["Forwarded: for=203.0.113.9", "X-Forwarded-For: 203.0.113.9:80"], "203.0.113.9 80"),
    ] {
        expect_client(lines, &UNTRUSTED, Some(client));
    }
    // A proxy that doesn't say whom it serves: nobody knows.
    expect_client(&["Forwarded: for=203.0.113.9, proto=https"], &UNTRUSTED, None);
    expect_client(&["X-Forwarded-For: 203.0.113.9"], &Policy::default(), None);
}

#[test]
fn the_client_is_so_many_hops_away() {
    let lines = ["X-Forwarded-For: 198.51.100.6, 203.0.113.9", "X-Forwarded-For: 10.0.0.1"];
    for (count, client) in
        [(1, "10.0.0.1"), (2, "203.0.113.9"), (3, "198.51.100.6"), (4, "198.51.100.6")]
    {
        expect_client(&lines, &hops(count), Some(client));
        let standard = ["Forwarded: for=198.51.100.6, for=203.0.113.9", "Forwarded: for=10.0.0.1"];
        expect_client(&standard, &hops(count), Some(client));
    }
}

#[test]
fn clients_that_are_refused() {
    for line in ["X-Forwarded-For: 203.0.113.9, x", "X-Forwarded-For: x, 10.0.0.1"] {
        assert_eq!(read(&[line], &UNTRUSTED), Err(Refusal::ForwardedClientInvalid), "{line}");
    }
    let lines = ["X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.8"];
    assert_eq!(read(&lines, &UNTRUSTED), Err(Refusal::ForwardedClientsDiffer));
    assert_eq!(read(&lines, &hops(1)), Err(Refusal::ForwardedClientsDiffer));
    assert_eq!(read(&lines, &Policy::default()), Ok(Told::default()));
}

#[test]
fn what_is_said_of_the_scheme_is_that_of_the_clients_hop() {
    let lines = ["Forwarded: for=203.0.113.9;proto=https, for=10.0.0.1;proto=http"];
    assert_eq!(read(&lines, &UNTRUSTED).map(|told| told.secure), Ok(Some(true)));
    assert_eq!(read(&lines, &hops(2)).map(|told| told.secure), Ok(Some(true)));
    assert_eq!(read(&lines, &hops(1)).map(|told| told.secure), Ok(Some(false)));
    assert_eq!(read(&lines, &Policy::default()).map(|told| told.secure), Ok(Some(false)));
}

#[test]
fn the_host() {
    for (lines, host, port) in [
        (&["X-Forwarded-Host: shop.example"][..], Some("shop.example"), None),
        (&["X-Forwarded-Host: shop.example:8443"], Some("shop.example:8443"), None),
        (&["X-Forwarded-Host: a, A", "X-Forwarded-Port: 80"], Some("A"), Some(80)),
        (&["X-Forwarded-Port: 8443"], None, Some(8443)),
        (&["Forwarded: host=\"shop.example:81\""], Some("shop.example:81"), None),
        (&["Forwarded: host=a", "X-Forwarded-Host: a"], Some("a"), None),
    ] {
        let told = read(lines, &HOST).map(|told| (told.host, told.port));
        assert_eq!(told, Ok((host.map(str::to_owned), port)), "{lines:?}");
        assert_eq!(read(lines, &Policy::default()), Ok(Told::default()), "{lines:?}");
    }
    for (lines, refusal) in [
        (&["X-Forwarded-Host: a, b"][..], Refusal::ForwardedHostsDiffer),
        (&["X-Forwarded-Host: a", "Forwarded: host=b"], Refusal::ForwardedHostsDiffer),
        (&["X-Forwarded-Port: 80, 81"], Refusal::ForwardedHostsDiffer),
        (&["X-Forwarded-Host: a b"], Refusal::ForwardedHostInvalid),
        (&["X-Forwarded-Host: a/b"], Refusal::ForwardedHostInvalid),
        (&["X-Forwarded-Port: 0"], Refusal::ForwardedHostInvalid),
        (&["X-Forwarded-Port: 65536"], Refusal::ForwardedHostInvalid),
        (&["X-Forwarded-Port: https"], Refusal::ForwardedHostInvalid),
        (&["Forwarded: host=\"a@b\""], Refusal::ForwardedHostInvalid),
    ] {
        assert_eq!(read(lines, &HOST), Err(refusal), "{lines:?}");
    }
}

#[test]
fn the_prefix() {
    for (lines, prefix) in [
        (&["SCRIPT_NAME: /shop"][..], Some(("/shop", true))),
        (&["SCRIPT_NAME: /shop/"], Some(("/shop", true))),
        (&["SCRIPT_NAME: /shop/cart"], Some(("/shop/cart", true))),
        (&["SCRIPT_NAME:"], None),
        (&["X-Forwarded-Prefix: /else%20where"], Some(("/else%20where", false))),
    ] {
        let told = read(lines, &PREFIXES).map(|told| told.prefix);
        assert_eq!(told, Ok(prefix.map(|(path, kept)| (path.to_owned(), kept))), "{lines:?}");
        assert_eq!(read(lines, &Policy::default()), Ok(Told::default()), "{lines:?}");
    }
    for (lines, refusal) in [
        (&["SCRIPT_NAME: /sho"][..], Refusal::ForwardedPrefixElsewhere),
        (&["SCRIPT_NAME: /else"], Refusal::ForwardedPrefixElsewhere),
        (&["SCRIPT_NAME: shop"], Refusal::ForwardedPrefixInvalid),
        (&["SCRIPT_NAME: /a b"], Refusal::ForwardedPrefixInvalid),
        (&["X-Forwarded-Prefix: /a?b"], Refusal::ForwardedPrefixInvalid),
        (&["X-Forwarded-Prefix: /a", "X-Forwarded-Prefix: /b"], Refusal::ForwardedPrefixesDiffer),
        (&["X-Forwarded-Prefix: /shop", "SCRIPT_NAME: /shop"], Refusal::ForwardedPrefixesDiffer),
    ] {
        assert_eq!(read(lines, &PREFIXES), Err(refusal), "{lines:?}");
    }
    let asterisk = read_at("http://h", &["SCRIPT_NAME: /shop"], &PREFIXES);
    assert_eq!(asterisk, Err(Refusal::ForwardedPrefixElsewhere));
}

fn entry() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("10.0.0.1".to_owned()),
        Just("203.0.113.9".to_owned()),
        Just("2001:db8::1".to_owned()),
        "[ -~]{0,12}".prop_map(|text| text.replace(',', "")),
    ]
}

proptest! {
    /// A client can put into the fields what it likes: what proxies add to it decides.
    #[test]
    fn what_the_client_wrote_decides_nothing(
        forged in prop::collection::vec(entry(), 0..4),
        proxies in 0usize..3,
    ) {
        let forged = forged.join(",");
        let added = ["203.0.113.5", "10.0.0.7", "10.0.0.8"][..=proxies].join(", ");
        let line = format!("X-Forwarded-For: {forged}, {added}");
        expect_client(&[&line], &UNTRUSTED, Some("203.0.113.5"));
        let count = u8::try_from(proxies + 1).unwrap();
        expect_client(&[&line], &hops(count), Some("203.0.113.5"));
    }

    #[test]
    fn no_value_panics(
        name in prop::sample::select(vec![
            "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port",
            "X-Forwarded-Proto", "X-Forwarded-Prefix", "SCRIPT_NAME",
        ]),
        value in "[ -~]{0,40}|(for=|proto=|host=|by=|[\"\\\\;,_=:\\[\\]a1.]|unknown){0,20}",
    ) {
        let policy = Policy { client: ClientFrom::Untrusted, host: true, ..PREFIXES };
        for policy in [policy, hops(2)] {
            let _ = read(&[&format!("{name}: {value}")], &policy);
        }
    }
}
