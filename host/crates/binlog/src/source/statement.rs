//! Statements in the binlog: which begin and end transactions, and which do to a table what no row says.
//!
//! No statement is parsed further than that. Shapes come from the rows' own descriptions; a statement that may change rows is never gone past.

use mysync_change::envelope::TableEvent;

/// What a statement means to a stream of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    Begin,
    Commit,
    /// Rows of the transaction are taken back: all of them, or those behind a savepoint.
    Rollback,
    XaStart,
    /// Definitions, grants, savepoints, and prepared transactions being settled: no rows change.
    Nothing,
    /// Rows of whole tables come or go without a change of each.
    Tables(Vec<TableEvent>),
    /// It changes rows, or nobody knows.
    Change,
}

impl Statement {
    /// `database` is the one that unqualified names are in.
    pub fn read(database: &str, text: &str) -> Self {
        let mut words = Words::new(text);
        let Some(first) = words.next().and_then(|word| word.keyword()) else { return Statement::Change };
        match first.as_str() {
            "BEGIN" => Statement::Begin,
            "COMMIT" => Statement::Commit,
            // Back to a savepoint, or all the way.
            "ROLLBACK" => Statement::Rollback,
            "XA" if words.next_is("START") || words.next_is("BEGIN") => Statement::XaStart,
            "TRUNCATE" => {
                words.skip("TABLE");
                Statement::events(database, text, "truncate", words.name().into_iter().collect())
            }
            "DROP" => drop_statement(database, text, &mut words),
            "RENAME" => rename(database, text, &mut words),
            "ALTER" => alter(database, text, &mut words),
            "XA" | "SAVEPOINT" | "RELEASE" | "CREATE" | "GRANT" | "REVOKE" | "SET" | "ANALYZE" | "OPTIMIZE"
            | "REPAIR" | "FLUSH" | "INSTALL" | "UNINSTALL" | "CHANGE" | "RESET" | "CHECK" | "CACHE" | "LOCK"
            | "UNLOCK" | "START" | "STOP" | "KILL" | "PURGE" => Statement::Nothing,
            _ => Statement::Change,
        }
    }

    fn events(database: &str, text: &str, what: &str, names: Vec<Name>) -> Self {
        let event = |name: Name| TableEvent {
            database: name.database.unwrap_or_else(|| database.to_owned()),
            table: name.table,
            what: what.to_owned(),
            statement: beginning(text),
        };
        if names.is_empty() { Statement::Change } else { Statement::Tables(names.into_iter().map(event).collect()) }
    }
}

/// A statement as it is shown and kept: up to its first value or comment, as both may hold what nobody is to see.
pub fn beginning(text: &str) -> String {
    let mut words = Words::new(text);
    // Comments in front are left away.
    let Some(Word::Plain(first)) = words.next() else { return "…".to_owned() };
    let text = &text[text.len() - words.rest.len() - first.len()..];
    let mut before = ' ';
    let end = text.char_indices().find(|(at, c)| {
        let number = c.is_ascii_digit() && !is_in_word(before);
        before = *c;
        number || ["'", "\"", "#", "--", "/*"].iter().any(|sign| text[*at..].starts_with(sign))
    });
    end.map_or_else(|| text.to_owned(), |(end, _)| format!("{}…", &text[..end]))
}

/// `DROP [TEMPORARY] TABLE [IF EXISTS] a, b …`, `DROP DATABASE`, and other things that hold no rows.
fn drop_statement(database: &str, text: &str, words: &mut Words<'_>) -> Statement {
    if words.next_is("DATABASE") || words.next_is("SCHEMA") {
        words.skip("IF");
        words.skip("EXISTS");
        let Some(name) = words.name() else { return Statement::Change };
        // All of its tables, whichever they were.
        let all = Name { database: Some(name.table), table: "*".to_owned() };
        return Statement::events(database, text, "drop", vec![all]);
    }
    if !(words.next_is("TABLE") || words.next_is("TABLES")) {
        return Statement::Nothing;
    }
    words.skip("IF");
    words.skip("EXISTS");
    Statement::events(database, text, "drop", words.names())
}

/// `RENAME TABLE a TO b, …`. Each old name is told; the new one begins with its first row.
fn rename(database: &str, text: &str, words: &mut Words<'_>) -> Statement {
    if !(words.next_is("TABLE") || words.next_is("TABLES")) {
        return Statement::Nothing;
    }
    let mut names = Vec::new();
    while let Some(name) = words.name() {
        names.push(name);
        words.skip("TO");
        words.name();
        if !words.next_is_sign(',') {
            break;
        }
    }
    Statement::events(database, text, "rename", names)
}

/// `ALTER TABLE a …`: a rename, or partitions and tablespaces whose rows go or are exchanged.
fn alter(database: &str, text: &str, words: &mut Words<'_>) -> Statement {
    if !words.next_is("TABLE") {
        return Statement::Nothing;
    }
    let Some(name) = words.name() else { return Statement::Change };
    let mut others = Vec::new();
    let mut what = None;
    while let Some(word) = words.next() {
        match word.keyword().as_deref() {
            Some("TRUNCATE" | "DROP") if words.next_is("PARTITION") => what = Some("truncate"),
            // These are names of columns, too.
            Some("DISCARD" | "IMPORT") if ["TABLESPACE", "PARTITION"].iter().any(|word| words.next_is(word)) => {
                what = Some("truncate");
            }
            Some("EXCHANGE") if words.next_is("PARTITION") => {
                while words.next().is_some_and(|word| word.keyword().as_deref() != Some("TABLE")) {}
                others.extend(words.name());
                what = Some("truncate");
            }
            // A column, an index or a key can be renamed too.
            Some("RENAME") if !["COLUMN", "INDEX", "KEY"].iter().any(|word| words.next_is(word)) => {
                what = what.or(Some("rename"));
            }
            _ => {}
        }
    }
    match what {
        Some(what) => {
            others.insert(0, name);
            Statement::events(database, text, what, others)
        }
        None => Statement::Nothing,
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    database: Option<String>,
    table: String,
}

/// A piece of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word<'a> {
    Plain(&'a str),
    /// In backquotes, which are left away; doubled ones inside are not undone.
    Quoted(&'a str),
    Sign(char),
}

impl Word<'_> {
    fn keyword(&self) -> Option<String> {
        match self {
            Word::Plain(word) => Some(word.to_ascii_uppercase()),
            _ => None,
        }
    }
}

/// Walks words and signs; comments and strings are gone past, but not what stands in `/*! … */`, which the server runs.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            let rest = self.rest.trim_start();
            let first = rest.chars().next()?;
            if let Some(comment) = rest.strip_prefix("/*!") {
                self.rest = comment.trim_start_matches(|c: char| c.is_ascii_digit());
            } else if let Some(end) = rest.strip_prefix("*/") {
                self.rest = end;
            } else if let Some(comment) = rest.strip_prefix("/*") {
                self.rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
            } else if rest.starts_with('#') || rest.starts_with("-- ") || rest.starts_with("--\n") {
                self.rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            } else if first == '`' {
                let (name, rest) = quoted(&rest[1..], '`');
                self.rest = rest;
                return Some(Word::Quoted(name));
            } else if first == '\'' || first == '"' {
                self.rest = quoted(&rest[1..], first).1;
                return Some(Word::Sign(first));
            } else if is_in_word(first) {
                let end = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
                let (word, rest) = rest.split_at(end);
                self.rest = rest;
                return Some(Word::Plain(word));
            } else {
                self.rest = &rest[first.len_utf8()..];
                return Some(Word::Sign(first));
            }
        }
    }

    /// Takes the next word if it is this keyword.
    fn next_is(&mut self, keyword: &str) -> bool {
        self.take_if(|word| matches!(word, Word::Plain(text) if text.eq_ignore_ascii_case(keyword)))
    }

    fn next_is_sign(&mut self, sign: char) -> bool {
        self.take_if(|word| word == Word::Sign(sign))
    }

    fn take_if(&mut self, wanted: impl Fn(Word<'a>) -> bool) -> bool {
        let before = self.rest;
        let taken = self.next().is_some_and(wanted);
        if !taken {
            self.rest = before;
        }
        taken
    }

    fn skip(&mut self, keyword: &str) {
        self.next_is(keyword);
    }

    /// `table` or `database.table`.
    fn name(&mut self) -> Option<Name> {
        let first = self.part()?;
        if self.next_is_sign('.') {
            return Some(Name { database: Some(first), table: self.part()? });
        }
        Some(Name { database: None, table: first })
    }

    fn names(&mut self) -> Vec<Name> {
        let mut names = Vec::new();
        while let Some(name) = self.name() {
            names.push(name);
            if !self.next_is_sign(',') {
                break;
            }
        }
        names
    }

    fn part(&mut self) -> Option<String> {
        match self.next()? {
            Word::Plain(name) => Some(name.to_owned()),
            Word::Quoted(name) => Some(name.replace("``", "`")),
            Word::Sign(_) => None,
        }
    }
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || c == '@'
}

