package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// VerifyOptions say what a schema is compared with.
type VerifyOptions struct {
	// Against reads the reference, the schema AgainstSchema of its database; nil: what the files make, in a schema that is
	// rolled back.
	Against       *Runner
	AgainstSchema string
}

// A Verification is how a schema, its ledger rows and its files stand to each other.
type Verification struct {
	Plan        *Plan
	Differences []Difference
	// NotCompared is why the schema was not compared, or nil.
	NotCompared error
}

// Verify compares files with the ledger, and the schema with what the files make or with a reference. It leaves the
// database as it was. The error is for what cannot be read.
//
// What the files make is built by running them in a schema of another name, in a transaction that is rolled back. The
// tables of other modules that they name are copied for that, without rows, so that nobody waits. Where that does not do,
// what they lock outside of their schema is locked until they are through; they wait for no lock longer than
// buildLockTimeout, and try again.
func (r *Runner) Verify(ctx context.Context, t Target, o VerifyOptions) (*Verification, error) {
	if err := t.complete(); err != nil {
		return nil, err
	}
	plan, f, err := r.look(ctx, t)
	if err != nil {
		return nil, t.wrap(err)
	}
	v := &Verification{Plan: plan}
	if r.InTransaction {
		return nil, t.wrap(ErrInTransaction)
	}
	switch {
	case f.Schema == nil:
		if len(plan.inEffect()) == 0 {
			return v, nil // there is nothing to compare, and nothing is missing
		}
		v.NotCompared = fmt.Errorf("schema %q is %w", t.Schema, ErrSchemaGone)
		return v, nil
	case o.Against != nil:
		err = r.compareWith(ctx, t, f, o, v)
	default:
		err = r.compareWithFiles(ctx, t, f, v)
	}
	if err != nil {
		return nil, t.wrap(err)
	}
	return v, nil
}

// compareWith compares the schema with another one.
func (r *Runner) compareWith(ctx context.Context, t Target, f *facts, o VerifyOptions, v *Verification) error {
	want, err := o.Against.readFingerprint(ctx, o.AgainstSchema, t.Schema)
	if err != nil {
		return fmt.Errorf("reference schema %q: %w", o.AgainstSchema, err)
	}
	if len(want) == 0 {
		return fmt.Errorf("reference schema %q: nothing in it", o.AgainstSchema)
	}
	have, err := r.readFingerprint(ctx, t.Schema, o.AgainstSchema)
	if err != nil {
		return err
	}
	shared, err := r.shared(ctx, t)
	if v.Plan.adopted() {
		want.withoutHistories(have)
		have.withoutHistories(want)
	}
	v.Differences = want.compare(have, shared)
	return err
}

// readFingerprint reads a schema in a transaction of its own.
func (r *Runner) readFingerprint(ctx context.Context, schema, also string) (fingerprint, error) {
	s, err := r.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	defer s.rollback(ctx)
	if _, err := s.exec(ctx, "begin isolation level repeatable read read only", "set local statement_timeout = 0"); err != nil {
		return nil, err
	}
	return s.fingerprint(ctx, schema, also)
}

// shared reports whether the schema has objects of others too.
func (r *Runner) shared(ctx context.Context, t Target) (bool, error) {
	if t.Schema == extensionSchema {
		return true, nil
	}
	_, results, err := r.read(ctx, t.Schema, fmt.Sprintf("select 1 from %s where target_schema = %s and module <> %s and state <> 'failed' limit 1",
		ledgerTable, literal(t.Schema), literal(t.Module)))
	return err == nil && results != nil && len(results[0].Rows) > 0, err
}

