package pgdbm

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// URL is a connection URL or keyword/value string; as a [Source] it is short
// for Config{URL: ...}. It prints without password and parameters.
type URL string

// String returns scheme, user, host and database of u. A keyword/value string
// is not shown, since what is secret in it cannot be told with certainty.
func (u URL) String() string {
	if u == "" {
		return ""
	}
	s := string(u)
	if !isURL(s) {
		return "(keyword/value string)"
	}
	_, rest, _ := strings.Cut(s, "://")
	parsed, err := url.Parse(s)
	// An "@" behind the authority is the sign of a password with an unescaped
	// "/", "?" or "#", whose first part would pass for a port.
	if i := strings.IndexAny(rest, "/?#"); err != nil || i >= 0 && strings.Contains(rest[i:], "@") {
		return "(URL that cannot be parsed)"
	}
	shown := url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}
	if parsed.User != nil {
		shown.User = url.User(parsed.User.Username())
	}
	return shown.String()
}

// GoString is String, so that %#v prints no secret either.
func (u URL) GoString() string { return u.String() }

// LogValue makes slog print u without secrets.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// connString puts the fields behind the URL's own parameters, where they win:
// as libpq does, pgx takes the last of several equal ones.
func (c Config) connString() string {
	type param struct{ name, value string }
	params := []param{
		{"host", c.Host}, {"user", c.User}, {"password", c.Password},
		{"sslmode", c.SSLMode}, {"sslrootcert", c.SSLRootCert}, {"sslcert", c.SSLCert},
		{"sslkey", c.SSLKey}, {"sslpassword", c.SSLPassword},
	}
	if c.Port != 0 {
		params = append(params, param{"port", strconv.Itoa(int(c.Port))})
	}
	params = append(params, param{"dbname", c.Database})

	if isURL(c.URL) {
		s, sep := c.URL, "?"
		switch rest := afterUser(s); {
		case strings.HasSuffix(rest, "?") || strings.HasSuffix(rest, "&"):
			sep = ""
		case strings.Contains(rest, "?"):
			sep = "&"
		}
		for _, p := range params {
			if p.value != "" {
				// pgx, as libpq, takes "+" for itself, not for a space.
				s += sep + p.name + "=" + strings.ReplaceAll(url.QueryEscape(p.value), "+", "%20")
				sep = "&"
			}
		}
		return s
	}
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	words := []string{c.URL}
	if f := strings.Fields(c.URL); len(f) > 0 && strings.IndexByte(f[len(f)-1], '=') == len(f[len(f)-1])-1 {
		words[0] += "''" // else the empty value would take what follows
	}
	for _, p := range params {
		if p.value != "" {
			words = append(words, p.name+"='"+quote.Replace(p.value)+"'")
		}
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

// asksFor reports whether connString has a parameter that pgxpool takes out.
func asksFor(connString, param string) bool {
	if !strings.Contains(connString, param) {
		return false
	}
	cc, err := pgx.ParseConfig(connString)
	return err == nil && cc.RuntimeParams[param] != ""
}

func isURL(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

// afterUser is what follows user and password in a URL. As libpq, pgx ends
// them at the first "@" before a "/".
func afterUser(s string) string {
	_, rest, _ := strings.Cut(s, "://")
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		rest = rest[i+1:]
	}
	return rest
}

// strayAt reports whether a URL has an "@" in its host or database: the sign
// of a password with an unescaped "@" or "/", which would be taken for one of
// those and end in error messages.
func strayAt(s string) bool {
	if !isURL(s) {
		return false
	}
	place, _, _ := strings.Cut(afterUser(s), "?")
	return strings.Contains(place, "@")
}

// parseError keeps the fact of a parse error and drops what could hold a
// secret: the connection string, and causes that quote parts of it. A password
// with an unescaped "/" is taken for a port, so even "invalid port" quotes it.
func parseError(err error) error {
	var pe *pgconn.ParseConfigError
	if !errors.As(err, &pe) {
		return errors.New("connection string cannot be parsed")
	}
	text := pe.Error()
	cause := errors.Unwrap(pe)
	if cause != nil {
		text = strings.TrimSuffix(text, " ("+cause.Error()+")")
	}
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	fact, _, _ := strings.Cut(text, ":") // a parameter's value follows
	if cause != nil && strings.Contains(fact, "TLS") {
		return fmt.Errorf("%s: %w", fact, cause)
	}
	return errors.New(fact)
}
