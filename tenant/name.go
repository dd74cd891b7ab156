package tenant

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

const (
	maxID     = 1024 // bytes
	maxSchema = 63   // bytes, all that PostgreSQL keeps of a name
	hashed    = 10   // characters, 50 bits
)

var hashText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// SchemaName returns the name of the schema of a tenant: the prefix and the id
// where that makes a name that needs no quotes and is not cut; else what of the id
// does, an underscore and ten characters of the SHA-256 sum of the whole id. It is
// the same everywhere, so that two programs agree.
func SchemaName(prefix, id string) string {
	if plain(id) && len(prefix)+len(id) <= maxSchema && !hashedLike(id) {
		return prefix + id
	}
	var b strings.Builder
	b.WriteString(prefix)
	room := maxSchema - hashed - 1
	for _, c := range strings.ToLower(id) {
		if b.Len() == room {
			break
		}
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
	}
	sum := sha256.Sum256([]byte(id))
	return strings.TrimSuffix(b.String(), "_") + "_" + hashText.EncodeToString(sum[:])[:hashed]
}

// plain reports whether an id is part of a name as it is.
func plain(id string) bool {
	for i := range len(id) {
		if c := id[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return id != ""
}

// hashedLike reports whether a plain id may be what SchemaName makes of another
// one.
func hashedLike(id string) bool {
	at := len(id) - hashed - 1
	return at >= 0 && id[at] == '_' && !strings.ContainsAny(id[at+1:], "0189_")
}

func checkPrefix(prefix string) error {
	if err := sqltemplate.ValidateSchema(prefix + "x"); err != nil {
		return err
	}
	if !plain(prefix) || len(prefix) > maxSchema-2*hashed {
		return fmt.Errorf("%q: not at most %d of the characters a-z, 0-9 and _", prefix, maxSchema-2*hashed)
	}
	return nil
}

// ValidateID says why an id cannot be a tenant's: it is empty, longer than 1024
// bytes, not UTF-8 or holds a control character. All else is one.
func ValidateID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("tenant id is empty")
	case len(id) > maxID:
		return fmt.Errorf("tenant id %.40q...: longer than %d bytes", id, maxID)
	case !utf8.ValidString(id):
		return fmt.Errorf("tenant id %q: not UTF-8", id)
	case strings.ContainsFunc(id, unicode.IsControl):
		return fmt.Errorf("tenant id %q: holds a control character", id)
	}
	return nil
}
