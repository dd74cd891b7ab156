package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

type cloneJSON struct {
	From    string   `json:"from"`
	Schema  string   `json:"schema"`
	Data    bool     `json:"data"`
	Modules []string `json:"modules"` // whose history was copied

	Warnings []string `json:"warnings,omitempty"`
}

func (j cloneJSON) write(out io.Writer) error {
	what := "structure"
	if j.Data {
		what = "structure and data"
	}
	text := fmt.Sprintf("schema %s has the %s of %s", j.Schema, what, j.From)
	if len(j.Modules) > 0 {
		text += ", and the history of " + strings.Join(j.Modules, ", ")
	}
	fmt.Fprintln(out, text)
	for _, w := range j.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	return nil
}

func newSchemaClone() *cobra.Command {
	var f databaseFlags
	var data bool
	cmd := &cobra.Command{
		Use:   "clone FROM TO",
		Short: "Copy the structure of a schema, or all of it, into a new one",
		Long: `clone makes the schema TO, with what is in FROM, its owners and grants, and the
history of its modules, so that migrations go on from there; with --data also
the rows, as they are at one moment, and where sequences stand. It is one
transaction, and compared in the end. What refers to other schemas refers to the
same ones.

In the bodies of functions "from" and 'from' become the new name, as in what
{{schema}} has become; a name without quotes there stays, which is warned of. It
needs pg_dump on the PATH, of the server's version or a newer one, and to be
owner of FROM. With --data it is refused where a CHECK constraint, a domain, a
generated column or a key of partitions calls a function of another user who is
no superuser: that would run with your rights. Connect as that user.`,
		Example: "  pgdbm schema clone tenant_1 tenant_2\n  pgdbm schema clone billing billing_copy --data",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError{errors.New("clone needs two schemas: the one to copy, and the new one")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withDatabase(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool) error {
				c := &clone{pool: pool, url: libpqText(p.config), from: args[0], to: args[1], data: data, bar: newProgress(cmd, f.asJSON)}
				err := c.run(ctx)
				c.bar.end()
				if err != nil {
					return fmt.Errorf("clone schema %q as %q: %w", c.from, c.to, err)
				}
				warnings, err := c.warnings(ctx)
				if err != nil {
					return err
				}
				return f.print(cmd, cloneJSON{c.from, c.to, data, append([]string{}, c.modules...), warnings})
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&data, "data", false, "copy the rows, too")
	return cmd
}

// clone copies a schema.
type clone struct {
	pool     *pgdbm.Pool
	url      string
	from, to string
	data     bool
	bar      *progress

	modules []string
	tx      pgx.Tx
	aside   string // the name of from meanwhile
}

func (c *clone) run(ctx context.Context) error {
	if err := c.check(ctx); err != nil {
		return err
	}
	if c.data {
		if err := c.refuseOthersCode(ctx); err != nil {
			return err
		}
	}
	c.bar.show(0, cloneSteps, "structure of "+c.from)
	var parts []string
	for _, section := range []string{"pre-data", "post-data"} {
		text, err := pgDump(ctx, c.url, c.from, "--schema-only", "--section="+section)
		if err != nil {
			return err
		}
		if text, err = c.renamed(text); err != nil {
			return err
		}
		parts = append(parts, text)
	}
	if err := c.apply(ctx, parts[0], parts[1]); err != nil {
		return err
	}
	c.bar.show(4, cloneSteps, "comparison")
	return c.compare(ctx)
}

// cloneSteps are what the progress is counted in.
const cloneSteps = 5

// check finds out what speaks against it, and which modules there are.
func (c *clone) check(ctx context.Context) error {
	for _, name := range []string{c.from, c.to} {
		if err := refuseShared("clone", name); err != nil {
			return err
		}
	}
	if err := mustExist(ctx, c.pool, "copy", c.from); err != nil {
		return err
	}
	there, err := schemaExists(ctx, c.pool, c.to)
	if err != nil {
		return err
	}
	if there {
		return fmt.Errorf("schema %q exists already", c.to)
	}
	ledger, err := readLedger(ctx, c.pool)
	if err != nil {
		return err
	}
	for _, r := range ledger {
		switch {
		case r.Schema == c.to:
			return fmt.Errorf("schema %q was dropped, and the history of module %s is there", c.to, r.Module)
		case r.Schema == c.from && r.Open > 0:
			return fmt.Errorf("a version of module %s has failed or not ended", r.Module)
		case r.Schema == c.from && r.InEffect > 0:
			c.modules = append(c.modules, r.Module)
		}
	}
	return nil
}

// refuseOthersCode refuses rows that the server would check or complete by a
// function of another user: it runs with the rights of whoever inserts them.
// Indexes, filled views and foreign keys are made with their owner's rights.
func (c *clone) refuseOthersCode(ctx context.Context) error {
	return c.refuse(ctx, "copying rows would run with your rights", othersCode, c.from)
}

// refuse is an error with the names that a query finds.
func (c *clone) refuse(ctx context.Context, why, query string, args ...any) error {
	rows, err := c.pool.Pgx().Query(ctx, query, args...)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%s: %s", why, strings.Join(found, ", "))
	}
	return err
}

// othersCode selects functions that inserting rows into tables of a schema calls,
// with their owners: functions of CHECK constraints, domains, generated columns
// and keys of partitions. Those of superusers, extensions and the session's own
// user are to be trusted.
const othersCode = `WITH RECURSIVE tables AS (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
	WHERE nspname = $1 AND relkind = 'r'),
types (oid) AS (SELECT atttypid FROM pg_catalog.pg_attribute WHERE attrelid IN (SELECT oid FROM tables) AND attnum > 0
	UNION SELECT u.oid FROM types JOIN pg_catalog.pg_type t ON t.oid = types.oid CROSS JOIN LATERAL (
		SELECT t.typbasetype AS oid UNION ALL SELECT t.typelem
		UNION ALL SELECT rngsubtype FROM pg_catalog.pg_range WHERE t.oid IN (rngtypid, rngmultitypid)
		UNION ALL SELECT atttypid FROM pg_catalog.pg_attribute WHERE attrelid = t.typrelid AND attnum > 0) u WHERE u.oid <> 0),
code (class, id) AS (
	SELECT 'pg_catalog.pg_constraint'::regclass, oid FROM pg_catalog.pg_constraint
		WHERE contype = 'c' AND (conrelid IN (SELECT oid FROM tables) OR contypid IN (SELECT oid FROM types))
	UNION ALL SELECT 'pg_catalog.pg_attrdef'::regclass, d.oid FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute ON attrelid = adrelid AND attnum = adnum
		WHERE attgenerated <> '' AND adrelid IN (SELECT oid FROM tables)
	UNION ALL SELECT 'pg_catalog.pg_class'::regclass, a.relid FROM tables CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(oid) a)
SELECT DISTINCT pg_catalog.format('function %s of %s', p.oid::regprocedure, rolname)
FROM code JOIN pg_catalog.pg_depend d ON d.classid = class AND d.objid = id
LEFT JOIN pg_catalog.pg_operator o ON d.refclassid = 'pg_catalog.pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_catalog.pg_proc p ON p.oid = CASE d.refclassid WHEN 'pg_catalog.pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
JOIN pg_catalog.pg_roles r ON r.oid = proowner
WHERE NOT rolsuper AND rolname <> current_user
AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e') ORDER BY 1`

// renamed takes the session's settings out of what pg_dump wrote, and puts the
// new name where {{schema}} has put the old one into texts: those are not
// resolved, unlike all other names.
func (c *clone) renamed(dump string) (string, error) {
	stable, err := stableDump(dump)
	if err != nil {
		return "", err
	}
	src := string(stable)
	body := strings.NewReplacer(`"`+c.from+`"`, `"`+c.to+`"`, "'"+c.from+"'", "'"+c.to+"'")
	var b strings.Builder
	lexer := sqltemplate.NewLexer(src)
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		text := src[tok.Start:tok.End]
		switch {
		case tok.Kind == sqltemplate.DollarString:
			text = body.Replace(text)
		case tok.Kind == sqltemplate.String && text == "'"+c.from+"'" && !regnamespace.MatchString(src[tok.End:]):
			text = "'" + c.to + "'"
		}
		b.WriteString(text)
	}
	return b.String(), lexer.Err()
}

