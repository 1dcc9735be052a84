//! Views: queries with a name that engines share, as the Iceberg view specification has them.
//!
//! A view is one metadata file, and a row of the catalog that says where it is. A change writes a new file, which is on
//! record as a leftover until the pointer has moved to it in one transaction; the file before stays for the grace
//! period. Here nobody knows what the SQL of a view means: engines do.

mod plan;
mod sql;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::ViewUpdate;
use iceberg::spec::{Schema, ViewMetadata, ViewVersion};
use lacus_core::{Context, Error, Kind, Result, TableName};
use uuid::Uuid;

pub use self::sql::SqlView;

use self::plan::{created, replaced};
use crate::commit::{begin_publishing, put};
use crate::kernel::directory_of;
use crate::lake::{Inner, Lake, detached};
use crate::leftovers::{RETIRED_GRACE_MS, discard, sweep};

/// The most views of a lake: all of them are in memory.
const VIEWS_MAX: usize = 10_000;
/// The most bytes of a view's metadata, with its earlier versions.
const METADATA_BYTES_MAX: usize = 4 << 20;

/// A query with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Its name.
    pub name: TableName,
    /// Where its metadata is: an absolute URL.
    pub location: String,
    /// What it is: its versions, each with columns and SQL in one dialect or more.
    pub metadata: ViewMetadata,
}

/// A view that somebody wants.
#[derive(Debug, Clone)]
pub struct NewView {
    /// Its name.
    pub name: TableName,
    /// The location it should have. Lacus decides that, so it must be the one that lacus would choose.
    pub location: Option<String>,
    /// Its columns.
    pub schema: Schema,
    /// Its SQL.
    pub version: ViewVersion,
    /// Its properties.
    pub properties: HashMap<String, String>,
}

/// A change of a view, as the REST specification has it.
#[derive(Debug, Clone)]
pub struct ViewCommit {
    /// The view.
    pub view: TableName,
    /// Ids that it must have.
    pub uuids: Vec<String>,
    /// What changes.
    pub updates: Vec<ViewUpdate>,
}

impl Lake {
    /// The view of this name.
    #[must_use]
    pub fn view(&self, name: &TableName) -> Option<Arc<View>> {
        self.shared_inner().views().get(name).cloned()
    }

    /// A view that a statement makes, as the specification has it.
    ///
    /// # Errors
    /// `Invalid` if a column has a type that Iceberg has not.
    pub fn view_of(&self, view: SqlView) -> Result<NewView> {
        view.into_new(&*self.shared_inner().clock)
    }

    /// All views, by name.
    #[must_use]
    pub fn views(&self) -> Vec<Arc<View>> {
        self.shared_inner().views().values().cloned().collect()
    }

    /// Makes a view.
    ///
    /// # Errors
    /// `Exists` if a table or a view has the name, `Invalid` if it can't be, `Limited` if there are too many.
    pub async fn create_view(&self, new: NewView) -> Result<Arc<View>> {
        let (inner, doing) = (Arc::clone(self.shared_inner()), format!("make view \"{}\"", new.name));
        detached(async move { create(&inner, new, false).await.context(doing) }).await
    }

    /// Makes a view, or gives an existing one a new query: the old one stays among its versions.
    ///
    /// # Errors
    /// As [`create_view`](Self::create_view), but for a view that has the name.
    pub async fn create_or_replace_view(&self, new: NewView) -> Result<Arc<View>> {
        let (inner, doing) = (Arc::clone(self.shared_inner()), format!("make view \"{}\"", new.name));
        detached(async move { create(&inner, new, true).await.context(doing) }).await
    }

    /// Changes a view.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `Conflict` if it is another one, `Invalid` for what can't be.
    pub async fn change_view(&self, commit: ViewCommit) -> Result<Arc<View>> {
        let (inner, doing) = (Arc::clone(self.shared_inner()), format!("change view \"{}\"", commit.view));
        detached(async move { change(&inner, commit).await.context(doing) }).await
    }

    /// Makes a view of metadata that is in the lake already, such as that of a view that was dropped.
    ///
    /// # Errors
    /// `Exists` if the name is taken or the view is there, `Invalid` if there is no such metadata.
    pub async fn register_view(&self, name: &TableName, location: &str) -> Result<Arc<View>> {
        let (inner, name, location) = (Arc::clone(self.shared_inner()), name.clone(), location.to_owned());
        let doing = format!("register view \"{name}\"");
        detached(async move { register(&inner, name, &location).await.context(doing) }).await
    }

