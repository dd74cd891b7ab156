package pgdbm_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

var errStop = errors.New("stop")

// poolConfig is what a Config becomes for pgxpool. Nothing connects.
func poolConfig(t *testing.T, cfg pgdbm.Config) *pgxpool.Config {
	t.Helper()
	var got *pgxpool.Config
	cfg.Pgx = func(pc *pgxpool.Config) error {
		got = pc
		return errStop
	}
	if _, err := pgdbm.Open(t.Context(), cfg); !errors.Is(err, errStop) {
		t.Fatalf("got %v, want the hook's error", err)
	}
	return got
}

func TestOnlyWhatTheUserAskedForIsSentAtStartup(t *testing.T) {
	t.Parallel()
	self := filepath.Base(os.Args[0])
	for _, c := range []struct {
		name  string
		query string
		cfg   pgdbm.Config
		want  map[string]string
	}{
		{"nothing", "", pgdbm.Config{}, map[string]string{"application_name": self}},
		{"everything that stays with the client", "&connect_timeout=7&pool_max_conns=3", pgdbm.Config{
			Schema: "tenant", MaxConns: 3, MinConns: 1, MaxConnLifetime: time.Hour, MaxConnIdleTime: time.Hour,
			HealthCheckPeriod: time.Hour, ConnectTimeout: 5 * time.Second, AcquireTimeout: time.Minute,
			InitSQL: "SET work_mem = '8MB'", Retry: pgdbm.Retry{Attempts: 1},
		}, map[string]string{"application_name": self}},
		{"name of the URL", "&application_name=billing", pgdbm.Config{}, map[string]string{"application_name": "billing"}},
		{"name of the field", "&application_name=billing", pgdbm.Config{ApplicationName: "audit"},
			map[string]string{"application_name": "audit"}},
		{"timeouts", "", pgdbm.Config{StatementTimeout: time.Minute, LockTimeout: 1500 * time.Millisecond,
			IdleInTransactionTimeout: time.Hour}, map[string]string{"application_name": self, "statement_timeout": "60000",
			"lock_timeout": "1500", "idle_in_transaction_session_timeout": "3600000"}},
		{"a timeout too short for the server's unit", "", pgdbm.Config{LockTimeout: time.Microsecond},
			map[string]string{"application_name": self, "lock_timeout": "1"}},
		{"settings", "&jit=on", pgdbm.Config{Settings: map[string]string{"jit": "off", "search_path": "a, b"}},
			map[string]string{"application_name": self, "jit": "off", "search_path": "a, b"}},
		{"a timeout as field and as setting", "", pgdbm.Config{StatementTimeout: time.Second,
			Settings: map[string]string{"statement_timeout": "5s"}},
			map[string]string{"application_name": self, "statement_timeout": "1000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := listen(t, refuse("28000"))
			c.cfg.URL = server.url() + c.query
			_, err := pgdbm.Open(t.Context(), c.cfg)
			wantState(t, err, "28000")
			got, _ := server.first(t)
			want := maps.Clone(c.want)
			want["user"], want["database"] = "someone", "somewhere"
			if !maps.Equal(got, want) {
				t.Errorf("sent %v, want %v", got, want)
			}
		})
	}
}

