//! Erasing events from the raw zone.
//!
//! A file without the events is written first; one transaction of the catalog puts it in the place of the old one. Only
//! files of the hours in which the events arrived are read.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use lacus_core::{Context, Error, Result, StreamName};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::Places;
use crate::catalog::{Publication, RawTotals};
use crate::commit::{begin_publishing, put};
use crate::lake::Inner;
use crate::leftovers::{RETIRED_GRACE_MS, discard};
use crate::raw;
use crate::store::store_error;

/// What became of the raw zone of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErasedRaw {
    /// Events that were in it.
    pub events: u64,
    /// Files that had them.
    pub files: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Bytes of the files in their place.
    pub bytes_after: u64,
}

/// A raw file without some events.
struct Cleaned {
    /// None if no event is left.
    bytes: Option<Bytes>,
    left: u64,
    gone: u64,
}

/// Erases events of a stream from its raw files.
pub(super) async fn erase_raw(lake: &Inner, stream: &StreamName, places: &Arc<Places>) -> Result<ErasedRaw> {
    let mut erased = ErasedRaw::default();
    let leftovers: HashSet<String> = lake.catalog.leftovers().await?.into_iter().collect();
    for hour in places.hours() {
        let directory = raw::directory(stream, hour);
        let files = lake.files.store.list(Some(&Path::from(directory.as_str()))).map_ok(|file| file.location);
        let files: Vec<Path> =
            files.try_collect().await.map_err(|error| store_error(error, format!("list {directory}")))?;
        for file in files.into_iter().filter(|file| !leftovers.contains(file.as_ref())) {
            clean_file(lake, &directory, &file, places, &mut erased).await?;
        }
    }
    Ok(erased)
}

async fn clean_file(
    lake: &Inner,
    directory: &str,
    file: &Path,
    places: &Arc<Places>,
    erased: &mut ErasedRaw,
) -> Result<()> {
    let doing = || format!("read {file}");
    let found = lake.files.store.get(file).await.map_err(|error| store_error(error, doing()))?;
    let before = found.bytes().await.map_err(|error| store_error(error, doing()))?;
    let (bytes, places) = (before.clone(), Arc::clone(places));
    let cleaned = spawn_blocking(move || clean(&bytes, &places))
        .await
        .map_err(|error| Error::internal("erasing ended unexpectedly").with_source(error))?
        .context(doing())?;
    if cleaned.gone == 0 {
        return Ok(());
    }
    let after = cleaned.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
    let old = RawTotals { files: 1, bytes: before.len() as u64, records: cleaned.left + cleaned.gone };
    let new = RawTotals { files: u64::from(cleaned.bytes.is_some()), bytes: after, records: cleaned.left };
    let path = cleaned.bytes.as_ref().map(|_| format!("{directory}/{}.json.zst", Uuid::now_v7()));
    swap(lake, path, cleaned.bytes, file.to_string(), old, new).await?;
    erased.events += cleaned.gone;
    erased.files += 1;
    erased.bytes_before += old.bytes;
    erased.bytes_after += after;
    Ok(())
}

/// Replaces a file by another one. After an error the raw zone has one of them.
async fn swap(
    lake: &Inner,
    path: Option<String>,
    bytes: Option<Bytes>,
    old_path: String,
    old: RawTotals,
    new: RawTotals,
) -> Result<()> {
    let _publishing = begin_publishing(lake).await?;
    let now = lake.clock.now();
    let written: Vec<String> = path.iter().cloned().collect();
    lake.catalog.begin(Vec::new(), written.clone(), now).await?;
    if let (Some(path), Some(bytes)) = (path, bytes)
        && let Err(error) = put(lake, path, bytes).await
    {
        discard(lake, written).await;
        return Err(error);
    }
    let publication = Publication {
        written: written.clone(),
        retired: vec![old_path.clone()],
        delete_after: now.plus_ms(RETIRED_GRACE_MS),
        raw: new,
        raw_gone: old,
        ..Publication::default()
    };
    let published = lake.catalog.publish(publication, now).await;
    // The answer may have been lost: the record tells which file to delete, and without it neither is deleted.
    let leftovers = if published.is_ok() { Ok(vec![old_path.clone()]) } else { lake.catalog.leftovers().await };
    match leftovers {
        Ok(leftovers) if leftovers.contains(&old_path) => {
            lake.replace_raw(old, new);
            Ok(())
        }
        Ok(_) => {
            discard(lake, written).await;
            published
        }
        Err(_) => published,
    }
}

/// The file without the events at these places.
fn clean(bytes: &[u8], places: &Places) -> Result<Cleaned> {
    let mut lines = BufReader::new(zstd::Decoder::new(bytes).context("read compressed events")?);
    let mut encoder = raw::compressor(Vec::new())?;
    let (mut line, mut left, mut gone) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).context("read compressed events")? == 0 {
            break;
        }
        let (partition, offset) = raw::place_of(&line)?;
        if places.contains(partition, offset) {
            gone += 1;
        } else {
            left += 1;
            encoder.write_all(&line).context("compress raw events")?;
        }
    }
    let bytes = encoder.finish().context("end a raw file")?;
    Ok(Cleaned { bytes: (left > 0).then(|| bytes.into()), left, gone })
}
