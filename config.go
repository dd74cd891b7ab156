package pgdbm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Config says where a pool connects and how it behaves. The zero value of each
// field is its default. Open and Attach copy what they use; a Config is never
// changed and may be used again and concurrently. It prints without secrets.
type Config struct {
	// URL is a PostgreSQL connection URL or keyword/value string as pgx parses
	// it, pool_* parameters included. What it leaves open comes from the libpq
	// environment (PGHOST, PGSERVICE, PGPASSFILE, ...). The fields below win
	// over it. Empty: environment and fields alone.
	URL string

	// Host, Port, Database, User and Password replace that part of the URL.
	// Zero: what the URL says. Host may be the folder of a Unix socket.
	Host     string
	Port     uint16
	Database string
	User     string
	Password string

	// SSLMode, SSLRootCert, SSLCert, SSLKey and SSLPassword are libpq's
	// parameters of these names; certificates and keys are files. Zero: what
	// the URL says, else libpq's default ("prefer").
	SSLMode     string
	SSLRootCert string
	SSLCert     string
	SSLKey      string
	SSLPassword string

	// Schema is the schema of modules that are attached to this pool without a
	// handle of their own. Empty: the module's own choice. It is never created
	// by Open and never put into search_path.
	Schema string

	// Isolate has Attach give the schema of each module that is attached to the
	// pool itself a role of its own, which its statements run as; see
	// [Pool.Isolate].
	Isolate bool

	// MinConns and MaxConns bound the pool. MaxConns 0: pgxpool's default, the
	// greater of 4 and the number of CPUs. MinConns 0: none is kept open.
	MinConns int32
	MaxConns int32

	// MaxConnLifetime closes a connection this long after it was made, plus a
	// random part of MaxConnLifetimeJitter. Zero: 30 minutes and a tenth of the
	// lifetime. A negative jitter means none.
	MaxConnLifetime       time.Duration
	MaxConnLifetimeJitter time.Duration

	// MaxConnIdleTime closes connections that were idle this long, and
	// HealthCheckPeriod is the time between looks. Zero: 30 minutes, 1 minute.
	MaxConnIdleTime   time.Duration
	HealthCheckPeriod time.Duration

	// SchemasPerConn closes a connection that has worked in this many schemas, up
	// to a tenth fewer at random, when it is given back: the server process of a
	// connection keeps what it knows of every table it has touched, some 12 kB
	// each, and never gives that memory back. Zero: 1000. Negative: no bound.
	SchemasPerConn int

	// ConnectTimeout bounds one attempt to connect. Zero: connect_timeout of
	// the URL, else 10 seconds.
	ConnectTimeout time.Duration

	// AcquireTimeout bounds the wait for a free connection; past it the call
	// fails with ErrAcquireTimeout. Zero: the call's context alone.
	AcquireTimeout time.Duration

	// StatementTimeout, LockTimeout and IdleInTransactionTimeout are the
	// server's settings of these names, sent when a connection starts; poolers
	// such as PgBouncer refuse them. Zero: not sent, the server decides.
	StatementTimeout         time.Duration
	LockTimeout              time.Duration
	IdleInTransactionTimeout time.Duration

	// Settings are further server settings, sent when a connection starts.
	Settings map[string]string

	// InitSQL runs on each new connection before it is used, by the simple
	// protocol, so it may hold several statements. Templates are not expanded.
	InitSQL string

	// Retry governs how Open tries again when the server cannot be reached.
	Retry Retry

	// ApplicationName is what pg_stat_activity shows. Empty: the URL's, else
	// the name of the running program.
	ApplicationName string

	// OnDuplicate says what Open does when this process already has a pool to
	// the same database.
	OnDuplicate DuplicatePolicy

	// Logger receives warnings and, at debug level, each statement with its
	// duration, never its arguments. Nil: slog.Default().
	Logger *slog.Logger

	// Tracer is set on each connection. Nil: none.
	Tracer pgx.QueryTracer

	// Pgx, if not nil, may change the pool's configuration after everything
	// above has been applied to it. Its error makes Open fail.
	Pgx func(*pgxpool.Config) error
}

// Retry governs how [Open] tries again while the server refuses connections,
// starts up, or has none free. A wrong password or database is not retried.
type Retry struct {
	// Attempts is the number of tries, the first included. Zero: 3.
	// One means no retry.
	Attempts int
	// Within bounds the time in which a further try may start; the last one
	// starts at its end. Zero: 3 seconds.
	Within time.Duration
	// Backoff is the pause after the first try; it doubles, with jitter, up to
	// 2 seconds. Zero: 250 milliseconds.
	Backoff time.Duration
}

// DuplicatePolicy says what [Open] does about a second pool to one database.
type DuplicatePolicy int

const (
	// DuplicateWarn logs a warning to the loggers of both pools.
	DuplicateWarn DuplicatePolicy = iota
	// DuplicateFail makes Open fail with [ErrDuplicatePool].
	DuplicateFail
)

const (
	defaultConnectTimeout  = 10 * time.Second
	defaultMaxConnLifetime = 30 * time.Minute
)

// pgxConfig builds the pool's configuration. Its errors never quote the URL.
func (c Config) pgxConfig() (*pgxpool.Config, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if strayAt(c.URL) {
		return nil, errors.New("connection URL with an unescaped @ after the host")
	}
	connString := c.connString()
	pc, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, parseError(err)
	}
	c.applyPool(pc, connString)
	c.applySession(pc.ConnConfig)
	if c.Pgx != nil {
		if err := c.Pgx(pc); err != nil {
			return nil, fmt.Errorf("Pgx hook: %w", err)
		}
	}
	// After the hook, which may set AfterConnect: the initial SQL runs all the same.
	if c.InitSQL != "" {
		pc.AfterConnect = initialSQL(c.InitSQL, pc.AfterConnect)
	}
	return pc, nil
}

