package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// MatchSchemas returns the schemas of the database, and those recorded for a module, whose names match one of the
// patterns, sorted. It is one query, and writes nothing.
func (r *Runner) MatchSchemas(ctx context.Context, module string, patterns []string) ([]string, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	like := make([]string, len(patterns))
	for i, p := range patterns {
		like[i] = likePattern(p)
	}
	s, err := r.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	results, err := s.exec(ctx, matchQuery(module, like, true))
	switch sqlState(err) {
	case codeUndefinedTable, codeUndefinedSchema, codeInsufficientRight:
		results, err = s.exec(ctx, matchQuery(module, like, false))
	}
	if err != nil {
		return nil, err
	}
	var schemas []string
	for _, row := range results[0].Rows {
		if name := string(row[0]); sqltemplate.ValidateSchema(name) == nil {
			schemas = append(schemas, name)
		}
	}
	return schemas, nil
}

func matchQuery(module string, like []string, ledger bool) string {
	names := `select nspname::text collate "C" as name from pg_catalog.pg_namespace where nspname !~ '^pg_'`
	if ledger {
		names += fmt.Sprintf(" union select target_schema from %s where module = %s and state <> 'failed'",
			ledgerTable, literal(module))
	}
	return fmt.Sprintf(`select name from (%s) n where name like any (%s) and name not in ('information_schema', %s) order by name`,
		names, textArray(like), literal(LedgerSchema))
}

// likePattern makes a pattern for LIKE of one with * and ?.
func likePattern(pattern string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`, `?`, `_`).Replace(pattern)
}
