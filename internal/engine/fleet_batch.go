package engine

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

const (
	// batchLockTimeout bounds how long a batch waits for one lock of a table: meanwhile it keeps others, of other
	// schemas, from their users. Then its schemas are migrated one by one.
	batchLockTimeout = "2s"
	// batchText is how much SQL a batch holds, in bytes, if more than one schema's.
	batchText = 4 << 20
	// sessionLocks is how many locks a connection takes before it is replaced: the server keeps what it knows of each
	// table for as long as the connection lives.
	sessionLocks = 30000
)

// batchable reports whether the file may share a transaction and a message with others: it says nothing for the rest
// of its session or transaction, and is one message.
func (f *File) batchable() bool {
	if !f.traceless || f.authorization || f.call != nil || f.NoTransaction {
		return false
	}
	directives, err := sqltemplate.Directives(f.Source)
	if err != nil {
		return false
	}
	for _, d := range directives {
		if !slices.Contains([]string{"no-templates", allowDirective, "after", "replaces"}, d.Name) {
			return false
		}
	}
	for _, p := range f.pieces {
		if p.Kind == sqltemplate.CopyIn {
			return false
		}
		if p.Kind != sqltemplate.Statement {
			continue
		}
		// SET LOCAL would hold for the next schema too.
		if head := f.words(p, 64); len(head) > 0 && (head[0] == "set" || needsNoTransaction(head) != "") {
			return false
		}
	}
	return true
}

// A fleetWorker migrates batches, on one connection as long as that serves.
type fleetWorker struct {
	*fleetPass
	session *session
	locks   int                       // that its batches have taken on the connection
	objects map[string][]schemaObject // of the batch's schemas, that a repeatable file may have made
}

// end gives up the connection.
func (w *fleetWorker) end() {
	if w.session != nil {
		w.session.close()
		w.session, w.locks = nil, 0
	}
}

// batch migrates schemas in one transaction, in two round trips: one that takes the schemas' locks and reads what is
// pending now that nobody else can change it, one for the files and their ledger rows. Schemas whose lock another
// session has are left for later. When it fails, its schemas are migrated one by one.
func (w *fleetWorker) batch(ctx context.Context, batch []tenant) {
	if w.session == nil {
		s, err := w.runner.acquire(ctx)
		if err != nil {
			w.stop(err)
			return
		}
		w.session = s
	}
	nonce := rand.Text()
	ready, err := w.lock(ctx, batch, nonce)
	if err == nil && len(ready) == 0 {
		w.session.rollback(ctx)
		return
	}
	began := time.Now()
	if err == nil {
		err = w.apply(ctx, ready, nonce)
	}
	if err == nil {
		w.applied(ctx, ready, time.Since(began))
		return
	}
	w.session.rollback(ctx)
	w.end()
	switch {
	case ctx.Err() != nil:
		w.stop(ctx.Err())
	case len(ready) == 0: // the locks could not be taken, or what is pending not be read
		w.again(ctx, batch, err)
	default:
		w.again(ctx, ready, err)
	}
}

// lock begins the transaction, takes the locks that are free and returns the schemas to migrate.
func (w *fleetWorker) lock(ctx context.Context, batch []tenant, nonce string) ([]tenant, error) {
	schemas, keys := make([]string, len(batch)), make([]string, len(batch))
	for i, t := range batch {
		schemas[i], keys[i] = t.schema, strconv.FormatInt(schemaLock(t.schema).key, 10)
	}
	prelude := append(begin(w.serverVersion),
		"set local lock_timeout = "+literal(batchLockTimeout),
		"set local pgdbm.batch = "+literal(nonce))
	// The key is computed in a FROM item of its own, or the planner might call the function for other rows, too.
	script := append(prelude, fmt.Sprintf(`select u.schema, pg_catalog.pg_try_advisory_xact_lock(u.key)
from rows from (pg_catalog.unnest(%s::text[]), pg_catalog.unnest('{%s}'::bigint[])) u (schema, key)`,
		arrayLiteral(schemas), strings.Join(keys, ",")))
	script = append(script, fleetDetails(w.Module, w.Files, schemas)...)
	watched := slices.ContainsFunc(w.Files, (*File).Repeatable)
	if watched {
		script = append(script, objectsQuery(schemas))
	}
	results, err := w.session.exec(ctx, script...)
	if err != nil {
		return nil, err
	}
	w.objects = nil
	if watched {
		if w.objects, err = decodeObjects(results[len(results)-1]); err != nil {
			return nil, err
		}
	}
	locked := make(map[string]bool, len(batch))
	for _, row := range results[len(prelude)].Rows {
		locked[string(row[0])] = string(row[1]) == "t"
	}
	details, err := decodeDetails(w.Files, results[len(prelude)+1:])
	if err != nil {
		return nil, err
	}
	return w.ready(batch, locked, details), nil
}

