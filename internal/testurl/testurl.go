// Package testurl reads URLs of test servers, as of PGDBM_TEST_URL, without the
// libpq environment: that may name somebody's production.
package testurl

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os/user"
	"slices"
	"strings"
)

// Target is a server. All its parameters are in the URL's
// query, where neither a list of hosts nor a socket's path needs care.
type Target struct{ params map[string]string }

// Parse reads both forms that libpq knows. What is missing gets the value
// that it has without PG* variables, but a host must be named.
func Parse(text string) (Target, error) {
	parse := keywordParams
	if strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://") {
		parse = urlParams
	}
	params, err := parse(text)
	if err != nil {
		return Target{}, err // no text: it may hold a password
	}
	if params["host"] == "" {
		return Target{}, errors.New("names no host")
	}
	if params["user"] == "" {
		u, err := user.Current()
		if err != nil {
			return Target{}, fmt.Errorf("names no user: %w", err)
		}
		params["user"] = u.Username
	}
	for name, value := range map[string]string{"port": "5432", "dbname": "postgres", "sslmode": "prefer", "password": ""} {
		if _, ok := params[name]; !ok {
			params[name] = value
		}
	}
	return Target{params}, nil
}

// URL returns the server's URL with another database, or with its own for "".
func (t Target) URL(database string) string {
	if database == "" {
		database = t.params["dbname"]
	}
	query := url.Values{}
	for _, name := range slices.Sorted(maps.Keys(t.params)) {
		if name != "dbname" {
			query.Set(name, t.params[name])
		}
	}
	// A "+" for a space is not known to libpq.
	return "postgres:///" + url.PathEscape(database) + "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
}

func urlParams(text string) (map[string]string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("not a URL that net/url can read")
	}
	params := map[string]string{}
	if u.User != nil {
		params["user"] = u.User.Username()
		if password, ok := u.User.Password(); ok {
			params["password"] = password
		}
	}
	splitHosts(params, u.Host)
	if database := strings.TrimPrefix(u.Path, "/"); database != "" {
		params["dbname"] = database
	}
	for name, values := range u.Query() {
		params[canonical(name)] = values[0]
	}
	return params, nil
}

// splitHosts writes a list such as "a:1,[::1]:2" as libpq's two parameters.
func splitHosts(params map[string]string, list string) {
	if list == "" {
		return
	}
	var hosts, ports []string
	for item := range strings.SplitSeq(list, ",") {
		u := url.URL{Host: item}
		port := u.Port()
		if port == "" {
			port = "5432"
		}
		hosts, ports = append(hosts, u.Hostname()), append(ports, port)
	}
	params["host"], params["port"] = strings.Join(hosts, ","), strings.Join(ports, ",")
}

func canonical(name string) string {
	if name == "database" {
		return "dbname"
	}
	return name
}

// keywordParams reads "key = value" pairs; a value may be quoted with ', and a
// backslash takes the next byte as it is.
func keywordParams(text string) (map[string]string, error) {
	params := map[string]string{}
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimLeft(rest, " \t\r\n") {
		name, after, ok := strings.Cut(rest, "=")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t\r\n") {
			return nil, errors.New("neither a URL nor keyword=value pairs")
		}
		value, left, err := keywordValue(strings.TrimLeft(after, " \t\r\n"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		params[canonical(name)], rest = value, left
	}
	return params, nil
}

func keywordValue(text string) (value, rest string, err error) {
	quoted := strings.HasPrefix(text, "'")
	text = strings.TrimPrefix(text, "'")
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case quoted && c == '\'':
			return b.String(), text[i+1:], nil
		case !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
			return b.String(), text[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errors.New("quote is not closed")
	}
	return b.String(), "", nil
}

// Hosts returns the hosts and the folders of sockets that the URL names.
func (t Target) Hosts() []string { return strings.Split(t.params["host"], ",") }

// With returns t with a parameter added or replaced; an empty value removes it.
func (t Target) With(name, value string) Target {
	params := maps.Clone(t.params)
	params[name] = value
	if value == "" {
		delete(params, name)
	}
	return Target{params}
}

// Param returns a parameter's value.
func (t Target) Param(name string) string { return t.params[name] }
