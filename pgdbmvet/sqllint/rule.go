package sqllint

import "slices"

// Severity says how bad a finding is.
type Severity int

// From what is a matter of taste to what takes production down.
const (
	Notice Severity = iota
	Warning
	Error
)

// String returns "notice", "warning" or "error".
func (s Severity) String() string { return [...]string{"notice", "warning", "error"}[s] }

// ParseSeverity is the reverse of String.
func ParseSeverity(text string) (s Severity, ok bool) {
	for s = Notice; s <= Error; s++ {
		if s.String() == text {
			return s, true
		}
	}
	return 0, false
}

// Rule is one thing that is looked for.
type Rule struct {
	Name     string
	Severity Severity
	Says     string // in a few words, what a finding means
	Lock     string // the table lock that the statement takes, as PostgreSQL's manual names it; empty: none that matters
	Rewrites bool   // the table is written anew while the lock is held
	Why      string // what happens
	Safe     string // what to do instead
	Example  string // a statement that it finds, on a table t (id int, x int, s varchar(9)) with an index i
}

// Rules returns all rules, sorted by name. The caller may change the slice.
func Rules() []Rule { return slices.Clone(rules) }

func ruleNamed(name string) (Rule, bool) {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		return Rule{}, false
	}
	return rules[i], true
}

const (
	accessExclusive = "ACCESS EXCLUSIVE"
	shareRow        = "SHARE ROW EXCLUSIVE"
	share           = "SHARE"
)

