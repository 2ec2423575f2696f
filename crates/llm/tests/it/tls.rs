//! A server that can't be trusted gets neither question nor key.

use std::sync::{Arc, Mutex};

use coroner_diagnosis::FailureKind;
use coroner_llm::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::server::{Act, serve};
use crate::{Dialect, asker, question};

#[tokio::test]
async fn a_certificate_of_nobody_is_refused() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, &|_, _| Act::ok(Dialect::Anthropic.answer("{}")), &log).await;
            }
        }
    });
    for dialect in Dialect::BOTH {
        let asker = asker(dialect.model(&format!("https://localhost:{port}")), Limits::default());
        let failure = asker.ask(&question("v1:1")).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unreachable, "{failure:?}");
        assert!(
            failure.detail.starts_with(&format!("no secure connection to localhost:{port} (")),
            "{failure:?}"
        );
    }
    assert!(seen.lock().unwrap().is_empty(), "something was sent before trust was established");
    accepting.abort();
}

#[tokio::test]
async fn https_to_a_server_that_speaks_no_tls_is_told_as_such() {
    for says in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let accepting = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // the first of what the client says, which is not HTTP
            stream.read_exact(&mut [0; 5]).await.unwrap();
            stream.write_all(says.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let asker = asker(Dialect::Anthropic.model(&base), Limits { retries: 0, ..Limits::default() });
        let failure = asker.ask(&question("v1:1")).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unreachable);
        assert!(failure.detail.starts_with("no secure connection to 127.0.0.1:"), "{failure:?}");
        accepting.await.unwrap();
    }
}
