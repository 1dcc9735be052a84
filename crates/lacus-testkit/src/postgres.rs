//! A small blocking client of the Postgres wire protocol: simple queries, answers as text, errors with all fields.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest a message of the server may take.
const REPLY_TIME_MAX: Duration = Duration::from_secs(120);

/// A session.
#[derive(Debug)]
pub struct Postgres {
    stream: TcpStream,
}

/// The rows of one query, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The values; none for null.
    pub rows: Vec<Vec<Option<String>>>,
}

/// An error of the server, or of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// SQLSTATE; empty when the connection failed.
    pub code: String,
    /// The message.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the query, counted in characters from one.
    pub position: Option<usize>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { message: error.to_string(), ..Self::default() }
    }
}

impl Rows {
    /// The single value of a single row; empty text for null.
    ///
    /// # Panics
    /// If there is not exactly one.
    #[must_use]
    pub fn single(&self) -> &str {
        let [row] = self.rows.as_slice() else { panic!("{} rows instead of one", self.rows.len()) };
        let [value] = row.as_slice() else { panic!("{} columns instead of one", row.len()) };
        value.as_deref().unwrap_or_default()
    }
}

impl Postgres {
    /// Opens a session of user `lacus` in database `lake`.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&address, REPLY_TIME_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIME_MAX))?;
        let mut session = Self { stream };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        body.extend_from_slice(b"user\0lacus\0database\0lake\0\0");
        session.write(None, &body)?;
        session.until_ready().map(|_| session)
    }

    /// Runs one query.
    ///
    /// # Errors
    /// What the server says is wrong with it. The session can be used on.
    pub fn query(&mut self, sql: &str) -> Result<Rows, Failure> {
        self.query_bytes(sql.as_bytes())
    }

    /// Runs what may be no text.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_bytes(&mut self, sql: &[u8]) -> Result<Rows, Failure> {
        self.write(Some(b'Q'), &[sql, b"\0"].concat())?;
        self.until_ready()
    }

    fn write(&mut self, kind: Option<u8>, body: &[u8]) -> Result<(), Failure> {
        let length = u32::try_from(body.len() + 4).map_err(|_| io::Error::other("the query is too long"))?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        Ok(self.stream.write_all(&message)?)
    }

    fn until_ready(&mut self) -> Result<Rows, Failure> {
        let mut rows = Rows::default();
        let mut failure = None;
        loop {
            // A session that is refused ends with the reason.
            let (kind, body) = self.read().map_err(|ended| failure.clone().unwrap_or(ended))?;
            let mut body = Body(&body);
            match kind {
                b'T' => rows.columns = body.columns(),
                b'D' => rows.rows.push(body.row()),
                b'E' => failure = Some(body.failure()),
                b'Z' => return failure.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    fn read(&mut self) -> Result<(u8, Vec<u8>), Failure> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; usize::try_from(length).expect("64 bits").saturating_sub(4)];
        self.stream.read_exact(&mut body)?;
        Ok((head[0], body))
    }
}

/// The rest of a message.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> i32 {
        let sign = if self.0[0] >= 0x80 { -1 } else { 0 };
        self.bytes(bytes).iter().fold(sign, |number, &byte| number << 8 | i32::from(byte))
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|&byte| byte == 0).expect("text ends with a zero");
        let text = String::from_utf8_lossy(self.bytes(end)).into_owned();
        self.bytes(1);
        text
    }

    fn columns(&mut self) -> Vec<String> {
        let count = self.number(2);
        (0..count)
            .map(|_| {
                let name = self.text();
                self.bytes(18);
                name
            })
            .collect()
    }

    fn row(&mut self) -> Vec<Option<String>> {
        let count = self.number(2);
        (0..count)
            .map(|_| {
                let length = usize::try_from(self.number(4)).ok()?;
                Some(String::from_utf8_lossy(self.bytes(length)).into_owned())
            })
            .collect()
    }

    fn failure(&mut self) -> Failure {
        let mut failure = Failure::default();
        loop {
            match self.bytes(1)[0] {
                0 => return failure,
                b'C' => failure.code = self.text(),
                b'M' => failure.message = self.text(),
                b'H' => failure.hint = Some(self.text()),
                b'P' => failure.position = self.text().parse().ok(),
                _ => drop(self.text()),
            }
        }
    }
}
