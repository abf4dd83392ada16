//! Who is let in, by which way, and which servers will not do.

use std::sync::Arc;

use mysync_connectors::redis::{Redis, Settings, TlsFiles};
use mysync_pipeline::failure::Kind::{Definite, Transient};
use mysync_pipeline::ports::Connector;

use crate::server::{Certificates, Server, ask, connector};
use crate::{assert_failure, commands, fence, nothing};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_not_shown() {
    let server = Server::start(&["--requirepass", "open-sesame"]);
    let port = server.port;
    for login in ["", ":wrong-word@", "app:wrong-word@"] {
        let message = assert_failure(
            connector(&format!("redis://{login}127.0.0.1:{port}")).open().await,
            Definite,
            "REDIS_LOGIN",
        );
        assert!(!message.contains("wrong-word"), "{message}");
    }
    let mut writer = connector(&format!("redis://:open-sesame@127.0.0.1:{port}/3"));
    writer.open().await.unwrap();
    writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
    assert_eq!(ask::<String>(&format!("redis://:open-sesame@127.0.0.1:{port}/3"), "GET k"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_just_what_is_needed_is_enough_and_with_less_is_refused() {
    let server = Server::start(&[]);
    let needed = "+hello +select +watch +get +set +multi +exec";
    server.ask::<()>(&format!("ACL SETUSER app on >pw ~user:* ~mysync:fence:* {needed}"));
    let mut writer = connector(&format!("redis://app:pw@127.0.0.1:{}", server.port));
    writer.open().await.unwrap();
    writer.apply(&commands(&["SET user:1 1"]), &fence("a", 0, 1)).await.unwrap();
    // A batch with a key out of reach takes no effect at all.
    let batch = commands(&["SET user:1 2", "SET other 2"]);
    assert_failure(writer.apply(&batch, &fence("a", 1, 2)).await, Definite, "REDIS_PERMISSION");
    assert_eq!(server.ask::<String>("GET user:1"), "1");
    for missing in needed.split(' ').filter(|command| *command != "+hello") {
        server.ask::<()>(&format!("ACL SETUSER app {}", missing.replace('+', "-")));
        let tried = match writer.open().await {
            Ok(_) => writer.apply(&nothing(), &fence("a", 1, 1)).await,
            Err(failure) => Err(failure),
        };
        assert_failure(tried, Definite, "REDIS_PERMISSION");
        server.ask::<()>(&format!("ACL SETUSER app {missing}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_named() {
    let server = Server::start(&[]);
    let message = assert_failure(connector(&format!("{}/99", server.url())).open().await, Definite, "REDIS_DATABASE");
    assert!(message.contains("99"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_evicts_any_key_is_refused() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let message = assert_failure(connector(&server.url()).open().await, Definite, "REDIS_EVICTION");
    assert!(message.contains("allkeys-lru") && message.contains("CONFIG SET maxmemory-policy noeviction"), "{message}");
    server.ask::<()>("CONFIG SET maxmemory-policy volatile-lru");
    connector(&server.url()).open().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_node_is_refused_by_name() {
    let server = Server::start(&["--cluster-enabled", "yes", "--cluster-port", "0"]);
    let message = assert_failure(connector(&server.url()).open().await, Definite, "REDIS_MODE");
    assert!(message.contains("cluster"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_waited_for_until_it_is_the_master() {
    let server = Server::start(&[]);
    let mut writer = connector(&server.url());
    writer.open().await.unwrap();
    server.ask::<()>("REPLICAOF 127.0.0.1 1");
    assert_failure(writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await, Transient, "REDIS_READ_ONLY");
    assert_failure(writer.open().await, Transient, "REDIS_READ_ONLY");
    server.ask::<()>("REPLICAOF NO ONE");
    writer.open().await.unwrap();
    writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowded_server_is_waited_for() {
    let server = Server::start(&[]);
    let mut first = connector(&server.url());
    first.open().await.unwrap();
    server.ask::<()>("CONFIG SET maxclients 1");
    let failure = connector(&server.url()).open().await.unwrap_err();
    assert_eq!(failure.kind, Transient, "{failure}");
    first.apply(&nothing(), &fence("a", 0, 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_trusts_the_named_authority_and_no_other() {
    let certificates = Certificates::new();
    let others = Certificates::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (certificate, key, ca) =
        (certificates.text("server.crt"), certificates.text("server.key"), certificates.text("ca.crt"));
    let _server = Server::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "yes",
    ]);
    let open = async |host: &str, files: TlsFiles| {
        let settings = Settings::new(&format!("rediss://{host}:{port}"), &files).unwrap();
        let mut writer = Redis::new(Arc::new(settings), "shop", "users", 0);
        writer.open().await?;
        writer.apply(&commands(&["SET k 1"]), &fence("a", 0, 1)).await
    };
    let own = |of: &Certificates, ca: &Certificates| TlsFiles {
        ca: Some(ca.path("ca.crt")),
        certificate: Some(of.path("client.crt")),
        key: Some(of.path("client.key")),
    };
    open("127.0.0.1", own(&certificates, &certificates)).await.unwrap();
    assert_failure(open("127.0.0.1", own(&certificates, &others)).await, Definite, "REDIS_TLS");
    assert_failure(open("127.0.0.2", own(&certificates, &certificates)).await, Transient, "REDIS_UNREACHABLE");
    let without = TlsFiles { ca: Some(certificates.path("ca.crt")), ..TlsFiles::default() };
    assert!(open("127.0.0.1", without).await.is_err());
    assert!(open("127.0.0.1", own(&others, &certificates)).await.is_err());
}