// secrets are passwords that have a meaning somewhere in a connection string.
var secrets = []string{
	"plain", "sp ace", " leading and trailing ", "quote'd", `double"quote`, `back\slash`, `\`, "per%cent", "%41", "a+b",
	"a&b=c", "a?b", "a/b", "a#b", "a@b:c", "semi;colon", "пароль", "newline\n", "tab\t", "$1", "{{x}}", "host=elsewhere",
	"' host='elsewhere",
}

func TestFieldsReplacePartsOfTheURLInEachOfItsForms(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"",
		"postgres://",
		"postgres:///",
		"postgres://old:stale@203.0.113.1:1/nowhere",
		"postgresql://old:stale@203.0.113.1:1/nowhere?connect_timeout=9",
		"postgres://old:stale@203.0.113.1:1/nowhere?",
		"postgres://203.0.113.1",
		"postgres://203.0.113.1?connect_timeout=9",
		"postgres://old:st?ale@203.0.113.1:1/nowhere",
		"postgres://old@203.0.113.1/?password=stale&dbname=nowhere&port=1&host=203.0.113.1&user=old",
		"host=203.0.113.1 port=1 dbname=nowhere user=old password=stale",
		"host = 203.0.113.1 password = 'it\\'s stale' ",
		"password=",
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			for _, secret := range secrets {
				server := listen(t, askPassword)
				_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, Host: "127.0.0.1", Port: server.port(),
					User: "new user", Password: secret, Database: "new/db?", SSLMode: "disable"})
				wantState(t, err, "28P01")
				params, password := server.first(t)
				if password != secret {
					t.Errorf("password %q, want %q", password, secret)
				}
				if params["user"] != "new user" || params["database"] != "new/db?" {
					t.Errorf("startup %v", params)
				}
			}
		})
	}
}

func TestPartsThatNoFieldReplacesStay(t *testing.T) {
	t.Parallel()
	for _, form := range []string{
		"postgres://old:p%%40ss@127.0.0.1:%d/olddb?sslmode=disable",
		"postgres://127.0.0.1/olddb?user=old&password=p%%40ss&port=%d&sslmode=disable",
		"host=127.0.0.1 user=old password='p@ss' dbname=olddb sslmode=disable port=%d",
	} {
		server := listen(t, askPassword)
		url := fmt.Sprintf(form, server.port())
		_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, User: "new"})
		wantState(t, err, "28P01")
		params, password := server.first(t)
		if params["user"] != "new" || params["database"] != "olddb" || password != "p@ss" {
			t.Errorf("%s: startup %v, password %q", url, params, password)
		}
	}
}

func TestHostMayBeTheFolderOfASocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "s") // t.TempDir's name is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5433"))
	if err != nil {
		t.Skip(err)
	}
	server := serve(t, l, refuse("28000"))
	for _, url := range []string{"", "postgres://x@203.0.113.1:1/y?application_name=z", "host=203.0.113.1"} {
		_, err = pgdbm.Open(t.Context(), pgdbm.Config{URL: url, Host: dir, Port: 5433, User: "u"})
		wantState(t, err, "28000")
	}
	if n := server.attempts(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

func TestPoolLimitsComeFromFieldsThenTheURLThenDefaults(t *testing.T) {
	t.Parallel()
	const base = "postgres://x@127.0.0.1:1/x?sslmode=disable"
	type limits struct {
		minConns, maxConns              int32
		lifetime, jitter, idle, checked time.Duration
		connect                         time.Duration
	}
	auto := poolConfig(t, pgdbm.Config{URL: base}).MaxConns
	if auto < 4 {
		t.Errorf("MaxConns %d by default, want at least 4", auto)
	}
	std := limits{0, auto, 30 * time.Minute, 3 * time.Minute, 30 * time.Minute, time.Minute, 10 * time.Second}
	with := func(change func(*limits)) limits { l := std; change(&l); return l }
	for _, c := range []struct {
		name string
		cfg  pgdbm.Config
		want limits
	}{
		{"defaults", pgdbm.Config{URL: base}, std},
		{"fields", pgdbm.Config{URL: base, MinConns: 2, MaxConns: 3, MaxConnLifetime: time.Hour, MaxConnLifetimeJitter: time.Minute,
			MaxConnIdleTime: time.Second, HealthCheckPeriod: 2 * time.Second, ConnectTimeout: 3 * time.Second},
			limits{2, 3, time.Hour, time.Minute, time.Second, 2 * time.Second, 3 * time.Second}},
		{"URL", pgdbm.Config{URL: base + "&pool_min_conns=2&pool_max_conns=3&pool_max_conn_lifetime=1h&pool_max_conn_lifetime_jitter=1m" +
			"&pool_max_conn_idle_time=1s&pool_health_check_period=2s&connect_timeout=3"},
			limits{2, 3, time.Hour, time.Minute, time.Second, 2 * time.Second, 3 * time.Second}},
		{"fields over URL", pgdbm.Config{URL: base + "&pool_max_conns=3&pool_max_conn_lifetime=1h", MaxConns: 7, MaxConnLifetime: 2 * time.Hour},
			with(func(l *limits) { l.maxConns, l.lifetime, l.jitter = 7, 2*time.Hour, 12*time.Minute })},
		{"lifetime of pgxpool's default, but asked for", pgdbm.Config{URL: base + "&pool_max_conn_lifetime=1h"},
			with(func(l *limits) { l.lifetime, l.jitter = time.Hour, 6*time.Minute })},
		{"jitter of the URL", pgdbm.Config{URL: base + "&pool_max_conn_lifetime_jitter=7s"},
			with(func(l *limits) { l.jitter = 7 * time.Second })},
		{"no jitter", pgdbm.Config{URL: base, MaxConnLifetimeJitter: -1}, with(func(l *limits) { l.jitter = 0 })},
		{"keyword/value with blanks", pgdbm.Config{URL: "host=127.0.0.1 pool_max_conn_lifetime = 1h pool_max_conn_lifetime_jitter = 1s sslmode=disable"},
			with(func(l *limits) { l.lifetime, l.jitter = time.Hour, time.Second })},
		{"the words in a password", pgdbm.Config{URL: base, Password: "pool_max_conn_lifetime=pool_max_conn_lifetime_jitter="}, std},
		{"MinConns above the default of MaxConns", pgdbm.Config{URL: base, MinConns: auto + 2},
			with(func(l *limits) { l.minConns, l.maxConns = auto+2, auto+2 })},
	} {
		pc := poolConfig(t, c.cfg)
		got := limits{pc.MinConns, pc.MaxConns, pc.MaxConnLifetime, pc.MaxConnLifetimeJitter, pc.MaxConnIdleTime,
			pc.HealthCheckPeriod, pc.ConnConfig.ConnectTimeout}
		if got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestAConfigThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field string
		cfg   pgdbm.Config
	}{
		{"MinConns", pgdbm.Config{MinConns: -1}},
		{"MaxConns", pgdbm.Config{MaxConns: -1}},
		{"MinConns", pgdbm.Config{MinConns: 3, MaxConns: 2}},
		{"MaxConnLifetime", pgdbm.Config{MaxConnLifetime: -1}},
		{"MaxConnIdleTime", pgdbm.Config{MaxConnIdleTime: -1}},
		{"HealthCheckPeriod", pgdbm.Config{HealthCheckPeriod: -1}},
		{"ConnectTimeout", pgdbm.Config{ConnectTimeout: -1}},
		{"AcquireTimeout", pgdbm.Config{AcquireTimeout: -1}},
		{"StatementTimeout", pgdbm.Config{StatementTimeout: -1}},
		{"LockTimeout", pgdbm.Config{LockTimeout: -1}},
		{"IdleInTransactionTimeout", pgdbm.Config{IdleInTransactionTimeout: -1}},
		{"Retry.Attempts", pgdbm.Config{Retry: pgdbm.Retry{Attempts: -1}}},
		{"Retry.Within", pgdbm.Config{Retry: pgdbm.Retry{Within: -1}}},
		{"Retry.Backoff", pgdbm.Config{Retry: pgdbm.Retry{Backoff: -1}}},
		{"OnDuplicate", pgdbm.Config{OnDuplicate: 7}},
		{"Schema", pgdbm.Config{Schema: "pg_temp"}},
		{"Schema", pgdbm.Config{Schema: strings.Repeat("x", 64)}},
		{"Schema", pgdbm.Config{Schema: `a"b`}},
	} {
		server := listen(t, refuse("28000"))
		c.cfg.URL = server.url()
		pool, err := pgdbm.Open(t.Context(), c.cfg)
		if pool != nil || err == nil || !strings.HasPrefix(err.Error(), "pgdbm: open: "+c.field+": ") {
			t.Errorf("%s: got %v, %v", c.field, pool, err)
		}
		if n := server.attempts(); n != 0 {
			t.Errorf("%s: connected %d times", c.field, n)
		}
	}
}

