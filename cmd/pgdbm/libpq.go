package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgdbm/pgdbm"
)

// libpqText is where a Config leads, as one text. Of the fields it has those that
// pgdbm.toml knows.
func libpqText(c pgdbm.Config) string {
	words := []word{{"host", c.Host}, {"dbname", c.Database}, {"user", c.User}, {"password", c.Password},
		{"sslmode", c.SSLMode}, {"sslrootcert", c.SSLRootCert}, {"sslcert", c.SSLCert}, {"sslkey", c.SSLKey}}
	if c.Port != 0 {
		words = append(words, word{"port", strconv.Itoa(int(c.Port))})
	}
	text := c.URL
	for _, w := range words {
		switch {
		case w.value == "":
		case isURL(text):
			sep := "?"
			if strings.Contains(text, "?") {
				sep = "&"
			}
			text += sep + w.name + "=" + strings.ReplaceAll(neturl.QueryEscape(w.value), "+", "%20") // libpq knows no +
		default:
			text = strings.TrimSpace(text + " " + w.String())
		}
	}
	return text
}

func isURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// word is a parameter of a connection.
type word struct{ name, value string }

func (w word) String() string {
	return w.name + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(w.value) + "'"
}

// A libpqTarget is where a program of PostgreSQL's is to connect to. Secrets are
// not in its arguments, which other users of the machine can read.
type libpqTarget struct {
	words    []word // for an argument, --dbname
	password string // for the environment, PGPASSWORD
	secrets  []word // for a file, since there is no variable for them
}

// newLibpqTarget reads a connection string, in either form, as pgx does. What only
// pgx knows is left out, and settings of the session become options, since libpq
// takes no others. No error quotes the text.
func newLibpqTarget(text string) (*libpqTarget, error) {
	parse := keywordWords
	if isURL(text) {
		parse = urlWords
	}
	all, err := parse(text)
	if err != nil {
		return nil, err
	}
	values := make(map[string]string)
	var names []string
	for _, w := range all {
		if w.name == "database" {
			w.name = "dbname"
		}
		if _, twice := values[w.name]; !twice {
			names = append(names, w.name)
		}
		values[w.name] = w.value // the last one wins
	}
	t, options := new(libpqTarget), []string(nil)
	for _, name := range names {
		w := word{name, values[name]}
		switch {
		case name == "password":
			t.password = w.value
		case name == "sslpassword":
			t.secrets = append(t.secrets, w)
		case name == "options":
			options = append(options, w.value)
		case slices.Contains(libpqWords, name):
			t.words = append(t.words, w)
		case strings.HasPrefix(name, "pool_"), slices.Contains(pgxWords, name):
		default:
			options = append(options, "-c "+name+"="+strings.NewReplacer(`\`, `\\`, " ", `\ `).Replace(w.value))
		}
	}
	if len(options) > 0 {
		t.words = append(t.words, word{"options", strings.Join(options, " ")})
	}
	if len(t.secrets) > 0 && values["service"] != "" {
		return nil, errors.New("sslpassword beside service: write it into the service file")
	}
	return t, nil
}

var (
	// Of libpq's parameters those that pgx knows as such, and settings that libpq takes.
	libpqWords = []string{"host", "port", "dbname", "user", "passfile", "connect_timeout", "sslmode", "sslkey", "sslcert", "sslcertmode",
		"sslrootcert", "sslnegotiation", "sslsni", "krbsrvname", "target_session_attrs", "service", "min_protocol_version",
		"max_protocol_version", "channel_binding", "require_auth", "application_name", "client_encoding"}
	pgxWords = []string{"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity", "min_read_buffer_size",
		"krbspn", "servicefile"}
)

var errConnectionString = errors.New("connection string cannot be parsed")

func urlWords(text string) (words []word, err error) {
	u, err := neturl.Parse(text)
	if err != nil {
		return nil, errConnectionString // the cause may quote it
	}
	if u.User != nil {
		words = append(words, word{"user", u.User.Username()})
		if password, ok := u.User.Password(); ok {
			words = append(words, word{"password", password})
		}
	}
	var hosts, ports []string
	for _, host := range strings.Split(u.Host, ",") {
		port := ""
		if h, p, err := net.SplitHostPort(host); err == nil {
			host, port = h, p
		}
		hosts, ports = append(hosts, strings.Trim(host, "[]")), append(ports, port)
	}
	for _, w := range []word{{"host", strings.Join(hosts, ",")}, {"port", strings.Join(ports, ",")}, {"dbname", strings.TrimLeft(u.Path, "/")}} {
		if strings.Trim(w.value, ",") != "" {
			words = append(words, w)
		}
	}
	// Not u.Query, for which + is a space.
	for _, pair := range strings.Split(u.RawQuery, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := neturl.PathUnescape(name)
		if err != nil {
			return nil, errConnectionString
		}
		if value, err = neturl.PathUnescape(value); err != nil {
			return nil, errConnectionString
		}
		words = append(words, word{name, value})
	}
	return words, nil
}

func keywordWords(text string) (words []word, err error) {
	const space = " \t\n\r\v\f"
	for rest := strings.TrimLeft(text, space); rest != ""; rest = strings.TrimLeft(rest, space) {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, errConnectionString
		}
		rest = strings.TrimLeft(after, space)
		quoted := strings.HasPrefix(rest, "'")
		if quoted {
			rest = rest[1:]
		}
		var value strings.Builder
		i := 0
		for ; i < len(rest); i++ {
			if quoted && rest[i] == '\'' || !quoted && strings.IndexByte(space, rest[i]) >= 0 {
				break
			}
			if rest[i] == '\\' && i+1 < len(rest) {
				i++
			}
			value.WriteByte(rest[i])
		}
		if quoted && i == len(rest) {
			return nil, errConnectionString
		}
		if rest = rest[i:]; quoted {
			rest = rest[1:]
		}
		words = append(words, word{strings.TrimSpace(name), value.String()})
	}
	return words, nil
}

// run runs a program of PostgreSQL's, which is led to the target by --dbname, and
// returns what it wrote. When ctx ends the program is asked to end, and so ends its
// statement in the server.
func (t *libpqTarget) run(ctx context.Context, name string, args ...string) (string, error) {
	program, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	words, env := slices.Clone(t.words), os.Environ()
	if t.password != "" {
		env = append(env, "PGPASSWORD="+t.password)
	}
	if len(t.secrets) > 0 {
		file, remove, err := t.serviceFile()
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		defer remove()
		env, words = append(env, "PGSERVICEFILE="+file), append(words, word{"service", "pgdbm"})
	}
	var address []string
	for _, w := range words {
		address = append(address, w.String())
	}
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append([]string{"--dbname=" + strings.Join(address, " ")}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &complaints, env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		text := strings.TrimSpace(complaints.String())
		if text == "" {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		return "", fmt.Errorf("%s: %w: %s", name, err, text)
	}
	return out.String(), nil
}

// serviceFile writes the secrets into a file that nobody else can read.
func (t *libpqTarget) serviceFile() (name string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "pgdbm-service-")
	if err != nil {
		return "", nil, err
	}
	text := "[pgdbm]\n"
	for _, w := range t.secrets {
		if strings.ContainsAny(w.value, "\r\n") || strings.TrimSpace(w.value) != w.value {
			return "", nil, errors.Join(fmt.Errorf("%s: it cannot be passed on with a line end in it, or space around it", w.name), os.RemoveAll(dir))
		}
		text += w.name + "=" + w.value + "\n"
	}
	name = filepath.Join(dir, "pg_service.conf")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return name, func() { os.RemoveAll(dir) }, nil
}
