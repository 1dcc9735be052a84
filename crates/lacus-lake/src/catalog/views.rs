//! Views in the catalog: name, and where the current metadata is. Each change may be done again if its answer was lost.

use lacus_core::{Error, Kind, Result, TableName, Timestamp};

use super::database::Sql;
use super::{Catalog, delete_leftovers, insert_leftovers, must_be_writer};

impl Catalog {
    /// The location of a view, if it exists. It writes, so that what it saw is on disk when it answers.
    pub(crate) async fn view_location(&self, name: TableName) -> Result<Option<String>> {
        self.transact("look for a view in the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            location_of(sql, &name)
        })
        .await
    }

    /// Moves the pointer of a view from `from` (none: the view does not exist) to a location whose path was recorded before
    /// it was written. The old path may be deleted after the grace period.
    pub(crate) async fn move_view(
        &self,
        name: TableName,
        from: Option<String>,
        (to, written): (String, String),
        retired: Option<(String, Timestamp)>,
        now: Timestamp,
    ) -> Result<()> {
        self.transact("move the pointer of a view", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            let found = location_of(sql, &name)?;
            if found.as_ref() != Some(&to) {
                must_be(&name, found.as_deref(), from.as_deref())?;
                let put = "INSERT INTO views (name, metadata_location) VALUES (?1, ?2)
                           ON CONFLICT (name) DO UPDATE SET metadata_location = excluded.metadata_location";
                sql.execute(put, &[name.as_str().into(), (&to).into()])?;
            }
            delete_leftovers(sql, std::slice::from_ref(&written))?;
            retire(sql, retired.as_ref(), now)
        })
        .await
    }

    /// Removes a view that is at this location, whose path may be deleted after the grace period.
    pub(crate) async fn drop_view(
        &self,
        name: TableName,
        location: String,
        path: String,
        delete_after: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        self.transact("drop a view in the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            let found = location_of(sql, &name)?;
            if found.is_some() {
                must_be(&name, found.as_deref(), Some(&location))?;
                sql.execute("DELETE FROM views WHERE name = ?1", &[name.as_str().into()])?;
            }
            retire(sql, Some(&(path.clone(), delete_after)), now)
        })
        .await
    }

    /// Renames a view that is at this location.
    pub(crate) async fn rename_view(&self, from: TableName, to: TableName, location: String) -> Result<()> {
        self.transact("rename a view in the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            if location_of(sql, &to)?.as_ref() == Some(&location) {
                return Ok(());
            }
            must_be(&from, location_of(sql, &from)?.as_deref(), Some(&location))?;
            let rename = "UPDATE views SET name = ?1 WHERE name = ?2";
            sql.execute(rename, &[to.as_str().into(), from.as_str().into()]).map(drop)
        })
        .await
    }
}

/// Every view and its metadata location.
pub(super) fn all(sql: &mut dyn Sql) -> Result<Vec<(TableName, String)>> {
    let rows = sql.query("SELECT name, metadata_location FROM views ORDER BY name", &[])?;
    rows.iter().map(|row| Ok((TableName::new(&row.text(0)?)?, row.text(1)?))).collect()
}

fn location_of(sql: &mut dyn Sql, view: &TableName) -> Result<Option<String>> {
    let rows = sql.query("SELECT metadata_location FROM views WHERE name = ?1", &[view.as_str().into()])?;
    rows.first().map(|row| row.text(0)).transpose()
}

fn must_be(view: &TableName, found: Option<&str>, expected: Option<&str>) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let found = found.unwrap_or("nowhere");
    Err(Error::new(Kind::Conflict, format!("view \"{view}\" was changed by somebody else: it is at {found}")))
}

fn retire(sql: &mut dyn Sql, retired: Option<&(String, Timestamp)>, now: Timestamp) -> Result<()> {
    match retired {
        Some((path, delete_after)) => insert_leftovers(sql, std::slice::from_ref(path), now, Some(*delete_after)),
        None => Ok(()),
    }
}
