//! Transaction blocks. Each statement is committed by itself and reads one state, so a block only holds what belongs to the session:
//! the values of variables, and cursors.

use crate::error::SqlError;
use crate::variables::Variables;

/// Savepoints that a transaction may have at once.
const SAVEPOINTS_MAX: usize = 256;

/// A statement about a transaction block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transaction {
    Begin { read_only: bool },
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    Release(String),
}

impl Transaction {
    pub(crate) fn command(&self) -> &'static str {
        match self {
            Self::Begin { .. } => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback | Self::RollbackTo(_) => "ROLLBACK",
            Self::Savepoint(_) => "SAVEPOINT",
            Self::Release(_) => "RELEASE",
        }
    }
}

/// A transaction block that was begun.
pub(crate) struct Block {
    /// The variables as they were.
    before: Variables,
    /// What `SET LOCAL` changed, with the values to restore.
    local: Vec<(String, String)>,
    savepoints: Vec<Savepoint>,
}

/// What a block returns to.
struct Savepoint {
    name: String,
    variables: Variables,
    local: Vec<(String, String)>,
}

impl Block {
    pub(crate) fn begin(variables: &Variables) -> Self {
        Self { before: variables.clone(), local: Vec::new(), savepoints: Vec::new() }
    }

    /// Remembers the value that a variable will be restored to.
    pub(crate) fn keep(&mut self, name: &str, value: String) {
        if !self.local.iter().any(|(kept, _)| kept == name) {
            self.local.push((name.to_owned(), value));
        }
    }

    /// Forgets the value to restore: the variable was set for the session.
    pub(crate) fn let_go(&mut self, name: &str) {
        self.local.retain(|(kept, _)| kept != name);
    }

    /// The variables when all is done.
    pub(crate) fn commit(self, variables: &mut Variables) {
        for (name, value) in self.local {
            variables.restore(&name, value);
        }
    }

    /// The variables as they were before the block.
    pub(crate) fn roll_back(self) -> Variables {
        self.before
    }

    pub(crate) fn savepoint(&mut self, name: &str, variables: &Variables) -> Result<(), SqlError> {
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            return Err(SqlError::invalid("54000", format!("a transaction has at most {SAVEPOINTS_MAX} savepoints")));
        }
        let (variables, local) = (variables.clone(), self.local.clone());
        self.savepoints.push(Savepoint { name: name.to_owned(), variables, local });
        Ok(())
    }

    /// The variables as they were at a savepoint, which stays.
    pub(crate) fn roll_back_to(&mut self, name: &str) -> Result<Variables, SqlError> {
        let at = self.find(name)?;
        self.savepoints.truncate(at + 1);
        self.local.clone_from(&self.savepoints[at].local);
        Ok(self.savepoints[at].variables.clone())
    }

    pub(crate) fn release(&mut self, name: &str) -> Result<(), SqlError> {
        let at = self.find(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, SqlError> {
        let found = self.savepoints.iter().rposition(|savepoint| savepoint.name == name);
        found.ok_or_else(|| SqlError::invalid("3B001", format!("savepoint \"{name}\" does not exist")))
    }
}

/// The error for a statement that makes sense only within a transaction block.
pub(crate) fn outside(what: &str) -> SqlError {
    SqlError::invalid("25P01", format!("{what} can only be used in transaction blocks"))
}
