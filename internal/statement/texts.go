package statement

import (
	"strings"
	"unique"
)

type textKey struct {
	sql       string
	namespace unique.Handle[string]
}

// Expand returns sql as it goes to the server. A text without "{{" is returned
// as it is, unparsed. A bounded number of expansions is kept.
func (c *Cache) Expand(ns *Namespace, sql string) (string, error) {
	if !strings.Contains(sql, "{{") {
		return sql, nil
	}
	key := textKey{sql, ns.id}
	if text, ok := c.texts.get(key); ok {
		return text, nil
	}
	sh, err := c.shape(sql)
	if err != nil {
		return "", err
	}
	text, err := sh.expand(ns)
	if err != nil {
		return "", err
	}
	if len(sql) <= maxCached {
		key.sql = sh.sql
		c.texts.put(key, text)
	}
	return text, nil
}
