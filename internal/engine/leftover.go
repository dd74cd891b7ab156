package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// prepare clears away what an interrupted run of the statement has left, and reports whether the statement has had its
// effect already.
func (o *outside) prepare(ctx context.Context, s *statement) (done bool, err error) {
	if s.object.onIndexes() && !o.runner.ThroughPooler {
		if err := o.suspendLockTimeout(ctx); err != nil {
			return false, err
		}
	}
	if s.object.onIndexes() && o.runner.ThroughPooler { // where no lock tells of a killed process
		if err := o.refuseBeside(ctx); err != nil {
			return false, err
		}
	}
	switch s.object.kind {
	case createdIndex:
		return o.prepareIndex(ctx, s.object)
	case droppedIndex:
		return o.resumedWithout(ctx, "select pg_catalog.to_regclass("+literal(s.object.relation)+") is null")
	case rebuiltIndex, rebuiltTable, rebuiltSchema, rebuiltDatabase:
		return false, o.dropRebuilt(ctx, s.object)
	case detachedPartition:
		return o.prepareDetached(ctx, s.object)
	}
	return false, nil
}

// suspendLockTimeout keeps a lock_timeout that the file has set away from an operation on indexes, which it would end
// half-done.
func (o *outside) suspendLockTimeout(ctx context.Context) error {
	if o.restored != 0 {
		return nil // since an attempt that failed
	}
	results, err := o.work.exec(ctx,
		"select setting::bigint from pg_catalog.pg_settings where name = 'lock_timeout'", "set lock_timeout = 0")
	if err != nil {
		return err
	}
	_, err = fmt.Sscan(string(results[0].Rows[0][0]), &o.restored)
	return err
}

// restore sets the lock_timeout again.
func (o *outside) restore(ctx context.Context, s *statement) error {
	if o.restored == 0 || !s.object.onIndexes() {
		return nil
	}
	_, err := o.work.exec(ctx, fmt.Sprintf("set lock_timeout = %d", o.restored))
	o.restored = 0
	return err
}

// indexRow selects whether the index that a statement creates is valid, and its quoted name; no row when there is none.
func indexRow(b object) string {
	return fmt.Sprintf(`select i.indisvalid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), c.oid
from pg_catalog.pg_class t
join pg_catalog.pg_class c on c.relnamespace = t.relnamespace and c.relname = %s and c.relkind = 'i'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_index i on i.indexrelid = c.oid and i.indrelid = t.oid
where t.oid = pg_catalog.to_regclass(%s)`, literal(b.name), literal(b.relation))
}

// prepareIndex drops an invalid index of the name, which an interrupted CREATE INDEX CONCURRENTLY has left: the
// statement could not run, or with IF NOT EXISTS would be content with it. An index that is valid when the statement is
// taken up again is the statement's own.
func (o *outside) prepareIndex(ctx context.Context, b object) (done bool, err error) {
	results, err := o.work.exec(ctx, indexRow(b))
	if err != nil || len(results[0].Rows) == 0 {
		return false, err
	}
	row := results[0].Rows[0]
	if string(row[0]) == "t" {
		return o.resumed, nil
	}
	if err := o.refuseBuild(ctx, string(row[2])); err != nil {
		return false, err
	}
	return false, o.dropInvalid(ctx, string(row[1]))
}

// refuseBeside is errBeside when another session has, or waits for, a lock on a relation of the schema as operations on
// indexes take it.
func (o *outside) refuseBeside(ctx context.Context) error {
	return o.besides(ctx, fmt.Sprintf(`select a.pid, coalesce(a.application_name, '') from pg_catalog.pg_stat_activity a
where a.pid <> pg_catalog.pg_backend_pid() and a.backend_type = 'client backend' and exists (select from pg_catalog.pg_locks l
    join pg_catalog.pg_class c on c.oid = l.relation join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where l.pid = a.pid and l.mode = 'ShareUpdateExclusiveLock' and n.nspname = %s
    and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()))`, literal(o.target.Schema)))
}

// refuseBuild is errBeside when another session builds the index.
func (o *outside) refuseBuild(ctx context.Context, oid string) error {
	return o.besides(ctx, `select p.pid, coalesce(a.application_name, '') from pg_catalog.pg_stat_progress_create_index p
left join pg_catalog.pg_stat_activity a on a.pid = p.pid where p.index_relid = `+oid+` and p.pid <> pg_catalog.pg_backend_pid()`)
}

