package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
)

type pingJSON struct {
	OK       bool    `json:"ok"`
	Source   string  `json:"source"`
	Server   string  `json:"server_version,omitempty"`
	Database string  `json:"database,omitempty"`
	User     string  `json:"user,omitempty"`
	MS       float64 `json:"ms,omitempty"`
	Error    string  `json:"error,omitempty"`
}

func (j pingJSON) write(out io.Writer) error {
	_, err := fmt.Fprintf(out, "database %s as %s: PostgreSQL %s, %.1f ms\n", j.Database, j.User, j.Server, j.MS)
	return err
}

func newDBPing() *cobra.Command {
	var f databaseFlags
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "ping",
		Short: "Tell whether the database can be reached",
		Long: `ping connects to the database, says what the server is, and how long a query
takes that asks for nothing. With --wait it tries again while the server cannot
be reached, as when it is starting, until the time is over. It exits with 1 when
it was not reached.`,
		Example: "  pgdbm db ping\n  pgdbm db ping --env prod --wait 30s",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := f.findDatabase()
			if err != nil {
				return err
			}
			ctx, cancel := limited(cmd.Context(), f.timeout)
			defer cancel()
			p.config.Retry = pgdbm.Retry{Attempts: 1}
			if wait > 0 {
				const any = 1 << 20
				// The context ends it, also an attempt to connect.
				p.config.Retry = pgdbm.Retry{Attempts: any, Within: 2 * wait, Backoff: 100 * time.Millisecond}
				ctx, cancel = context.WithTimeout(ctx, wait)
				defer cancel()
			}
			j, err := ping(ctx, cmd, p)
			if err != nil && wait > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				err = codedError{exitFailed, fmt.Errorf("not reached in %s: %w", wait, err)}
			}
			if err != nil && !f.asJSON {
				return err
			}
			if err != nil {
				j.Error = err.Error()
			}
			return errors.Join(err, f.print(cmd, j))
		},
	}
	f.add(cmd)
	cmd.Flags().DurationVar(&wait, "wait", 0, "try for this `time`, such as 30s")
	return cmd
}

func ping(ctx context.Context, cmd *cobra.Command, p *place) (pingJSON, error) {
	j := pingJSON{Source: p.source}
	pool, err := p.open(ctx, cmd, false)
	if err != nil {
		return j, err
	}
	defer pool.Close()
	err = pool.Pgx().QueryRow(ctx, "SELECT pg_catalog.current_setting('server_version'), current_database(), current_user").Scan(&j.Server, &j.Database, &j.User)
	if err != nil {
		return j, err
	}
	began := time.Now()
	if err := pool.Ping(ctx); err != nil {
		return j, err
	}
	j.OK, j.MS = true, milliseconds(time.Since(began))
	return j, nil
}

type infoJSON struct {
	Source         string          `json:"source"`
	Database       string          `json:"database"`
	Owner          string          `json:"owner"`
	Encoding       string          `json:"encoding"`
	Bytes          int64           `json:"bytes"`
	Server         string          `json:"server_version"`
	Started        time.Time       `json:"started"`
	Standby        bool            `json:"standby"`
	Sessions       int             `json:"sessions"`
	MaxConnections int             `json:"max_connections"`
	Schemas        int             `json:"schemas"`
	Extensions     []extensionJSON `json:"extensions"`
	Modules        []moduleJSON    `json:"modules"`
}

type extensionJSON struct {
	Name    string `json:"name"`
	Version string `json:"extension_version"`
	Schema  string `json:"schema"`
}

// moduleJSON is a module over all its schemas.
type moduleJSON struct {
	Module   string    `json:"module"`
	Schemas  int       `json:"schemas"`
	Schema   string    `json:"schema,omitempty"` // the only one
	Versions int       `json:"versions"`         // in effect, in the schema that has most
	Open     int       `json:"open"`             // failed or not ended, over all schemas
	Last     time.Time `json:"last"`
}