// A constant of this type is resolved when it is read.
var regnamespace = regexp.MustCompile(`^::(pg_catalog\.)?regnamespace`)

// apply does it in a transaction, in which the schema to copy has another name and
// the new one has its: so what pg_dump wrote holds as it is. Views, constraints
// and the like know their objects, not names, and follow when the names go back.
// Others see both schemas under their right names only, the new one at the end.
// All rows are those of one moment.
func (c *clone) apply(ctx context.Context, before, after string) (err error) {
	if c.tx, err = c.pool.Pgx().BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}); err != nil {
		return err
	}
	defer c.tx.Rollback(context.WithoutCancel(ctx)) // does nothing behind the commit
	c.aside = "pgdbm_clone_" + strings.ToLower(rand.Text()[:10])
	from, to, aside := pgx.Identifier{c.from}.Sanitize(), pgx.Identifier{c.to}.Sanitize(), pgx.Identifier{c.aside}.Sanitize()
	steps := []func() error{
		func() error {
			return c.exec(ctx, "SET LOCAL search_path = ''; SET LOCAL check_function_bodies = off; SET LOCAL row_security = off;"+
				"SET LOCAL lock_timeout = '2s'; ALTER SCHEMA "+from+" RENAME TO "+aside)
		},
		func() error {
			c.bar.show(1, cloneSteps, "tables")
			return c.exec(ctx, before)
		},
		func() error {
			if !c.data {
				return nil
			}
			return c.execAll(ctx, cloneRows, func(name string) { c.bar.show(2, cloneSteps, "rows of "+name) })
		},
		func() error {
			c.bar.show(3, cloneSteps, "indexes and constraints")
			return c.exec(ctx, after)
		},
		func() error {
			return c.execAll(ctx, cloneViews, func(name string) { c.bar.show(3, cloneSteps, "rows of "+name) })
		},
		func() error {
			return c.exec(ctx, "ALTER SCHEMA "+from+" RENAME TO "+to+"; ALTER SCHEMA "+aside+" RENAME TO "+from)
		},
		func() error { return c.copyHistory(ctx) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return c.tx.Commit(ctx)
}

func (c *clone) exec(ctx context.Context, script string) error {
	_, err := c.tx.Conn().PgConn().Exec(ctx, script).ReadAll()
	return err
}

// execAll runs the statements that a query makes, and says before each what it is
// about.
func (c *clone) execAll(ctx context.Context, query string, show func(name string)) error {
	rows, err := c.tx.Query(ctx, query, c.from, c.aside)
	if err != nil {
		return err
	}
	type statement struct{ Name, SQL string }
	statements, err := pgx.CollectRows(rows, pgx.RowToStructByPos[statement])
	for _, s := range statements {
		show(s.Name)
		if err := c.exec(ctx, s.SQL); err != nil {
			return err
		}
	}
	return err
}

// cloneRows makes the statements that copy the rows of tables and the state of
// sequences, from schema $2 to $1. A value of a type of the schema's own goes by
// its text, since the new schema has a type of its own.
const cloneRows = `WITH ns AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $2),
col AS (SELECT attrelid, attnum, pg_catalog.quote_ident(attname) AS name,
	CASE WHEN t.typnamespace = (SELECT oid FROM ns) OR e.typnamespace = (SELECT oid FROM ns)
	THEN '::text::' || pg_catalog.replace(pg_catalog.format_type(atttypid, atttypmod), pg_catalog.quote_ident($2) || '.', pg_catalog.quote_ident($1) || '.') ELSE '' END AS through
	FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = atttypid LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
	WHERE attnum > 0 AND NOT attisdropped AND attgenerated = ''),
own AS (SELECT c.oid, relname, relkind FROM pg_catalog.pg_class c WHERE relnamespace = (SELECT oid FROM ns)
	AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
SELECT relname::text, pg_catalog.format('INSERT INTO %I.%I %s SELECT %s FROM ONLY %I.%I', $1::text, relname,
	(SELECT '(' || pg_catalog.string_agg(name, ', ' ORDER BY attnum) || ') OVERRIDING SYSTEM VALUE' FROM col WHERE attrelid = oid),
	(SELECT pg_catalog.string_agg(name || through, ', ' ORDER BY attnum) FROM col WHERE attrelid = oid), $2::text, relname)
FROM own WHERE relkind = 'r'
UNION ALL SELECT relname::text, pg_catalog.format('SELECT pg_catalog.setval(%L::regclass, last_value, is_called) FROM %I.%I',
	pg_catalog.format('%I.%I', $1::text, relname), $2::text, relname) FROM own WHERE relkind = 'S'`

// cloneViews makes the statements that fill the materialized views which are
// filled in schema $2, in the order in which they were made.
const cloneViews = `SELECT relname::text, pg_catalog.format('REFRESH MATERIALIZED VIEW %I.%I', $1::text, relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
WHERE nspname = $2 AND relkind = 'm' AND relispopulated ORDER BY c.oid`

// copyHistory records for the new schema what is recorded for the other one.
func (c *clone) copyHistory(ctx context.Context) error {
	if len(c.modules) == 0 {
		return nil
	}
	_, err := c.tx.Exec(ctx, `INSERT INTO pgdbm.migrations SELECT (pg_catalog.jsonb_populate_record(m, pg_catalog.jsonb_build_object('target_schema', $1::text))).*
		FROM pgdbm.migrations m WHERE target_schema = $2 AND state IN ('applied', 'baselined')`, c.to, c.from)
	return err
}

// compare undoes the clone when it is not the same, as when somebody has changed
// the schema meanwhile.
func (c *clone) compare(ctx context.Context) error {
	empty, err := isEmpty(ctx, c.pool, c.from)
	if err != nil || empty {
		return err
	}
	j, err := diffSchemas(ctx, c.pool, c.from, c.to)
	switch {
	case err == nil && j.Same:
		if err = c.compareOwners(ctx); err == nil {
			return nil
		}
	case err == nil:
		d := j.Differences[0]
		err = fmt.Errorf("%d objects would differ, the first is %s %s: %q and %q", len(j.Differences), d.Kind, d.Name, d.Want, d.Have)
	}
	ctx = context.WithoutCancel(ctx)
	return errors.Join(err, pgx.BeginFunc(ctx, c.pool.Pgx(), func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DROP SCHEMA "+pgx.Identifier{c.to}.Sanitize()+" CASCADE"); err != nil || len(c.modules) == 0 {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM pgdbm.migrations WHERE target_schema = $1", c.to)
		return err
	}))
}

