package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// AdoptOptions say whose history to take over.
type AdoptOptions struct {
	Tool   string // one of Tools; empty: found out by the table's columns
	Table  string // with or without its schema; empty: the tools' own names in the target's schema and in public
	DryRun bool   // record nothing
}

// An Adoption is what Adopt found.
type Adoption struct {
	Tool  string
	Table string  // quoted, with its schema
	Files []*File // recorded, or with DryRun to be recorded
}

// A foreignTool knows the table in which another tool records what it has applied.
type foreignTool struct {
	name    string
	table   string            // what the tool calls it by default
	columns map[string]string // those by which the table is known, with the begin of their types
	only    bool              // and there are no others

	// query selects what has been applied, versions or names of files, and whether that is in doubt.
	query string
	last  bool // the row is of the newest version: those before it count too
	named bool // by names of files
}

var foreignTools = []foreignTool{
	{name: "goose", table: "goose_db_version", columns: map[string]string{"version_id": "bigint", "is_applied": "boolean"},
		query: `select version_id, false from (select distinct on (version_id) version_id, is_applied from %s order by version_id, id desc) v
where is_applied and version_id > 0 order by version_id`},
	{name: "golang-migrate", table: "schema_migrations", columns: map[string]string{"version": "bigint", "dirty": "boolean"},
		query: "select version, dirty from %s", last: true},
	{name: "tern", table: "schema_version", columns: map[string]string{"version": "integer"}, only: true,
		query: "select version, false from %s where version > 0", last: true},
	{name: "dbmate", table: "schema_migrations", columns: map[string]string{"version": "character varying"}, only: true,
		query: "select version, false from %s order by version"},
	{name: "pgdbm-python", table: "schema_migrations", columns: map[string]string{"filename": "character varying", "checksum": "character varying"},
		query: "select filename, false from %s where module_name = {module} order by filename", named: true},
}

// Tools returns the names of the tools whose histories can be taken over.
func Tools() (names []string) {
	for _, t := range foreignTools {
		names = append(names, t.name)
	}
	return names
}

// Adopt records as in effect, without running them, the files that another tool says it has applied. Its table is only
// read. It is refused unless these are the first of the files, each of them, those aside that a squash file replaces.
func (r *Runner) Adopt(ctx context.Context, t Target, o AdoptOptions) (*Adoption, error) {
	err := t.complete()
	if err == nil && o.Tool != "" && !slices.Contains(Tools(), o.Tool) {
		err = fmt.Errorf("unknown tool %q; known are %s", o.Tool, strings.Join(Tools(), ", "))
	}
	if err != nil {
		return nil, t.wrap(err)
	}
	a := &adopter{AdoptOptions: o, target: t}
	if o.DryRun {
		err = r.adoptable(ctx, a)
	} else {
		_, err = r.change(ctx, t, false, func(m *migration) ([]string, error) {
			files, err := a.decide(ctx, m.session, m.plan, m.facts)
			var statements []string
			for _, f := range files {
				statements = append(statements, r.recordBaselined(t, f))
			}
			return statements, err
		})
	}
	if err != nil {
		return nil, t.wrap(err)
	}
	return &a.found, nil
}