// ready returns the schemas of a batch that have to do now what was planned, and notes what has become of the others.
func (w *fleetWorker) ready(batch []tenant, locked map[string]bool, ds details) []tenant {
	var ready []tenant
	for _, t := range batch {
		if !locked[t.schema] {
			w.later(t)
			continue
		}
		d := ds.of(t.schema)
		plan := newPlan(w.Module, t.schema, w.Files, nil, d.snapshot())
		now := tenant{t.schema, d.present, plan.Pending}
		err := plan.Err()
		if err == nil && len(plan.Pending) > 0 {
			_, err = w.names(t.schema)
		}
		switch {
		case err != nil:
			w.failed(t.schema, w.errorIn(t.schema, err))
		case len(plan.Pending) == 0:
			w.finished(t.schema, false, nil)
		case now.alike() != t.alike():
			w.later(t)
		default:
			ready = append(ready, now)
		}
	}
	return ready
}

// apply runs the files of the schemas, records them and commits, in one message.
func (w *fleetWorker) apply(ctx context.Context, ready []tenant, nonce string) error {
	var statements []string
	for _, t := range ready {
		own, err := w.statements(t)
		if err != nil {
			return err
		}
		statements = append(statements, own...)
	}
	statements = append(statements, w.runner.recordBatch(w.Module, w.Requires, ready, nonce))
	statements = append(statements, w.nothingVanished(ready)...)
	probing := w.known() == 0
	if probing {
		statements = append(statements, "select pg_catalog.count(*) from pg_catalog.pg_locks where pid = pg_catalog.pg_backend_pid()")
	}
	w.session.dirty = true
	roles, reads, err := w.confinement(ready)
	if err != nil {
		return err
	}
	if len(roles) == 0 {
		statements = append(statements, "commit")
	}
	results, err := w.session.exec(ctx, statements...)
	if err == nil && len(roles) > 0 {
		if err := w.stayInside(ctx, roles, reads); err != nil {
			return err
		}
		var ended []*pgconn.Result
		ended, err = w.session.exec(ctx, "commit")
		results = append(results, ended...)
	}
	if err != nil {
		return err
	}
	if tag := results[len(results)-1].CommandTag.String(); tag != "COMMIT" {
		return fmt.Errorf("transaction ended with %s", tag)
	}
	if probing {
		w.learn(results[len(results)-2], len(ready))
	}
	return nil
}

// confinement returns the roles of those schemas that are confined, and what all of them may read.
func (run *fleetRun) confinement(ready []tenant) (roles map[string]string, reads []string, err error) {
	roles = make(map[string]string)
	for _, t := range ready {
		role, ok := run.roles[t.schema]
		if !ok {
			continue
		}
		names, err := run.names(t.schema)
		if err != nil {
			return nil, nil, err
		}
		roles[t.schema] = role
		for _, schema := range required(names, run.Requires) {
			if schema != t.schema && !slices.Contains(reads, schema) {
				reads = append(reads, schema)
			}
		}
	}
	return roles, reads, nil
}

// stayInside is an error when something in one of the schemas reaches beyond it.
func (w *fleetWorker) stayInside(ctx context.Context, roles map[string]string, reads []string) error {
	bad, err := reaching(ctx, w.session, roles, reads)
	if err != nil {
		return err
	}
	for schema, what := range bad {
		return reachError(schema, what) // each is told by its own migration
	}
	return w.session.closeViews(ctx, roles)
}

// statements are what a schema needs: to exist, to be first in the search path, and its files.
func (run *fleetRun) statements(t tenant) ([]string, error) {
	names, err := run.names(t.schema)
	if err != nil {
		return nil, err
	}
	var statements []string
	if !t.present {
		statements = append(statements, "create schema "+sqltemplate.Quote(t.schema))
	}
	statements = append(statements, searchPath(t.schema))
	for _, f := range t.pending {
		if f.recordOnly {
			continue
		}
		expanded, err := f.template.Expand(names)
		if err != nil {
			return nil, err
		}
		messages, err := f.messages(expanded)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			statements = append(statements, m.sql+"\n") // the text may end in a comment
		}
	}
	return statements, nil
}

