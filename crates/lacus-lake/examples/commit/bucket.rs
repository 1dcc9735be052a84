//! Puts files as engines on other machines do, whole and in parts, each twice, as one does who did not hear the answer. Prints
//! `acked N` or `refused N: error`; a refused one is tried again.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use lacus_core::{Error, Kind, Result, StreamName};
use lacus_lake::{Lake, Served};

use crate::{ATTEMPTS_MAX, say, schema};

/// What the lake is called as a bucket.
pub(crate) const BUCKET: &str = "lake";
/// Files that are put. Each has a folder of its own.
const FILES: usize = 4;
/// How long the longest is: longer than what gathers before it is written.
const FILE_BYTES_MAX: usize = 1_300_000;
/// How long the pieces are in which they come.
const PIECE_BYTES: usize = 400_000;

pub(crate) async fn put_all(lake: &Lake) -> Result<()> {
    lake.create_table(&StreamName::new("t")?.table(), schema()).await?;
    let served = served(lake)?;
    for number in (0..FILES).chain(0..FILES) {
        for _ in 0..ATTEMPTS_MAX {
            match put(served, number).await {
                Ok(()) => {
                    say(&format!("acked {number}"));
                    break;
                }
                Err(error) => say(&format!("refused {number}: {}", error.chain())),
            }
        }
    }
    Ok(())
}

/// Prints `whole N` for each file that is there as it was put; what is there and should not be is a finding.
pub(crate) async fn verify(lake: &Lake, directory: &Path) -> Result<()> {
    for finding in lake.check().await? {
        let text = finding.to_string();
        // Those that were put are of no table before an engine commits them.
        if finding.is_damage || !(0..FILES).any(|number| text.starts_with(&name(number))) {
            say(&format!("finding {text}"));
        }
    }
    for number in 0..FILES {
        match served(lake)?.open_file(&name(number)).await {
            Ok((_, mut file)) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                let is_whole = content(number) == bytes;
                say(&if is_whole { format!("whole {number}") } else { format!("finding file {number} is not whole") });
            }
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let uploads = directory.join("uploads");
    if uploads.try_exists()? && uploads.read_dir()?.next().is_some() {
        say("finding what is left of an upload");
    }
    Ok(())
}

fn served(lake: &Lake) -> Result<&Served> {
    lake.served().map(|served| &**served).ok_or_else(|| Error::internal("the lake is no bucket"))
}

fn name(number: usize) -> String {
    format!("main/t/data/put={number}/file.parquet")
}

/// The first is short, the last is long.
fn content(number: usize) -> Bytes {
    let length = 10 + number * (FILE_BYTES_MAX / FILES);
    (0..length).map(|place| u8::try_from((place + number) % 251).unwrap_or_default()).collect()
}

async fn put(served: &Served, number: usize) -> Result<()> {
    let (name, content) = (name(number), content(number));
    match number % 2 {
        0 => put_whole(served, &name, &content).await,
        _ => put_parts(served, &name, &content).await,
    }
}

async fn put_whole(served: &Served, name: &str, content: &Bytes) -> Result<()> {
    let mut incoming = served.take_in(name, Some(content.len() as u64)).await?;
    for piece in pieces(content) {
        incoming.add(piece).await?;
    }
    served.keep(name, incoming, false).await.map(drop)
}

async fn put_parts(served: &Served, name: &str, content: &Bytes) -> Result<()> {
    let upload = served.begin_parts(name).await?;
    let mut parts = Vec::new();
    for (number, piece) in (1..).zip(pieces(content)) {
        let mut part = served.take_part_in(name, &upload, number, Some(piece.len() as u64)).await?;
        part.add(piece).await?;
        parts.push((number, served.keep_part(&upload, number, part).await?));
    }
    served.complete_parts(name, &upload, &parts, false).await.map(drop)
}

fn pieces(content: &Bytes) -> impl Iterator<Item = Bytes> {
    let ends = move |start: usize| content.len().min(start + PIECE_BYTES);
    (0..content.len()).step_by(PIECE_BYTES).map(move |start| content.slice(start..ends(start)))
}
