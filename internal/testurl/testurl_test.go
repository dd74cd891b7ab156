package testurl_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/testurl"
)

func TestOnlyTheDatabaseNameOfATargetIsReplaced(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE"} {
		t.Setenv(name, "1") // must have no say
	}
	for _, tt := range []struct {
		text                                 string
		host                                 string
		port                                 uint16
		user, password, ownDatabase, appName string
	}{
		{"postgres://me:p%40ss%2F+x@db.example:5433/main?application_name=a%20b&sslmode=disable", "db.example", 5433, "me", "p@ss/+x", "main", "a b"},
		{"postgresql://me@db.example", "db.example", 5432, "me", "", "postgres", ""},
		{"postgres://me@/?host=/run/pg&dbname=main", "/run/pg", 5432, "me", "", "main", ""},
		{"postgres://me@[::1]:5433/ma%2Fin", "::1", 5433, "me", "", "ma/in", ""},
		{"postgres://me@one:1,two:2/main", "one", 1, "me", "", "main", ""},
		{"host=db.example user=me dbname=main", "db.example", 5432, "me", "", "main", ""},
		{` host = '/run/my pg' port=5433 user=me password='it\'s \\ "é"' database=main `, "/run/my pg", 5433, "me", `it's \ "é"`, "main", ""},
		{`host=h user=me password=a\ b application_name=''`, "h", 5432, "me", "a b", "postgres", ""},
	} {
		for database, want := range map[string]string{"": tt.ownDatabase, "other one?": "other one?"} {
			target, err := testurl.Parse(tt.text)
			if err != nil {
				t.Errorf("%s: %v", tt.text, err)
				continue
			}
			got := target.URL(database)
			c, err := pgx.ParseConfig(got)
			if err != nil {
				t.Errorf("%s: %s: %v", tt.text, got, err)
				continue
			}
			if c.Host != tt.host || c.Port != tt.port || c.User != tt.user || c.Password != tt.password ||
				c.Database != want || c.RuntimeParams["application_name"] != tt.appName {
				t.Errorf("%s: %s: %q:%d %q %q %q %q", tt.text, got, c.Host, c.Port, c.User, c.Password, c.Database, c.RuntimeParams["application_name"])
			}
		}
	}
}

func TestBothFormsOfATargetAreOne(t *testing.T) {
	t.Parallel()
	a, err := testurl.Parse("postgres://me:it's@/main?host=/run/my%20pg&port=5433")
	if err != nil {
		t.Fatal(err)
	}
	b, err := testurl.Parse(`user=me password='it\'s' dbname=main host='/run/my pg' port=5433`)
	if err != nil || a.URL("x") != b.URL("x") {
		t.Errorf("%s and %s, %v", a.URL("x"), b.URL("x"), err)
	}
}

func TestBadTargetIsAnErrorWithoutItsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://me:secret@h:x/":    "not a URL that net/url can read",
		"postgres://me:secret@/main":   "names no host",
		"user=me password=secret":      "names no host",
		"host=h password='secret":      "password: quote is not closed",
		"mysql://me:secret@h/main":     "neither a URL nor keyword=value pairs",
		"host=h secret dbname=another": "neither a URL nor keyword=value pairs",
	} {
		if _, err := testurl.Parse(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