// compareWithFiles builds what the files make, as far as they are in effect, and compares the schema with it.
func (r *Runner) compareWithFiles(ctx context.Context, t Target, f *facts, v *Verification) error {
	files, err := t.buildable(v.Plan)
	if err != nil || len(files) == 0 {
		v.NotCompared = err
		return nil
	}
	switch {
	case f.Recovery:
		v.NotCompared = ErrReadOnly
		return nil
	case !f.MayCreate:
		v.NotCompared, err = r.mayNotBuild(ctx, t, f)
		return err
	}
	shared, err := r.shared(ctx, t)
	if err != nil {
		return err
	}
	s, err := r.acquire(ctx)
	if err != nil {
		return err
	}
	s.dirty = true
	defer s.close()
	defer s.rollback(ctx, scrub...)
	m := &migration{runner: r, result: new(Result), session: s, facts: f}
	ins, err := m.buildBeside(ctx, t, files)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		v.NotCompared = err
		return nil
	}
	b := m.target
	// What belongs to other modules in the schema was not built again, and is named there.
	path, quoted := []string{sqltemplate.Quote(b.Schema)}, []string{}
	for _, in := range ins {
		if in.schema == t.Schema {
			path = append(path, sqltemplate.Quote(in.name))
		}
		names, err := m.list(ctx, "select pg_catalog.quote_ident("+literal(in.schema)+")")
		if err != nil {
			return err
		}
		quoted = append(quoted, names[0])
	}
	want, err := s.fingerprintOn(ctx, strings.Join(append(path, sqltemplate.Quote(t.Schema)), ", "), b.Schema, t.Schema)
	if err != nil {
		return err
	}
	want.inPlace(t.Schema, ins, quoted)
	have, err := s.fingerprint(ctx, t.Schema, b.Schema)
	if v.Plan.adopted() {
		have.withoutHistories(want)
	}
	v.Differences = want.compare(have, shared)
	return err
}

// buildLockTimeout is how long a statement of a file that is built waits for a lock that others hold: for as long do
// those wait that come after it.
const buildLockTimeout = 10 * time.Millisecond

// buildBeside builds the files beside stand-ins for what they require, which are empty; where that fails, as for a row
// that refers to one of another module, beside what there is.
func (m *migration) buildBeside(ctx context.Context, t Target, files []*File) (ins []standIn, err error) {
	b, err := t.scratch()
	if err != nil {
		return nil, err
	}
	within, ins, err := m.standIns(ctx, b, files)
	if err != nil {
		return nil, err
	}
	if len(ins) > 0 {
		m.target = within
		if err := m.buildUnblocked(ctx, files, ins); err == nil || ctx.Err() != nil || errors.Is(err, ErrBlocked) {
			return ins, err
		}
	}
	m.target = b
	return nil, m.buildUnblocked(ctx, files, nil)
}

// buildUnblocked steps back and tries again while others are in the way.
func (m *migration) buildUnblocked(ctx context.Context, files []*File, ins []standIn) error {
	var r retry
	for {
		err := m.build(ctx, files, ins)
		if err == nil {
			return nil
		}
		m.session.rollback(ctx)
		if again, err := m.stepBack(ctx, &r, err, nil); !again {
			return err
		}
	}
}

// mayNotBuild is why a role that may create no schema can compare nothing with its files.
func (r *Runner) mayNotBuild(ctx context.Context, t Target, f *facts) (reason, err error) {
	_, results, err := r.read(ctx, "", "select pg_catalog.quote_ident(pg_catalog.current_database())")
	if err != nil || results == nil {
		return nil, err
	}
	return &PrivilegeError{Role: f.Role, Schema: t.Schema, Err: errors.New("the files are built in a schema of their own, to compare with, and it may create none"),
		Statements: []string{"GRANT CREATE ON DATABASE " + string(results[0].Rows[0][0]) + " TO " + sqltemplate.Quote(f.Role)}}, nil
}

