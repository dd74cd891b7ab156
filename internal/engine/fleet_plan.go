package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// fleetPlan says where the schemas of a fleet stand.
type fleetPlan struct {
	facts    *facts
	locks    int      // how many locks the server's shared table has room for
	todo     []tenant // in the order of the schemas
	problems []*Error // one for each schema that is refused
	warnings []FleetWarning
}

// FleetPlan says what a fleet's run would find.
type FleetPlan struct {
	Schemas  int // that are members
	UpToDate int
	Pending  []FleetPending // in the order given
	Refused  []*Error       // one for each schema that is refused
	Warnings []FleetWarning
}

// FleetPending is a schema in which files are pending.
type FleetPending struct {
	Schema string
	Exists bool
	Files  []*File
}

// PlanFleet plans and does nothing else; it takes no lock. The error is for what concerns all schemas.
func (r *Runner) PlanFleet(ctx context.Context, f Fleet) (*FleetPlan, error) {
	run := &fleetRun{Fleet: f, runner: r, result: new(FleetResult)}
	if err := run.validate(); err != nil {
		return nil, run.wrap(err)
	}
	plan := new(FleetPlan)
	if len(run.Schemas) == 0 {
		return plan, nil
	}
	found, err := run.look(ctx, run.Schemas)
	if err != nil {
		return nil, run.wrap(err)
	}
	plan.Schemas = run.members()
	plan.UpToDate = plan.Schemas - len(found.todo) - len(found.problems)
	plan.Refused, plan.Warnings = found.problems, found.warnings
	for _, t := range found.todo {
		plan.Pending = append(plan.Pending, FleetPending{t.schema, t.present, t.pending})
	}
	return plan, nil
}

// look plans for all schemas with one query. Only a schema whose rows are not simply those of the first files, all of
// them applied and unchanged, has its rows read, with a second query.
func (run *fleetRun) look(ctx context.Context, schemas []string) (*fleetPlan, error) {
	s, err := run.runner.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	plan, odd, err := run.lookOnce(ctx, s, schemas)
	if err != nil {
		return nil, err
	}
	if len(odd) > 0 {
		details, err := run.lookCloser(ctx, s, odd)
		if err != nil {
			return nil, err
		}
		for _, schema := range odd {
			d := details.of(schema)
			plan.add(newPlan(run.Module, schema, run.Files, nil, d.snapshot()), d.present)
		}
	}
	position := make(map[string]int, len(schemas))
	for i, schema := range schemas {
		position[schema] = i
	}
	slices.SortFunc(plan.todo, func(a, b tenant) int { return cmp.Compare(position[a.schema], position[b.schema]) })
	return plan, nil
}

func (run *fleetRun) lookCloser(ctx context.Context, s *session, schemas []string) (details, error) {
	results, err := s.exec(ctx, fleetDetails(run.Module, run.Files, schemas)...)
	if err != nil {
		return nil, err
	}
	return decodeDetails(run.Files, results)
}

// lookOnce runs the one query; odd are the members whose rows it does not tell enough about.
func (run *fleetRun) lookOnce(ctx context.Context, s *session, schemas []string) (plan *fleetPlan, odd []string, err error) {
	whole := len(schemas) == len(run.Schemas)
	results, err := s.exec(ctx, fleetQuery(run.Module, run.Files, schemas, true, whole))
	switch sqlState(err) {
	case codeUndefinedTable, codeUndefinedSchema:
		results, err = s.exec(ctx, fleetQuery(run.Module, run.Files, schemas, false, whole))
	case codeInsufficientRight:
		facts, readErr := s.exec(ctx, factsQuery(""))
		if readErr != nil {
			return nil, nil, err
		}
		f, decodeErr := decodeFacts(facts[0])
		if decodeErr != nil {
			return nil, nil, err
		}
		return nil, nil, &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: grantLedgerRead(f), Err: err}
	}
	if err != nil {
		return nil, nil, err
	}
	plan = new(fleetPlan)
	replaced := spans(run.Files)
	for _, row := range results[0].Rows {
		kind, name, number := string(row[0]), string(row[1]), string(row[2])
		switch kind {
		case "facts":
			plan.facts = new(facts)
			if err := json.Unmarshal(row[3], plan.facts); err != nil {
				return nil, nil, fmt.Errorf("server facts: %w", err)
			}
			if plan.locks, err = strconv.Atoi(number); err != nil {
				return nil, nil, fmt.Errorf("server facts: %w", err)
			}
		case "conflict":
			return nil, nil, run.conflictError(name, row[3])
		default: // present, missing: a schema that is not up to date
			if !run.member(name) {
				continue
			}
			applied, err := strconv.Atoi(number)
			if err != nil {
				return nil, nil, fmt.Errorf("ledger summary: %w", err)
			}
			present := kind == "present"
			if !present && run.Existing {
				plan.problems = append(plan.problems, &Error{Module: run.Module, Schema: name, Err: absentError(name)})
				continue
			}
			if applied < 0 || applied >= len(run.Files) || applied > 0 && !present || len(replaced) > 0 {
				odd = append(odd, name)
				continue
			}
			plan.todo = append(plan.todo, tenant{name, present, run.Files[applied:]})
		}
	}
	return plan, odd, nil
}

