//! Request traces: zstd-compressed files of little-endian `u64` keys, one a request.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file is not there, not readable, or not zstd.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// The file is empty, or ends in the middle of a key.
    #[error("{}: {len} bytes decompressed, which is not one or more 8-byte keys", path.display())]
    NotKeys {
        /// Which file.
        path: PathBuf,
        /// How many bytes it has.
        len: usize,
    },
}

/// A trace in memory.
#[derive(Debug)]
pub struct Trace {
    /// The file's name up to the first dot.
    pub name: String,
    /// The requested keys, in order.
    pub keys: Vec<u64>,
}

impl Trace {
    /// Reads a `.u64.zst` file.
    ///
    /// # Errors
    ///
    /// [`TraceError`] if it cannot be read or is not a trace.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let io = |source| TraceError::Io {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let mut decoder = zstd::Decoder::new(File::open(path).map_err(io)?).map_err(io)?;
        decoder.read_to_end(&mut bytes).map_err(io)?;
        let (keys, rest) = bytes.as_chunks::<8>();
        if keys.is_empty() || !rest.is_empty() {
            return Err(TraceError::NotKeys {
                path: path.to_owned(),
                len: bytes.len(),
            });
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Ok(Self {
            name: name.split('.').next().unwrap_or_default().to_owned(),
            keys: keys.iter().copied().map(u64::from_le_bytes).collect(),
        })
    }
}
