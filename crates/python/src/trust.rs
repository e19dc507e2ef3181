//! Whom to believe, from the settings.

use ironhorn_config::{ForwardedFor, ProxyProtocol, Settings};
use ironhorn_http::forwarded::{ClientFrom, Policy};
use ironhorn_http::proxy::Versions;
use ironhorn_unix::PeerPattern;
use ironhorn_worker::Trust;

use crate::environ::Visible;

/// `forwarded_allow_ips` where nobody has set it to something else.
const DEFAULT_FORWARDERS: [&str; 2] = ["127.0.0.1", "::1"];

/// Whom the loop believes.
pub(crate) fn trust(settings: &Settings) -> Trust {
    let lists = |name: &str| {
        settings.forwarder_headers.iter().any(|listed| listed.eq_ignore_ascii_case(name))
    };
    Trust {
        forwarders: settings.forwarded_allow_ips.iter().copied().collect(),
        policy: Policy {
            client: match settings.forwarded_for {
                ForwardedFor::Off => ClientFrom::Peer,
                ForwardedFor::On => ClientFrom::Untrusted,
                ForwardedFor::Hops(hops) => ClientFrom::Hops(hops),
            },
            host: settings.forwarded_host,
            script_name: lists("SCRIPT_NAME"),
            prefix: lists("X-Forwarded-Prefix"),
        },
        proxy_protocol: match settings.proxy_protocol {
            ProxyProtocol::Off => None,
            ProxyProtocol::V1 => Some(Versions::V1),
            ProxyProtocol::V2 => Some(Versions::V2),
            ProxyProtocol::Auto => Some(Versions::Any),
        },
        proxies: settings.proxy_allow_from.iter().copied().collect(),
    }
}

/// What the app sees.
///
/// Somebody who has said nothing of proxies may have one that isn't listed, with an app that reads
/// its fields itself: that goes on as it was.
pub(crate) fn visible(settings: &Settings) -> Visible {
    let is_default = |pattern: &PeerPattern| {
        DEFAULT_FORWARDERS.iter().any(|address| Ok(*pattern) == address.parse())
    };
    let says_nothing = settings.forwarded_allow_ips.len() == DEFAULT_FORWARDERS.len()
        && settings.forwarded_allow_ips.iter().all(is_default)
        && settings.forwarded_for == ForwardedFor::Off
        && !settings.forwarded_host;
    Visible { hides_strangers: !says_nothing, listed: settings.forwarder_headers.clone() }
}