func (o *outside) besides(ctx context.Context, query string) error {
	results, err := o.work.exec(ctx, query)
	if err != nil || len(results[0].Rows) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", errBeside, describeHolder(results[0].Rows[0]))
}

// dropInvalid drops an index, quoted and with its schema, unless it has become valid or has gone.
func (o *outside) dropInvalid(ctx context.Context, index string) error {
	results, err := o.work.exec(ctx, fmt.Sprintf("select indisvalid from pg_catalog.pg_index where indexrelid = pg_catalog.to_regclass(%s)", literal(index)))
	if err != nil || len(results[0].Rows) == 0 || string(results[0].Rows[0][0]) == "t" {
		return err
	}
	o.runner.Logger.LogAttrs(ctx, slog.LevelWarn, "migration: dropping the invalid index that an interrupted run has left",
		slog.String("module", o.target.Module), slog.String("schema", o.target.Schema), slog.String("file", o.file.Name),
		slog.String("index", index))
	if _, err := o.work.exec(ctx, "drop index concurrently if exists "+index); err != nil {
		return fmt.Errorf("drop invalid index %s: %w", index, err)
	}
	return nil
}

// verify requires a created index to be valid.
func (o *outside) verify(ctx context.Context, s *statement) error {
	if s.object.kind != createdIndex {
		return nil
	}
	results, err := o.work.exec(ctx, indexRow(s.object))
	if err != nil {
		return err
	}
	if len(results[0].Rows) == 0 {
		return nil // IF NOT EXISTS, and another relation has the name
	}
	if row := results[0].Rows[0]; string(row[0]) != "t" {
		return fmt.Errorf("%w: %s", ErrInvalidIndex, row[1])
	}
	return nil
}

// resumedWithout reports whether the statement is taken up again and the query says that its object is gone.
func (o *outside) resumedWithout(ctx context.Context, query string) (bool, error) {
	if !o.resumed {
		return false, nil
	}
	results, err := o.work.exec(ctx, query)
	return err == nil && string(results[0].Rows[0][0]) == "t", err
}

// dropRebuilt drops the invalid copies, with names in _ccnew and _ccold, that an interrupted REINDEX CONCURRENTLY has
// left of the indexes that this one rebuilds.
func (o *outside) dropRebuilt(ctx context.Context, b object) error {
	var scope string
	switch b.kind {
	case rebuiltIndex:
		scope = "i.indrelid = (select indrelid from pg_catalog.pg_index where indexrelid = pg_catalog.to_regclass(" + literal(b.relation) + "))"
	case rebuiltTable:
		scope = "pg_catalog.to_regclass(" + literal(b.relation) + ") in (select t.oid from pg_catalog.pg_class t where i.indrelid in (t.oid, t.reltoastrelid))"
	case rebuiltSchema:
		scope = "n.nspname = " + literal(unquote(b.relation))
	case rebuiltDatabase:
		scope = "true"
	}
	results, err := o.work.exec(ctx, `select pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), c.oid
from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not i.indisvalid and c.relkind = 'i' and c.relname ~ '_cc(new|old)[0-9]*$' and `+scope)
	if err != nil {
		return err
	}
	for _, row := range results[0].Rows {
		if err := o.refuseBuild(ctx, string(row[1])); err != nil {
			return err
		}
		if err := o.dropInvalid(ctx, string(row[0])); err != nil {
			return err
		}
	}
	return nil
}

func unquote(quoted string) string {
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`), `""`, `"`)
}

// prepareDetached ends a DETACH PARTITION CONCURRENTLY that was interrupted after its first half, which could not be
// begun anew.
func (o *outside) prepareDetached(ctx context.Context, b object) (done bool, err error) {
	if !o.resumed {
		return false, nil
	}
	results, err := o.work.exec(ctx, fmt.Sprintf(`select inhdetachpending from pg_catalog.pg_inherits
where inhrelid = pg_catalog.to_regclass(%s) and inhparent = pg_catalog.to_regclass(%s)`, literal(b.other), literal(b.relation)))
	switch {
	case err != nil:
		return false, err
	case len(results[0].Rows) == 0:
		return true, nil
	case string(results[0].Rows[0][0]) != "t":
		return false, nil
	}
	_, err = o.work.exec(ctx, fmt.Sprintf("alter table %s detach partition %s finalize", b.relation, b.other))
	return err == nil, err
}

// describeHolder names a session of pid and application.
func describeHolder(row [][]byte) string {
	holder := "pid " + string(row[0])
	if app := string(row[1]); app != "" {
		holder += ", application " + app
	}
	return holder
}
