package projectfile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample has every key that the Python pgdbm knows.
const sample = `# a comment
[project]
name = "my_project"
default_env = "dev"

[database]
migrations_table = "schema_migrations"

[environments.dev]
host = "localhost"
port = 5433
database = "app_dev"
user = "postgres"
password = "se${PGDBM_NOT}cret"
schema = "public"

[environments.test]
url = "postgresql://localhost/app_test"
schema = "test"

[environments.prod]
connection_string = "${PGDBM_NOT_SET_URL}"
schema = "production"
ssl_enabled = true
ssl_mode = "verify-full"
ssl_ca_file = "/ca.pem"
ssl_cert_file = "client.pem"
ssl_key_file = "client.key"

[modules.billing]
migrations_path = "billing"
mode = "library"
depends_on = ["users"]

[modules.users]
migrations_path = "users/migrations"
schema = "people"
mode = "dual"
depends_on = []

[shared_pool]
min_connections = 50
max_connections = 100
modules = ["users", "billing"]
`

func TestAFileOfThePythonPgdbmIsReadAsItIs(t *testing.T) {
	t.Parallel()
	f, err := Parse("conf/pgdbm.toml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "my_project" || f.DefaultEnv != "dev" || f.MigrationsTable != "schema_migrations" {
		t.Errorf("%+v", f)
	}
	var names []string
	for _, e := range f.Environments {
		names = append(names, e.Name)
	}
	if want := []string{"dev", "test", "prod"}; !slices.Equal(names, want) {
		t.Errorf("environments %v, want %v", names, want)
	}
	if f.Environment("dev").Production || !f.Environment("prod").Production {
		t.Error("production is told wrongly")
	}
	if f, err := Parse("f.toml", []byte("\ufeff[environments.PROD]\n[environments.Production]\n")); err != nil || !f.Environments[0].Production || !f.Environments[1].Production {
		t.Errorf("production in capitals: %v", err)
	}
	order, err := f.InOrder()
	if err != nil || len(order) != 2 || order[0].Name != "users" || order[1].Name != "billing" {
		t.Errorf("order %+v, %v", order, err)
	}
	if got, want := order[0].Path(), filepath.Join("conf", "users", "migrations"); got != want {
		t.Errorf("path %s, want %s", got, want)
	}
	for _, c := range []struct{ env, users, billing string }{{"dev", "people", "public"}, {"test", "people", "test"}, {"", "people", "billing"}} {
		e := f.Environment(c.env)
		users, err := f.Module("users").SchemaIn(e)
		if err != nil || users != c.users {
			t.Errorf("%s: schema %s, %v", c.env, users, err)
		}
		if billing, err := f.Module("billing").SchemaIn(e); err != nil || billing != c.billing {
			t.Errorf("%s: schema %s, %v", c.env, billing, err)
		}
	}
	c, err := f.Environment("test").Config()
	if err != nil || c.URL != "postgresql://localhost/app_test" || c.Host != "" || c.Port != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	t.Parallel()
	module := "[modules.users]\nmigrations_path = \"x\"\n"
	for _, c := range []struct{ text, want string }{
		{"[project]\nname = \"x\"\nnmae = 1\n[databse]\n", "f.toml:3:1: unknown key project.nmae\nf.toml:4:2: unknown key databse"},
		{"[environments.dev]\n  hots = \"x\"\n", "f.toml:2:3: unknown key environments.dev.hots"},
		{module + "path = 'x'\n", "f.toml:3:1: unknown key modules.users.path"},
		{"[modules]\nusers = { migrations_path = 'x', moed = 'dual' }\n", "f.toml:2:34: unknown key modules.users.moed"},
		{"[environments.dev]\npassword = secret\n", "f.toml:2:12: "},
		{"[environments.dev]\nport = \"secret\"\n", "f.toml:2:8: environments.dev.port: not a value of the kind that belongs there"},
		{"[environments.dev]\nport = 70000\n", "f.toml:2:8: environments.dev.port: is not between 0 and 65535"},
		{"[environments]\ndev = \"secret\"\n", "f.toml:2:7: environments.dev: not a value of the kind that belongs there"},
		{module + module, "f.toml:3:"},
		{"[modules.Users]\nmigrations_path = 'x'\n", "f.toml:1:10: modules.Users: "},
		{"[modules.users]\n", "f.toml:1:10: modules.users: migrations_path is missing"},
		{module + "schema = \"pg_x\"\n", "f.toml:3:1: modules.users.schema: "},
		{module + "mode = \"both\"\n", `f.toml:3:1: modules.users.mode: "both" is none of standalone, library, dual`},
		{module + "depends_on = [\n  \"user\",\n]\n", "f.toml:4:3: modules.users.depends_on: no module user; there are users"},
		{module + "depends_on = [\"users\"]\n", "f.toml:3:15: modules depend on each other: users -> users"},
		{module + "depends_on = [\"b\"]\n[modules.b]\nmigrations_path = 'x'\ndepends_on = [ 'c', 'users' ]\n[modules.c]\nmigrations_path = 'x'\n",
			"f.toml:6:21: modules depend on each other: users -> b -> users"},
		{module + "depends_on = [\"b\", \"b\"]\n[modules.b]\nmigrations_path = 'x'\n", "f.toml:3:20: modules.users.depends_on: b is there twice"},
		{module + "[tenants]\nmodules = [\"users\", \"user\"]\n", "f.toml:4:21: tenants.modules: no module user; there are users"},
		{module + "[tenants]\nmodules = [\"users\", \"users\"]\n", "f.toml:4:21: tenants.modules: users is there twice"},
		{"[tenants]\nprefx = 't_'\n", "f.toml:2:1: unknown key tenants.prefx"},
		{"[shared_pool]\nmodules = [\"x\"]\n", "f.toml:2:12: shared_pool.modules: no module x; there are none"},
		{"[shared_pool]\nmin_connections = 5\nmax_connections = 4\n", "f.toml:2:1: shared_pool.min_connections: is above max_connections"},
		{"[shared_pool]\nmax_connections = -1\n", "f.toml:2:1: shared_pool.max_connections: is negative"},
	} {
		_, err := Parse("f.toml", []byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s\n%v, want %s", c.text, err, c.want)
		}
	}
}