// buildable returns the files that are in effect, or why they do not make what should be there.
func (t *Target) buildable(plan *Plan) ([]*File, error) {
	var files []*File
	for _, f := range t.Files {
		if s := plan.step(f.Version); s.Entry != nil && s.Entry.State != Failed {
			if s.Entry.State == Running {
				return nil, f.located(t.Module, t.Schema, fmt.Errorf("version %s: %w", f.Version, ErrInterrupted))
			}
			if f.call != nil && f.NoTransaction {
				return nil, f.located(t.Module, t.Schema, errors.New("a Go migration outside a transaction cannot be tried"))
			}
			files = append(files, f)
		}
	}
	for _, s := range spans(files) { // what they stand for would be made twice
		files = slices.DeleteFunc(files, func(f *File) bool { return s.has(f.number) })
	}
	for _, s := range plan.inEffect() {
		if s.State == Missing || s.State == Ahead {
			return nil, &Error{Module: t.Module, Schema: t.Schema, Version: s.Version, File: s.File,
				Err: fmt.Errorf("recorded version %s %w", s.Version, ErrMissing)}
		}
	}
	return files, nil
}

// scratch is the target with a schema that does not exist.
func (t *Target) scratch() (Target, error) {
	random := make([]byte, 8)
	rand.Read(random) // never fails
	b := *t
	b.Schema = "pgdbm_verify_" + hex.EncodeToString(random)
	aliases := maps.Collect(t.Names.Aliases())
	for module, schema := range aliases {
		if module == t.Module && schema == t.Schema {
			aliases[module] = b.Schema
		}
	}
	var err error
	b.Names, err = sqltemplate.NewNames(b.Schema, aliases)
	return b, err
}

// build runs the files in a new schema, in a transaction that stays open.
func (m *migration) build(ctx context.Context, files []*File, ins []standIn) error {
	statements := append(begin(m.facts.Version), lockTimeoutSetting(defaultLockTimeout), "create schema "+sqltemplate.Quote(m.target.Schema))
	for _, in := range ins { // reading has nobody wait but who changes the tables
		statements = append(statements, in.statements()...)
	}
	statements = append(statements, lockTimeoutSetting(buildLockTimeout))
	if _, err := m.session.exec(ctx, statements...); err != nil {
		return err
	}
	for _, f := range files {
		reset := append(m.ownRole(f), searchPath(m.target.Schema))
		if _, err := m.session.exec(ctx, reset...); err != nil {
			return m.located(f, err)
		}
		var err error
		if f.NoTransaction {
			err = m.buildOutside(ctx, f)
		} else {
			err = m.send(ctx, f)
		}
		if err != nil {
			return err
		}
	}
	// Deferred constraints and triggers have a say in what a commit would leave.
	_, err := m.session.exec(ctx, "set constraints all immediate", lockTimeoutSetting(defaultLockTimeout))
	return err
}

// buildOutside runs a file that is made to run outside a transaction inside of one: what works concurrently does not,
// and what changes no definition is left out.
func (m *migration) buildOutside(ctx context.Context, f *File) error {
	expanded, err := f.template.Expand(m.target.Names)
	if err != nil {
		return m.located(f, err)
	}
	statements, err := f.statements(expanded)
	if err != nil {
		return m.located(f, err)
	}
	for i := range statements {
		s := &statements[i]
		switch s.object.kind {
		case createdIndex, droppedIndex, detachedPartition:
			s.sql = withoutConcurrently(s.sql)
		default:
			if needsNoTransaction(s.head) != "" {
				continue
			}
		}
		if _, err := m.session.send(ctx, s.message); err != nil {
			line, column := f.locate(m.target.Names, s.message, s.first, err)
			e := m.located(f, err)
			e.Line, e.Column = line, column
			return e
		}
	}
	return m.stillOpen(f)
}

// withoutConcurrently blanks the first word CONCURRENTLY of a statement, and with it what it means.
func withoutConcurrently(sql string) string {
	lexer := sqltemplate.NewLexer(sql)
	start := -1
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		if tok.Kind == sqltemplate.Ident && lowerASCII(sql[tok.Start:tok.End]) == "concurrently" {
			start = tok.Start
			break
		}
	}
	if start < 0 {
		return sql
	}
	return sql[:start] + blank("concurrently") + sql[start+len("concurrently"):]
}
