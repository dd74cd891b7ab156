package main

import (
	neturl "net/url"
	"strconv"
	"strings"

	"github.com/pgdbm/pgdbm"
)

// libpqText is where a Config leads, in a form that PostgreSQL's own programs
// read. Of the fields it has those that pgdbm.toml knows.
func libpqText(c pgdbm.Config) string {
	type word struct{ name, value string }
	words := []word{{"host", c.Host}, {"dbname", c.Database}, {"user", c.User}, {"password", c.Password},
		{"sslmode", c.SSLMode}, {"sslrootcert", c.SSLRootCert}, {"sslcert", c.SSLCert}, {"sslkey", c.SSLKey}}
	if c.Port != 0 {
		words = append(words, word{"port", strconv.Itoa(int(c.Port))})
	}
	text, isURL := c.URL, strings.HasPrefix(c.URL, "postgres://") || strings.HasPrefix(c.URL, "postgresql://")
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, w := range words {
		switch {
		case w.value == "":
		case isURL:
			sep := "?"
			if strings.Contains(text, "?") {
				sep = "&"
			}
			text += sep + w.name + "=" + strings.ReplaceAll(neturl.QueryEscape(w.value), "+", "%20") // libpq knows no +
		default:
			text = strings.TrimSpace(text + " " + w.name + "='" + quote.Replace(w.value) + "'")
		}
	}
	return text
}