// adoptable decides and does no more.
func (r *Runner) adoptable(ctx context.Context, a *adopter) error {
	plan, facts, err := r.look(ctx, a.target)
	if err != nil {
		return err
	}
	s, err := r.acquire(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	_, err = a.decide(ctx, s, plan, facts)
	return err
}

// An adopter compares another tool's history with the files.
type adopter struct {
	AdoptOptions
	target Target
	found  Adoption
}

// decide returns the files to be recorded.
func (a *adopter) decide(ctx context.Context, s *session, plan *Plan, facts *facts) ([]*File, error) {
	if facts.Schema == nil {
		return nil, fmt.Errorf("schema %q does not exist, so nothing of it can be in effect", a.target.Schema)
	}
	tool, table, err := a.find(ctx, s)
	if err != nil {
		return nil, err
	}
	applied, err := a.applied(ctx, s, tool, table)
	if err != nil {
		return nil, fmt.Errorf("%s's table %s: %w", tool.name, table, err)
	}
	a.found = Adoption{Tool: tool.name, Table: table}
	for _, f := range applied {
		switch step := plan.step(f.Version); step.State {
		case Pending, Failed, Late, Replaced: // by a file that has not run
			a.found.Files = append(a.found.Files, f)
		case Running:
			return nil, f.located(a.target.Module, a.target.Schema, fmt.Errorf("version %s: %w", f.Version, ErrInterrupted))
		case Changed, Conflict:
			return nil, step.Err
		}
	}
	return a.found.Files, nil
}

// find returns the one table that is some tool's history.
func (a *adopter) find(ctx context.Context, s *session) (*foreignTool, string, error) {
	schemas, names := []string{a.target.Schema, "public"}, []string{}
	for _, t := range foreignTools {
		names = append(names, t.table)
	}
	if a.Table != "" {
		schema, name, ok := strings.Cut(a.Table, ".")
		if ok {
			schemas = []string{schema}
		} else {
			name = schema
		}
		names = []string{name}
	}
	results, err := s.exec(ctx, fmt.Sprintf(`select pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), t.attname,
pg_catalog.format_type(t.atttypid, t.atttypmod)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute t on t.attrelid = c.oid and t.attnum > 0 and not t.attisdropped
where c.relkind in ('r', 'p') and n.nspname = any (%s) and c.relname = any (%s) order by 1, t.attnum`, textArray(schemas), textArray(names)))
	if err != nil {
		return nil, "", err
	}
	var tables []string
	columns := map[string]map[string]string{}
	for _, row := range results[0].Rows {
		table := string(row[0])
		if columns[table] == nil {
			columns[table] = map[string]string{}
			tables = append(tables, table)
		}
		columns[table][string(row[1])] = string(row[2])
	}
	var tool *foreignTool
	var found, others []string // tables, and what they are
	table := ""
	for _, name := range tables {
		of := knower(columns[name])
		switch {
		case of == nil:
			others = append(others, name+", with the columns of no known tool")
		case a.Tool == "" || a.Tool == of.name:
			tool, table, found = of, name, append(found, of.name+"'s table "+name)
		default:
			others = append(others, of.name+"'s table "+name)
		}
	}
	wanted := "another tool"
	if a.Tool != "" {
		wanted = a.Tool
		if a.Table == "" {
			names = []string{foreignTools[slices.Index(Tools(), a.Tool)].table}
		}
	}
	switch {
	case len(found) == 1:
		return tool, table, nil
	case len(found) > 1:
		return nil, "", fmt.Errorf("several histories, of which one is to be named: %s", strings.Join(found, ", "))
	case len(others) > 0:
		return nil, "", fmt.Errorf("no history of %s: found is %s", wanted, strings.Join(others, ", "))
	}
	return nil, "", fmt.Errorf("no history of %s: no table %s in schema %s", wanted, strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ", "),
		strings.Join(slices.Compact(schemas), " or "))
}

// knower returns the tool whose table has these columns, or nil. No two tools have the same.
func knower(columns map[string]string) *foreignTool {
	i := slices.IndexFunc(foreignTools, func(t foreignTool) bool { return t.knows(columns) })
	if i < 0 {
		return nil
	}
	return &foreignTools[i]
}

func (t *foreignTool) knows(columns map[string]string) bool {
	for name, kind := range t.columns {
		if !strings.HasPrefix(columns[name], kind) {
			return false
		}
	}
	return !t.only || len(columns) == len(t.columns)
}

// adopted reports whether some version was in effect before pgdbm came.
func (p *Plan) adopted() bool {
	return slices.ContainsFunc(p.inEffect(), func(s *Step) bool { return s.Entry.State == Baselined })
}

