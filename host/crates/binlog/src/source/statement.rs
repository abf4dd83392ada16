//! Statements in the binlog: which begin and end transactions, and which do to a table what no row says.
//!
//! No statement is parsed further than that. Shapes come from the rows' own descriptions; a statement that may change rows is never gone past.

/// What is kept of a statement: enough to know it again, and little for each of the many tables that one may name.
const SHOWN_BYTES: usize = 1 << 10;

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
    Tables {
        what: &'static str,
        names: Vec<Name>,
    },
    /// It changes rows, or nobody knows.
    Change,
}

/// A table, or with `*` all of its database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub database: String,
    pub table: String,
}

impl Name {
    pub fn lowered(&self) -> Self {
        Self { database: self.database.to_lowercase(), table: self.table.to_lowercase() }
    }
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
                Statement::tables(database, "truncate", words.name().into_iter().collect())
            }
            "DROP" => drop_statement(database, &mut words),
            "RENAME" => rename(database, &mut words),
            "ALTER" => alter(database, &mut words),
            "CREATE" if words.next_is("TABLE") => create_table(&mut words),
            "XA" | "SAVEPOINT" | "RELEASE" | "CREATE" | "GRANT" | "REVOKE" | "SET" | "ANALYZE" | "OPTIMIZE"
            | "REPAIR" | "FLUSH" | "INSTALL" | "UNINSTALL" | "CHANGE" | "RESET" | "CHECK" | "CACHE" | "LOCK"
            | "UNLOCK" | "START" | "STOP" | "KILL" | "PURGE" => Statement::Nothing,
            _ => Statement::Change,
        }
    }

    fn tables(database: &str, what: &'static str, names: Vec<TableName>) -> Self {
        let name = |name: TableName| {
            let database = name.database.unwrap_or_else(|| database.to_owned());
            // Which of its tables it is, in a text that is not UTF-8, nobody knows: it may be any.
            let table = if is_lost(&name.table) { "*".to_owned() } else { name.table };
            (!is_lost(&database)).then_some(Name { database, table })
        };
        match names.into_iter().map(name).collect::<Option<Vec<_>>>() {
            Some(names) if !names.is_empty() => Statement::Tables { what, names },
            _ => Statement::Change,
        }
    }
}

fn is_lost(name: &str) -> bool {
    name.contains(char::REPLACEMENT_CHARACTER)
}

/// A statement as it is shown and kept: up to its first value or comment, as both may hold what nobody is to see.
pub fn beginning(text: &str) -> String {
    let mut words = Words::new(text);
    // Comments in front are left away.
    let Some(Word::Plain(first)) = words.next() else { return "…".to_owned() };
    let text = &text[text.len() - words.rest.len() - first.len()..];
    let mut before = ' ';
    let end = text.char_indices().find(|(at, c)| {
        if *at >= SHOWN_BYTES {
            return true;
        }
        let number = c.is_ascii_digit() && !is_in_word(before);
        before = *c;
        number || ["'", "\"", "#", "--", "/*"].iter().any(|sign| text[*at..].starts_with(sign))
    });
    end.map_or_else(|| text.to_owned(), |(end, _)| format!("{}…", &text[..end]))
}

/// `DROP [TEMPORARY] TABLE [IF EXISTS] a, b …`, `DROP DATABASE`, and other things that hold no rows.
fn drop_statement(database: &str, words: &mut Words<'_>) -> Statement {
    if words.next_is("DATABASE") || words.next_is("SCHEMA") {
        words.skip("IF");
        words.skip("EXISTS");
        let Some(name) = words.name() else { return Statement::Change };
        // All of its tables, whichever they were.
        let all = TableName { database: Some(name.table), table: "*".to_owned() };
        return Statement::tables(database, "drop", vec![all]);
    }
    if !(words.next_is("TABLE") || words.next_is("TABLES")) {
        return Statement::Nothing;
    }
    words.skip("IF");
    words.skip("EXISTS");
    Statement::tables(database, "drop", words.names())
}

/// `RENAME TABLE a TO b, …`. Each old name is told; the new one begins with its first row.
fn rename(database: &str, words: &mut Words<'_>) -> Statement {
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
    Statement::tables(database, "rename", names)
}

/// `ALTER TABLE a …`: a rename, or partitions and tablespaces whose rows go or are exchanged.
fn alter(database: &str, words: &mut Words<'_>) -> Statement {
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
            Statement::tables(database, what, others)
        }
        None => Statement::Nothing,
    }
}