func TestOpenNeitherChangesNorSharesTheConfig(t *testing.T) {
	t.Parallel()
	cfg := pgdbm.Config{
		URL: "postgres://x@127.0.0.1:1/x?sslmode=disable", StatementTimeout: time.Second, ApplicationName: "a",
		Settings: map[string]string{"jit": "off"},
	}
	pc := poolConfig(t, cfg)
	pc.ConnConfig.RuntimeParams["jit"] = "on"
	if want := map[string]string{"jit": "off"}; !maps.Equal(cfg.Settings, want) {
		t.Errorf("Settings became %v", cfg.Settings)
	}
	if got := poolConfig(t, cfg).ConnConfig.RuntimeParams["jit"]; got != "off" {
		t.Errorf("the second pool got jit=%s", got)
	}
}

type nullTracer struct{}

func (nullTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (nullTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestThePgxHookHasTheLastWord(t *testing.T) {
	t.Parallel()
	var order []string
	pool := openPool(t, pgdbm.Config{
		MaxConns: 2, Tracer: nullTracer{}, InitSQL: "SET work_mem = '5MB'; SET app.init = 'yes'",
		Pgx: func(pc *pgxpool.Config) error {
			if pc.MaxConns != 2 || pc.ConnConfig.Tracer != (nullTracer{}) {
				t.Errorf("the hook sees MaxConns %d, tracer %v", pc.MaxConns, pc.ConnConfig.Tracer)
			}
			pc.MaxConns = 1
			pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
				var mem string
				err := conn.QueryRow(ctx, "SHOW work_mem").Scan(&mem)
				order = append(order, mem)
				return err
			}
			return nil
		},
	})
	if got := pool.Stat().MaxConns(); got != 1 {
		t.Errorf("MaxConns %d, want the hook's 1", got)
	}
	if got := value[string](t, mustSchema(t, pool, "x"), "SHOW app.init"); got != "yes" {
		t.Errorf("app.init = %q", got)
	}
	if want := []string{"5MB"}; !reflect.DeepEqual(order, want) {
		t.Errorf("AfterConnect saw work_mem %q, want %q: once, after InitSQL", order, want)
	}
}

func TestInitialSQLThatFailsMakesOpenFail(t *testing.T) {
	t.Parallel()
	_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: testdb.URL(t), InitSQL: "SET no_such_setting = 1"})
	wantState(t, err, "42704")
}