// withoutHistories leaves out the tables, known by their columns, in which other tools have recorded what they applied,
// as far as the reference has none of that name. One with a single column has to have the tool's name for it, too.
func (f fingerprint) withoutHistories(reference fingerprint) {
	columns := make(map[string]map[string]string)
	for k, definition := range f {
		if k.kind == "column" {
			if columns[k.parent] == nil {
				columns[k.parent] = make(map[string]string)
			}
			columns[k.parent][k.name] = definition
		}
	}
	for table, its := range columns {
		of := knower(its)
		if _, wanted := reference[objectKey{kind: "table", name: table}]; wanted || of == nil || of.only && of.table != table {
			continue
		}
		delete(f, objectKey{kind: "table", name: table})
		for k := range f {
			if k.parent == table {
				delete(f, k)
			}
		}
		for column := range its { // what serial and identity columns take their values from
			delete(f, objectKey{kind: "sequence", name: table + "_" + column + "_seq"})
		}
	}
}

// applied returns the files that the history says have been applied: the first of them all, or an error.
func (a *adopter) applied(ctx context.Context, s *session, tool *foreignTool, table string) ([]*File, error) {
	query := strings.ReplaceAll(fmt.Sprintf(tool.query, table), "{module}", literal(a.target.Module))
	results, err := s.exec(ctx, query)
	if err != nil {
		return nil, err
	}
	rows := results[0].Rows
	if len(rows) == 0 {
		return nil, fmt.Errorf("%w: nothing is recorded", ErrHistory)
	}
	h := &history{files: a.target.Files, tool: tool, recorded: map[int64]bool{}, newest: -1}
	for _, row := range rows {
		name := string(row[0])
		if string(row[1]) == "t" {
			return nil, fmt.Errorf("%w: version %s is dirty, so it may be in effect or not", ErrHistory, name)
		}
		if err := h.add(name); err != nil {
			return nil, err
		}
	}
	return h.inEffect()
}

// A history is what another tool says it has applied, by the numbers of versions.
type history struct {
	files    []*File
	tool     *foreignTool
	recorded map[int64]bool
	newest   int64 // of those, repeatable files not counted
}

// add takes a version, or the name of a file. It must have a file, or be replaced by one.
func (h *history) add(name string) error {
	n, err := h.number(name)
	if err != nil || h.file(n) == nil && !has(spans(h.files), n) {
		return fmt.Errorf("%w: %s is recorded and has no file", ErrHistory, name)
	}
	h.recorded[n] = true
	if n < repeatableFrom {
		h.newest = max(h.newest, n)
	}
	return nil
}

func (h *history) number(name string) (int64, error) {
	if !h.tool.named {
		return strconv.ParseInt(name, 10, 64)
	}
	for _, f := range h.files {
		if f.Name == name {
			return f.number, nil
		}
	}
	return parseName(name)
}

func (h *history) file(n int64) *File {
	i := slices.IndexFunc(h.files, func(f *File) bool { return f.number == n })
	if i < 0 {
		return nil
	}
	return h.files[i]
}

// has reports whether a version has been applied.
func (h *history) has(n int64) bool { return h.recorded[n] || h.tool.last && n <= h.newest }

// inEffect returns the files that have been applied, and those that stand for what has been: the first of all files, or
// an error.
func (h *history) inEffect() ([]*File, error) {
	var files []*File
	for _, f := range h.files {
		switch {
		case h.has(f.number) || f.replaces != nil && h.has(f.replaces.to):
			files = append(files, f)
		case f.number <= h.newest && !h.replaced(f.number):
			return nil, fmt.Errorf("%w: %s is not recorded, and a later one is", ErrHistory, f.Name)
		}
		if s := f.replaces; s != nil && !h.has(f.number) && s.has(h.newest) && h.newest < s.to && h.file(h.newest) == nil {
			// No file is left to tell the ledger of it, and the squash file would run.
			return nil, fmt.Errorf("%w: %d is recorded and has no file, and %s takes %d to be", ErrHistory, h.newest, f.Name, s.to)
		}
	}
	return files, nil
}

// replaced reports whether a squash file has run in place of a version, and not after it.
func (h *history) replaced(n int64) bool {
	return slices.ContainsFunc(h.files, func(f *File) bool {
		if f.replaces == nil || !f.replaces.has(n) || !h.has(f.number) {
			return false
		}
		for recorded := range h.recorded {
			if f.replaces.has(recorded) {
				return false
			}
		}
		return true
	})
}
