package pgdbm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
)

// A password stays secret whatever characters surround it, escaped or not: in
// what prints, in what is refused, and in the names that a connection error
// shows.
func FuzzPasswordsAreNotShown(f *testing.F) {
	const secret = "S3cretWord"
	for _, s := range []string{"", "p", "@", "/", "?", "#", ":", "%", "%40", "?a=b", "/x@y", "1/", "1#", "'", `\`, " ", "&x=", "=", "a@b/c?d"} {
		f.Add(s, "", "sslmode=disable")
		f.Add("", s, "")
		f.Add("1", s, "application_name=x")
	}
	f.Fuzz(func(t *testing.T, before, after, query string) {
		if strings.Contains(before+after+query, secret) {
			t.Skip()
		}
		text := "postgres://me:" + before + secret + after + "@db.example:5432/main"
		if query != "" {
			text += "?" + query
		}
		cfg := pgdbm.Config{URL: text}
		target, err := pgdbm.ParseConfig(cfg)
		for name, shown := range map[string]string{
			"URL":    fmt.Sprintf("%v %+v %#v %s %q", pgdbm.URL(text), pgdbm.URL(text), pgdbm.URL(text), pgdbm.URL(text), pgdbm.URL(text)),
			"Config": fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, cfg),
			"error":  fmt.Sprint(err),
			"target": target,
		} {
			if strings.Contains(shown, secret) {
				t.Errorf("%s of %q shows the password: %s", name, text, shown)
			}
		}
	})
}
