//! Files that SQL reads: listing them, and reading them piece by piece.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use lacus_core::{Context, Error, Kind, Result};
use object_store::aws::AmazonS3;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Compression, Prefix, Root, tag_of};
use crate::store::store_error;

/// Bytes of an object that are requested at once: each request is answered well within its time limit.
const PIECE_BYTES: u64 = 8 << 20;
/// Pieces that wait to be read.
const PIECES_AHEAD: usize = 1;

/// A file that is to be read.
#[derive(Debug)]
pub struct OutsideFile {
    /// How people call it.
    pub name: String,
    /// How large it is, as it is stored.
    pub bytes: u64,
    at: At,
}

#[derive(Debug)]
enum At {
    Folder { path: PathBuf, tag: Option<String> },
    Bucket { store: Arc<AmazonS3>, key: Path, tag: Option<String> },
}

impl Prefix {
    /// The files to read, by name.
    ///
    /// # Errors
    /// `NotFound` if there are none, `Limited` if there are too many, `Invalid` if one is a symbolic link, `Unavailable` when
    /// the store does not answer.
    pub async fn files(&self) -> Result<Vec<OutsideFile>> {
        let found = self.list().await?;
        if found.is_empty() {
            return Err(Error::not_found(format!("there is no file whose path begins with {self}")));
        }
        if let Some(link) = found.iter().find(|file| file.is_link) {
            return Err(Error::invalid(format!("{} is a symbolic link", self.name(&link.rest)))
                .with_hint("put the file itself there, or name other files: links are not read"));
        }
        let mut files = Vec::with_capacity(found.len());
        for file in found {
            let at = match &self.root {
                Root::Folder(root) => At::Folder { path: root.join(&file.rest), tag: file.tag },
                Root::Bucket(location, store) => {
                    At::Bucket { store: Arc::clone(store), key: Self::key(location, &file.rest)?, tag: file.tag }
                }
            };
            files.push(OutsideFile { name: self.name(&file.rest), bytes: file.bytes, at });
        }
        Ok(files)
    }
}

impl OutsideFile {
    /// The decompressed contents: with the given compression, or the one that its name tells. To be read on a thread that may
    /// block, of a runtime that runs meanwhile.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn read(&self, compression: Option<Compression>) -> Result<Box<dyn BufRead + Send>> {
        let stored: Box<dyn Read + Send> = match &self.at {
            At::Folder { path, .. } => Box::new(File::open(path).context(format_args!("open {}", self.name))?),
            At::Bucket { store, key, tag } => {
                let (send, pieces) = mpsc::channel(PIECES_AHEAD);
                let fetching =
                    Fetching { store: Arc::clone(store), key: key.clone(), tag: tag.clone(), bytes: self.bytes };
                Handle::current().spawn(fetching.run(send));
                Box::new(Fetched { pieces, piece: Bytes::new() })
            }
        };
        let compression = compression.unwrap_or_else(|| Compression::of_name(&self.name));
        compression.reader(stored).context(format_args!("open {}", self.name))
    }

    /// The object, for reading parts of it.
    ///
    /// # Errors
    /// If its name can't be one of an object.
    pub fn object(&self) -> Result<(Arc<dyn ObjectStore>, Path)> {
        match &self.at {
            At::Folder { path, .. } => {
                let path = Path::from_absolute_path(path).map_err(|error| {
                    Error::new(Kind::Invalid, format!("{} can't be opened", self.name)).with_source(error)
                })?;
                Ok((Arc::new(LocalFileSystem::new()), path))
            }
            At::Bucket { store, key, .. } => Ok((Arc::clone(store) as _, key.clone())),
        }
    }

    /// Checks that it is still as it was listed: then everything read of it meanwhile is from one file.
    ///
    /// # Errors
    /// `Conflict` if it was written again or is gone, `Unavailable` when nobody can tell.
    pub async fn must_be_unchanged(&self) -> Result<()> {
        let (listed, now) = match &self.at {
            At::Folder { path, tag } => {
                let path = path.clone();
                let found = spawn_blocking(move || std::fs::symlink_metadata(path)).await;
                let found =
                    found.map_err(|error| Error::internal("a look at a file ended unexpectedly").with_source(error))?;
                match found {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.changed()),
                    found => (tag, Some(tag_of(&found.context(format_args!("look at {}", self.name))?))),
                }
            }
            At::Bucket { store, key, tag } => {
                match store.get_opts(key, GetOptions { head: true, ..GetOptions::default() }).await {
                    Err(object_store::Error::NotFound { .. }) => return Err(self.changed()),
                    Err(error) => return Err(store_error(error, format!("look at {}", self.name))),
                    Ok(found) => (tag, found.meta.e_tag),
                }
            }
        };
        // Stores quote tags in lists and in headers as they like.
        let is_same =
            listed.as_ref().zip(now).is_none_or(|(listed, now)| listed.trim_matches('"') == now.trim_matches('"'));
        if is_same { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Error {
        Error::new(Kind::Conflict, format!("{} changed while it was read", self.name)).with_hint("ask again")
    }
}

/// An object being fetched piece by piece. If it is rewritten meanwhile, that is an error.
struct Fetching {
    store: Arc<AmazonS3>,
    key: Path,
    tag: Option<String>,
    bytes: u64,
}

impl Fetching {
    async fn run(self, send: mpsc::Sender<io::Result<Bytes>>) {
        let mut at = 0;
        while at < self.bytes {
            let end = self.bytes.min(at + PIECE_BYTES);
            let piece = self.piece(at..end).await.map_err(io::Error::other);
            let is_last = piece.is_err();
            // Nobody reads on.
            if send.send(piece).await.is_err() || is_last {
                return;
            }
            at = end;
        }
    }

    async fn piece(&self, range: Range<u64>) -> object_store::Result<Bytes> {
        let options =
            GetOptions { range: Some(GetRange::Bounded(range)), if_match: self.tag.clone(), ..GetOptions::default() };
        self.store.get_opts(&self.key, options).await?.bytes().await
    }
}

/// Pieces as they come. Reading blocks until the next one is there.
struct Fetched {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Fetched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let bytes = self.piece.len().min(into.len());
        self.piece.copy_to_slice(&mut into[..bytes]);
        Ok(bytes)
    }
}
