package engine

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// locate finds where in the file an error belongs: where the server points; else the row of COPY data that it names;
// else the statement that failed, the one after the last that was completed. The line is 0 when
// the place is unknown.
func (f *File) locate(names *sqltemplate.Names, m message, statement int, err error) (line, column int) {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return 0, 0 // the connection's fault, or the caller's who gave up
	}
	if pgErr.Position > 0 {
		expanded := m.start + byteOffset(m.sql, int(pgErr.Position))
		return sqltemplate.Position(f.Source, f.template.SourceOffset(names, expanded))
	}
	p, ok := f.statement(statement)
	if !ok {
		return 0, 0
	}
	if m.copy {
		if row := copyRow(pgErr.Where); row > 0 {
			return sqltemplate.Position(f.Source, p.Data+lineOffset(f.Source[p.Data:p.DataEnd], row))
		}
	}
	return sqltemplate.Position(f.Source, p.Code)
}

// statement returns the nth piece that the server runs, from 0.
func (f *File) statement(n int) (sqltemplate.Piece, bool) {
	for _, p := range f.pieces {
		if !runs(p, f.Source) {
			continue
		}
		if n == 0 {
			return p, true
		}
		n--
	}
	return sqltemplate.Piece{}, false
}

// byteOffset turns the server's position, in characters from 1, into an offset in bytes.
func byteOffset(s string, position int) int {
	offset := 0
	for range position - 1 {
		if offset >= len(s) {
			break
		}
		_, size := utf8.DecodeRuneInString(s[offset:])
		offset += size
	}
	return offset
}

var copyContext = regexp.MustCompile(`^COPY .*, line ([0-9]+)`)

// copyRow returns the row of COPY data, from 1, that an error's context names, or 0.
func copyRow(where string) int {
	match := copyContext.FindStringSubmatch(where)
	if match == nil {
		return 0
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		return 0
	}
	return n
}

// lineOffset returns where the nth line of s begins, from 1.
func lineOffset(s string, n int) int {
	offset := 0
	for ; n > 1; n-- {
		i := strings.IndexByte(s[offset:], '\n')
		if i < 0 {
			break
		}
		offset += i + 1
	}
	return offset
}