// rules are sorted by name.
var rules = []Rule{
	{"add-check", Error, "constraint is checked under a lock that nobody reads beside", accessExclusive, false,
		"All rows are read while nobody can use the table.",
		"Add it NOT VALID, and VALIDATE CONSTRAINT in the next file.",
		"ALTER TABLE {{tables.t}} ADD CONSTRAINT c CHECK (x > 0)"},
	{"add-column-not-null", Error, "column that must not be null has no default", accessExclusive, false,
		"It fails as soon as the table has a row.",
		"Give it a constant DEFAULT, which costs nothing; or add it without NOT NULL, fill it, and see set-not-null.",
		"ALTER TABLE {{tables.t}} ADD COLUMN n int NOT NULL"},
	{"add-column-rewrite", Error, "column is computed for each row", accessExclusive, true,
		"A volatile default, a stored generated column, a serial or an identity column writes the whole table anew.",
		"Add the column without it, set the default afterwards, and fill old rows in batches.",
		"ALTER TABLE {{tables.t}} ADD COLUMN n double precision DEFAULT random()"},
	{"add-exclusion", Error, "exclusion constraint builds its index under a lock", accessExclusive, false,
		"The index is built while nobody can use the table; there is no concurrent way.",
		"Do it while the table is small, or on a new table that takes its place.",
		"ALTER TABLE {{tables.t}} ADD CONSTRAINT c EXCLUDE (x WITH =)"},
	{"add-foreign-key", Error, "foreign key is checked under a lock that nobody writes beside", shareRow, false,
		"All rows of the table are looked up while neither table can be written.",
		"Add it NOT VALID, and VALIDATE CONSTRAINT in the next file.",
		"ALTER TABLE {{tables.t}} ADD CONSTRAINT c FOREIGN KEY (x) REFERENCES {{tables.u}} (id)"},
	{"add-unique", Error, "unique constraint builds its index under a lock", accessExclusive, false,
		"The index is built while nobody can use the table.",
		"CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT ... UNIQUE USING INDEX.",
		"ALTER TABLE {{tables.t}} ADD CONSTRAINT c UNIQUE (x)"},
	{"alter-type", Error, "column changes its type", accessExclusive, true,
		"Unless the new type is binary the same, the table and its indexes are written anew while nobody can use it.",
		"Add a new column, fill it in batches, keep it in step by a trigger, and change over. varchar(n) to text or to a longer varchar is free.",
		"ALTER TABLE {{tables.t}} ALTER COLUMN x TYPE bigint"},
	{"attach-partition", Warning, "partition is checked while it is attached", accessExclusive, false,
		"All rows of the new partition are read under a lock on it, unless a CHECK already says that they fit.",
		"Add a CHECK constraint with the partition's bounds first, NOT VALID and then validated.",
		"ALTER TABLE {{tables.p}} ATTACH PARTITION {{tables.t}} FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"},
	{"bad-allow", Error, "pgdbm:allow that allows nothing", "", false,
		"It has no reason, or names no rule.",
		"-- pgdbm:allow RULE reason", ""},
	{"cluster", Error, "table is written anew", accessExclusive, true,
		"Nobody can use the table meanwhile.",
		"pg_repack or pg_squeeze, outside migrations.",
		"CLUSTER {{tables.t}} USING i"},
	{"concurrent-in-transaction", Error, "CONCURRENTLY in a transaction", "", false,
		"PostgreSQL refuses it.",
		"Put it into a file of its own that begins with -- pgdbm:no-transaction.", ""},
	{"create-index", Error, "index is built under a lock that nobody writes beside", share, false,
		"Writers wait for as long as the index takes.",
		"CREATE INDEX CONCURRENTLY in a file with -- pgdbm:no-transaction.",
		"CREATE INDEX j ON {{tables.t}} (x)"},
	{"disable-trigger", Warning, "triggers are switched off for everybody", shareRow, false,
		"What other sessions write meanwhile goes unchecked, foreign keys with ALL included.",
		"SET LOCAL session_replication_role = replica, for this session alone.",
		"ALTER TABLE {{tables.t}} DISABLE TRIGGER USER"},
	{"drop-cascade", Error, "CASCADE drops what is not named", "", false,
		"Views, foreign keys and functions of others go along unseen.",
		"Drop them by name.", ""},
	{"drop-column", Warning, "column goes while programs may read it", accessExclusive, false,
		"Programs of the last release still name it, and SELECT * changes.",
		"Deploy what no longer uses it first, and say so with pgdbm:allow.",
		"ALTER TABLE {{tables.t}} DROP COLUMN x"},
	{"drop-index", Warning, "index is dropped under a lock that nobody reads beside", accessExclusive, false,
		"It waits for all who use the table, and all who come later wait behind it.",
		"DROP INDEX CONCURRENTLY in a file with -- pgdbm:no-transaction.",
		"DROP INDEX {{tables.i}}"},
	{"drop-table", Warning, "table goes while programs may use it", accessExclusive, false,
		"Programs of the last release still name it.",
		"Deploy what no longer uses it first, and say so with pgdbm:allow.",
		"DROP TABLE {{tables.t}}"},
	{"enum-value-used", Error, "new value of an enum is used in the transaction that adds it", "", false,
		"PostgreSQL refuses it: unsafe use of new value.",
		"Use it in the next file.", ""},
	{"hard-coded-schema", Error, "schema is spelled out", "", false,
		"The module cannot live in another schema, nor twice in one database.",
		"{{tables.x}}, or {{tables.module.x}} for another module's.", ""},
	{"int-key", Notice, "key has 31 bits", "", false,
		"It ends at 2,147,483,647, and changing it later writes the table anew.",
		"bigint GENERATED ALWAYS AS IDENTITY.", ""},
	{"json", Notice, "json instead of jsonb", "", false,
		"json has no equality, so DISTINCT and GROUP BY fail, and no index.",
		"jsonb.", ""},
	{"lock-table", Warning, "table is locked by hand", accessExclusive, false,
		"It waits for all who use the table, and all who come later wait behind it.",
		"A weaker mode, or an advisory lock.",
		"LOCK TABLE {{tables.t}}"},
	{"refresh-view", Warning, "materialized view is filled under a lock that nobody reads beside", accessExclusive, false,
		"Readers wait for as long as its query takes.",
		"REFRESH MATERIALIZED VIEW CONCURRENTLY, with a unique index.", ""},
	{"reindex", Error, "index is built under a lock that nobody writes beside", share, false,
		"Writers wait, and readers too, whose plans want to look at the index.",
		"REINDEX ... CONCURRENTLY in a file with -- pgdbm:no-transaction.",
		"REINDEX TABLE {{tables.t}}"},
	{"rename", Error, "name changes under running programs", accessExclusive, false,
		"Programs of the last release fail from that moment on.",
		"Add the new one beside it, write both, move over, drop the old one; or a view with the old name.",
		"ALTER TABLE {{tables.t}} RENAME COLUMN x TO y"},
	{"rewrite", Error, "table is written anew", accessExclusive, true,
		"SET LOGGED, UNLOGGED, TABLESPACE and ACCESS METHOD copy the table while nobody can use it.",
		"Do it while the table is small, or on a new table that takes its place.",
		"ALTER TABLE {{tables.t}} SET UNLOGGED"},
	{"schema-in-string", Error, "{{schema}} in a string", "", false,
		"Its value is the name in double quotes, which is no schema's name.",
		"{{schema:literal}}, without quotes around it.", ""},
	{"set-not-null", Warning, "NOT NULL is checked under a lock that nobody reads beside", accessExclusive, false,
		"All rows are read, unless a valid CHECK (column IS NOT NULL) says that there is no null.",
		"Add that CHECK NOT VALID, validate it in the next file, then SET NOT NULL and drop it.",
		"ALTER TABLE {{tables.t}} ALTER COLUMN x SET NOT NULL"},
	{"set-without-local", Warning, "SET outlives the file", "", false,
		"In a file in a transaction SET holds for the connection after it.",
		"SET LOCAL; for timeouts -- pgdbm:lock-timeout and -- pgdbm:statement-timeout.", ""},
	{"several-tables", Warning, "several tables are locked until the file ends", accessExclusive, false,
		"Who uses the first waits for the last, and two who come in another order deadlock.",
		"A file for each table.", ""},
	{"shared-foreign-key", Warning, "foreign key from a tenant's table to a shared one", shareRow, false,
		"With thousands of tenants the shared table gets as many triggers, and each tenant's DDL locks it for all.",
		"Keep the key without the constraint, or copy what is shared.", ""},
	{"tenant-enum", Notice, "an enum for each tenant", "", false,
		"Each tenant's is another type: pgx has to load all of them, and changing one means changing all.",
		"text with a CHECK, or an enum in a shared module.", ""},
	{"timestamp", Notice, "timestamp without time zone", "", false,
		"It means another moment in each session's time zone.",
		"timestamptz.", ""},
	{"transaction-control", Error, "transaction is begun or ended by the file", "", false,
		"The file runs in a transaction of the engine, together with its record.",
		"Leave it out, or begin the file with -- pgdbm:no-transaction.", ""},
	{"truncate", Warning, "all rows go", accessExclusive, false,
		"It waits for all who use the table, and cannot be undone after the commit.",
		"DELETE in batches, or say that it is meant with pgdbm:allow.",
		"TRUNCATE {{tables.t}}"},
	{"unqualified-name", Warning, "table without a template", "", false,
		"Where it is found depends on search_path.",
		"{{tables.x}}", ""},
	{"vacuum-full", Error, "table is written anew", accessExclusive, true,
		"Nobody can use the table meanwhile.",
		"VACUUM, or pg_repack outside migrations.", ""},
	{"validate-at-once", Error, "constraint is validated in the transaction that adds it", "", false,
		"The strong lock of ADD CONSTRAINT is held while all rows are read, so NOT VALID was for nothing.",
		"VALIDATE CONSTRAINT in the next file.", ""},
	{"without-where", Warning, "all rows are written", "", false,
		"The whole table is locked row by row until the file ends, and doubles in size.",
		"Batches, outside the migration; or say that it is meant with pgdbm:allow.", ""},
}
