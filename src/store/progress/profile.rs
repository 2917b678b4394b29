//! Whose progress it is: the people of a household by name, without passwords.

use rusqlite::{Connection, OptionalExtension, Transaction};
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Kind, Result};

/// Most named profiles.
const MOST: i64 = 32;

/// Longest name, in characters.
const LONGEST: usize = 64;

/// The id of the profile without a name.
const DEFAULT: i64 = 0;

/// Signs that belong to a letter without being one: those that strike out its vowel in the scripts of India and
/// its neighbours, which `char::is_alphanumeric` leaves out, though hardly a name is written without.
const VIRAMAS: &str = "\u{94d}\u{9cd}\u{a4d}\u{acd}\u{b4d}\u{bcd}\u{c4d}\u{ccd}\u{d4d}\u{dca}\u{e3a}\u{f84}\u{1039}\u{103a}";

/// A profile: the default one, or one that has a sound name. It need not be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Profile(Option<String>);

impl Profile {
    /// Reads a name: 1 to 64 letters, digits, spaces, `-`, `_` and `.` of any script; nothing for the default profile.
    /// A letter and its accent are one sign, however a keyboard sends them.
    ///
    /// # Errors
    /// `invalid_profile`
    pub fn named(name: &str) -> Result<Profile> {
        let name: String = name.trim_matches(' ').nfc().collect();
        let sound = |c: char| {
            c.is_alphanumeric()
                || matches!(c, ' ' | '-' | '_' | '.' | '\u{300}'..='\u{36f}')
                || VIRAMAS.contains(c)
        };
        if name.is_empty() {
            return Ok(Profile::default());
        }
        if name.chars().count() > LONGEST || !name.chars().all(sound) {
            return Err(Error::new(
                Kind::BadRequest,
                "invalid_profile",
                "The name of a profile is 1 to 64 letters, digits, spaces, hyphens, underscores and dots; choose such a one.",
            ));
        }
        Ok(Profile(Some(name)))
    }

    /// The name; `None` of the default profile.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The number it is kept under, when it is there.
    pub(super) fn id(&self, connection: &Connection) -> Result<Option<i64>> {
        let Some(name) = self.name() else {
            return Ok(Some(DEFAULT));
        };
        let mut find = connection.prepare("SELECT id FROM profile WHERE name = ?1")?;
        Ok(find.query_row([name], |row| row.get(0)).optional()?)
    }

    /// Makes it, which is not there, and gives its number.
    pub(super) fn create(&self, tx: &Transaction<'_>) -> Result<i64> {
        let count: i64 = tx.query_row("SELECT count(*) FROM profile", [], |row| row.get(0))?;
        if count >= MOST {
            return Err(Error::new(
                Kind::Conflict,
                "too_many_profiles",
                format!(
                    "There are {MOST} profiles already, which is the most; use one of them, or remove one as the admin."
                ),
            ));
        }
        // The key begins at 1, so that it is never the default's.
        tx.execute("INSERT INTO profile (name) VALUES (?1)", [self.name()])?;
        Ok(tx.last_insert_rowid())
    }

    /// Removes it with its entries; whether it was there. The default one has no name to remove.
    pub(super) fn remove(&self, tx: &Transaction<'_>) -> Result<bool> {
        let Some(id) = self.id(tx)?.filter(|id| *id != DEFAULT) else {
            return Ok(false);
        };
        tx.execute("DELETE FROM progress WHERE profile = ?1", [id])?;
        tx.execute("DELETE FROM profile WHERE id = ?1", [id])?;
        Ok(true)
    }
}

/// The names in their order, each with the number of entries.
pub(super) fn list(connection: &Connection) -> Result<Vec<(String, u64)>> {
    let mut all = connection.prepare(
        "SELECT name, (SELECT count(*) FROM progress WHERE profile = profile.id) FROM profile ORDER BY name",
    )?;
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "Ana",
            " Ana ",
            "Großmutter 2",
            "a.b-c_d",
            "Jos\u{e9}",
            "李雷",
            "\u{935}\u{93f}\u{926}\u{94d}\u{92f}\u{93e}",
            &"x".repeat(64),
        ] {
            assert_eq!(
                Profile::named(good).unwrap().name(),
                Some(good.trim()),
                "{good}"
            );
        }
        assert_eq!(
            Profile::named("Jose\u{301}").unwrap().name(),
            Some("Jos\u{e9}")
        );
        for bad in [
            "a/b",
            "a\0",
            "a\nb",
            "<b>",
            "👪",
            "a\u{202e}b",
            &"x".repeat(65),
        ] {
            assert_eq!(
                Profile::named(bad).unwrap_err().code(),
                "invalid_profile",
                "{bad:?}"
            );
        }
        assert_eq!(Profile::named("  ").unwrap(), Profile::default());
    }
}
