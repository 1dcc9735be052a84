//! A small blocking HTTP/1.1 client on one kept connection, which also sends what no proper client would.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest a reply may take.
const REPLY_TIME_MAX: Duration = Duration::from_secs(60);

/// The largest reply, in bytes.
const REPLY_BYTES_MAX: usize = 1 << 30;

/// A client of one server. It connects at the first request, and again after an error.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status: 200 and the like.
    pub status: u16,
    /// Names in lowercase, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header; its name in lowercase.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

impl Http {
    /// A client of the server at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send("GET", path, &[], b"")
    }

    /// Posts a body with headers.
    ///
    /// # Errors
    /// If the connection fails: what became of the request is then unknown.
    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        self.send("POST", path, headers, body)
    }

    /// Sends a request and reads the reply.
    ///
    /// # Errors
    /// If the connection fails: what became of the request is then unknown.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !headers.iter().any(|(name, _)| *name == "content-length" || *name == "transfer-encoding") {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.exchange(&request)
    }

    /// Sends these very bytes and reads one reply. A server may answer, and hang up, before it read them all.
    ///
    /// # Errors
    /// If the connection fails before a reply.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Reply> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let sent = connection.get_mut().write_all(request);
        let reply = read_reply(&mut connection);
        match (sent, reply) {
            (Ok(()), Ok(reply)) => {
                if reply.header("connection") != Some("close") {
                    self.connection = Some(connection);
                }
                Ok(reply)
            }
            (Err(_), Ok(reply)) => Ok(reply),
            (_, Err(error)) => Err(error),
        }
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, REPLY_TIME_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIME_MAX))?;
        stream.set_write_timeout(Some(REPLY_TIME_MAX))?;
        Ok(BufReader::new(stream))
    }
}

fn read_reply(connection: &mut impl BufRead) -> io::Result<Reply> {
    let status_line = read_line(connection)?;
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| malformed(&status_line))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(connection)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, headers, body: Vec::new() };
    reply.body = match (reply.header("transfer-encoding"), reply.header("content-length")) {
        (Some("chunked"), _) => read_chunks(connection)?,
        (_, Some(length)) => read_bytes(connection, length.parse().map_err(|_| malformed(length))?)?,
        (_, None) => Vec::new(),
    };
    Ok(reply)
}

fn read_chunks(connection: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(connection)?;
        let length = usize::from_str_radix(&line, 16).map_err(|_| malformed(&line))?;
        body.extend(read_bytes(connection, length)?);
        read_line(connection)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn read_bytes(connection: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    if length > REPLY_BYTES_MAX {
        return Err(malformed("a very long body"));
    }
    let mut bytes = vec![0; length];
    connection.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_line(connection: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"));
    }
    Ok(line.trim_end().to_owned())
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what:?}"))
}
