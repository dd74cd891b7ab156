package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
)

// need is why a schema needs another one.
type need struct {
	Schema string `json:"schema"`
	Needs  string `json:"needs"`
	Why    string `json:"why"` // "object" or "module"
	What   string `json:"what"`
}

type needsJSON struct {
	Dependencies []need `json:"dependencies"`
}

func newSchemaDeps() *cobra.Command {
	var f schemaFlags
	cmd := &cobra.Command{
		Use:   "deps [SCHEMA]",
		Short: "Show which schemas need which, and why",
		Long: `deps shows which schemas need which others: through objects, as PostgreSQL knows
them, such as foreign keys and views, and through modules that require others,
as the history has it. Text in functions is not looked at. With a schema it
shows what that one needs, and what needs it.`,
		Example: "  pgdbm schema deps\n  pgdbm schema deps billing --json",
		Args:    maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withDatabase(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool) error {
				name, err := f.name(p, args)
				if err == nil && name != "" {
					err = mustExist(ctx, pool, "deps of", name)
				}
				if err != nil {
					return err
				}
				all, err := readNeeds(ctx, pool)
				if err != nil {
					return err
				}
				j := needsJSON{[]need{}}
				for _, n := range all {
					if name == "" || n.Schema == name || n.Needs == name {
						j.Dependencies = append(j.Dependencies, n)
					}
				}
				return f.print(cmd, j)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (j needsJSON) write(out io.Writer) error {
	if len(j.Dependencies) == 0 {
		_, err := fmt.Fprintln(out, "no schema needs another")
		return err
	}
	var rows [][]string
	for _, n := range j.Dependencies {
		rows = append(rows, []string{n.Schema, n.Needs, n.What})
	}
	return writeTable(out, []string{"SCHEMA", "NEEDS", "FOR"}, rows)
}

// readNeeds returns all dependencies between schemas.
func readNeeds(ctx context.Context, pool *pgdbm.Pool) ([]need, error) {
	db, err := pool.Schema("public")
	if err != nil {
		return nil, err
	}
	all, err := pgdbm.All[need](ctx, db, objectNeeds)
	if err != nil {
		return nil, err
	}
	ledger, err := readLedger(ctx, pool)
	if err != nil {
		return nil, err
	}
	schemas := make(map[string][]string)
	for _, r := range ledger {
		schemas[r.Module] = append(schemas[r.Module], r.Schema)
	}
	for _, r := range ledger {
		for _, name := range r.Requires {
			in := schemas[name]
			if len(in) != 1 || in[0] == r.Schema {
				continue // none, itself, or an alias of the program's says which
			}
			all = append(all, need{r.Schema, in[0], "module", fmt.Sprintf("module %s requires %s", r.Module, name)})
		}
	}
	slices.SortFunc(all, func(a, b need) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Needs, b.Needs), -cmp.Compare(a.Why, b.Why), cmp.Compare(a.What, b.What))
	})
	return all, nil
}

// objectNeeds selects what depends on an object of another schema. A view depends
// by its rule, a column by its default: they are named instead.
const objectNeeds = `WITH ns AS (SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%'),
object (class, id, ns) AS (
	SELECT 'pg_catalog.pg_class'::regclass, oid, relnamespace FROM pg_catalog.pg_class
	UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid, typnamespace FROM pg_catalog.pg_type
	UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, pronamespace FROM pg_catalog.pg_proc
	UNION ALL SELECT 'pg_catalog.pg_operator'::regclass, oid, oprnamespace FROM pg_catalog.pg_operator
	UNION ALL SELECT 'pg_catalog.pg_opclass'::regclass, oid, opcnamespace FROM pg_catalog.pg_opclass
	UNION ALL SELECT 'pg_catalog.pg_opfamily'::regclass, oid, opfnamespace FROM pg_catalog.pg_opfamily
	UNION ALL SELECT 'pg_catalog.pg_collation'::regclass, oid, collnamespace FROM pg_catalog.pg_collation
	UNION ALL SELECT 'pg_catalog.pg_ts_config'::regclass, oid, cfgnamespace FROM pg_catalog.pg_ts_config
	UNION ALL SELECT 'pg_catalog.pg_ts_dict'::regclass, oid, dictnamespace FROM pg_catalog.pg_ts_dict
	UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::regclass, oid, stxnamespace FROM pg_catalog.pg_statistic_ext
	UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, oid, connamespace FROM pg_catalog.pg_constraint
	UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass, r.oid, relnamespace FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = ev_class
	UNION ALL SELECT 'pg_catalog.pg_attrdef'::regclass, a.oid, relnamespace FROM pg_catalog.pg_attrdef a JOIN pg_catalog.pg_class c ON c.oid = adrelid
	UNION ALL SELECT 'pg_catalog.pg_trigger'::regclass, t.oid, relnamespace FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = tgrelid
	UNION ALL SELECT 'pg_catalog.pg_policy'::regclass, p.oid, relnamespace FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = polrelid)
SELECT DISTINCT a.nspname AS schema, b.nspname AS needs, 'object' AS why,
	CASE WHEN v.oid IS NOT NULL AND rulename = '_RETURN' THEN pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, v.ev_class, 0)
	ELSE pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) END AS what
FROM pg_catalog.pg_depend d
JOIN object o ON o.class = d.classid AND o.id = d.objid JOIN ns a ON a.oid = o.ns
JOIN object r ON r.class = d.refclassid AND r.id = d.refobjid JOIN ns b ON b.oid = r.ns
LEFT JOIN pg_catalog.pg_rewrite v ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND v.oid = d.objid
WHERE d.deptype IN ('n', 'a') AND a.oid <> b.oid
AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE d.classid = 'pg_catalog.pg_trigger'::regclass AND t.oid = d.objid AND t.tgisinternal)`
