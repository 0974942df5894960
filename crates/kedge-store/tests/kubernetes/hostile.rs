//! What answers is no API server, or a sick one: nothing grows without bound, nothing hangs, and no change is made twice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kedge_api::Server;
use kedge_store::{
    ConnectError, KubernetesOptions, KubernetesStore, MetaKey, SharedStore, StoreError, Written,
};
use serde_json::json;
use tempfile::TempDir;

use crate::site::{eventually, everything, server};

/// What something that is asked answers.
enum Answer {
    /// Closes the connection without a word.
    Close,
    /// Says nothing, and keeps the connection.
    Nothing,
    /// An answer with a length.
    Whole(u16, &'static str, String),
    /// These bytes again and again.
    Without(&'static str, &'static [u8]),
}

/// Somebody who takes HTTP requests.
struct Stranger {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
}

impl Stranger {
    /// Answers by method and path, `GET /api/v1/…?…`.
    fn new(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (book, over, answer) = (asked.clone(), ended.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (book, over, answer) = (book.clone(), over.clone(), answer.clone());
                std::thread::spawn(move || talk(stream, &book, &over, &*answer));
            }
        });
        Self {
            address,
            asked,
            ended,
        }
    }

    /// A server with no objects, whose watches stay open and silent, but for what is said otherwise.
    fn but(answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self::new(move |asked| {
            if let Some(answer) = answer(asked) {
                return answer;
            }
            let list = json!({"metadata": {"resourceVersion": "7"}, "items": []});
            if asked.contains("watch=1") {
                Answer::Nothing
            } else {
                Answer::Whole(200, "", list.to_string())
            }
        })
    }

    fn asked(&self, what: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.starts_with(what)).count()
    }

    async fn connect(&self) -> Result<(SharedStore, TempDir), ConnectError> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [
                {"name": "it", "cluster": {"server": format!("http://{}", self.address)}},
            ],
            "contexts": [{"name": "it", "context": {"cluster": "it"}}],
        });
        std::fs::write(&path, config.to_string()).unwrap();
        let store = KubernetesStore::connect(KubernetesOptions {
            kubeconfig: Some(path),
            namespace: None,
            history: folder.path().join("history.db"),
            identity: "hub".to_owned(),
        });
        Ok((store.await?.shared(), folder))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // So that it looks.
        drop(TcpStream::connect(self.address));
    }
}

fn talk(
    mut stream: TcpStream,
    book: &Mutex<Vec<String>>,
    over: &AtomicBool,
    answer: &dyn Fn(&str) -> Answer,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut first, mut length) = (String::new(), 0);
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or_default() == 0 {
                return;
            }
            if first.is_empty() {
                line.trim_end()
                    .trim_end_matches(" HTTP/1.1")
                    .clone_into(&mut first);
            }
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        book.lock().unwrap().push(first.clone());
        match answer(&first) {
            Answer::Close => {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
            Answer::Nothing => {
                while !over.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                return;
            }
            Answer::Whole(code, headers, body) => {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {code} x\r\ncontent-length: {length}\r\n{headers}\r\n");
                if stream.write_all((head + &body).as_bytes()).is_err() {
                    return;
                }
            }
            Answer::Without(headers, bytes) => {
                let head = format!("HTTP/1.1 200 x\r\n{headers}\r\n");
                let mut sent = stream.write_all(head.as_bytes());
                while sent.is_ok() && !over.load(Ordering::SeqCst) {
                    sent = stream.write_all(bytes);
                }
                return;
            }
        }
    }
}

fn stored(name: &str, version: u64) -> String {
    json!({
        "apiVersion": "kedge.dev/v1alpha1", "kind": "Server",
        "metadata": {
            "name": name, "uid": "00000000-0000-4000-8000-000000000000",
            "resourceVersion": version.to_string(), "generation": 1,
        },
        "spec": {}, "status": {"phase": "Pending"},
    })
    .to_string()
}