// conflictError is about a schema that is none of the fleet's and has a version with other statements.
func (run *fleetRun) conflictError(version string, other []byte) error {
	var c struct{ Schema, File, Hash string }
	if err := json.Unmarshal(other, &c); err != nil {
		return fmt.Errorf("ledger row: %w", err)
	}
	for _, f := range run.Files {
		if f.Version == version {
			return f.located(run.Module, "", fmt.Errorf("version %s: %w: %q has %s with hash %s, file hash %s",
				version, ErrConflict, c.Schema, c.File, short(c.Hash), short(f.SemanticHash)))
		}
	}
	return ErrConflict
}

// add takes over what a schema's own plan says.
func (p *fleetPlan) add(one *Plan, present bool) {
	p.warnings = addWarnings(p.warnings, one.Warnings)
	switch err := one.Err(); {
	case err != nil:
		p.problems = append(p.problems, err.(*Error))
	case len(one.Pending) > 0:
		p.todo = append(p.todo, tenant{one.Schema, present, one.Pending})
	}
}

// addWarnings counts those of one schema among those of all.
func addWarnings(all []FleetWarning, one []Warning) []FleetWarning {
	for _, w := range one {
		i := slices.IndexFunc(all, func(have FleetWarning) bool { return have.Version == w.Version && have.Text == w.Text })
		if i < 0 {
			all = append(all, FleetWarning{Warning: w})
			i = len(all) - 1
		}
		all[i].Schemas++
	}
	return all
}

// wellApplied is true for a row of the ledger m that file f says the same of.
const wellApplied = `(m.state in ('applied', 'baselined') and f.semantic = coalesce(m.semantic_hash, f.semantic)
    and f.raw = coalesce(m.raw_hash, f.raw))`

// fileValues is a relation of the files: their position from 1, version and hashes.
func fileValues(files []*File) string {
	versions, semantic, raw := make([]string, len(files)), make([]string, len(files)), make([]string, len(files))
	for i, f := range files {
		versions[i], semantic[i], raw[i] = f.Version, f.SemanticHash, f.RawHash
	}
	return fmt.Sprintf(`(select position, version, semantic, raw from rows from (pg_catalog.unnest(%s),
    pg_catalog.unnest(%s), pg_catalog.unnest(%s)) with ordinality u (version, semantic, raw, position))`,
		textArray(versions), textArray(semantic), textArray(raw))
}

