use std::fmt;
use std::time::Duration;

use crate::tls::TlsSettings;

/// Where a server is, and who we are there.
#[derive(Clone)]
pub struct ConnectionSettings {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub tls: TlsSettings,
    /// How long connecting and logging in may take.
    pub connect_timeout: Duration,
    /// Must differ from every server and every other replica of the source.
    pub server_id: u32,
    /// Names this replica to the server, which ends an older stream of the same name. The same after a restart.
    pub replica_uuid: [u8; 16],
    /// How often the server says that it is alive when there is nothing to send. Three without a byte end the connection.
    pub heartbeat: Duration,
    /// Largest event that is taken, in bytes. MySQL allows 1 GiB; memory is used only as the bytes of such an event arrive.
    pub event_bytes_max: usize,
}

impl ConnectionSettings {
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    pub const HEARTBEAT: Duration = Duration::from_secs(5);
    pub const EVENT_BYTES_MAX: usize = 1 << 30;

    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Without the password.
impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSettings")
            .field("address", &self.address())
            .field("user", &self.user)
            .field("tls", &self.tls)
            .field("server_id", &self.server_id)
            .finish_non_exhaustive()
    }
}