// known is how many locks a schema takes, 0 while nobody knows.
func (p *fleetPass) known() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

// learn notes how many locks a batch had taken in the end.
func (p *fleetPass) learn(res *pgconn.Result, schemas int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(res.Rows) == 1 {
		n, _ := strconv.Atoi(string(res.Rows[0][0]))
		p.most = max(p.most, n/schemas)
	}
}

// applied notes what a batch has done.
func (w *fleetWorker) applied(ctx context.Context, batch []tenant, took time.Duration) {
	files := 0
	for _, t := range batch {
		files += len(t.pending)
	}
	each := took / time.Duration(max(1, files))
	w.measure(took, len(batch))
	for _, t := range batch {
		var applied []AppliedFile
		for _, f := range t.pending {
			applied = append(applied, AppliedFile{f.Version, f.Name, each, f.recordOnly})
		}
		w.finished(t.schema, !t.present, applied)
	}
	w.runner.Logger.LogAttrs(ctx, slog.LevelDebug, "migrations applied", slog.String("module", w.Module),
		slog.Int("schemas", len(batch)), slog.Int("files", files), slog.Duration("duration", took))
	if w.locks += w.known() * len(batch); w.locks > sessionLocks {
		w.end()
	}
}

// again migrates the schemas of a batch that failed, one by one. When all of them succeed, it is their sharing of a
// transaction that the files cannot bear, as a value added to an enum and used by the next file: then no more batches
// are made.
func (w *fleetWorker) again(ctx context.Context, batch []tenant, cause error) {
	if outOfLocks(cause) && w.shrink(batch...) {
		return
	}
	w.runner.Logger.LogAttrs(ctx, slog.LevelDebug, "migration: batch failed", slog.String("module", w.Module),
		slog.Int("schemas", len(batch)), slog.Any("error", cause))
	good := true
	for _, t := range batch {
		if w.stopped() {
			return
		}
		good = w.single(ctx, t) && good
	}
	if good && ofFiles(cause) {
		w.fleetRun.mu.Lock()
		w.alone = true
		w.fleetRun.mu.Unlock()
	}
}

// recordBatch writes the rows of all files that a batch ran. It fails, and takes the whole transaction with it, if a
// row says anything but failed, as recordApplied does, and if this is not the transaction that began with the nonce.
func (r *Runner) recordBatch(module string, requires []string, batch []tenant, nonce string) string {
	schemas := make([]string, len(batch))
	for i, t := range batch {
		schemas[i] = t.schema
	}
	var files []string
	for _, f := range batch[0].pending {
		files = append(files, fmt.Sprintf("(%s, %s, %s, %s, %d)",
			literal(f.Version), literal(f.Name), literal(f.RawHash), literal(f.SemanticHash), f.Statements))
	}
	columns := "state, file_name, raw_hash, semantic_hash, applied_at, duration_ms, actor, application, tool, stmt_done, stmt_total, error_sqlstate, error, requires"
	var updated strings.Builder
	for column := range strings.SplitSeq(columns, ", ") {
		updated.WriteString(column + " = excluded." + column + ", ")
	}
	return fmt.Sprintf(`insert into %[1]s as m (module, target_schema, version, %[2]s, attempts)
select %[3]s, s.schema, f.version, 'applied', f.name, f.raw, f.semantic, pg_catalog.clock_timestamp(),
    1000 * extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.statement_timestamp()) / %[4]d,
    session_user, pg_catalog.current_setting('application_name'), %[5]s, f.statements, f.statements, null, null, %[10]s,
    case when pg_catalog.current_setting('pgdbm.batch', true) = %[6]s then 1 end
from pg_catalog.unnest(%[7]s::text[]) s (schema)
cross join (values %[8]s) f (version, name, raw, semantic, statements)
on conflict (module, target_schema, version) do update set %[9]sattempts = case when m.state = 'failed' or m.version like 'R\_\_%%' then m.attempts + excluded.attempts end`,
		ledgerTable, columns, literal(module), max(1, len(batch)*len(files)), literal(r.Tool), literal(nonce),
		arrayLiteral(schemas), strings.Join(files, ", "), updated.String(), textArray(requires))
}
