//! What can stand between a run and its desk: a proxy that loses answers, and programs that are no desk.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Passes requests on to a desk; answers to paths that end so are lost on the way, each as often as it says.
pub(crate) struct Proxy {
    pub(crate) url: String,
    lost: Arc<Mutex<Vec<(&'static str, usize)>>>,
}

impl Proxy {
    pub(crate) fn to(desk: &str, lost: &[(&'static str, usize)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let desk = desk.strip_prefix("http://").unwrap().to_owned();
        let lost = Arc::new(Mutex::new(lost.to_vec()));
        let losing = Arc::clone(&lost);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (desk, losing) = (desk.clone(), Arc::clone(&losing));
                std::thread::spawn(move || pass(client, &desk, &losing));
            }
        });
        Self { url, lost }
    }

    /// Answers that are still to be lost.
    pub(crate) fn left(&self) -> usize {
        self.lost.lock().unwrap().iter().map(|(_, times)| times).sum()
    }
}

fn pass(mut client: TcpStream, desk: &str, losing: &Mutex<Vec<(&'static str, usize)>>) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.split('?').next()?.to_owned();
    let is_lost = losing.lock().unwrap().iter_mut().any(|(end, times)| {
        let counts = path.ends_with(*end) && *times > 0;
        *times -= usize::from(counts);
        counts
    });
    let mut to = TcpStream::connect(desk).ok()?;
    to.write_all(head.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes()).ok()?;
    let (mut from_client, mut to_desk) = (client.try_clone().ok()?, to.try_clone().ok()?);
    std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_desk));
    let mut answer = Vec::new();
    to.read_to_end(&mut answer).ok()?;
    if !is_lost {
        client.write_all(&answer).ok()?;
    }
    client.shutdown(Shutdown::Both).ok()
}

/// Answers this to everything.
pub(crate) fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut some = [0; 64 << 10];
                _ = client.read(&mut some);
                _ = client.write_all(format!("HTTP/1.1 {answer}").as_bytes());
                _ = client.shutdown(Shutdown::Write);
                while client.read(&mut some).is_ok_and(|n| n > 0) {}
            });
        }
    });
    url
}

/// Takes connections and says nothing.
pub(crate) fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    url
}
