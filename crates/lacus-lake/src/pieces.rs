//! The bytes of a growing file, in pieces: a buffer that doubles as it grows takes up to three times what it holds.

use std::io::{self, Write};

use object_store::{PutPayload, PutPayloadMut};

/// Bytes of a piece. Most of a small file's piece is never touched, so the system does not back it with memory.
const PIECE_BYTES: usize = 256 << 10;

/// A file in memory that grows.
pub(crate) struct Pieces(PutPayloadMut);

impl Default for Pieces {
    fn default() -> Self {
        Self(PutPayloadMut::new().with_block_size(PIECE_BYTES))
    }
}

impl Pieces {
    /// How many bytes were written.
    pub(crate) fn len(&self) -> usize {
        self.0.content_length()
    }

    /// The file.
    pub(crate) fn freeze(self) -> PutPayload {
        self.0.freeze()
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