func newDBInfo() *cobra.Command {
	var f databaseFlags
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Show the database, its server and its modules",
		Long: `info shows what the database is, how large it is and who may connect, and the
modules that are recorded in it.`,
		Example: "  pgdbm db info\n  pgdbm db info --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withDatabase(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool) error {
				j, err := readInfo(ctx, pool)
				if err != nil {
					return err
				}
				j.Source = p.source
				return f.print(cmd, j)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func readInfo(ctx context.Context, pool *pgdbm.Pool) (*infoJSON, error) {
	j := &infoJSON{Modules: []moduleJSON{}}
	err := pool.Pgx().QueryRow(ctx, `SELECT datname, pg_catalog.pg_get_userbyid(datdba), pg_catalog.pg_encoding_to_char(encoding),
		pg_catalog.pg_database_size(oid), pg_catalog.current_setting('server_version'), pg_catalog.pg_postmaster_start_time(),
		pg_catalog.pg_is_in_recovery(), (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'),
		pg_catalog.current_setting('max_connections')::int,
		(SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%')
		FROM pg_catalog.pg_database WHERE datname = current_database()`).Scan(&j.Database, &j.Owner, &j.Encoding, &j.Bytes,
		&j.Server, &j.Started, &j.Standby, &j.Sessions, &j.MaxConnections, &j.Schemas)
	if err != nil {
		return nil, err
	}
	db, err := pool.Schema("public")
	if err != nil {
		return nil, err
	}
	if j.Extensions, err = pgdbm.All[extensionJSON](ctx, db, `SELECT extname AS name, extversion AS version, nspname AS schema
		FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY extname`); err != nil {
		return nil, err
	}
	ledger, err := readLedger(ctx, pool)
	if err != nil {
		return nil, err
	}
	for _, r := range ledger {
		if n := len(j.Modules); n == 0 || j.Modules[n-1].Module != r.Module {
			j.Modules = append(j.Modules, moduleJSON{Module: r.Module})
		}
		m := &j.Modules[len(j.Modules)-1]
		m.Schemas, m.Schema = m.Schemas+1, r.Schema
		if m.Schemas > 1 {
			m.Schema = ""
		}
		m.Versions, m.Open = max(m.Versions, r.InEffect), m.Open+r.Open
		if r.At.After(m.Last) {
			m.Last = r.At
		}
	}
	return j, nil
}

func (j *infoJSON) write(out io.Writer) error {
	role := ""
	if j.Standby {
		role = ", a standby"
	}
	var extensions []string
	for _, e := range j.Extensions {
		extensions = append(extensions, e.Name+" "+e.Version)
	}
	facts := [][]string{
		{"database", j.Database},
		{"named by", j.Source},
		{"owner", j.Owner},
		{"encoding", j.Encoding},
		{"size", sizeText(j.Bytes)},
		{"schemas", fmt.Sprint(j.Schemas)},
		{"extensions", strings.Join(extensions, ", ")},
		{"server", fmt.Sprintf("PostgreSQL %s%s, up for %s", j.Server, role, since(j.Started))},
		{"sessions", fmt.Sprintf("%d of %d", j.Sessions, j.MaxConnections)},
	}
	if err := writeTable(out, nil, facts); err != nil || len(j.Modules) == 0 {
		return err
	}
	var rows [][]string
	for _, m := range j.Modules {
		schema := m.Schema
		if schema == "" {
			schema = fmt.Sprintf("%d schemas", m.Schemas)
		}
		open := "-"
		if m.Open > 0 {
			open = fmt.Sprint(m.Open)
		}
		rows = append(rows, []string{m.Module, schema, fmt.Sprint(m.Versions), open, m.Last.Local().Format("2006-01-02 15:04:05")})
	}
	fmt.Fprintln(out)
	return writeTable(out, []string{"MODULE", "SCHEMA", "VERSIONS", "OPEN", "LAST"}, rows)
}
