//! A small HTTP server that plays the hub, and misbehaves on request.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What it is answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

type Answer = dyn FnMut(&Request) -> Reply + Send;

/// A server that lives as long as the test.
pub(crate) struct Server {
    pub(crate) address: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers every request by the function, one connection a request.
    pub(crate) fn start(answer: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let log: Arc<Mutex<Vec<Request>>> = Arc::default();
        let answer: Arc<Mutex<Box<Answer>>> = Arc::new(Mutex::new(Box::new(answer)));
        let noted = log.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, noted) = (answer.clone(), noted.clone());
                std::thread::spawn(move || serve(stream, &answer, &noted));
            }
        });
        Self { address, log }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Requests of a method whose path ends so.
    pub(crate) fn requests_for(&self, method: &str, end: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|r| r.method == method && r.path.ends_with(end)).collect()
    }
}

fn serve(mut stream: TcpStream, answer: &Mutex<Box<Answer>>, log: &Mutex<Vec<Request>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = reader.by_ref().lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    // A body without a length is not read: storage does not take one either.
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).ok()?;
    let request = Request { method, path, headers, body };
    log.lock().unwrap().push(request.clone());
    let reply = answer.lock().unwrap()(&request);
    let mut head = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name == "Content-Length") {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if request.method != "HEAD" {
        stream.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())]).ok()?;
    }
    stream.flush().ok()
}

/// The hub's files, `owner/name` at [`COMMIT`], served as the hub does.
#[derive(Clone)]
pub(crate) struct Files(pub(crate) Vec<(&'static str, Vec<u8>)>);

impl Files {
    /// A model of few bytes: the hub does not look inside.
    pub(crate) fn model() -> Self {
        let weights = (0..100_000u32).flat_map(|i| i.to_le_bytes()).collect();
        Self(vec![
            ("README.md", b"# A model".to_vec()),
            ("config.json", b"{\"num_layers\": 6}".to_vec()),
            ("model.safetensors", weights),
            ("pytorch_model.bin", b"not wanted".to_vec()),
            ("onnx/config.json", b"not wanted".to_vec()),
        ])
    }

    pub(crate) fn contents(&self, name: &str) -> Vec<u8> {
        self.0.iter().find(|(n, _)| *n == name).unwrap().1.clone()
    }

    /// The etag that the hub gives: the hash of weights, and something else for small files.
    pub(crate) fn etag(&self, name: &str) -> String {
        let digest: String = Sha256::digest(self.contents(name)).iter().map(|byte| format!("{byte:02x}")).collect();
        if name.ends_with(".safetensors") { digest } else { digest[..40].to_owned() }
    }

    pub(crate) fn answer(&self, request: &Request) -> Reply {
        if request.path.starts_with("/api/models/owner/name/revision/") {
            let names: Vec<_> = self.0.iter().map(|(name, _)| serde_json::json!({ "rfilename": name })).collect();
            let body = serde_json::json!({ "sha": COMMIT, "siblings": names }).to_string().into_bytes();
            return Reply { body, ..Reply::status(200) };
        }
        let name = request.path.strip_prefix(&format!("/owner/name/resolve/{COMMIT}/"));
        let Some((name, contents)) = name.and_then(|name| self.0.iter().find(|(n, _)| *n == name)) else {
            return Reply::status(404);
        };
        let whole = Reply { body: contents.clone(), ..Reply::status(200) }
            .header("ETag", format!("\"{}\"", self.etag(name)))
            .header("X-Repo-Commit", COMMIT);
        let start =
            request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match start {
            None => whole,
            Some(start) if start < contents.len() => {
                let range = format!("bytes {start}-{}/{}", contents.len() - 1, contents.len());
                let part = Reply { status: 206, body: contents[start..].to_vec(), ..whole };
                part.header("Content-Range", range)
            }
            Some(_) => Reply::status(416),
        }
    }
}