func TestTLSParametersReachPgx(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := clientCertificate(t, dir, "SECRET")
	const url = "postgres://x@localhost:1/x"
	pc := poolConfig(t, pgdbm.Config{URL: url, SSLMode: "verify-full", SSLRootCert: cert, SSLCert: cert, SSLKey: key, SSLPassword: "SECRET"})
	tls := pc.ConnConfig.TLSConfig
	if tls == nil || tls.ServerName != "localhost" || tls.RootCAs == nil || len(tls.Certificates) != 1 || len(pc.ConnConfig.Fallbacks) > 0 {
		t.Errorf("got %+v", tls)
	}
	if tls := poolConfig(t, pgdbm.Config{URL: url, SSLMode: "disable"}).ConnConfig.TLSConfig; tls != nil {
		t.Errorf("sslmode disable: got %+v", tls)
	}
	// libpq's "prefer": with TLS first, then without.
	plain := poolConfig(t, pgdbm.Config{URL: url}).ConnConfig
	if plain.TLSConfig == nil || len(plain.Fallbacks) == 0 || plain.Fallbacks[len(plain.Fallbacks)-1].TLSConfig != nil {
		t.Errorf("default: got %+v, %+v", plain.TLSConfig, plain.Fallbacks)
	}
	for name, cfg := range map[string]pgdbm.Config{
		"wrong mode":         {URL: url, SSLMode: "sometimes"},
		"no such root":       {URL: url, SSLMode: "verify-ca", SSLRootCert: filepath.Join(dir, "none.pem")},
		"key without cert":   {URL: url, SSLMode: "require", SSLKey: key, SSLCert: filepath.Join(dir, "none.pem"), SSLPassword: "SECRET"},
		"wrong key password": {URL: url, SSLMode: "require", SSLKey: key, SSLCert: cert, SSLPassword: "SECRETwrong"},
	} {
		_, err := pgdbm.Open(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), "TLS") || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, SSLMode: "verify-ca", SSLRootCert: filepath.Join(dir, "none.pem")})
	if err == nil || !strings.Contains(err.Error(), "none.pem") {
		t.Errorf("a missing file: got %v, want its name", err)
	}
}