/// What stands before the closing quote, and what behind it. A doubled quote does not close, nor does one behind a backslash in a string.
fn quoted(text: &str, quote: char) -> (&str, &str) {
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && quote != '`' {
            characters.next();
        } else if c == quote {
            if characters.peek().is_some_and(|(_, next)| *next == quote) {
                characters.next();
            } else {
                return (&text[..at], &text[at + c.len_utf8()..]);
            }
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(text: &str) -> Vec<String> {
        match Statement::read("shop", text) {
            Statement::Tables(events) => {
                events.iter().map(|e| format!("{} {}.{}", e.what, e.database, e.table)).collect()
            }
            other => panic!("{other:?}: {text}"),
        }
    }

    #[test]
    fn rows_that_go_without_a_change_of_each_are_told() {
        for (text, told) in [
            ("TRUNCATE users", "truncate shop.users"),
            ("truncate table `o``dd`.`users`", "truncate o`dd.users"),
            ("/* nightly */ TRUNCATE /* all */ TABLE users -- gone", "truncate shop.users"),
            ("DROP TABLE IF EXISTS `users`,other.b /* generated by server */", "drop shop.users, drop other.b"),
            ("DROP TABLE `users` /* generated by server */", "drop shop.users"),
            ("drop database if exists shop", "drop shop.*"),
            ("RENAME TABLE a TO b, x.c TO `d`", "rename shop.a, rename x.c"),
            ("ALTER TABLE a RENAME TO b", "rename shop.a"),
            ("ALTER TABLE a ADD c INT, RENAME b", "rename shop.a"),
            ("ALTER TABLE a TRUNCATE PARTITION p0", "truncate shop.a"),
            ("ALTER TABLE a DROP PARTITION p0, p1", "truncate shop.a"),
            ("ALTER TABLE a EXCHANGE PARTITION p0 WITH TABLE x.b", "truncate shop.a, truncate x.b"),
            ("ALTER TABLE a DISCARD TABLESPACE", "truncate shop.a"),
            ("ALTER TABLE /*!50000 a */ IMPORT TABLESPACE", "truncate shop.a"),
            ("ALTER TABLE a DISCARD PARTITION p0 TABLESPACE", "truncate shop.a"),
        ] {
            assert_eq!(tables(text).join(", "), told, "{text}");
        }
    }

    #[test]
    fn definitions_change_no_rows() {
        for text in [
            "CREATE TABLE t (a INT DEFAULT 1, b VARCHAR(9) COMMENT 'DROP PARTITION')",
            "ALTER TABLE a DROP COLUMN b, RENAME COLUMN c TO d, RENAME INDEX i TO j, COMMENT 'it\\'s RENAME'",
            "ALTER TABLE a ADD COLUMN import INT, ADD discard DATE, MODIFY import BIGINT",
            "ALTER USER x IDENTIFIED BY 'y'",
            "DROP VIEW v",
            "DROP TRIGGER t",
            "GRANT ALL ON *.* TO x",
            "SAVEPOINT `sp`",
            "XA COMMIT X'61',X'',1",
            "xa rollback 'a'",
            "CREATE TABLE b AS SELECT 1 START TRANSACTION",
            "ANALYZE TABLE t",
        ] {
            assert_eq!(Statement::read("shop", text), Statement::Nothing, "{text}");
        }
    }

    #[test]
    fn what_may_change_rows_is_never_gone_past() {
        for text in [
            "INSERT INTO t VALUES (1)",
            "/* x */ update t set a = 1",
            "delete from t",
            "REPLACE t SELECT 1",
            "WITH c AS (SELECT 1) DELETE FROM t",
            "LOAD DATA INFILE 'x' INTO TABLE t",
            "CALL p()",
            "FROBNICATE t",
            "(SELECT 1)",
            "",
            "TRUNCATE",
        ] {
            assert_eq!(Statement::read("shop", text), Statement::Change, "{text}");
        }
        assert_eq!(Statement::read("shop", "ROLLBACK TO `sp`"), Statement::Rollback);
        assert_eq!(Statement::read("shop", "XA START X'61',X'',1"), Statement::XaStart);
        assert_eq!(Statement::read("", "BEGIN"), Statement::Begin);
        assert_eq!(Statement::read("", "COMMIT"), Statement::Commit);
    }

    #[test]
    fn what_is_shown_of_a_statement_has_no_values() {
        for (text, shown) in [
            ("TRUNCATE TABLE t1", "TRUNCATE TABLE t1"),
            ("/* pin 1 */ UPDATE t1 SET a=b, pin = 4711", "UPDATE t1 SET a=b, pin = …"),
            ("INSERT INTO `t` VALUES ('it\\', 'secret')", "INSERT INTO `t` VALUES (…"),
            ("ALTER TABLE a ADD b TEXT COMMENT \"secret\", RENAME c", "ALTER TABLE a ADD b TEXT COMMENT …"),
            ("DROP TABLE é/* secret */", "DROP TABLE é…"),
            ("DELETE FROM t WHERE a-b=c -- secret", "DELETE FROM t WHERE a-b=c …"),
            ("SET @a=x'4711'", "SET @a=x…"),
            ("'secret'", "…"),
        ] {
            assert_eq!(beginning(text), shown);
        }
    }

    #[test]
    fn broken_text_is_read_to_its_end() {
        for text in
            ["ALTER TABLE `a", "DROP TABLE a,", "/* never closed", "TRUNCATE TABLE 'x", "ALTER TABLE a RENAME '", "é ü"]
        {
            Statement::read("shop", text);
            beginning(text);
        }
    }
}