/// Whatever is there in place of an API server, opening the store says so in time.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_api_server_is_said_to_be_none() {
    let none = |text: &str| {
        let text = text.to_owned();
        Stranger::new(move |_| Answer::Whole(200, "", text.clone()))
    };
    let pages = "{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[{}]}";
    let odd = "{\"metadata\":{\"resourceVersion\":\"0x7\"},\"items\":[]}";
    for text in ["", "<html>", "{}", "[]", "{\"items\":7}", pages, odd] {
        let stranger = none(text);
        let began = Instant::now();
        let error = stranger.connect().await.unwrap_err();
        assert!(matches!(error, ConnectError::Unavailable { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(40));
    }
}

/// An answer without an end is cut off, and so is a line without one.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_end_is_cut_off() {
    const SPACE: &[u8] = &[b' '; 64 * 1024];
    let endless = Stranger::but(|asked| {
        asked
            .starts_with("POST ")
            .then_some(Answer::Without("", SPACE))
    });
    let (store, _folder) = endless.connect().await.unwrap();
    let error = store.create(&server("web01")).await.unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("more than 4194304 bytes") && said.contains("may have been"),
        "{said}"
    );
    assert_eq!(endless.asked("POST "), 1);

    let line = Stranger::but(|asked| {
        asked
            .contains("watch=1")
            .then_some(Answer::Without("", SPACE))
    });
    let (store, _folder) = line.connect().await.unwrap();
    // There is no way past that line, so everything is listed again.
    let watches = || line.asked(&format!("GET {SERVERS}?watch=1"));
    eventually("it is tried again", || async { watches() >= 4 }).await;
    assert!(
        store
            .list::<Server>(&everything())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let lists = line.asked(&format!("GET {SERVERS}?limit="));
    assert!((4..=watches() + 1).contains(&lists), "{lists}");
}

const SERVERS: &str = "/apis/kedge.dev/v1alpha1/namespaces/default/servers";

/// A change is sent once when nobody knows what became of it, and again when nothing can have.
#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_made_twice() {
    for (code, headers, times, written) in [
        (429, "retry-after: 0\r\n", 3, Written::Nothing),
        (503, "retry-after: 0\r\n", 3, Written::Nothing),
        (429, "retry-after: 3600\r\n", 1, Written::Nothing),
        (503, "", 1, Written::Perhaps),
        (500, "", 1, Written::Perhaps),
        (504, "retry-after: 0\r\n", 1, Written::Perhaps),
        (401, "", 1, Written::Nothing),
    ] {
        let sick = Stranger::but(move |asked| {
            let body = "{\"message\":\"not today\"}".to_owned();
            asked
                .starts_with("POST ")
                .then_some(Answer::Whole(code, headers, body))
        });
        let (store, _folder) = sick.connect().await.unwrap();
        let error = store.create(&server("web01")).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Unavailable { written: w, .. } if *w == written),
            "{code} {headers}: {error}"
        );
        assert!(error.to_string().contains("not today"), "{error}");
        assert_eq!(sick.asked("POST "), times, "{code} {headers}");
    }
    let closes = Stranger::but(|asked| asked.starts_with("POST ").then_some(Answer::Close));
    let (store, _folder) = closes.connect().await.unwrap();
    let error = store.create(&server("web01")).await.unwrap_err();
    let perhaps = matches!(
        &error,
        StoreError::Unavailable {
            written: Written::Perhaps,
            ..
        }
    );
    assert!(perhaps, "{error}");
    assert_eq!(closes.asked("POST "), 1);
}

/// A server that takes every change and tells of none does not keep whoever made it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_never_told_of_is_made_all_the_same() {
    let mute = Stranger::but(|asked| {
        asked
            .starts_with("POST ")
            .then(|| Answer::Whole(201, "", stored("web01", 9)))
    });
    let (store, _folder) = mute.connect().await.unwrap();
    let began = Instant::now();
    let made = store.create(&server("web01")).await.unwrap();
    assert_eq!(made.metadata.resource_version.unwrap().value(), 9);
    assert!(began.elapsed() < Duration::from_secs(15));
    // What answers nothing is given up.
    let silent = Stranger::but(|asked| {
        (asked.starts_with("POST ") || asked.contains("configmaps")).then_some(Answer::Nothing)
    });
    let (store, _folder) = silent.connect().await.unwrap();
    let error = store.create(&server("web01")).await.unwrap_err();
    assert!(error.to_string().contains("no answer in 10 s"), "{error}");
    let error = store.meta(MetaKey::HubId).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}