// clientCertificate writes a certificate and its key under a password.
func clientCertificate(t *testing.T, dir, password string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 libpq's sslpassword is for keys of this format
	block, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", der, []byte(password), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: block} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// leaky are connection strings with SECRET where a password could be, well
// and badly written.
var leaky = []string{
	"postgres://u:SECRET@127.0.0.1:1/db",
	"postgresql://u:SECRET@127.0.0.1:1/db",
	"postgres://:SECRET@127.0.0.1:1/db",
	"postgres://u:SECRET@127.0.0.1:1",
	"postgres://u:SECRET@[::1]:1/db",
	"postgres://u:SECRET@127.0.0.1:1,127.0.0.1:2/db",
	"postgres://u:SECRET@%2Ftmp%2Fnowhere/db",
	"postgres://u:a/SECRET@127.0.0.1:1/db",
	"postgres://u:1/SECRET@127.0.0.1:1/db",
	"postgres://u:1/SECRET@127.0.0.1:1/db?sslmode=disable",
	"postgres://u:1/SEC/RETSECRET@127.0.0.1:1/db",
	"postgres://u:a?SECRET@127.0.0.1:1/db",
	"postgres://u:1?SECRET@127.0.0.1:1/db",
	"postgres://u:1?SECRET=a@127.0.0.1:1/db",
	"postgres://127.0.0.1:1/?SECRET@127.0.0.1:1/db",
	"postgres://127.0.0.1:1/?SECRET=a@127.0.0.1:1/db",
	"postgres://127.0.0.1:1/x?a=SECRET@127.0.0.1:1/db",
	"postgres://127.0.0.1:1/x?sslmode=SECRET@h",
	"postgres://127.0.0.1:1/x?target_session_attrs=SECRET@h",
	"postgres://127.0.0.1:1/x?min_protocol_version=SECRET@h",
	"postgres://u:a#SECRET@127.0.0.1:1/db",
	"postgres://u:1#SECRET@127.0.0.1:1/db",
	"postgres://u:1/#SECRET@127.0.0.1:1/db",
	"postgres://u:a@SECRET@127.0.0.1:1/db",
	"postgres://u:SECRET@b@127.0.0.1:1/db",
	"postgres://u:a@SECRET:1@127.0.0.1:1/db",
	"postgres://u:a:SECRET@127.0.0.1:1/db",
	"postgres://u:SECRET:1@127.0.0.1:1/db",
	"postgres://u:SECRET SECRET@127.0.0.1:1/db",
	"postgres://u:SECRET%@127.0.0.1:1/db",
	"postgres://u:%zzSECRET@127.0.0.1:1/db",
	"postgres://u:`: SECRET@127.0.0.1:1/db",
	"postgres://u:a/`: SECRET@127.0.0.1:1/db",
	"postgres://u:`: SECRET%zz@127.0.0.1:1/db",
	"postgres://u%`: SECRET (x)@127.0.0.1:1/db",
	"postgres://u:SECRET\\@127.0.0.1:1/db",
	"postgres://u:SECRET\n@127.0.0.1:1/db",
	"postgres://u:SECRET\x00@127.0.0.1:1/db",
	"postgres://u:[SECRET@127.0.0.1:1/db",
	"postgres://u:SECRET]@127.0.0.1:1/db",
	"postgres://u:SECRET@127.0.0.1:nan/db",
	"postgres://u:SECRET@127.0.0.1:99999/db",
	"postgres://u:SECRET@",
	"postgres://u:SECRET",
	"postgres://127.0.0.1:1/db?password=SECRET",
	"postgres://127.0.0.1:1/db?user=u&password=SECRET&sslmode=disable",
	"postgres://127.0.0.1:1/db?pass%77ord=SECRET",
	"postgres://127.0.0.1:1/db?password=SECRET=SECRET",
	"postgres://127.0.0.1:1/db?password=a&SECRET",
	"postgres://127.0.0.1:1/db?sslpassword=SECRET",
	"postgres://127.0.0.1:1/db?sslmode=require&sslcert=/none&sslkey=/none&sslpassword=SECRET",
	"postgres://127.0.0.1:1/db?Password=SECRET",
	"POSTGRES://u:SECRET@127.0.0.1:1/db",
	" postgres://u:SECRET@127.0.0.1:1/db",
	"postgres:/u:SECRET@127.0.0.1:1/db",
	"postgres:u:SECRET@127.0.0.1:1/db",
	"postgresql+ssl://u:SECRET@127.0.0.1:1/db",
	"jdbc:postgresql://127.0.0.1:1/db?password=SECRET",
	"mysql://u:SECRET@127.0.0.1:1/db",
	"u:SECRET@127.0.0.1:1/db",
	"host=127.0.0.1 port=1 user=u password=SECRET",
	"host=127.0.0.1 port=1 password = SECRET",
	"host=127.0.0.1 port=1 password='SECRET'",
	"host=127.0.0.1 port=1 password='a SECRET'",
	"host=127.0.0.1 port=1 password='a\\' SECRET'",
	"host=127.0.0.1 port=1 password=a SECRET",
	"host=127.0.0.1 port=1 password='a' SECRET",
	"host=127.0.0.1 port=1 password=a' SECRET=b",
	"host=127.0.0.1 port=1 password='SECRET",
	"host=127.0.0.1 port=1 password='a'b SECRET'",
	"host=127.0.0.1 port=1 password=\"a SECRET\"",
	"host=127.0.0.1 port=1 password:SECRET",
	"host=127.0.0.1 port=nan password=SECRET",
	"host=127.0.0.1 port=1 sslpassword=SECRET",
	"host=127.0.0.1 port=1 sslpassword='`: SECRET' target_session_attrs=nan",
	"password=SECRET\x00",
	"SECRET",
}

func TestNoSecretIsEverShown(t *testing.T) {
	t.Parallel()
	type nested struct {
		Config pgdbm.Config
		URL    pgdbm.URL
	}
	for _, url := range leaky {
		u, cfg := pgdbm.URL(url), pgdbm.Config{URL: url, Password: "SECRET", SSLPassword: "SECRET"}
		for _, v := range []any{u, &u, cfg, &cfg, []pgdbm.URL{u}, []pgdbm.Config{cfg}, nested{cfg, u}, &nested{cfg, u},
			map[string]any{"u": u, "c": cfg}, pgdbm.Source(cfg), pgdbm.Source(u)} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
				if got := fmt.Sprintf(verb, v); shows(got) {
					t.Errorf("%s of %T of %q: %s", verb, v, url, got)
				}
			}
		}
		for _, got := range []string{u.String(), u.GoString(), cfg.String(), cfg.GoString(), shown(u), shown(cfg), shown(&cfg), shown(&u)} {
			if shows(got) {
				t.Errorf("%q: %s", url, got)
			}
		}
	}
}