// fleetQuery is one statement whose rows are the server's facts, a version that a schema outside the fleet has with
// other statements, and the schemas that are not up to date: how many of the first files are applied there, -1 when the
// rows say something else. Without a ledger nothing is read of it; the version is looked for if the schemas are the
// whole fleet. It aggregates by plain counters, so that a ledger of a million rows is one scan.
func fleetQuery(module string, files []*File, schemas []string, ledger, whole bool) string {
	recorded, conflicts := `select null::text, 0, 0, 0 where false`, ""
	few := "" // of many schemas the ledger is read whole, of few by its index
	if len(schemas) <= 500 {
		few = fmt.Sprintf(" and m.target_schema = any (%s::text[])", arrayLiteral(schemas))
	}
	if ledger {
		recorded = fmt.Sprintf(`select m.target_schema, pg_catalog.count(*),
        pg_catalog.count(*) filter (where %s), coalesce(pg_catalog.max(f.position), 0)
    from %s m left join files f on f.version = m.version
    where m.module = %s%s%s group by m.target_schema`, wellApplied, ledgerTable, literal(module), few, withoutReplaced(files))
		probe := func(operator string) string {
			return fmt.Sprintf(`(select c.target_schema, c.file_name, c.semantic_hash from %s c
        where c.module = %s and c.version = f.version and c.semantic_hash %s f.semantic and %s
        and c.target_schema not in (select schema from wanted) limit 1)`, // hashed, however many have it
				ledgerTable, literal(module), operator, countsAsRecorded)
		}
		if whole {
			conflicts = fmt.Sprintf(`
union all
select 'conflict', f.version, 0, pg_catalog.json_build_object('schema', c.target_schema, 'file', c.file_name, 'hash', c.semantic_hash)
from (select * from files where version not like 'R\_\_%%') f cross join lateral (%s
    union all
    %s
    limit 1) c`, probe("<"), probe(">"))
		}
	}
	return fmt.Sprintf(`with files as materialized %s,
wanted (schema) as materialized (select pg_catalog.unnest(%s::text[])),
recorded (schema, total, good, last) as materialized (%s)
select 'facts', '', (pg_catalog.current_setting('max_locks_per_transaction')::bigint * (pg_catalog.current_setting('max_connections')::bigint
    + pg_catalog.current_setting('max_prepared_transactions')::bigint)), (%s)%s
union all
select case when n.oid is null then 'missing' else 'present' end, w.schema,
    case when r.schema is null then 0 when r.total = r.good and r.good = r.last then r.good else -1 end, null
from wanted w left join recorded r on r.schema = w.schema
left join pg_catalog.pg_namespace n on n.nspname = w.schema::name
where n.oid is null or r.good is distinct from %d or r.total is distinct from %d`,
		fileValues(files), arrayLiteral(schemas), recorded, factsQuery(""), conflicts, len(files), len(files))
}

// withoutReplaced is a condition that leaves out the rows of versions without a file for which a squash file stands.
func withoutReplaced(files []*File) string {
	var ranges []string
	for _, s := range spans(files) {
		ranges = append(ranges, fmt.Sprintf("m.version::bigint between %d and %d", s.from, s.to))
	}
	if len(ranges) == 0 {
		return ""
	}
	return ` and not (f.version is null and case when m.version ~ '^[0-9]{1,18}$' then ` + strings.Join(ranges, " or ") + ` else false end)`
}

// schemaDetails are a schema's rows and whether it exists.
type schemaDetails struct {
	present bool
	entries []Entry
}

// fleetDetails are two queries for all rows of the schemas, of which those that are as they should be are returned as
// their version alone.
func fleetDetails(module string, files []*File, schemas []string) []string {
	wanted := arrayLiteral(schemas)
	return []string{
		fmt.Sprintf(`select nspname from pg_catalog.pg_namespace where nspname = any (%s::name[])`, wanted),
		fmt.Sprintf(`select m.target_schema, m.version, case when coalesce(%s, false) then null else pg_catalog.row_to_json(m) end
from %s m left join %s f on f.version = m.version
where m.module = %s and m.target_schema = any (%s::text[])`,
			wellApplied, ledgerTable, fileValues(files), literal(module), wanted),
	}
}

func (d *schemaDetails) snapshot() snapshot {
	return snapshot{schemaGone: !d.present, entries: d.entries}
}

// details are by schema.
type details map[string]*schemaDetails

func (ds details) of(schema string) *schemaDetails {
	if ds[schema] == nil {
		ds[schema] = new(schemaDetails)
	}
	return ds[schema]
}

// decodeDetails reads what fleetDetails selected.
func decodeDetails(files []*File, results []*pgconn.Result) (details, error) {
	ds := make(details)
	for _, row := range results[0].Rows {
		ds.of(string(row[0])).present = true
	}
	byVersion := make(map[string]*File, len(files))
	for _, f := range files {
		byVersion[f.Version] = f
	}
	for _, row := range results[1].Rows {
		d := ds.of(string(row[0]))
		if row[2] == nil {
			f := byVersion[string(row[1])]
			d.entries = append(d.entries, Entry{Version: f.Version, State: Applied, File: f.Name,
				RawHash: f.RawHash, SemanticHash: f.SemanticHash})
			continue
		}
		var e Entry
		if err := json.Unmarshal(row[2], &e); err != nil {
			return nil, fmt.Errorf("ledger row: %w", err)
		}
		d.entries = append(d.entries, e)
	}
	return ds, nil
}

// arrayLiteral is the text of an array as one constant, which the server reads faster than an array of constants.
func arrayLiteral(values []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for _, c := range v {
			if c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteRune(c)
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return literal(b.String())
}
