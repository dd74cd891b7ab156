package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
)

// outsideSQL names what a database has outside a schema, extensions and what
// belongs to them not counted.
const outsideSQL = `SELECT what || ' ' || name FROM (
	SELECT 'schema' AS what, nspname::text AS name FROM pg_namespace
	WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public', 'pgdbm', $1)
	UNION ALL SELECT 'relation', c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND deptype = 'e')
	UNION ALL SELECT 'function', p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND deptype IN ('e', 'i'))
	UNION ALL SELECT 'type', t.oid::regtype::text FROM pg_type t WHERE typnamespace = 'public'::regnamespace AND typrelid = 0 AND typelem = 0
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND deptype IN ('e', 'i'))
	UNION ALL SELECT 'default privileges', 'of ' || pg_get_userbyid(defaclrole) FROM pg_default_acl WHERE defaclnamespace = 0
	UNION ALL SELECT 'large object', oid::text FROM pg_largeobject_metadata
	UNION ALL SELECT 'publication', pubname FROM pg_publication
	UNION ALL SELECT 'event trigger', evtname FROM pg_event_trigger
	UNION ALL SELECT 'foreign server', srvname FROM pg_foreign_server
	UNION ALL SELECT 'role', rolname FROM pg_roles WHERE rolname !~ '^pg_' AND oid <> 10
) outside ORDER BY 1`

// outside names what is outside of the schema to squash.
func (s *squash) outside(ctx context.Context) ([]string, error) {
	db, err := s.pool.Schema(squashSchema)
	if err != nil {
		return nil, err
	}
	return pgdbm.All[string](ctx, db, outsideSQL, squashSchema)
}

// refuseOutside refuses migrations that have made something that a dump of their
// schema does not have, and that was not there before.
func (s *squash) refuseOutside(ctx context.Context, before []string) error {
	names, err := s.outside(ctx)
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(before, name) })
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("the migrations make what is not in their schema: %s", strings.Join(names, ", "))
	}
	return err
}

// tables lists the tables of a handle's schema.
func tables(ctx context.Context, db *pgdbm.DB) ([]string, error) {
	return pgdbm.All[string](ctx, db, `SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY 1`, db.Schema())
}

// filledTables lists those that have rows.
func filledTables(ctx context.Context, db *pgdbm.DB) ([]string, error) {
	names, err := tables(ctx, db)
	if err != nil {
		return nil, err
	}
	var filled []string
	for _, name := range names {
		has, err := pgdbm.Value[bool](ctx, db, "SELECT EXISTS (SELECT FROM "+pgx.Identifier{db.Schema(), name}.Sanitize()+")")
		if err != nil {
			return nil, err
		}
		if has {
			filled = append(filled, name)
		}
	}
	return filled, nil
}

// unusedSequencesSQL are the statements by which pg_dump says that a sequence is
// at its start, where it is anyway.
const unusedSequencesSQL = `SELECT format('SELECT pg_catalog.setval(%L, %s, false);', format('%I.%I', nspname, relname), seqstart)
	FROM pg_sequence JOIN pg_class c ON c.oid = seqrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1`

// sameState compares which values sequences have given out, and which
// materialized views are filled.
func sameState(ctx context.Context, made, again *pgdbm.DB) error {
	var states [2][]string
	for i, db := range []*pgdbm.DB{made, again} {
		views, err := pgdbm.All[string](ctx, db, `SELECT format('materialized view %s is filled: %s', relname, relispopulated)
			FROM pg_class WHERE relkind = 'm' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) ORDER BY 1`, db.Schema())
		if err != nil {
			return err
		}
		names, err := pgdbm.All[string](ctx, db, "SELECT sequencename::text FROM pg_sequences WHERE schemaname = $1 ORDER BY 1", db.Schema())
		if err != nil {
			return err
		}
		for _, name := range names {
			state, err := pgdbm.Value[string](ctx, db, "SELECT format('sequence %s is at %s, given out: %s', $1::text, last_value, is_called) FROM "+
				pgx.Identifier{db.Schema(), name}.Sanitize(), name)
			if err != nil {
				return err
			}
			views = append(views, state)
		}
		states[i] = views
	}
	for i, state := range states[0] { // the names are the same
		if states[1][i] != state {
			return fmt.Errorf("what would be written does not make the same: %s, not %s", states[1][i], state)
		}
	}
	return nil
}

// sameRows compares the rows of two schemas, in which each may name its own
// schema.
func sameRows(ctx context.Context, made, again *pgdbm.DB) error {
	names, err := tables(ctx, made)
	if err != nil {
		return err
	}
	for _, name := range names {
		var sums [2]string
		for i, db := range []*pgdbm.DB{made, again} {
			sums[i], err = pgdbm.Value[string](ctx, db, `SELECT count(*) || ' ' || coalesce(md5(string_agg(line, ',' ORDER BY line)), '')
				FROM (SELECT replace(t::text, $1, '') AS line FROM `+pgx.Identifier{db.Schema(), name}.Sanitize()+` t) x`, db.Schema())
			if err != nil {
				return err
			}
		}
		if sums[0] != sums[1] {
			return fmt.Errorf("what would be written does not make the same rows of table %s", name)
		}
	}
	return nil
}
