package projectfile

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// settings are the keys of an environment.
type settings struct {
	URL              string `toml:"url"`
	ConnectionString string `toml:"connection_string"`
	Host             string `toml:"host"`
	Port             uint16 `toml:"port"`
	Database         string `toml:"database"`
	User             string `toml:"user"`
	Password         string `toml:"password"`
	Schema           string `toml:"schema"`
	SSLEnabled       *bool  `toml:"ssl_enabled"`
	SSLMode          string `toml:"ssl_mode"`
	SSLCAFile        string `toml:"ssl_ca_file"`
	SSLCertFile      string `toml:"ssl_cert_file"`
	SSLKeyFile       string `toml:"ssl_key_file"`
	Production       *bool  `toml:"production"`
}

// Environment is an [environments.NAME]. In its texts ${VAR} stands for a variable
// of the process, which must have a value when it is needed; $${ is ${.
type Environment struct {
	Name string
	// Production says that what destroys data wants the environment's name: the
	// key says so, else the name does.
	Production bool

	file *File
	raw  *settings
}

func newEnvironment(f *File, name string, raw *settings) *Environment {
	e := &Environment{Name: name, Production: strings.EqualFold(name, "prod") || strings.EqualFold(name, "production"), file: f, raw: raw}
	if raw.Production != nil {
		e.Production = *raw.Production
	}
	return e
}

// Environment returns the environment of a name, or nil.
func (f *File) Environment(name string) *Environment {
	for _, e := range f.Environments {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// ErrNoEnvironment says that the file has no environment of a name, which the
// file itself asks for or, with a source, something else.
func (f *File) ErrNoEnvironment(source, name string) error {
	var names []string
	for _, e := range f.Environments {
		names = append(names, e.Name)
	}
	there := "there are none"
	if len(names) > 0 {
		there = "there are " + strings.Join(names, ", ")
	}
	if source == "" {
		return f.errorAt([]string{"project", "default_env"}, "project.default_env: no [environments.%s]; %s", name, there)
	}
	return fmt.Errorf("%s: %w", source, &Error{Path: f.Path, Text: fmt.Sprintf("no [environments.%s]; %s", name, there)})
}

// errorAt is an error at a key of the environment, or at the whole.
func (e *Environment) errorAt(key, format string, args ...any) error {
	path := []string{"environments", e.Name}
	if key != "" {
		path = append(path, key)
	}
	return e.file.errorAt(path, "%s: "+format, append([]any{strings.Join(path, ".")}, args...)...)
}

var variable = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}`)

// userinfo is what stands before the host of a URL.
var userinfo = regexp.MustCompile(`^postgres(?:ql)?://([^/]*)@`)

// checkUserinfo refuses variables before the host of a URL that would end it there, or
// that mean something else than they say.
func (e *Environment) checkUserinfo(key, value string) error {
	const advice = "has no place in a URL as it is: write host, port, database, user and password as keys of their own"
	if m := userinfo.FindStringSubmatch(value); m != nil {
		for _, ref := range variable.FindAllStringSubmatch(m[1], -1) {
			v := os.Getenv(ref[1])
			if _, err := url.PathUnescape(v); err != nil || strings.ContainsAny(v, "/?#") {
				return e.errorAt(key, "what variable %s holds %s", ref[1], advice)
			}
		}
	}
	return nil
}

// sslModes are libpq's.
var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// expand puts variables into the value of a key.
func (e *Environment) expand(key, value string) (string, error) {
	var err error
	if strings.Contains(variable.ReplaceAllString(value, ""), "${") {
		return "", e.errorAt(key, "a variable begins with ${ and does not end with }")
	}
	text := variable.ReplaceAllStringFunc(value, func(ref string) string {
		if ref == "$${" {
			return "${"
		}
		name := ref[2 : len(ref)-1]
		v := os.Getenv(name)
		if v == "" && err == nil {
			err = e.errorAt(key, "variable %s is not set", name)
		}
		return v
	})
	return text, err
}

// Schema returns the schema of modules that have none of their own; "" when there
// is none, or e is nil.
func (e *Environment) Schema() (string, error) {
	if e == nil || e.raw.Schema == "" {
		return "", nil
	}
	schema, err := e.expand("schema", e.raw.Schema)
	if err != nil {
		return "", err
	}
	if err := sqltemplate.ValidateSchema(schema); err != nil {
		return "", e.errorAt("schema", "%v", err)
	}
	return schema, nil
}

// Config returns where the database is: url, else connection_string, else the
// parts.
func (e *Environment) Config() (pgdbm.Config, error) {
	var c pgdbm.Config
	var key string
	r := e.raw
	type part struct {
		key, value string
		to         *string
	}
	var parts []part
	switch {
	case r.URL != "":
		key, parts = "url", []part{{"url", r.URL, &c.URL}}
	case r.ConnectionString != "":
		key, parts = "connection_string", []part{{"connection_string", r.ConnectionString, &c.URL}}
	case r.Host == "" || r.Database == "":
		return c, e.errorAt("", "neither url nor host and database")
	default:
		c.Port = 5432 // not that of the process's environment
		if r.Port != 0 {
			c.Port = r.Port
		}
		parts = []part{{"host", r.Host, &c.Host}, {"database", r.Database, &c.Database}, {"user", r.User, &c.User}, {"password", r.Password, &c.Password}}
	}
	if r.SSLEnabled == nil || *r.SSLEnabled {
		parts = append(parts, part{"ssl_mode", r.SSLMode, &c.SSLMode}, part{"ssl_ca_file", r.SSLCAFile, &c.SSLRootCert},
			part{"ssl_cert_file", r.SSLCertFile, &c.SSLCert}, part{"ssl_key_file", r.SSLKeyFile, &c.SSLKey})
	}
	for _, p := range parts {
		var err error
		if *p.to, err = e.expand(p.key, p.value); err != nil {
			return c, err
		}
	}
	if c.SSLMode != "" && !slices.Contains(sslModes, c.SSLMode) {
		return c, e.errorAt("ssl_mode", "%q is none of %s", c.SSLMode, strings.Join(sslModes, ", "))
	}
	if key != "" {
		if err := e.checkUserinfo(key, parts[0].value); err != nil {
			return c, err
		}
	}
	if key != "" && c.URL == "" { // else the process's environment would say which database
		return c, e.errorAt(key, "is empty")
	}
	if r.SSLEnabled != nil && *r.SSLEnabled && c.SSLMode == "" {
		c.SSLMode = "require"
	}
	for _, file := range []*string{&c.SSLRootCert, &c.SSLCert, &c.SSLKey} {
		*file = e.file.beside(*file)
	}
	return c, nil
}