func TestMistakesOfAnEnvironmentAreNamedWithTheirKey(t *testing.T) {
	for name, value := range map[string]string{"SLASH": "s3cret/x", "HASH": "s3cret#", "PERCENT": "s3cret%", "AT": "s3cret@x", "ENCODED": "s3cret%2F"} {
		t.Setenv(name, value)
	}
	for text, want := range map[string]string{
		"ssl_mode = 'reqire'\nhost = 'h'\ndatabase = 'd'":     `f.toml:2:1: environments.dev.ssl_mode: "reqire" is none of disable, allow, prefer, require, verify-ca, verify-full`,
		"host = '${SHOP'\ndatabase = 'd'":                     "f.toml:2:1: environments.dev.host: a variable begins with ${ and does not end with }",
		"host = 'h'\ndatabase = 'd'\npassword = '${AT}${x'":   "f.toml:4:1: environments.dev.password: a variable begins with ${ and does not end with }",
		"url = 'postgres://u:${SLASH}@h/d'":                   "f.toml:2:1: environments.dev.url: what variable SLASH holds has no place in a URL",
		"connection_string = 'postgresql://u:${HASH}@h/d'":    "f.toml:2:1: environments.dev.connection_string: what variable HASH holds has no place in a URL",
		"url = 'postgres://u:${PERCENT}@h/d'":                 "f.toml:2:1: environments.dev.url: what variable PERCENT holds has no place in a URL",
		"url = 'postgres://u:${AT}@h/d'":                      "",
		"url = 'postgres://u:${ENCODED}@h/d'":                 "",
		"host = 'h'\ndatabase = 'd'\npassword = '${PERCENT}'": "",
		"host = 'h'\ndatabase = 'd'\npassword = '$${x'":       "",
	} {
		f, err := Parse("f.toml", []byte("[environments.dev]\n"+text+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Environment("dev").Config()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestVariablesStandInTextsOfEnvironments(t *testing.T) {
	t.Setenv("PGDBM_T_HOST", "db.example")
	t.Setenv("PGDBM_T_PASSWORD", "${x}'%")
	t.Setenv("PGDBM_T_EMPTY", "")
	parse := func(text string) (*Environment, error) {
		f, err := Parse("f.toml", []byte("[environments.e]\n"+text))
		if err != nil {
			return nil, err
		}
		return f.Environment("e"), nil
	}
	e, err := parse("host = '${PGDBM_T_HOST}'\ndatabase = 'a$${b}'\nuser = 'u'\npassword = '${PGDBM_T_PASSWORD}'\nssl_enabled = true\nssl_key_file = 'k'")
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Config()
	if err != nil || c.Host != "db.example" || c.Database != "a${b}" || c.Password != "${x}'%" || c.Port != 5432 || c.SSLMode != "require" || c.SSLKey != "k" {
		t.Errorf("%#v, %v", c, err)
	}
	for text, want := range map[string]string{
		"ssl_mode = 'verify-full'":                      "verify-full",
		"ssl_mode = 'verify-full'\nssl_enabled = false": "",
		"ssl_mode = 'verify-full'\nssl_enabled = true":  "verify-full",
		"ssl_enabled = false":                           "",
		"ssl_enabled = true":                            "require",
		"connection_string = 'postgres://second/'":      "",
	} {
		e, err := parse("url = 'postgres://first/'\n" + text)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := e.Config(); err != nil || c.SSLMode != want || c.URL != "postgres://first/" {
			t.Errorf("%s: %q, %v", text, c.SSLMode, err)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"url = 'postgres://secret@${PGDBM_T_NO}/x'", "f.toml:2:1: environments.e.url: variable PGDBM_T_NO is not set"},
		{"connection_string = '${PGDBM_T_EMPTY}'", "f.toml:2:1: environments.e.connection_string: variable PGDBM_T_EMPTY is not set"},
		{"host = 'h'", "f.toml:1:15: environments.e: neither url nor host and database"},
		{"host = 'h'\ndatabase = 'd'\npassword = '${PGDBM_T_NO}'", "f.toml:4:1: environments.e.password: variable PGDBM_T_NO is not set"},
	} {
		e, err := parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Config(); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if e, err = parse("schema = '${PGDBM_T_PASSWORD}'"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Schema(); err == nil || !strings.HasPrefix(err.Error(), "f.toml:2:1: environments.e.schema: ") {
		t.Error(err)
	}
}

func TestWithoutAnEnvironmentTheErrorSaysWhoAskedForIt(t *testing.T) {
	t.Parallel()
	f, err := Parse("f.toml", []byte("[project]\ndefault_env = 'x'\n[environments.dev]\n[environments.prod]\nproduction = false\n"))
	if err != nil {
		t.Fatal(err)
	}
	if f.Environment("prod").Production {
		t.Error("the key does not win over the name")
	}
	if got, want := f.ErrNoEnvironment("", "x").Error(), "f.toml:2:1: project.default_env: no [environments.x]; there are dev, prod"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := f.ErrNoEnvironment("--env", "y").Error(), "--env: f.toml: no [environments.y]; there are dev, prod"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTheFolderOfAModuleMustBeThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f.toml")
	if err := os.WriteFile(path, []byte("[modules.a]\nmigrations_path = 'm'\n[modules.b]\nmigrations_path = 'f.toml'\n[modules.c]\nmigrations_path = '.'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a": path + ":2:1: modules.a.migrations_path: no folder " + filepath.Join(dir, "m"),
		"b": path + ":4:1: modules.b.migrations_path: " + path + " is not a folder",
	} {
		if _, err := f.Module(name).Dir(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if got, err := f.Module("c").Dir(); err != nil || got != dir {
		t.Errorf("%s, %v", got, err)
	}
	want := path + ":6:1: modules.c.migrations_path: no *.sql in " + dir
	if _, err := f.Module("c").Migrations(); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "001_x.sql"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Module("c").Migrations(); err != nil || got != dir {
		t.Errorf("%s, %v", got, err)
	}
}

func TestTenantsHaveTheirModulesInOrder(t *testing.T) {
	t.Parallel()
	f, err := Parse("f.toml", []byte(`
[modules.bills]
migrations_path = "bills"
depends_on = ["shop"]
[modules.geo]
migrations_path = "geo"
[modules.shop]
migrations_path = "shop"
depends_on = ["geo"]
[tenants]
prefix = "customer_"
isolate = true
modules = ["bills", "shop"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if f.Tenants.Prefix != "customer_" || !f.Tenants.Isolate {
		t.Errorf("%+v", f.Tenants)
	}
	all, err := f.InOrder()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tenants bool
		want    string
	}{{true, "shop bills"}, {false, "geo"}} {
		var names []string
		for _, m := range all {
			if m.OfTenants == c.tenants {
				names = append(names, m.Name)
			}
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("of tenants %v: %s, want %s", c.tenants, got, c.want)
		}
	}
	if got, want := f.ErrPrefix(os.ErrInvalid).Error(), "f.toml:11:1: tenants.prefix: invalid argument"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