func TestNoSecretIsInAnErrorOrALogOfOpen(t *testing.T) {
	t.Parallel()
	for _, url := range leaky {
		t.Run(fmt.Sprintf("%q", url), func(t *testing.T) {
			t.Parallel()
			var log logRecorder
			for _, cfg := range []pgdbm.Config{
				{URL: url},
				{URL: url, Password: "SECRET", SSLPassword: "SECRET"},
				{URL: url, Host: "127.0.0.1", Port: 1},
			} {
				cfg.Logger = slog.New(&log)
				cfg.ConnectTimeout = time.Second
				cfg.Retry = pgdbm.Retry{Attempts: 2, Backoff: time.Millisecond}
				pool, err := pgdbm.Open(t.Context(), cfg)
				if err == nil {
					pool.Close()
					t.Fatal("opened")
				}
				for _, verb := range []string{"%v", "%+v", "%s", "%q"} {
					if got := fmt.Sprintf(verb, err); shows(got) {
						t.Errorf("%s", got)
					}
				}
				// What a careless caller would log.
				if got := shown(err); shows(got) {
					t.Errorf("logged: %s", got)
				}
				_, err = pgdbm.Attach(t.Context(), cfg, shop)
				if shows(err.Error()) {
					t.Errorf("Attach: %v", err)
				}
			}
			log.mu.Lock()
			defer log.mu.Unlock()
			for _, text := range log.texts {
				if shows(text) {
					t.Errorf("log: %s", text)
				}
			}
		})
	}
}