// compareOwners compares who owns what and who may use it. Default privileges of
// the session's user, for instance, would make them differ.
func (c *clone) compareOwners(ctx context.Context) error {
	return c.refuse(ctx, "owners or grants would differ", ownersDiffer, c.from, c.to)
}

// ownersDiffer selects what in two schemas has other owners or grants. Overloaded
// functions are told apart by how many arguments they have, since the types of
// these may be of the schemas.
const ownersDiffer = `WITH own AS (SELECT nspname, what, pg_catalog.pg_get_userbyid(owner) AS owner,
	(SELECT pg_catalog.string_agg(a::text, ' ' ORDER BY a::text) FROM pg_catalog.unnest(coalesce(acl, pg_catalog.acldefault(kind, owner))) a) AS grants
	FROM pg_catalog.pg_namespace n JOIN (
		SELECT oid AS namespace, 'the schema' AS what, nspowner AS owner, nspacl AS acl, 'n'::"char" AS kind FROM pg_catalog.pg_namespace
		UNION ALL SELECT relnamespace, 'relation ' || relname, relowner, relacl, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char" FROM pg_catalog.pg_class
		UNION ALL SELECT pronamespace, pg_catalog.format('function %s of %s arguments', proname, pronargs), proowner, proacl, 'f' FROM pg_catalog.pg_proc
		UNION ALL SELECT typnamespace, 'type ' || typname, typowner, typacl, 'T' FROM pg_catalog.pg_type) o ON o.namespace = n.oid
	WHERE nspname IN ($1, $2)),
difference AS ((SELECT what, owner, grants FROM own WHERE nspname = $1 EXCEPT ALL SELECT what, owner, grants FROM own WHERE nspname = $2)
	UNION ALL (SELECT what, owner, grants FROM own WHERE nspname = $2 EXCEPT ALL SELECT what, owner, grants FROM own WHERE nspname = $1))
SELECT DISTINCT what FROM difference ORDER BY 1 LIMIT 5`

// warnings name the functions whose text still has the name of the schema that was
// copied, and so may work on that one.
func (c *clone) warnings(ctx context.Context) ([]string, error) {
	rows, err := c.pool.Pgx().Query(ctx, `SELECT proname, coalesce(prosrc, '') FROM pg_catalog.pg_proc JOIN pg_catalog.pg_namespace n ON n.oid = pronamespace
		WHERE nspname = $1 ORDER BY proname`, c.to)
	if err != nil {
		return nil, err
	}
	named := regexp.MustCompile(`(^|[^\w$".])` + regexp.QuoteMeta(c.from) + `\s*\.`)
	var texts []string
	var name, text string
	_, err = pgx.ForEachRow(rows, []any{&name, &text}, func() error {
		if named.MatchString(text) {
			texts = append(texts, fmt.Sprintf("function %s.%s has %s. in its text, which stays", c.to, name, c.from))
		}
		return nil
	})
	return texts, err
}
