//! Real Redis servers, one for each test, and small words for what is asked of them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysync_connectors::redis::{Redis, Settings, TlsFiles};
use redis::FromRedisValue;
use tempfile::TempDir;

/// A server of its own; killed when dropped.
pub struct Server {
    pub port: u16,
    dir: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = Self { port, dir: TempDir::new().unwrap(), arguments, child: None };
        server.restart();
        server
    }

    /// Ends it like a power cut, if it runs, and starts it again on its files.
    pub fn restart(&mut self) {
        self.kill();
        let binary = std::env::var_os("MYSYNC_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let child = Command::new(&binary)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"])
            .args(&self.arguments)
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}", Path::new(&binary).display())));
        until("redis accepts connections", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Asks the server, as an operator would.
    pub fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        ask(&self.url(), command)
    }
}

pub fn ask<T: FromRedisValue>(url: &str, command: &str) -> T {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap());
    words.for_each(|word| _ = asked.arg(word));
    asked.query(&mut connection).unwrap_or_else(|error| panic!("{command}: {error}"))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Settings with waits that suit a test.
pub fn settings(url: &str) -> Settings {
    let mut settings = Settings::new(url, &TlsFiles::default()).unwrap();
    settings.answer_timeout = Duration::from_secs(5);
    settings
}

/// The way of writer `users` into the Redis at `url`.
pub fn connector(url: &str) -> Redis {
    Redis::new(Arc::new(settings(url)), "shop", "users", 0)
}

pub const FENCE: &str = "mysync:fence:{shop/users/0}";

/// Waits until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An authority, and a server's and a client's certificate of it.
pub struct Certificates(TempDir);

impl Certificates {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let run = |arguments: &str| {
            let status = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(&dir)
                .stderr(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success(), "openssl {arguments}");
        };
        std::fs::write(dir.path().join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        run(&format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.crt"));
        for name in ["server", "client"] {
            run(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
            run(&format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {name}.crt"
            ));
        }
        Self(dir)
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub fn text(&self, file: &str) -> String {
        self.path(file).to_str().unwrap().to_owned()
    }
}