func shows(text string) bool {
	return strings.Contains(text, "SECRET") || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", "SECRET"))
}

// shown is v as slog prints it, as text and as JSON.
func shown(v any) string {
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", slog.Group("g", "v", v))
	return b.String()
}

func TestConfigAndURLShowWhereTheyLead(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"postgres://u:p@db.example.com:5433/shop?sslmode=disable": "postgres://u@db.example.com:5433/shop",
		"postgresql://db.example.com/shop":                        "postgresql://db.example.com/shop",
		"host=x password=y":                                       "(keyword/value string)",
		"postgres://u:a/b@h/x":                                    "(URL that cannot be parsed)",
		"":                                                        "",
	} {
		if got := pgdbm.URL(url).String(); got != want {
			t.Errorf("%q: got %q, want %q", url, got, want)
		}
	}
	cfg := pgdbm.Config{URL: "postgres://u:p@h/x", Host: "other", Port: 7, Database: "d", User: "v", Password: "p", Schema: "s", MaxConns: 3}
	const want = "pgdbm.Config{URL: postgres://u@h/x, Host: other, Port: 7, Database: d, User: v, Schema: s, MaxConns: 3}"
	if got := cfg.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := (pgdbm.Config{}).String(); got != "pgdbm.Config{}" {
		t.Errorf("zero Config: %s", got)
	}
}

func TestAParseErrorStillSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"postgres://u:p@127.0.0.1:nan/db":           "invalid port",
		"postgres://127.0.0.1/db?sslmode=sometimes": "TLS",
		"host=x nonsense":                           "keyword/value",
		"postgres://127.0.0.1/db?pool_max_conns=no": "pool_max_conns",
	} {
		_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url})
		if err == nil || !strings.HasPrefix(err.Error(), "pgdbm: open: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", url, err, want)
		}
	}
}

// An "@" behind the host is what an unescaped "/" or "@" in the password leaves
// there. In a parameter it may well be meant.
func TestAnAtSignBehindTheHostIsRefused(t *testing.T) {
	t.Parallel()
	server := listen(t, refuse("28000"))
	for _, rest := range []string{"a@127.0.0.1:%d/x", "127.0.0.1:%d/a@x", "127.0.0.1:%d/x/y@z/"} {
		url := "postgres://u:p@" + fmt.Sprintf(rest, server.port())
		if _, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url}); err == nil || !strings.Contains(err.Error(), "unescaped @") {
			t.Errorf("%s: got %v", url, err)
		}
	}
	if n := server.attempts(); n != 0 {
		t.Errorf("connected %d times", n)
	}
	_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: fmt.Sprintf("postgres://127.0.0.1:%d/a%%40b?user=me@tenant&sslmode=disable", server.port())})
	wantState(t, err, "28000")
	if params, _ := server.first(t); params["user"] != "me@tenant" || params["database"] != "a@b" {
		t.Errorf("startup %v", params)
	}
}

func TestASilentServerIsGivenUpAfterTheConnectTimeout(t *testing.T) {
	t.Parallel()
	server := listen(t, silence)
	_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: server.url(), ConnectTimeout: 50 * time.Millisecond, Retry: pgdbm.Retry{Attempts: 1}})
	var ce *pgconn.ConnectError
	if !errors.As(err, &ce) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