    /// Drops a view. Its file stays for an hour.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    pub async fn drop_view(&self, name: &TableName) -> Result<()> {
        let (inner, name) = (Arc::clone(self.shared_inner()), name.clone());
        let doing = format!("drop view \"{name}\"");
        detached(async move { drop_view(&inner, &name).await.context(doing) }).await
    }

    /// Gives a view another name.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `Exists` if the name is taken.
    pub async fn rename_view(&self, from: &TableName, to: &TableName) -> Result<()> {
        let (inner, from, to) = (Arc::clone(self.shared_inner()), from.clone(), to.clone());
        let doing = format!("rename view \"{from}\"");
        detached(async move { rename(&inner, &from, to).await.context(doing) }).await
    }
}

/// Reads all views. One that is damaged keeps nothing else from being served.
///
/// # Errors
/// If the store can't be read.
pub(crate) async fn load_all(lake: &Inner, views: Vec<(TableName, String)>) -> Result<BTreeMap<TableName, Arc<View>>> {
    let mut loaded = BTreeMap::new();
    for (name, location) in views {
        match load(lake, &name, location).await {
            Ok(view) => drop(loaded.insert(name, Arc::new(view))),
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::error!(view = %name, error = %error.chain(), "a view can't be read; all else is served");
                lake.add_damaged(name, &error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(loaded)
}

async fn load(lake: &Inner, name: &TableName, location: String) -> Result<View> {
    let bytes = lake.files.read(&location).await.map_err(|error| match error.kind() {
        Kind::NotFound => Error::corrupt(format!("{location} is missing")).with_source(error),
        _ => error,
    })?;
    let metadata = serde_json::from_slice(&bytes)
        .map_err(|error| Error::corrupt(format!("view metadata {location} can't be read")).with_source(error))?;
    Ok(View { name: name.clone(), location, metadata })
}

async fn create(lake: &Inner, new: NewView, may_replace: bool) -> Result<Arc<View>> {
    let _publishing = begin_publishing(lake).await?;
    let place = lake.files.warehouse.url(&directory_of(&new.name));
    if let Some(view) = current(lake, &new.name).await? {
        if !may_replace {
            return Err(Error::new(Kind::Exists, format!("view \"{}\" exists", new.name)));
        }
        let metadata = replaced(&view.metadata, new)?;
        return publish(lake, view.name.clone(), Some(&view), metadata).await;
    }
    lake.must_be_free(&new.name)?;
    if lake.views().len() >= VIEWS_MAX {
        return Err(Error::new(Kind::Limited, format!("a lake has {VIEWS_MAX} views at most"))
            .with_hint("drop some that nobody needs"));
    }
    let name = new.name.clone();
    let metadata = created(new, place)?;
    publish(lake, name, None, metadata).await
}

async fn change(lake: &Inner, commit: ViewCommit) -> Result<Arc<View>> {
    let _publishing = begin_publishing(lake).await?;
    let view = current(lake, &commit.view).await?.ok_or_else(|| no_view(&commit.view))?;
    let uuid = view.metadata.uuid().to_string();
    if commit.uuids.iter().any(|wanted| !wanted.eq_ignore_ascii_case(&uuid)) {
        return Err(Error::new(Kind::Conflict, "this is another view of the same name").with_hint("load it again"));
    }
    let metadata = plan::changed(&view.metadata, commit.updates)?;
    publish(lake, commit.view, Some(&view), metadata).await
}

async fn drop_view(lake: &Inner, name: &TableName) -> Result<()> {
    let publishing = begin_publishing(lake).await?;
    // Not `current`: a damaged view can be dropped, too.
    let Some(location) = lake.catalog.view_location(name.clone()).await? else {
        // The answer to an earlier drop may have been lost. A damaged name may be that of a table.
        if lake.views().contains_key(name) {
            lake.show_view(name, None);
        }
        return Err(no_view(name));
    };
    let now = lake.clock.now();
    let path = lake.files.warehouse.path(&location)?.to_string();
    let delete_after = now.plus_ms(RETIRED_GRACE_MS);
    let dropped = lake.catalog.drop_view(name.clone(), location, path, delete_after, now).await;
    unless_it_happened(lake, dropped, name, None).await?;
    lake.show_view(name, None);
    drop(publishing);
    sweep(lake, 0).await;
    Ok(())
}

async fn rename(lake: &Inner, from: &TableName, to: TableName) -> Result<()> {
    let _publishing = begin_publishing(lake).await?;
    let view = current(lake, from).await?.ok_or_else(|| no_view(from))?;
    if current(lake, &to).await?.is_some() {
        return Err(Error::new(Kind::Exists, format!("view \"{to}\" exists")));
    }
    lake.must_be_free(&to)?;
    let renamed = lake.catalog.rename_view(from.clone(), to.clone(), view.location.clone()).await;
    unless_it_happened(lake, renamed, &to, Some(&view.location)).await?;
    lake.show_view(from, None);
    lake.show_view(&to.clone(), Some(View { name: to, ..View::clone(&view) }));
    Ok(())
}

async fn register(lake: &Inner, name: TableName, location: &str) -> Result<Arc<View>> {
    let _publishing = begin_publishing(lake).await?;
    if current(lake, &name).await?.is_some() {
        return Err(Error::new(Kind::Exists, format!("view \"{name}\" exists")));
    }
    lake.must_be_free(&name)?;
    lake.files.warehouse.path(location).map_err(|error| Error::invalid("it is not in the lake").with_source(error))?;
    let found = load(lake, &name, location.to_owned()).await.map_err(|error| match error.kind() {
        Kind::Corrupt => {
            Error::invalid(format!("{location} is no view metadata that lacus can read")).with_source(error)
        }
        _ => error,
    })?;
    if let Some(other) = lake.views().values().find(|view| view.metadata.uuid() == found.metadata.uuid()) {
        return Err(Error::new(Kind::Exists, format!("this is view \"{}\"", other.name)));
    }
    // In a new file: the one that was found may be about to be deleted.
    publish(lake, name, None, found.metadata).await
}

/// The view as the catalog has it. If the answer to an earlier change was lost, it is read again.
async fn current(lake: &Inner, name: &TableName) -> Result<Option<Arc<View>>> {
    let known = lake.views().get(name).cloned();
    let location = lake.catalog.view_location(name.clone()).await?;
    if known.as_ref().map(|view| &view.location) == location.as_ref() {
        return Ok(known);
    }
    let found = match location {
        Some(location) => Some(load(lake, name, location).await?),
        None => None,
    };
    lake.show_view(name, found);
    Ok(lake.views().get(name).cloned())
}

/// Writes metadata, and makes it visible in the catalog and here.
async fn publish(lake: &Inner, name: TableName, before: Option<&View>, metadata: ViewMetadata) -> Result<Arc<View>> {
    let json =
        serde_json::to_vec(&metadata).map_err(|error| Error::internal("write view metadata").with_source(error))?;
    if json.len() > METADATA_BYTES_MAX {
        return Err(Error::invalid(format!("the metadata of a view has {METADATA_BYTES_MAX} bytes at most")));
    }
    let number = metadata.history().len();
    let path = format!("{}/metadata/{number:05}-{}.metadata.json", directory_of(&name), Uuid::now_v7());
    let location = lake.files.warehouse.url(&path);
    let now = lake.clock.now();
    lake.catalog.begin(Vec::new(), vec![path.clone()], now).await?;
    let moved = async {
        put(lake, path.clone(), json).await?;
        let retired = before.map(|view| lake.files.warehouse.path(&view.location)).transpose()?;
        let retired = retired.map(|path| (path.to_string(), now.plus_ms(RETIRED_GRACE_MS)));
        let from = before.map(|view| view.location.clone());
        lake.catalog.move_view(name.clone(), from, (location.clone(), path.clone()), retired, now).await
    };
    if let Err(error) = moved.await {
        match lake.catalog.view_location(name.clone()).await {
            Ok(found) if found.as_ref() == Some(&location) => {}
            Ok(_) => {
                discard(lake, vec![path]).await;
                return Err(error);
            }
            // The next change begins by reading the view again.
            Err(_) => return Err(Error::internal("nobody knows whether the view was changed").with_source(error)),
        }
    }
    let view = View { name: name.clone(), location, metadata };
    lake.show_view(&name, Some(view.clone()));
    Ok(Arc::new(view))
}

/// The error of a change, unless the view is at `location`: then only the answer was lost.
async fn unless_it_happened(
    lake: &Inner,
    answer: Result<()>,
    name: &TableName,
    location: Option<&String>,
) -> Result<()> {
    let Err(error) = answer else { return Ok(()) };
    match lake.catalog.view_location(name.clone()).await {
        Ok(found) if found.as_ref() == location => Ok(()),
        _ => Err(error),
    }
}

fn no_view(name: &TableName) -> Error {
    Error::not_found(format!("view \"{name}\" does not exist"))
}

#[cfg(test)]
mod tests;
