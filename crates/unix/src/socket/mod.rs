//! Listeners and the connections that come out of them.

mod address;
mod error;
mod inherited;
mod listener;
mod network;
mod passage;
mod private;
mod stream;
mod unix_path;

pub use address::{Address, AddressError};
pub use error::{BindError, InheritedFault};
pub use listener::{BindOptions, Listener, Local, Peer};
pub use network::{Network, NetworkError, PeerList, PeerPattern};
pub use passage::Passed;
pub use private::{SocketFile, bind_private, connect_private, effective_uid, peer_uid};
pub use stream::{Stream, is_disconnected, readable};
pub use unix_path::{ListenerFile, is_served};
