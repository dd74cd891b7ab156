package engine

import (
	"context"
	"fmt"
	"strings"
)

// Filter picks entries of the ledger; a zero field picks all.
type Filter struct {
	Module string
	Schema string
	Limit  int // the newest ones only
}

// History returns the ledger's entries in the order in which they were written; none before there is a ledger. It
// writes nothing.
func (r *Runner) History(ctx context.Context, f Filter) ([]Entry, error) {
	var conditions []string
	if f.Module != "" {
		conditions = append(conditions, "m.module = "+literal(f.Module))
	}
	if f.Schema != "" {
		conditions = append(conditions, "m.target_schema = "+literal(f.Schema))
	}
	from := ledgerTable + " m"
	if len(conditions) > 0 {
		from += " where " + strings.Join(conditions, " and ")
	}
	// Versions are canonical numbers, so the longer is the higher; it decides between rows of one microsecond.
	order := func(direction string) string {
		return strings.ReplaceAll(" order by m.applied_at DIR, pg_catalog.length(m.version) DIR, m.version DIR, "+
			"m.module DIR, m.target_schema DIR", "DIR", direction)
	}
	query := "select pg_catalog.row_to_json(m) from " + from + order("asc")
	if f.Limit > 0 {
		query = fmt.Sprintf("select pg_catalog.row_to_json(m) from (select * from %s%s limit %d) m%s",
			from, order("desc"), f.Limit, order("asc"))
	}
	_, results, err := r.read(ctx, "", query)
	if err != nil || results == nil {
		return nil, err
	}
	return decodeEntries(results[0])
}

// Schemas returns, for each of the modules, the schemas that it is recorded in, sorted; none before there is a
// ledger. It is one round trip and writes nothing.
func (r *Runner) Schemas(ctx context.Context, modules []string) (map[string][]string, error) {
	query := fmt.Sprintf(`select distinct module, target_schema from %s
where module = any (%s) and state <> 'failed' order by module, target_schema`, ledgerTable, textArray(modules))
	_, results, err := r.read(ctx, "", query)
	if err != nil {
		return nil, err
	}
	schemas := make(map[string][]string)
	if results != nil {
		for _, row := range results[0].Rows {
			schemas[string(row[0])] = append(schemas[string(row[0])], string(row[1]))
		}
	}
	return schemas, nil
}