/// `CREATE TABLE a …` behind these words: filled by a query that no row follows, or only defined. With rows, the server writes the query away.
fn create_table(words: &mut Words<'_>) -> Statement {
    words.skip("IF");
    words.skip("NOT");
    words.skip("EXISTS");
    if words.name().is_none() {
        return Statement::Change;
    }
    let (mut depth, mut before) = (0, Word::Sign(' '));
    while let Some(word) = words.next() {
        // Partitions have VALUES and indexes have WITH: deeper inside.
        let may_begin = (depth == 0 && before != Word::Sign('.')) || before == Word::Sign('(');
        match word {
            Word::Sign('(') => depth += 1,
            Word::Sign(')') => depth -= 1,
            Word::Plain(_) if may_begin => match word.keyword().as_deref() {
                Some("SELECT" | "VALUES" | "WITH" | "TABLE") => return Statement::Change,
                Some("LIKE") => return Statement::Nothing,
                _ => {}
            },
            _ => {}
        }
        before = word;
    }
    Statement::Nothing
}

/// A table as a statement names it.
struct TableName {
    database: Option<String>,
    table: String,
}

/// A piece of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word<'a> {
    Plain(&'a str),
    /// In quotes of a name, which are left away; doubled ones inside are not undone.
    Quoted(&'a str, char),
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
        self.read(false)
    }

    /// `name`: one is wanted, so that what stands in double quotes is one as well (`ANSI_QUOTES`), and no string.
    fn read(&mut self, name: bool) -> Option<Word<'a>> {
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
            } else if first == '`' || first == '"' && name {
                let (name, rest) = quoted(&rest[1..], first, false);
                self.rest = rest;
                return Some(Word::Quoted(name, first));
            } else if first == '\'' || first == '"' {
                self.rest = quoted(&rest[1..], first, true).1;
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
    fn name(&mut self) -> Option<TableName> {
        let first = self.part()?;
        if self.next_is_sign('.') {
            return Some(TableName { database: Some(first), table: self.part()? });
        }
        Some(TableName { database: None, table: first })
    }

    fn names(&mut self) -> Vec<TableName> {
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
        match self.read(true)? {
            Word::Plain(name) => Some(name.to_owned()),
            Word::Quoted(name, quote) => Some(name.replace(&format!("{quote}{quote}"), &quote.to_string())),
            Word::Sign(_) => None,
        }
    }
}

fn is_in_word(c: char) -> bool {
    // Whatever is not ASCII may stand in a name, and so may what has been lost in reading it as UTF-8.
    c.is_ascii_alphanumeric() || !c.is_ascii() || c == '_' || c == '$' || c == '@'
}

/// What stands before the closing quote, and what behind it. A doubled quote does not close, nor does one behind a backslash that escapes.
fn quoted(text: &str, quote: char, escapes: bool) -> (&str, &str) {
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && escapes {
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
            Statement::Tables { what, names } => {
                names.iter().map(|name| format!("{what} {}.{}", name.database, name.table)).collect()
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
            // With ANSI_QUOTES, the server's own statements have them too.
            ("DROP TABLE \"users\" /* generated by server */", "drop shop.users"),
            ("TRUNCATE \"o\"\"dd\".\"back\\\"", "truncate o\"dd.back\\"),
            ("ALTER TABLE \"a\" ADD c TEXT COMMENT 'x', RENAME TO \"b\"", "rename shop.a"),
            ("DROP DATABASE \"shop\"", "drop shop.*"),
            // Not UTF-8.
            ("TRUNCATE caf\u{fffd}", "truncate shop.*"),
            ("DROP TABLE a, `other`.`caf\u{fffd}`", "drop shop.a, drop other.*"),
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
            "CREATE TABLE `b` (\n  `select` int NOT NULL\n) START TRANSACTION",
            "CREATE TABLE IF NOT EXISTS b LIKE x.table",
            "CREATE TABLE b (LIKE a)",
            "CREATE TABLE x.select (a INT COMMENT 'SELECT', FULLTEXT (a) WITH PARSER ngram) /* SELECT */ COMMENT=\"TABLE\" \
             PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (5), PARTITION q VALUES LESS THAN MAXVALUE)",
            "CREATE TEMPORARY TABLE b SELECT 1",
            "CREATE VIEW b AS SELECT 1",
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
            "CREATE TABLE b AS SELECT 1",
            "create table if not exists b select * from a",
            "CREATE TABLE `b` (c INT, KEY (c)) ENGINE=InnoDB IGNORE (SELECT 1)",
            "CREATE TABLE b (((SELECT 1)))",
            "CREATE TABLE b TABLE a",
            "CREATE TABLE b VALUES ROW(1)",
            "CREATE TABLE b WITH c AS (SELECT 1) SELECT * FROM c",
            "TRUNCATE caf\u{fffd}.t",
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
        let many = format!("DROP TABLE {}", ["é"; 5000].join(","));
        assert!(beginning(&many).len() <= SHOWN_BYTES + 5, "{}", beginning(&many));
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