func (c Config) validate() error {
	for _, n := range []struct {
		field string
		value time.Duration
	}{
		{"MaxConnLifetime", c.MaxConnLifetime}, {"MaxConnIdleTime", c.MaxConnIdleTime},
		{"HealthCheckPeriod", c.HealthCheckPeriod}, {"ConnectTimeout", c.ConnectTimeout},
		{"AcquireTimeout", c.AcquireTimeout}, {"StatementTimeout", c.StatementTimeout},
		{"LockTimeout", c.LockTimeout}, {"IdleInTransactionTimeout", c.IdleInTransactionTimeout},
		{"Retry.Within", c.Retry.Within}, {"Retry.Backoff", c.Retry.Backoff},
	} {
		if n.value < 0 {
			return fmt.Errorf("%s: %v is negative", n.field, n.value)
		}
	}
	switch {
	case c.MinConns < 0:
		return fmt.Errorf("MinConns: %d is negative", c.MinConns)
	case c.MaxConns < 0:
		return fmt.Errorf("MaxConns: %d is negative", c.MaxConns)
	case c.MaxConns > 0 && c.MinConns > c.MaxConns:
		return fmt.Errorf("MinConns: %d is more than MaxConns, %d", c.MinConns, c.MaxConns)
	case c.Retry.Attempts < 0:
		return fmt.Errorf("Retry.Attempts: %d is negative", c.Retry.Attempts)
	case c.OnDuplicate != DuplicateWarn && c.OnDuplicate != DuplicateFail:
		return fmt.Errorf("OnDuplicate: %d is not a DuplicatePolicy", c.OnDuplicate)
	}
	if c.Schema != "" {
		if err := sqltemplate.ValidateSchema(c.Schema); err != nil {
			return fmt.Errorf("Schema: %w", err)
		}
	}
	return nil
}

func (c Config) applyPool(pc *pgxpool.Config, connString string) {
	if c.MaxConns > 0 {
		pc.MaxConns = c.MaxConns
	}
	if c.MinConns > 0 {
		pc.MinConns = c.MinConns
		pc.MaxConns = max(pc.MaxConns, c.MinConns)
	}
	switch {
	case c.MaxConnLifetime > 0:
		pc.MaxConnLifetime = c.MaxConnLifetime
	case !asksFor(connString, "pool_max_conn_lifetime"):
		pc.MaxConnLifetime = defaultMaxConnLifetime
	}
	switch {
	case c.MaxConnLifetimeJitter > 0:
		pc.MaxConnLifetimeJitter = c.MaxConnLifetimeJitter
	case c.MaxConnLifetimeJitter == 0 && !asksFor(connString, "pool_max_conn_lifetime_jitter"):
		// Without jitter, connections made together all end together.
		pc.MaxConnLifetimeJitter = pc.MaxConnLifetime / 10
	}
	if c.MaxConnIdleTime > 0 {
		pc.MaxConnIdleTime = c.MaxConnIdleTime
	}
	if c.HealthCheckPeriod > 0 {
		pc.HealthCheckPeriod = c.HealthCheckPeriod
	}
}

func (c Config) applySession(cc *pgx.ConnConfig) {
	switch {
	case c.ConnectTimeout > 0:
		cc.ConnectTimeout = c.ConnectTimeout
	case cc.ConnectTimeout == 0:
		cc.ConnectTimeout = defaultConnectTimeout
	}
	// RuntimeParams travel in the startup message, and poolers refuse those
	// they do not know: only what the user asked for goes in.
	params := cc.RuntimeParams
	maps.Copy(params, c.Settings)
	for _, t := range []struct {
		name  string
		value time.Duration
	}{
		{"statement_timeout", c.StatementTimeout},
		{"lock_timeout", c.LockTimeout},
		{"idle_in_transaction_session_timeout", c.IdleInTransactionTimeout},
	} {
		if t.value > 0 {
			// A timeout below a millisecond must not become 0, which is none.
			params[t.name] = strconv.FormatInt(max(1, t.value.Milliseconds()), 10)
		}
	}
	if c.ApplicationName != "" {
		params["application_name"] = c.ApplicationName
	} else if params["application_name"] == "" {
		params["application_name"] = filepath.Base(os.Args[0])
	}
	if c.Tracer != nil {
		cc.Tracer = c.Tracer
	}
}

func initialSQL(sql string, next func(context.Context, *pgx.Conn) error) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("initial SQL: %w", err)
		}
		if next != nil {
			return next(ctx, conn)
		}
		return nil
	}
}

// String names where c connects, without secrets.
func (c Config) String() string {
	var b strings.Builder
	b.WriteString("pgdbm.Config{")
	sep := ""
	add := func(name, value string) {
		if value != "" && value != "0" {
			fmt.Fprintf(&b, "%s%s: %s", sep, name, value)
			sep = ", "
		}
	}
	add("URL", URL(c.URL).String())
	add("Host", c.Host)
	add("Port", strconv.Itoa(int(c.Port)))
	add("Database", c.Database)
	add("User", c.User)
	add("Schema", c.Schema)
	add("MaxConns", strconv.Itoa(int(c.MaxConns)))
	b.WriteString("}")
	return b.String()
}

// GoString is String, so that %#v prints no secret either.
func (c Config) GoString() string { return c.String() }

// LogValue makes slog print c without secrets.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }
