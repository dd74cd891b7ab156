package engine

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// extensionSchema is where an extension goes that leaves the choice open.
const extensionSchema = "public"

var extensionName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$`)

// EnsureExtensions creates the extensions that the database has not, in schema public or in the one that an
// extension prescribes, with those they require. One that is present stays where it is. With all present it is one
// round trip, which writes nothing.
func (r *Runner) EnsureExtensions(ctx context.Context, names []string) error {
	for _, name := range names {
		if !extensionName.MatchString(name) {
			return fmt.Errorf("extension %q: invalid name", name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	f, results, err := r.read(ctx, extensionSchema, missingExtensions(names))
	if err != nil || len(results[0].Rows) == 0 {
		return err
	}
	if f.Recovery {
		return ErrReadOnly
	}
	for tries := 0; ; tries++ {
		err := r.createExtensions(ctx, names, f.Version)
		if err == nil || !lostRace(err) || tries == 3 {
			return err
		}
	}
}

// missingExtensions selects the names that are not installed.
func missingExtensions(names []string) string {
	return fmt.Sprintf(`select n.name from pg_catalog.unnest(%s) with ordinality n (name, position)
where not exists (select from pg_catalog.pg_extension e where e.extname = n.name) order by n.position`,
		textArray(names))
}

// availableExtensions adds to missingExtensions whether the server has the extension, and the schema it prescribes.
func availableExtensions(names []string) string {
	return fmt.Sprintf(`select n.name, a.name is not null, v.schema
from pg_catalog.unnest(%s) with ordinality n (name, position)
left join pg_catalog.pg_available_extensions a on a.name = n.name
left join pg_catalog.pg_available_extension_versions v on v.name = a.name and v.version = a.default_version
where not exists (select from pg_catalog.pg_extension e where e.extname = n.name) order by n.position`,
		textArray(names))
}

// createExtensions creates all that are still missing, in one transaction.
func (r *Runner) createExtensions(ctx context.Context, names []string, serverVersion int) error {
	s, results, err := r.locked(ctx, nil, extensionLock, serverVersion, factsQuery(extensionSchema), availableExtensions(names))
	if err != nil {
		return err
	}
	defer s.close()
	f, err := decodeFacts(results[0])
	if err != nil {
		s.rollback(ctx)
		return err
	}
	statements, err := createExtension(results[1])
	if err != nil || len(statements) == 0 {
		s.rollback(ctx)
		return err
	}
	if _, err := s.commit(ctx, statements); err != nil {
		s.rollback(ctx)
		if sqlState(err) == codeInsufficientRight {
			return &PrivilegeError{Role: f.Role, Schema: extensionSchema, Statements: statements, Err: err}
		}
		return fmt.Errorf("create extensions: %w", err)
	}
	return nil
}

// createExtension returns the statements for what availableExtensions found.
func createExtension(res *pgconn.Result) ([]string, error) {
	var statements []string
	for _, row := range res.Rows {
		name := string(row[0])
		if string(row[1]) != "t" {
			return nil, fmt.Errorf("extension %q: not available on the server", name)
		}
		var b strings.Builder
		// A CASCADE before it in the same transaction may have brought it.
		b.WriteString("CREATE EXTENSION IF NOT EXISTS " + sqltemplate.Quote(name))
		if row[2] == nil {
			b.WriteString(" SCHEMA " + sqltemplate.Quote(extensionSchema))
		}
		b.WriteString(" CASCADE")
		statements = append(statements, b.String())
	}
	return statements, nil
}
